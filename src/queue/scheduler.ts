/**
 * Brings each queued message through processing and delivery at its time: intake.ts takes what is due, processing.ts
 * hands it to the filters, deliveries.ts to its destinations, settlement.ts decides what follows.
 * Invariants: a message is in hand once; memory is bounded whatever the backlog. Failure: an error thrown by a processor
 * or deliverer defers the message; nothing is lost by a stop at any moment.
 */
import type { Budget } from "../config/budget.ts";
import { domainOf } from "../message/envelope.ts";
import type { Outcome } from "../message/outcome.ts";
import type { Logger } from "../telemetry/log.ts";
import { Deliveries } from "./deliveries.ts";
import type { DestinationEffect, DestinationLimits, DestinationStatus, Job } from "./destination.ts";
import { Destinations } from "./destinations.ts";
import { Intake } from "./intake.ts";
import { localTrouble, markProcessed, Processing } from "./processing.ts";
import { ReportLimits } from "./report-rules.ts";
import { deferred } from "./results.ts";
import type { RetrySchedule } from "./retry.ts";
import { applyResults, isPending, Settlement } from "./settlement.ts";
import type { Suspension, Suspensions } from "./suspensions.ts";
import type {
  Deliverer,
  DeliveryResult,
  Processor,
  QueuedMessage,
  QueuedRecipient,
  ReportPolicy,
  ScheduledSpool,
} from "./types.ts";

export interface SchedulerOptions {
  spool: ScheduledSpool;
  deliverer: Deliverer;
  /** Absent: messages go to delivery as they came. */
  processor?: Processor;
  /** Absent: the defaults of smtpfilters.md §5.7. */
  reports?: ReportPolicy;
  retry: RetrySchedule;
  hostName: string;
  budget: Budget;
  log: Logger;
  now?: () => number;
  /** The virtual queue of a recipient: its next hop or merged MX set. Default: the recipient's domain. */
  destinationOf?: (message: QueuedMessage, recipient: QueuedRecipient) => string | Promise<string>;
  /** Puts the recipients that others stand for in their place (aliases); undefined when there is nothing to do. */
  expand?: (message: QueuedMessage) => Promise<void> | undefined;
  limitsOf?: (destination: string) => DestinationLimits;
  /** Which destinations are suspended. Absent: none is, until a restart. */
  suspensions?: Suspensions;
  /** Default: `effectOf`. */
  effectOf?: (result: DeliveryResult) => DestinationEffect;
  /** Called with each verdict of processing; true: a waiting client is told of it (smtpfilters.md §7.4). */
  onProcessed?: (id: string, verdict: Outcome) => boolean;
  /** Called when a message has left or stays after a round of attempts. */
  onSettled?: (message: QueuedMessage, results: DeliveryResult[]) => void;
}

export interface Scheduler {
  start(): void;
  /** Ends taking; resolves when running deliveries have ended, at the latest after `drainMs`. */
  stop(drainMs: number): Promise<void>;
  /** Looks for due messages now. */
  wake(): void;
  /** Makes these messages due now, whether their destinations are down or not. Answers how many there were. */
  retryNow(ids: string[]): Promise<number>;
  destinations(): DestinationStatus[];
  /** Nothing more is sent to a suspended destination until `resume`, also after a restart. */
  suspend(suspension: Suspension): Promise<void>;
  resume(destination: string): Promise<void>;
  /** Tries a destination now, with all that waits for it. Answers how many messages became due. */
  flush(destination: string): number;
}

export function createScheduler(options: SchedulerOptions): Scheduler {
  return new QueueScheduler(options);
}

class QueueScheduler implements Scheduler {
  readonly #options: SchedulerOptions;
  readonly #spool: ScheduledSpool;
  readonly #now: () => number;
  readonly #destinations: Destinations;
  readonly #intake: Intake;
  readonly #processing: Processing;
  readonly #deliveries: Deliveries;
  readonly #settlement: Settlement;

  constructor(options: SchedulerOptions) {
    this.#options = options;
    this.#spool = options.spool;
    this.#now = options.now ?? Date.now;
    const common = { ...options, now: this.#now };
    this.#destinations = new Destinations(options);
    this.#intake = new Intake({
      ...common,
      watchClock: options.now === undefined,
      begin: (message) => this.#begin(message),
      onClock: (ms) => this.#destinations.shiftClock(ms),
    });
    this.#settlement = new Settlement({
      ...common,
      reports: options.reports,
      limits: new ReportLimits(options.budget),
    });
    this.#processing = new Processing({
      ...common,
      settlement: this.#settlement,
      onDeferred: (until) => this.#intake.wakeBy(until),
    });
    this.#deliveries = new Deliveries({
      ...common,
      destinations: this.#destinations,
      finish: (job) => this.#finish(job),
      left: () => this.#intake.left(),
      call: (id) => this.#intake.call(id),
      wake: () => this.#intake.wake(),
    });
  }

  start(): void {
    this.#deliveries.start();
    this.#intake.start();
  }

  async stop(drainMs: number): Promise<void> {
    this.#intake.stop();
    await this.#deliveries.stop();
    await this.#intake.drained(drainMs);
  }

  wake(): void {
    this.#intake.wake();
  }

  async retryNow(ids: string[]): Promise<number> {
    let count = 0;
    for (const id of ids) {
      const message = await this.#spool.take(id);
      if (message === undefined) continue;
      message.nextAttempt = this.#now();
      for (const { destination } of message.recipients.filter(isPending)) {
        if (destination !== undefined) this.#destinations.find(destination)?.tryNow();
      }
      await this.#spool.update(message);
      count++;
    }
    this.wake();
    return count;
  }

  destinations(): DestinationStatus[] {
    return this.#destinations.statuses(this.#now());
  }

  suspend(suspension: Suspension): Promise<void> {
    return this.#destinations.suspend(suspension);
  }

  async resume(name: string): Promise<void> {
    const destination = await this.#destinations.resume(name);
    if (destination !== undefined) this.#deliveries.free(destination);
  }

  flush(name: string): number {
    const count = this.#spool.hasten(name, this.#now());
    const destination = this.#destinations.find(name);
    if (destination !== undefined) {
      destination.tryNow();
      this.#deliveries.free(destination);
    }
    this.wake();
    return count;
  }

  #begin(message: QueuedMessage): void {
    const job: Job = { message, open: 0, results: [] };
    void this.#prepare(job).catch(async (error: Error) => {
      this.#options.log.error({ queueId: message.id, error: error.message }, "message can't be prepared");
      job.results = deferred(message.recipients.filter(isPending), localTrouble("routing"));
      applyResults(message, job.results);
      await this.#finish(job);
    });
  }

  /** Processing, then routing of each open recipient. */
  async #prepare(job: Job): Promise<void> {
    const { message } = job;
    if (message.state === "cleanup error" && !(await this.#settlement.reportFailures(message))) {
      await this.#settlement.postponeCleanup(message);
      return this.#intake.left();
    }
    // Before the filters, so that they see the accounts behind aliases, and again for recipients that filters add.
    const aliases = this.#options.expand?.(message);
    if (aliases) await aliases;
    if (message.state === "received") {
      const goOn = message.runFilters ? await this.#processing.run(message) : true;
      if (!goOn) return this.#intake.left();
      markProcessed(message);
      const added = message.runFilters ? this.#options.expand?.(message) : undefined;
      if (added) await added;
    }
    const groups = new Map<string, QueuedRecipient[]>();
    for (const recipient of message.recipients) {
      if (!isPending(recipient)) continue;
      const name = this.#options.destinationOf?.(message, recipient) ?? domainOf(recipient.address);
      recipient.destination = typeof name === "string" ? name : await name;
      const group = groups.get(recipient.destination);
      if (group === undefined) groups.set(recipient.destination, [recipient]);
      else group.push(recipient);
    }
    if (groups.size === 0) return this.#finish(job); // all recipients failed, or were discarded
    this.#deliveries.enqueue(job, groups);
  }

  async #finish({ message, results }: Job): Promise<void> {
    await this.#settlement.finish(message, results);
    this.#options.onSettled?.(message, results);
    if (message.recipients.some(isPending)) this.#intake.wakeBy(message.nextAttempt);
    this.#intake.left();
  }
}
