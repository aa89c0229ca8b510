/**
 * Sends the DMARC aggregate reports collected so far (RFC 9990) to the domains that ask for them, by mail through our
 * own queue. Each worker reports what it has seen, as RFC 9990 §3.1 lets a receiver do with several reports a period.
 * Invariant: only addresses that the domain's own organization vouches for are written to. Failure: trouble with one
 * report is logged and costs that report.
 */
import type { AggregateCollector, AggregateReport, Reporter, ReportPeriod } from "../checks/dmarc/aggregate.ts";
import { reportMail, reportRecipients } from "../checks/dmarc/report-mail.ts";
import type { CheckContext } from "../checks/types.ts";
import type { Spool } from "../queue/types.ts";
import type { Logger } from "../telemetry/log.ts";

export interface DmarcReportSender {
  collector: AggregateCollector;
  context(): CheckContext;
  spool: Spool;
  reporter: Reporter;
  log: Logger;
}

/** Writes, and queues, what was collected between two times (ms since epoch). */
export async function sendDmarcReports(sender: DmarcReportSender, fromMs: number, toMs: number): Promise<void> {
  const { collector, context, log, reporter } = sender;
  const period = { begin: Math.floor(fromMs / 1_000), end: Math.floor(toMs / 1_000) };
  if (collector.dropped > 0) log.warn({ messages: collector.dropped }, "DMARC reports are not whole: too many rows");
  for (const report of collector.drain(period, reporter)) {
    try {
      for (const to of await reportRecipients(report, context())) await queueReport(sender, report, to, period);
    } catch (error) {
      log.warn({ domain: report.domain, error: (error as Error).message }, "DMARC report can't be sent");
    }
  }
}

async function queueReport(
  { context, log, reporter, spool }: DmarcReportSender,
  report: AggregateReport,
  to: string,
  period: ReportPeriod,
): Promise<void> {
  const { hostName, now } = context();
  const mail = reportMail(report, to, reporter, hostName, period, new Date(now()));
  const id = await spool.commit(spool.openBody(mail), {
    envelope: {
      mailFrom: reporter.email,
      rcptTo: [{ address: to, notify: ["NEVER"] }],
      declaredSize: mail.length,
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
      sessionId: "dmarc-report",
    },
    exports: {},
    marks: { report: true },
    runFilters: false,
  });
  log.info({ domain: report.domain, to, queueId: id }, "DMARC report queued");
}
