/**
 * Where an aggregate report may be sent, and the message that carries it (RFC 9990 §3, §4).
 * Invariant: an address outside the reported organization is only used when its domain says so in DNS, so that nobody
 * can aim our reports at a stranger. Failure: an address that can't be checked is left out of this period.
 */
import { gzipSync } from "node:zlib";
import { DnsError } from "../../dns/types.ts";
import { domainOf } from "../../message/envelope.ts";
import { printable } from "../../message/outcome.ts";
import type { CheckContext } from "../types.ts";
import type { AggregateReport, Reporter } from "./aggregate.ts";
import { isDmarcRecord } from "./record.ts";
import { TreeWalk } from "./walk.ts";

/** Addresses of the record's rua= that may be written to. */
export async function reportRecipients(report: AggregateReport, ctx: CheckContext): Promise<string[]> {
  const walk = new TreeWalk(ctx);
  const allowed = await Promise.all(
    report.record.rua.map(async ({ address }) => {
      try {
        return (await accepts(domainOf(address), report.domain, walk, ctx)) ? address : undefined;
      } catch (error) {
        if (error instanceof DnsError) return undefined;
        throw error;
      }
    }),
  );
  return allowed.filter((address) => address !== undefined);
}

/** RFC 9990 §4: `<policy domain>._report._dmarc.<report domain>` holds a DMARC record. */
async function accepts(target: string, domain: string, walk: TreeWalk, ctx: CheckContext): Promise<boolean> {
  if (target === "") return false;
  if ((await walk.organizationalDomain(target)) === (await walk.organizationalDomain(domain))) return true;
  const { records } = await ctx.resolver.resolve(`${domain}._report._dmarc.${target}`, "TXT");
  return records.some(isDmarcRecord);
}

/** The message for one recipient, CRLF lines. `receiver` is our domain, part of the file's name. */
export function reportMail(
  report: AggregateReport,
  to: string,
  reporter: Reporter,
  receiver: string,
  now: Date,
): Buffer {
  const { period, reportId: id } = report;
  const unique = id.slice(id.lastIndexOf(".") + 1);
  const file = `${receiver}!${report.domain}!${period.begin}!${period.end}!${unique}.xml.gz`;
  const boundary = `=_dmarc_${period.end}`;
  const attachment =
    gzipSync(report.xml)
      .toString("base64")
      .match(/.{1,76}/g) ?? [];
  const lines = [
    `From: ${printable(reporter.organization).replace(/[^A-Za-z0-9 .-]/g, "")} <${printable(reporter.email)}>`,
    `To: <${printable(to)}>`,
    // RFC 9990 §3.5.2.1
    `Subject: Report Domain: ${printable(report.domain)} Submitter: ${printable(receiver)} Report-ID: <${id}>`,
    `Date: ${now.toUTCString().replace("GMT", "+0000")}`,
    `Message-ID: <${id}.${now.getTime()}@${printable(receiver)}>`,
    "Auto-Submitted: auto-generated",
    "MIME-Version: 1.0",
    `Content-Type: multipart/mixed; boundary="${boundary}"`,
    "",
    `--${boundary}`,
    "Content-Type: text/plain; charset=us-ascii",
    "",
    `This is a DMARC aggregate report for ${printable(report.domain)}.`,
    "",
    `--${boundary}`,
    "Content-Type: application/gzip",
    `Content-Disposition: attachment; filename="${printable(file).replace(/["\\]/g, "")}"`,
    "Content-Transfer-Encoding: base64",
    "",
    ...attachment,
    `--${boundary}--`,
    "",
  ];
  return Buffer.from(lines.join("\r\n"), "latin1");
}
