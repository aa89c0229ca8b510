/**
 * Reports to the owners of other domains, for those that ask for them: DMARC aggregates (RFC 9990) and TLS results
 * (RFC 8460). All workers count into one tally; when a period is over, whichever of them comes first sends its reports.
 * Invariants: a period is reported once, also when the gateway was down at its end; a domain that asks for no report
 * gets none. Failure: trouble with one report is logged and costs that report.
 */
import { join } from "node:path";
import { aggregateReport } from "../checks/dmarc/aggregate.ts";
import { reportMail, reportRecipients } from "../checks/dmarc/report-mail.ts";
import type { CheckContext } from "../checks/types.ts";
import type { Budget } from "../config/budget.ts";
import type { Config } from "../config/schema.ts";
import { parseTlsRptRecord } from "../delivery/tls/records.ts";
import { TlsResults, tlsReport, tlsReportMail } from "../delivery/tls/report.ts";
import { formatDate } from "../message/date.ts";
import type { Spool } from "../queue/types.ts";
import { type Counts, flushMs, type Taken, Tally, type TallyKind } from "../state/tally.ts";
import type { Logger } from "../telemetry/log.ts";
import { queueOwnMail } from "./own-mail.ts";

interface ReportMail {
  to: string;
  text: Buffer;
}

/** One kind of report that the configuration asks for. */
interface ReportKind {
  tally: TallyKind;
  from: string;
  mails(taken: Taken, context: CheckContext): Promise<ReportMail[]>;
}

export interface ReportServices {
  spool: Spool;
  context(): CheckContext;
}

/** Every worker has written what belongs to a period this long after its end. */
const graceMs = 3 * flushMs;
/** Reports go out over a while after that, not with those of every other receiver (RFC 8460 §4.1). */
const spreadMs = 3_600_000;
const longestTimer = 86_400_000;

export class Reports {
  /** Counts DMARC results; undefined when no reports are sent. */
  readonly dmarc: Counts | undefined;
  readonly tls: TlsResults | undefined;
  readonly #tally: Tally | undefined;
  readonly #kinds: readonly ReportKind[];
  readonly #log: Logger;
  readonly #timers = new Map<ReportKind, NodeJS.Timeout>();
  #sending: Promise<void> = Promise.resolve();
  #stopped = false;

  private constructor(tally: Tally | undefined, kinds: { dmarc?: ReportKind; tls?: ReportKind }, log: Logger) {
    this.#tally = tally;
    this.#log = log;
    this.#kinds = Object.values(kinds);
    this.dmarc = tally && kinds.dmarc && tally.counter(kinds.dmarc.tally);
    this.tls = tally && kinds.tls && new TlsResults(tally.counter(kinds.tls.tally));
  }

  static async open(config: Config, budget: Budget, log: Logger): Promise<Reports> {
    const kinds = { ...dmarcKind(config, budget), ...tlsKind(config, budget) };
    if (Object.keys(kinds).length === 0) return new Reports(undefined, kinds, log);
    return new Reports(await Tally.open(join(config.data, "state", "reports.db"), log), kinds, log);
  }

  /** Sends what is left of periods that are over, and from now on each period at its end. */
  start(services: ReportServices): void {
    for (const kind of this.#kinds) this.#run(kind, services);
  }

  /** Sends no more; resolves when the report at hand is in the queue. */
  async stop(): Promise<void> {
    this.#stopped = true;
    for (const timer of this.#timers.values()) clearTimeout(timer);
    await this.#sending;
  }

  /** Resolves when all counts are written. */
  async close(): Promise<void> {
    await this.stop();
    await this.#tally?.close();
  }

  #run(kind: ReportKind, services: ReportServices): void {
    this.#sending = this.#sending.then(() => this.#sendDue(kind, services));
    const { periodMs } = kind.tally;
    const now = Date.now();
    const end = Math.floor(now / periodMs) * periodMs + periodMs;
    const delay = graceMs + Math.random() * Math.min(spreadMs, periodMs / 10);
    const timer = setTimeout(() => this.#run(kind, services), Math.min(end - now + delay, longestTimer));
    this.#timers.set(kind, timer.unref());
  }

  async #sendDue(kind: ReportKind, services: ReportServices): Promise<void> {
    try {
      while (!this.#stopped) {
        const taken = await this.#tally!.take(kind.tally.name, Date.now() - graceMs);
        if (taken === undefined) return;
        await this.#send(kind, taken, services);
      }
    } catch (error) {
      this.#log.warn({ err: error, kind: kind.tally.name }, "counts for reports can't be read");
    }
  }

  async #send(kind: ReportKind, taken: Taken, { context, spool }: ReportServices): Promise<void> {
    const { domain } = taken;
    const { name } = kind.tally;
    try {
      const ctx = context();
      for (const { text, to } of await kind.mails(taken, ctx)) {
        const mail = { from: kind.from, to, text, hostName: ctx.hostName, sessionId: `${name}-report` };
        const queueId = await queueOwnMail(spool, mail);
        this.#log.info({ kind: name, domain, to, queueId }, "report queued");
      }
    } catch (error) {
      this.#log.warn({ kind: name, domain, error: (error as Error).message }, "report can't be sent");
    }
  }
}

function dmarcKind({ authentication, server }: Config, budget: Budget): { dmarc?: ReportKind } {
  const { reports } = authentication;
  if (reports === null) return {};
  const reporter = { organization: server.name, email: reports.contact };
  const limits = { subjects: budget.reportDomains, rows: budget.reportRows };
  return {
    dmarc: {
      tally: { name: "dmarc", periodMs: reports.every, ...limits },
      from: reports.contact,
      async mails(taken, ctx) {
        const report = aggregateReport(taken, reporter);
        const recipients = await reportRecipients(report, ctx);
        const date = new Date(ctx.now());
        return recipients.map((to) => ({ to, text: reportMail(report, to, reporter, ctx.hostName, date) }));
      },
    },
  };
}

function tlsKind({ relay, server }: Config, budget: Budget): { tls?: ReportKind } {
  const { tlsReports } = relay;
  if (tlsReports === null) return {};
  const from = tlsReports.from || `postmaster@${server.name}`;
  const reporter = { organization: server.name, contact: tlsReports.contact };
  const limits = { subjects: budget.tlsReportRows, rows: budget.tlsReportRows };
  return {
    tls: {
      tally: { name: "tls", periodMs: tlsReports.every, ...limits },
      from,
      async mails(taken, ctx) {
        const { domain } = taken;
        const report = tlsReport(taken, reporter);
        const date = formatDate(ctx.now());
        const text = (to: string) => tlsReportMail(report, { submitter: server.name, domain, from, to, date });
        return (await tlsAddresses(domain, ctx)).map((to) => ({ to, text: Buffer.from(text(to)) }));
      },
    },
  };
}

/** Mail addresses that a domain wants TLS reports at. */
async function tlsAddresses(domain: string, { resolver }: CheckContext): Promise<string[]> {
  const answer = await resolver.resolve(`_smtp._tls.${domain}`, "TXT");
  const records = answer.records.filter((text) => text.startsWith("v=TLSRPTv1"));
  // RFC 8460 §3: several records mean none.
  const record = records.length === 1 ? parseTlsRptRecord(records[0]!) : undefined;
  const mail = record?.rua.filter((uri) => /^mailto:[^?]+@[^?]+$/i.test(uri)) ?? [];
  return mail.map((uri) => decodeURIComponent(uri.slice("mailto:".length))).filter((to) => !/[\s<>]/.test(to));
}
