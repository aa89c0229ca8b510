/**
 * What follows from a message's delivery results: states of recipients and message, reports, the next attempt.
 * Invariants: a report is durable before the message it speaks of is removed; no recipient is reported on twice; a
 * message leaves the queue only when each recipient is sent, discarded or failed, and the failures are reported or not
 * reportable. Failure: a report that can't be written puts the message in state "cleanup error", to be tried again.
 */
import { outcome } from "../message/outcome.ts";
import type { Logger } from "../telemetry/log.ts";
import { attachedHeader, defaultReportText, headerSection, originalNeeded, writeReport } from "./report.ts";
import { isAutomatic, type ReportKind, type ReportLimits, reportable } from "./report-rules.ts";
import { type RetrySchedule, retryDelay } from "./retry.ts";
import type {
  BodySource,
  DeliveryResult,
  QueuedMessage,
  QueuedRecipient,
  ReportPolicy,
  ReportText,
  ScheduledSpool,
} from "./types.ts";

export interface SettlementOptions {
  spool: ScheduledSpool;
  reports: ReportPolicy | undefined;
  retry: RetrySchedule;
  hostName: string;
  log: Logger;
  now: () => number;
  /** Absent: an administrator acts, and each report is wanted. */
  limits?: ReportLimits;
}

const cleanupRetryMs = 300_000;

export function isPending({ state }: QueuedRecipient): boolean {
  return state === "received" || state === "processed";
}

/** Notes one delivery's results in the message. */
export function applyResults(message: QueuedMessage, results: DeliveryResult[]): void {
  for (const { recipient, outcome: last, kind } of results) {
    recipient.lastOutcome = last;
    recipient.attempts++;
    if (kind === "failed") recipient.state = "failed";
    else if (kind === "discarded") recipient.state = "discarded";
    else if (kind !== "deferred") recipient.state = "sent";
    else message.failure = last.text;
    if (kind === "failed") message.failure = last.text;
  }
}

export class Settlement {
  readonly #options: SettlementOptions;

  constructor(options: SettlementOptions) {
    this.#options = options;
  }

  /** Ends one round of attempts: reports, then removal or the next attempt. `results` are those of this round. */
  async finish(message: QueuedMessage, results: DeliveryResult[]): Promise<void> {
    const { spool, retry, now } = this.#options;
    message.attempts++;
    const deferred = results.filter(({ kind }) => kind === "deferred");
    const delivered = results.filter(({ kind }) => kind === "delivered" || kind === "relayed");
    if (message.recipients.some(isPending) && this.#expired(message)) this.#giveUp(message, deferred);
    if (delivered.length > 0) await this.#report("success", message, delivered);
    const clean = await this.reportFailures(message);
    if (!message.recipients.some(isPending)) return clean ? this.#leave(message) : this.postponeCleanup(message);
    message.nextAttempt = now() + retryDelay(retry, message.attempts);
    const word = message.envelope.deliverBy?.deadline;
    if (word !== undefined) message.nextAttempt = Math.min(message.nextAttempt, Math.max(word, now())); // RFC 2852 §4
    message.state = "send failure";
    if (deferred.length > 0) await this.#report("delay", message, deferred);
    await spool.update(message);
  }

  /** Reports all failures not yet reported; false when that could not be done now. */
  async reportFailures(message: QueuedMessage): Promise<boolean> {
    const failed = message.recipients.filter(({ state, reported }) => state === "failed" && reported !== true);
    if (failed.length === 0) return true;
    const results = failed.map((recipient): DeliveryResult => {
      const last =
        recipient.lastOutcome ?? outcome.reject({ code: 550, enhanced: "5.0.0", text: "Failed", origin: "queue" });
      return { recipient, outcome: last, destination: recipient.destination ?? "", kind: "failed" };
    });
    if (!(await this.#report("failure", message, results))) return false;
    for (const recipient of failed) recipient.reported = true;
    return true;
  }

  /** The message waits for its report to be possible. */
  async postponeCleanup(message: QueuedMessage): Promise<void> {
    message.state = "cleanup error"; // smtpfilters.md §8.2
    message.nextAttempt = this.#options.now() + cleanupRetryMs;
    await this.#options.spool.update(message);
  }

  /** Fails all open recipients at once, with reports: "bounce now", and a filter's rejection. */
  async reject(message: QueuedMessage, why: DeliveryResult["outcome"]): Promise<void> {
    for (const recipient of message.recipients.filter(isPending)) {
      recipient.state = "failed";
      recipient.lastOutcome = why;
    }
    message.failure = why.text;
    await ((await this.reportFailures(message)) ? this.#leave(message) : this.postponeCleanup(message));
  }

  async #leave(message: QueuedMessage): Promise<void> {
    message.state = message.recipients.some(({ state }) => state === "sent") ? "sent" : "removed";
    await this.#options.spool.remove(message.id);
  }

  #expired(message: QueuedMessage): boolean {
    const { deliverBy } = message.envelope;
    const late = deliverBy?.mode === "R" && this.#options.now() >= deliverBy.deadline; // RFC 2852 §4.1.1
    return late || message.attempts >= this.#options.retry.attempts;
  }

  #giveUp(message: QueuedMessage, deferred: DeliveryResult[]): void {
    for (const recipient of message.recipients.filter(isPending)) {
      const last = deferred.find((result) => result.recipient === recipient)?.outcome ?? recipient.lastOutcome;
      const text = last === undefined ? "Delivery time expired" : `Delivery time expired; last answer: ${last.text}`;
      // RFC 3463 §3.5: X.4.7
      recipient.lastOutcome = outcome.reject({ code: 550, enhanced: "5.4.7", text, origin: last?.origin ?? "queue" });
      recipient.state = "failed";
    }
  }

  /** True when the report is in the queue, or none is due. */
  async #report(kind: ReportKind, message: QueuedMessage, results: DeliveryResult[]): Promise<boolean> {
    const { spool, hostName, log, now } = this.#options;
    const about = reportable(kind, message, results);
    if (about.length === 0) return true;
    try {
      const text = await this.#text(kind, message, about);
      if (text === undefined) return true;
      const wanted = Math.max(originalNeeded(text, message), kind === "delay" ? attachedHeader : 0);
      const { bytes, complete } = await this.#original(await spool.body(message.id), wanted);
      if (this.#unwanted(kind, message, about, bytes)) return true;
      const last = this.#lastAttempt(message);
      const report = writeReport({
        ...{ kind, message, results: about, text, hostName, original: bytes, complete, now: now() },
        ...(kind === "delay" ? { willRetryUntil: last } : {}),
      });
      const body = spool.openBody(report.body);
      const id = await spool.commit(body, report.message);
      if (kind === "delay") message.delayNotified = true;
      log.info({ queueId: message.id, report: id, kind, recipients: about.length }, "report queued");
      return true;
    } catch (error) {
      log.error({ queueId: message.id, kind, error: (error as Error).message }, "report can't be queued");
      return false;
    }
  }

  /** Nobody waits for this report, or too many went to its address already. */
  #unwanted(kind: ReportKind, message: QueuedMessage, about: DeliveryResult[], original: Uint8Array): boolean {
    const { limits, now, log } = this.#options;
    const { mailFrom } = message.envelope;
    const asked = about.some(({ recipient }) => recipient.notify?.includes("DELAY"));
    if (kind === "delay" && !asked && isAutomatic(mailFrom, headerSection(original))) return true;
    // Users who logged in are who they say.
    if (limits === undefined || message.client.authUser !== "" || limits.allows(mailFrom, now())) return false;
    log.warn({ queueId: message.id, kind, to: mailFrom }, "report not sent: too many to this address or domain");
    return true;
  }

  /** The policy's text. Without a policy failures are reported, delays are not, successes are when asked for. */
  async #text(kind: ReportKind, message: QueuedMessage, about: DeliveryResult[]): Promise<ReportText | undefined> {
    const { reports, hostName } = this.#options;
    if (reports === undefined) return kind === "delay" ? undefined : defaultReportText(kind, about, hostName);
    if (kind === "failure") return reports.permanent(message, about);
    if (kind === "delay") return reports.temporary(message, about);
    return reports.success(message, about);
  }

  async #original(body: BodySource, wanted: number): Promise<{ bytes: Uint8Array; complete: boolean }> {
    const whole = body.inMemory();
    if (whole !== undefined) return { bytes: whole, complete: true };
    const chunks: Uint8Array[] = [];
    let size = 0;
    for await (const chunk of body.stream()) {
      if (size >= wanted) break;
      chunks.push(chunk);
      size += chunk.length;
    }
    return { bytes: Buffer.concat(chunks), complete: size >= body.size };
  }

  /** When the last attempt will be, should all fail (ms since epoch). */
  #lastAttempt(message: QueuedMessage): number {
    const { retry } = this.#options;
    let at = message.nextAttempt;
    for (let n = message.attempts + 1; n < retry.attempts; n++) at += retryDelay(retry, n);
    return at;
  }
}
