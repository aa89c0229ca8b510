/**
 * The scheduler's first stage: hands a message to the filters, so many at a time, and obeys their verdict.
 * Invariants: a message whose processing did not end is processed again; body and state after processing are written as
 * one record. Failure: a processor that throws defers the message.
 */
import type { Budget } from "../config/budget.ts";
import { type Outcome, outcome } from "../message/outcome.ts";
import type { Logger } from "../telemetry/log.ts";
import { FairQueue, originOf } from "./fair-queue.ts";
import { type RetrySchedule, retryDelay } from "./retry.ts";
import type { Settlement } from "./settlement.ts";
import type { ProcessingVerdict, Processor, QueuedMessage, ScheduledSpool } from "./types.ts";

export interface ProcessingOptions {
  spool: ScheduledSpool;
  settlement: Settlement;
  processor?: Processor;
  retry: RetrySchedule;
  budget: Budget;
  log: Logger;
  now: () => number;
  onProcessed?: (id: string, verdict: Outcome) => boolean;
  /** Called with the next attempt's time (ms since epoch) of a message that processing put off. */
  onDeferred: (until: number) => void;
}

export class Processing {
  readonly #options: ProcessingOptions;
  #active = 0;
  readonly #line = new FairQueue<() => void>();

  constructor(options: ProcessingOptions) {
    this.#options = options;
  }

  /** True when delivery may begin. */
  async run(message: QueuedMessage): Promise<boolean> {
    const { processor, onProcessed } = this.#options;
    if (processor === undefined) return true;
    while (this.#active >= this.#options.budget.queueProcessing) {
      await new Promise<void>((resolve) => this.#line.push(resolve, originOf(message)));
    }
    this.#active++;
    let verdict: ProcessingVerdict;
    try {
      message.state = "processing";
      verdict = await processor.process(message, await this.#options.spool.body(message.id));
    } catch (error) {
      this.#options.log.error({ queueId: message.id, error: (error as Error).message }, "processing failed within");
      verdict = { kind: "defer", outcome: localTrouble("processing") };
    }
    message.state = "received"; // so that a message put back is processed again
    this.#active--;
    this.#line.shift()?.();
    const told = onProcessed?.(message.id, verdictOutcome(verdict)) ?? false;
    return this.#obey(message, verdict, told);
  }

  /** True when delivery may begin. */
  async #obey(message: QueuedMessage, verdict: ProcessingVerdict, told: boolean): Promise<boolean> {
    switch (verdict.kind) {
      case "continue":
        markProcessed(message);
        // Body and new state are one record: a crash leaves both or neither.
        if (verdict.replacedBody !== undefined) await this.#options.spool.replaceBody(message.id, verdict.replacedBody);
        return true;
      case "reject":
        message.state = "filter reject";
        // The client has the 552 and with it the duty to tell the sender: no report, nothing to keep.
        if (told) await this.#options.spool.remove(message.id);
        else await this.#options.settlement.reject(message, verdict.outcome);
        return false;
      case "discard":
        this.#options.log.info({ queueId: message.id, reason: verdict.reason }, "message discarded by a filter");
        await this.#options.spool.remove(message.id);
        return false;
      case "hold":
        markProcessed(message); // released, it goes on to delivery
        message.held = verdict.reason;
        message.state = "held";
        await this.#options.spool.update(message);
        return false;
      case "defer":
        message.attempts++;
        message.failure = verdict.outcome.text;
        if (message.attempts >= this.#options.retry.attempts) {
          const text = `Delivery time expired; last answer: ${verdict.outcome.text}`;
          await this.#options.settlement.reject(
            message,
            outcome.reject({ code: 550, enhanced: "5.4.7", text, origin: verdict.outcome.origin }),
          );
          return false;
        }
        message.nextAttempt = this.#options.now() + retryDelay(this.#options.retry, message.attempts);
        await this.#options.spool.update(message);
        this.#options.onDeferred(message.nextAttempt);
        return false;
    }
  }
}

export function markProcessed(message: QueuedMessage): void {
  message.state = "processed";
  for (const recipient of message.recipients) if (recipient.state === "received") recipient.state = "processed";
}

/** A fault of our own, to be tried again. */
export function localTrouble(where: string): Outcome {
  return outcome.defer({ code: 451, enhanced: "4.3.0", text: `Local error in ${where}`, origin: "queue" });
}

function verdictOutcome(verdict: ProcessingVerdict): Outcome {
  if (verdict.kind === "reject" || verdict.kind === "defer") return verdict.outcome;
  return outcome.accept({ code: 250, enhanced: "2.0.0", text: verdict.kind, origin: "processing" });
}
