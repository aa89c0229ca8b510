/**
 * DMARC aggregate reports (RFC 9990), opt-in: results are counted by domain and written as XML at the period's end.
 * Invariants: equal rows are one row with a count; at most `reportDomains` domains and `reportRows` rows a domain are
 * held, what comes beyond is counted in `dropped`; every value is escaped. The collector is in memory: a restart loses
 * the period so far, which a receiver may do (reports are best effort).
 */

import type { Budget } from "../../config/budget.ts";
import type { Authentication } from "../authenticate.ts";
import type { DmarcPolicy, DmarcRecord } from "./record.ts";

export interface ReportedMessage {
  sourceIp: string;
  envelopeFrom: string;
  /** What was done with the message. */
  disposition: DmarcPolicy | "pass";
  authentication: Authentication;
}

export interface ReportPeriod {
  /** Seconds since the epoch. */
  begin: number;
  end: number;
}

export interface Reporter {
  organization: string;
  /** Contact of the reporter. */
  email: string;
  /** Tells the reports of several processes on one period apart. */
  instance?: string;
}

export interface AggregateReport {
  /** Policy domain. */
  domain: string;
  record: DmarcRecord;
  reportId: string;
  xml: string;
}

interface Row {
  xml: string;
  sourceIp: string;
  evaluated: string;
  count: number;
}

interface DomainRows {
  record: DmarcRecord;
  rows: Map<string, Row>;
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

function authResults({ dkim, spf }: Authentication): string {
  const signatures = dkim
    .filter(({ domain }) => domain !== "")
    .map(({ domain, selector, result }) => {
      return `<dkim>${element("domain", domain)}${element("selector", selector)}${element("result", result)}</dkim>`;
    });
  const scope = spf.identity === "helo" ? "helo" : "mfrom";
  const sender = `<spf>${element("domain", spf.domain)}${element("scope", scope)}${element("result", spf.result)}</spf>`;
  return `<auth_results>${signatures.join("")}${sender}</auth_results>`;
}

export class AggregateCollector {
  readonly #budget: Budget;
  readonly #domains = new Map<string, DomainRows>();
  #dropped = 0;

  constructor(budget: Budget) {
    this.#budget = budget;
  }

  /** Messages that no longer fitted. */
  get dropped(): number {
    return this.#dropped;
  }

  /** Counts a message; without a record that asks for reports nothing is kept. */
  add(message: ReportedMessage): void {
    const { dmarc } = message.authentication;
    if (dmarc.record === undefined || dmarc.record.rua.length === 0) return;
    let held = this.#domains.get(dmarc.domain);
    if (held === undefined) {
      if (this.#domains.size >= this.#budget.reportDomains) {
        this.#dropped += 1;
        return;
      }
      held = { record: dmarc.record, rows: new Map() };
      this.#domains.set(dmarc.domain, held);
    }
    const domainOf = (address: string) => address.slice(address.lastIndexOf("@") + 1);
    const evaluated =
      element("disposition", message.disposition) +
      element("dkim", dmarc.dkim.domain === undefined ? "fail" : "pass") +
      element("spf", dmarc.spf.domain === undefined ? "fail" : "pass");
    const identifiers =
      element("header_from", dmarc.fromDomain) + element("envelope_from", domainOf(message.envelopeFrom));
    const xml = `<identifiers>${identifiers}</identifiers>${authResults(message.authentication)}`;
    const key = `${message.sourceIp}\n${evaluated}\n${xml}`;
    const row = held.rows.get(key);
    if (row !== undefined) row.count += 1;
    else if (held.rows.size >= this.#budget.reportRows) this.#dropped += 1;
    else held.rows.set(key, { xml, sourceIp: message.sourceIp, evaluated, count: 1 });
  }

  /** Writes a report for each domain and begins anew. */
  drain(period: ReportPeriod, reporter: Reporter): AggregateReport[] {
    const reports = [...this.#domains].map(([domain, { record, rows }]): AggregateReport => {
      const instance = reporter.instance === undefined ? "" : `.${reporter.instance}`;
      const reportId = `${domain}.${period.begin}.${period.end}${instance}`;
      const parts = [metadata(reportId, period, reporter), published(domain, record)];
      for (const row of rows.values()) {
        const counted = element("source_ip", row.sourceIp) + element("count", String(row.count));
        const evaluated = `<policy_evaluated>${row.evaluated}</policy_evaluated>`;
        parts.push(`<record><row>${counted}${evaluated}</row>${row.xml}</record>`);
      }
      const head = '<?xml version="1.0" encoding="UTF-8"?>\n<feedback xmlns="urn:ietf:params:xml:ns:dmarc-2.0">\n';
      return { domain, record, reportId, xml: `${head}${parts.join("\n")}\n</feedback>\n` };
    });
    this.#domains.clear();
    this.#dropped = 0;
    return reports;
  }
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
