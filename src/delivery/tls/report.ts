/**
 * TLS reports (RFC 8460), opt-in: counts of TLS successes and failures by recipient domain and policy, and the report
 * and mail made of them once a day.
 * Invariants: at most `tlsReportRows` rows are kept a day; beyond that new ones are not counted. Nothing is sent from
 * here: the gateway asks for `take`, looks up `_smtp._tls`, and hands the mail to the queue.
 */
import { gzipSync } from "node:zlib";
import type { Budget } from "../../config/budget.ts";

export type PolicyType = "no-policy-found" | "tlsa" | "sts";

interface Failure {
  result: string;
  host: string;
  address: string;
  count: number;
}

interface Row {
  domain: string;
  policyType: PolicyType;
  success: number;
  failures: Map<string, Failure>;
}

/** RFC 8460 §4.4. */
export interface TlsReport {
  "organization-name": string;
  "date-range": { "start-datetime": string; "end-datetime": string };
  "contact-info": string;
  "report-id": string;
  policies: object[];
}

export interface TlsReportSettings {
  organization: string;
  contact: string;
  budget: Pick<Budget, "tlsReportRows">;
}

export class TlsReports {
  readonly #settings: TlsReportSettings;
  #rows = new Map<string, Row>();
  #since: number;

  constructor(settings: TlsReportSettings, now: number = Date.now()) {
    this.#settings = settings;
    this.#since = now;
  }

  /** @param result RFC 8460 §4.3 result type of a failure, undefined for a success */
  note(domain: string, policyType: PolicyType, host: string, address: string, result: string | undefined): void {
    const key = `${domain} ${policyType}`;
    let row = this.#rows.get(key);
    if (!row) {
      if (this.#rows.size >= this.#settings.budget.tlsReportRows) return;
      row = { domain, policyType, success: 0, failures: new Map() };
      this.#rows.set(key, row);
    }
    if (result === undefined) {
      row.success++;
      return;
    }
    const failureKey = `${result} ${host} ${address}`;
    const failure = row.failures.get(failureKey);
    if (failure) failure.count++;
    else if (row.failures.size < this.#settings.budget.tlsReportRows) {
      row.failures.set(failureKey, { result, host, address, count: 1 });
    }
  }

  /** The reports since the last call, by recipient domain, as RFC 8460 §4.4 objects. */
  take(now: number = Date.now()): Map<string, TlsReport> {
    const rows = this.#rows;
    const range = {
      "start-datetime": new Date(this.#since).toISOString(),
      "end-datetime": new Date(now).toISOString(),
    };
    this.#rows = new Map();
    this.#since = now;
    const reports = new Map<string, TlsReport>();
    for (const row of rows.values()) {
      const report: TlsReport = reports.get(row.domain) ?? {
        "organization-name": this.#settings.organization,
        "date-range": range,
        "contact-info": this.#settings.contact,
        "report-id": `${now}.${row.domain}@${this.#settings.organization}`,
        policies: [],
      };
      report.policies.push(policyOf(row));
      reports.set(row.domain, report);
    }
    return reports;
  }
}

function policyOf(row: Row): object {
  const failures = [...row.failures.values()];
  return {
    policy: { "policy-type": row.policyType, "policy-domain": row.domain },
    summary: {
      "total-successful-session-count": row.success,
      "total-failure-session-count": failures.reduce((sum, failure) => sum + failure.count, 0),
    },
    "failure-details": failures.map((failure) => ({
      "result-type": failure.result,
      "receiving-mx-hostname": failure.host,
      "receiving-ip": failure.address,
      "failed-session-count": failure.count,
    })),
  };
}

/** The report as a mail (RFC 8460 §5.3); all lines end in CRLF. */
export function tlsReportMail(
  report: TlsReport,
  names: { submitter: string; domain: string; from: string; to: string; date: string },
): string {
  const id = report["report-id"];
  const boundary = `tlsrpt-${Buffer.from(id).toString("hex").slice(0, 40)}`;
  const data = gzipSync(JSON.stringify(report)).toString("base64").replace(/.{76}/g, "$&\r\n");
  return [
    `From: ${names.from}`,
    `To: ${names.to}`,
    `Date: ${names.date}`,
    `Subject: Report Domain: ${names.domain} Submitter: ${names.submitter} Report-ID: <${id}>`,
    `Message-ID: <${id}>`,
    "MIME-Version: 1.0",
    `TLS-Report-Domain: ${names.domain}`,
    `TLS-Report-Submitter: ${names.submitter}`,
    "Auto-Submitted: auto-generated",
    `Content-Type: multipart/report; report-type="tlsrpt"; boundary="${boundary}"`,
    "",
    `--${boundary}`,
    "Content-Type: text/plain; charset=utf-8",
    "",
    `This is an aggregate TLS report from ${names.submitter} for ${names.domain}.`,
    `--${boundary}`,
    "Content-Type: application/tlsrpt+gzip",
    "Content-Transfer-Encoding: base64",
    `Content-Disposition: attachment; filename="${names.submitter}!${names.domain}.json.gz"`,
    "",
    data,
    `--${boundary}--`,
    "",
  ].join("\r\n");
}
