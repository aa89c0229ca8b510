/**
 * TLS reports (RFC 8460), opt-in: TLS successes and failures are counted by recipient domain and policy, and a report
 * and mail are made of them when the period is over. Where counts are kept is the tally's (state/tally.ts).
 * Failure: none. Nothing is sent from here: the gateway looks up `_smtp._tls` and hands the mail to the queue.
 */
import { createHash } from "node:crypto";
import { gzipSync } from "node:zlib";
import type { Counts, Taken } from "../../state/tally.ts";

export type PolicyType = "no-policy-found" | "tlsa" | "sts";

/** What connections must have in common to be counted together; `result` "" is a success. */
interface Row {
  policyType: PolicyType;
  result: string;
  host: string;
  address: string;
}

/** RFC 8460 §4.4. */
export interface TlsReport {
  "organization-name": string;
  "date-range": { "start-datetime": string; "end-datetime": string };
  "contact-info": string;
  "report-id": string;
  policies: object[];
}

export interface TlsReporter {
  organization: string;
  contact: string;
}

/** Told of each connection's TLS result. */
export class TlsResults {
  readonly #counts: Counts;

  constructor(counts: Counts) {
    this.#counts = counts;
  }

  /** @param result RFC 8460 §4.3 result type of a failure, undefined for a success */
  note(domain: string, policyType: PolicyType, host: string, address: string, result: string | undefined): void {
    const row: Row =
      result === undefined
        ? { policyType, result: "", host: "", address: "" } // successes are one number a policy
        : { policyType, result, host, address };
    this.#counts.count(domain, "", JSON.stringify(row));
  }
}

/** The report of what was counted for one domain. */
export function tlsReport({ begins, domain, ends, rows }: Taken, { contact, organization }: TlsReporter): TlsReport {
  const counted = rows.map(({ row, count }) => ({ ...(JSON.parse(row) as Row), count }));
  const types = [...new Set(counted.map(({ policyType }) => policyType))];
  const digest = createHash("sha256").update(JSON.stringify(rows)).digest("hex").slice(0, 12);
  return {
    "organization-name": organization,
    "date-range": { "start-datetime": seconds(begins), "end-datetime": seconds(ends - 1_000) },
    "contact-info": contact,
    "report-id": `${begins / 1_000}.${digest}.${domain}@${organization}`,
    policies: types.map((type) =>
      policyOf(
        domain,
        type,
        counted.filter(({ policyType }) => policyType === type),
      ),
    ),
  };
}

/** RFC 3339 without fractions; the end of a period is its last second. */
function seconds(ms: number): string {
  return `${new Date(ms).toISOString().slice(0, 19)}Z`;
}

function policyOf(domain: string, type: PolicyType, rows: ReadonlyArray<Row & { count: number }>): object {
  const failures = rows.filter(({ result }) => result !== "");
  const sum = (some: ReadonlyArray<{ count: number }>) => some.reduce((total, { count }) => total + count, 0);
  return {
    policy: { "policy-type": type, "policy-domain": domain },
    summary: {
      "total-successful-session-count": sum(rows) - sum(failures),
      "total-failure-session-count": sum(failures),
    },
    "failure-details": failures.map(({ address, count, host, result }) => ({
      "result-type": result,
      "receiving-mx-hostname": host,
      "receiving-ip": address,
      "failed-session-count": count,
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
  const { "start-datetime": start, "end-datetime": end } = report["date-range"];
  // RFC 8460 §5.1: begin and end in seconds, and what tells two reports of a period apart.
  const [begins, ends] = [Date.parse(start) / 1_000, Date.parse(end) / 1_000];
  const file = `${names.submitter}!${names.domain}!${begins}!${ends}!${id.split(".")[1]}.json.gz`;
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
    `Content-Disposition: attachment; filename="${file}"`,
    "",
    data,
    `--${boundary}--`,
    "",
  ].join("\r\n");
}
