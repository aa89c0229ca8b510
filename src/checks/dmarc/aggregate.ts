/**
 * DMARC aggregate reports (RFC 9990), opt-in: results are counted by domain and published policy, and written as XML
 * when the period is over. Equal rows are one row with a count; where they are kept is the tally's (state/tally.ts).
 * Invariant: every value in the XML is escaped. Failure: none.
 */
import { createHash } from "node:crypto";
import type { Counts, Taken } from "../../state/tally.ts";
import type { Authentication } from "../authenticate.ts";
import { type DmarcPolicy, type DmarcRecord, parseDmarcRecord } from "./record.ts";

export interface ReportedMessage {
  sourceIp: string;
  envelopeFrom: string;
  /** What was done with the message. */
  disposition: DmarcPolicy | "pass";
  authentication: Authentication;
}

/** Seconds since the epoch; `end` is the last second of the period. */
export interface ReportPeriod {
  begin: number;
  end: number;
}

export interface Reporter {
  organization: string;
  /** Contact of the reporter. */
  email: string;
}

export interface AggregateReport {
  /** Policy domain. */
  domain: string;
  record: DmarcRecord;
  reportId: string;
  period: ReportPeriod;
  xml: string;
}

/** What messages must have in common to be counted together. */
interface Row {
  ip: string;
  disposition: string;
  /** Aligned and passed. */
  dkim: boolean;
  spf: boolean;
  headerFrom: string;
  envelopeFrom: string;
  signatures: ReadonlyArray<{ domain: string; selector: string; result: string }>;
  sender: { domain: string; scope: "helo" | "mfrom"; result: string };
}

/** Counts a message; without a record that asks for reports nothing is kept. */
export function countForAggregate(message: ReportedMessage, counts: Counts): void {
  const { dkim, dmarc, spf } = message.authentication;
  if (dmarc.record === undefined || dmarc.record.rua.length === 0) return;
  const row: Row = {
    ip: message.sourceIp,
    disposition: message.disposition,
    dkim: dmarc.dkim.domain !== undefined,
    spf: dmarc.spf.domain !== undefined,
    headerFrom: dmarc.fromDomain,
    envelopeFrom: message.envelopeFrom.slice(message.envelopeFrom.lastIndexOf("@") + 1),
    signatures: dkim
      .filter(({ domain }) => domain !== "")
      .map(({ domain, selector, result }) => ({ domain, selector, result })),
    sender: { domain: spf.domain, scope: spf.identity === "helo" ? "helo" : "mfrom", result: spf.result },
  };
  // A report has one published policy: a record that changes within the period makes a report of its own.
  counts.count(dmarc.domain, dmarc.record.text, JSON.stringify(row));
}

/** Writes the report of what was counted for one domain. */
export function aggregateReport(taken: Taken, reporter: Reporter): AggregateReport {
  const record = parseDmarcRecord(taken.about);
  if (record === undefined) throw new TypeError(`counted for what is no DMARC record: ${taken.about}`);
  const { domain } = taken;
  const period = { begin: Math.floor(taken.begins / 1_000), end: Math.ceil(taken.ends / 1_000) - 1 };
  const records = taken.rows.map(({ row, count }) => recordXml(JSON.parse(row) as Row, count));
  // Late counts of a period that was reported already make another report, which must have a name of its own.
  const digest = createHash("sha256").update(taken.about).update(records.join("")).digest("hex").slice(0, 12);
  const reportId = `${period.begin}.${period.end}.${digest}`;
  const parts = [metadata(reportId, period, reporter), published(domain, record), ...records];
  const head = '<?xml version="1.0" encoding="UTF-8"?>\n<feedback xmlns="urn:ietf:params:xml:ns:dmarc-2.0">\n';
  return { domain, record, reportId, period, xml: `${head}${parts.join("\n")}\n</feedback>\n` };
}

/** Characters that XML 1.0 can't hold are replaced, the five special ones escaped. */
export function escapeXml(text: string): string {
  return text
    .replace(/[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufffe\uffff]/g, "?")
    .replace(/[&<>"']/g, (char) => `&#${char.charCodeAt(0)};`);
}

function element(name: string, value: string): string {
  return `<${name}>${escapeXml(value)}</${name}>`;
}

function recordXml(row: Row, count: number): string {
  const result = (passed: boolean) => (passed ? "pass" : "fail");
  const evaluated =
    element("disposition", row.disposition) + element("dkim", result(row.dkim)) + element("spf", result(row.spf));
  const counted = element("source_ip", row.ip) + element("count", String(count));
  const identifiers = element("header_from", row.headerFrom) + element("envelope_from", row.envelopeFrom);
  const signatures = row.signatures.map(
    (signature) =>
      `<dkim>${element("domain", signature.domain)}${element("selector", signature.selector)}${element("result", signature.result)}</dkim>`,
  );
  const { domain, scope, result: said } = row.sender;
  const sender = `<spf>${element("domain", domain)}${element("scope", scope)}${element("result", said)}</spf>`;
  return (
    `<record><row>${counted}<policy_evaluated>${evaluated}</policy_evaluated></row>` +
    `<identifiers>${identifiers}</identifiers><auth_results>${signatures.join("")}${sender}</auth_results></record>`
  );
}

function metadata(reportId: string, { begin, end }: ReportPeriod, reporter: Reporter): string {
  const range = `<date_range>${element("begin", String(begin))}${element("end", String(end))}</date_range>`;
  return `${element("version", "1.0")}\n<report_metadata>${element("org_name", reporter.organization)}${element("email", reporter.email)}${element("report_id", reportId)}${range}</report_metadata>`;
}

function published(domain: string, record: DmarcRecord): string {
  const parts = [
    element("domain", domain),
    element("p", record.p),
    element("sp", record.sp ?? record.p),
    element("np", record.np ?? record.sp ?? record.p),
    element("adkim", record.strictDkim ? "s" : "r"),
    element("aspf", record.strictSpf ? "s" : "r"),
    element("testing", record.testing ? "y" : "n"),
    element("discovery_method", "treewalk"),
    element("fo", record.fo),
  ];
  return `<policy_published>${parts.join("")}</policy_published>`;
}
