/**
 * Sends the TLS reports collected so far to the domains that ask for them (RFC 8460), by mail through our own queue.
 * Invariants: a domain without a `_smtp._tls` record gets nothing; only `mailto:` addresses are served. Failure: DNS
 * trouble for one domain costs its report and is logged; a full queue rejects, and the rest is lost with the log line.
 */
import { parseTlsRptRecord } from "../delivery/tls/records.ts";
import { type TlsReports, tlsReportMail } from "../delivery/tls/report.ts";
import type { Resolver } from "../dns/types.ts";
import { formatDate } from "../message/date.ts";
import type { Spool } from "../queue/types.ts";
import type { Logger } from "../telemetry/log.ts";

export interface TlsReportSender {
  reports: TlsReports;
  resolver: Resolver;
  spool: Spool;
  /** Name of this server, and the sender's address. */
  hostName: string;
  from: string;
  log: Logger;
}

export async function sendTlsReports(sender: TlsReportSender): Promise<void> {
  for (const [domain, report] of sender.reports.take()) {
    try {
      for (const to of await wanted(domain, sender.resolver)) await queueReport(sender, domain, to, report);
    } catch (error) {
      sender.log.warn({ domain, error: (error as Error).message }, "TLS report can't be sent");
    }
  }
}

/** Mail addresses that a domain wants reports at. */
async function wanted(domain: string, resolver: Resolver): Promise<string[]> {
  const answer = await resolver.resolve(`_smtp._tls.${domain}`, "TXT");
  const records = answer.records.filter((text) => text.startsWith("v=TLSRPTv1"));
  // RFC 8460 §3: several records mean none.
  const record = records.length === 1 ? parseTlsRptRecord(records[0]!) : undefined;
  const mail = record?.rua.filter((uri) => /^mailto:[^?]+@[^?]+$/i.test(uri)) ?? [];
  return mail.map((uri) => decodeURIComponent(uri.slice("mailto:".length))).filter((to) => !/[\s<>]/.test(to));
}

async function queueReport(
  { hostName, from, spool, log }: TlsReportSender,
  domain: string,
  to: string,
  report: Parameters<typeof tlsReportMail>[0],
): Promise<void> {
  const names = { submitter: hostName, domain, from, to, date: formatDate(Date.now()) };
  const text = tlsReportMail(report, names);
  const id = await spool.commit(spool.openBody(Buffer.from(text)), {
    envelope: {
      mailFrom: from,
      rcptTo: [{ address: to, notify: ["NEVER"] }],
      declaredSize: Buffer.byteLength(text),
      body: "7BIT",
      smtpUtf8: false,
      requireTls: false,
    },
    client: {
      remoteIp: "127.0.0.1",
      remotePort: 0,
      localIp: "127.0.0.1",
      localPort: 0,
      ehlo: hostName,
      esmtp: true,
      tls: "",
      authUser: "",
      protocol: "LOCAL",
      sessionId: "tls-report",
    },
    exports: {},
    marks: { report: true },
    runFilters: false,
  });
  log.info({ domain, to, queueId: id }, "TLS report queued");
}
