/**
 * Brings each queued message through processing and delivery at its time: takes what is due from the spool, sorts it by
 * destination, and lets as many deliveries run as each destination and the machine allow.
 * Invariants: a message is in hand once; its outcome is recorded right after each delivery; memory is bounded by the
 * budget's `queueInHand` messages whatever the backlog; new mail and backlog take turns, so that neither starves; a
 * destination known to be down costs no attempt on the network, and its first success frees what waits for it.
 * Failure: an error thrown by a processor or deliverer defers the message; nothing is lost by a stop at any moment.
 */
import type { Budget } from "../config/budget.ts";
import { domainOf } from "../message/envelope.ts";
import type { Outcome } from "../message/outcome.ts";
import type { Logger } from "../telemetry/log.ts";
import type { Destination, DestinationEffect, DestinationLimits, DestinationStatus, Job, Task } from "./destination.ts";
import { Destinations } from "./destinations.ts";
import { localTrouble, markProcessed, Processing } from "./processing.ts";
import { ReportLimits } from "./report-rules.ts";
import { complete, deferred, effectOf, suspendedOutcome } from "./results.ts";
import type { RetrySchedule } from "./retry.ts";
import { applyResults, isPending, Settlement } from "./settlement.ts";
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
  /** Nothing more is sent to a suspended destination until `resume`. */
  suspend(destination: string): void;
  resume(destination: string): void;
  /** Tries a destination now, with all that waits for it. Answers how many messages became due. */
  flush(destination: string): number;
}

/** Messages looked at between two turns of the event loop. */
const takeAtOnce = 32;
const unparkAtOnce = 2_000;
const longestSleepMs = 30_000;
const clockJumpMs = 60_000;
/** Where a parked message's due time stands: it is taken by its destination, or by the next start. */
const parkedUntil = Number.MAX_SAFE_INTEGER;

export function createScheduler(options: SchedulerOptions): Scheduler {
  return new QueueScheduler(options);
}

class QueueScheduler implements Scheduler {
  readonly #options: SchedulerOptions;
  readonly #spool: ScheduledSpool;
  readonly #budget: Budget;
  readonly #log: Logger;
  readonly #now: () => number;
  readonly #settlement: Settlement;
  readonly #destinations: Destinations;
  /** Destinations with waiting tasks, in turn. */
  readonly #ready = new Set<Destination>();
  #fresh: string[] = [];
  #freshAt = 0;
  #inHand = 0;
  #delivering = 0;
  readonly #processing: Processing;
  #running = false;
  #taking = false;
  /** Taking ended because the hand was full. */
  #full = false;
  #again = false;
  #timer: NodeJS.Timeout | undefined;
  #wakeAt = Number.POSITIVE_INFINITY;
  #rateTimer: NodeJS.Timeout | undefined;
  #idle: (() => void) | undefined;
  #wall = 0;
  #monotonic = 0;

  constructor(options: SchedulerOptions) {
    this.#options = options;
    this.#spool = options.spool;
    this.#budget = options.budget;
    this.#log = options.log;
    this.#now = options.now ?? Date.now;
    this.#destinations = new Destinations(options);
    this.#settlement = new Settlement({
      spool: options.spool,
      reports: options.reports,
      retry: options.retry,
      hostName: options.hostName,
      log: options.log,
      now: this.#now,
      limits: new ReportLimits(options.budget),
    });
    this.#processing = new Processing({
      ...options,
      settlement: this.#settlement,
      now: this.#now,
      onDeferred: (until) => this.#wakeBy(until),
    });
  }

  start(): void {
    this.#running = true;
    this.#wall = this.#now();
    this.#monotonic = performance.now();
    this.#spool.onCommitted = (ids) => {
      // Beyond the bound they are found as due messages, like the rest of the backlog.
      if (this.#fresh.length - this.#freshAt < this.#budget.queueInHand) this.#fresh.push(...ids);
      this.wake();
    };
    this.wake();
  }

  async stop(drainMs: number): Promise<void> {
    this.#running = false;
    this.#spool.onCommitted = undefined;
    clearTimeout(this.#timer);
    clearTimeout(this.#rateTimer);
    for (const destination of this.#destinations.all()) {
      for (let task = destination.waiting.shift(); task !== undefined; task = destination.waiting.shift()) {
        await this.#putBack(task);
      }
    }
    this.#ready.clear();
    if (this.#inHand === 0) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, drainMs);
      this.#idle = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  wake(): void {
    if (!this.#running) return;
    if (this.#taking) {
      this.#again = true;
      return;
    }
    this.#taking = true;
    void this.#take()
      .catch((error: Error) => this.#log.error({ error: error.message }, "queue can't be read"))
      .finally(() => {
        this.#taking = false;
        if (this.#again) {
          this.#again = false;
          this.wake();
        }
      });
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

  suspend(name: string): void {
    this.#destinations.suspend(name);
  }

  resume(name: string): void {
    const destination = this.#destinations.resume(name);
    if (destination === undefined) return;
    this.#ready.add(destination);
    this.#unpark(destination);
    this.#dispatch();
  }

  flush(name: string): number {
    const destination = this.#destinations.find(name);
    if (destination !== undefined) {
      destination.tryNow();
      this.#ready.add(destination);
    }
    const count = this.#spool.hasten(name, this.#now());
    this.#dispatch();
    this.wake();
    return count;
  }

  // --- taking ------------------------------------------------------------------------------------------------------

  /** New mail and backlog in turn, until the hand is full or nothing is due. */
  async #take(): Promise<void> {
    this.#heedClock();
    this.#full = false;
    while (this.#running && this.#inHand < this.#budget.queueInHand) {
      const fresh = await this.#takeFresh();
      const room = Math.min(takeAtOnce, this.#budget.queueInHand - this.#inHand);
      const due = room > 0 ? await this.#spool.takeDue(this.#now(), room) : [];
      for (const message of due) this.#begin(message);
      if (fresh + due.length === 0) break;
      if (due.length > 0) await new Promise((resolve) => setImmediate(resolve));
    }
    this.#full = this.#inHand >= this.#budget.queueInHand;
    await this.#sleep();
  }

  async #takeFresh(): Promise<number> {
    let count = 0;
    while (count < takeAtOnce && this.#freshAt < this.#fresh.length && this.#inHand < this.#budget.queueInHand) {
      const message = await this.#spool.take(this.#fresh[this.#freshAt++]!);
      count++;
      if (message === undefined) continue;
      if (message.nextAttempt > this.#now()) this.#spool.release(message.id);
      else this.#begin(message);
    }
    if (this.#freshAt === this.#fresh.length) {
      this.#fresh = [];
      this.#freshAt = 0;
    }
    return count;
  }

  async #sleep(): Promise<void> {
    clearTimeout(this.#timer);
    if (!this.#running || this.#full) return; // a message that leaves the hand wakes us
    this.#wakeAt = Number.POSITIVE_INFINITY;
    this.#wakeBy((await this.#spool.nextDue()) ?? Number.POSITIVE_INFINITY);
  }

  /** Sets the alarm, unless it is set for an earlier time. */
  #wakeBy(due: number): void {
    const now = this.#now();
    // Lower bound: a spool that holds messages back (disk trouble) is not asked in a busy loop.
    const wait = Math.min(longestSleepMs, Math.max(due - now, 20));
    if (!this.#running || now + wait >= this.#wakeAt) return;
    this.#wakeAt = now + wait;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.wake(), wait);
  }

  /** When the wall clock was set back, messages would wait by as much longer: shift their times along. */
  #heedClock(): void {
    const wall = this.#now();
    const monotonic = performance.now();
    const jump = wall - this.#wall - (monotonic - this.#monotonic);
    this.#wall = wall;
    this.#monotonic = monotonic;
    if (jump > -clockJumpMs || this.#options.now !== undefined) return;
    this.#log.warn({ ms: Math.round(jump) }, "the clock was set back; the queue's schedule moves along");
    this.#spool.shiftClock(Math.round(jump));
    for (const destination of this.#destinations.all()) destination.downUntil += jump;
  }

  #begin(message: QueuedMessage): void {
    this.#inHand++;
    const job: Job = { message, open: 0, results: [] };
    void this.#prepare(job).catch(async (error: Error) => {
      this.#log.error({ queueId: message.id, error: error.message }, "message can't be prepared");
      const results = deferred(message.recipients.filter(isPending), localTrouble("routing"));
      applyResults(message, results);
      await this.#finish(job, results);
    });
  }

  /** Processing, then routing of each open recipient. */
  async #prepare(job: Job): Promise<void> {
    const { message } = job;
    if (message.state === "cleanup error" && !(await this.#settlement.reportFailures(message))) {
      await this.#settlement.postponeCleanup(message);
      return this.#done();
    }
    // Before the filters, so that they see the accounts behind aliases, and again for recipients that filters add.
    const aliases = this.#options.expand?.(message);
    if (aliases) await aliases;
    if (message.state === "received") {
      const goOn = message.runFilters ? await this.#processing.run(message) : true;
      if (!goOn) return this.#done();
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
    if (groups.size === 0) return this.#finish(job, []); // all recipients failed, or were discarded
    if (!this.#running) return this.#drop(job);
    this.#enqueue(job, groups);
  }

  // --- delivery ----------------------------------------------------------------------------------------------------

  #enqueue(job: Job, groups: Map<string, QueuedRecipient[]>): void {
    const now = this.#now();
    const { message } = job;
    const destinations = [...groups.keys()].map((name) => this.#destinations.get(name));
    const { queuePerDestination } = this.#budget;
    // A message that can't go anywhere now waits outside memory.
    if (destinations.every(({ suspended, waiting }) => suspended || waiting.length >= queuePerDestination)) {
      const full = destinations.find(({ suspended }) => suspended) ?? destinations[0]!;
      full.parked.push(message.id);
      this.#spool.release(message.id, parkedUntil);
      this.#done();
      return;
    }
    job.open = groups.size;
    for (const destination of destinations) {
      const task: Task = { job, recipients: groups.get(destination.name)!, destination };
      const refused = destination.suspended ? suspendedOutcome : destination.isDown(now) && destination.lastOutcome;
      if (refused) {
        void this.#ended(task, deferred(task.recipients, refused), false);
        continue;
      }
      destination.waiting.push(task, message.envelope.mailFrom, message.envelope.priority ?? 0);
      this.#ready.add(destination);
    }
    this.#dispatch();
  }

  /** Starts what may start, one task of each destination in turn. */
  #dispatch(): void {
    if (!this.#running) return;
    const now = this.#now();
    let soonest = Number.POSITIVE_INFINITY;
    for (let progress = true; progress; ) {
      progress = false;
      for (const destination of this.#ready) {
        if (this.#delivering >= this.#budget.queueDeliveries) return;
        if (destination.isDown(now)) {
          this.#deferWaiting(destination);
          continue;
        }
        if (!destination.mayStart(now)) {
          if (destination.nextStart > now) soonest = Math.min(soonest, destination.nextStart);
          else this.#ready.delete(destination); // the next delivery that ends, or `resume`, brings it back
          continue;
        }
        const task = destination.waiting.shift();
        if (task === undefined) {
          this.#ready.delete(destination);
          continue;
        }
        destination.started(now);
        this.#delivering++;
        void this.#deliver(task);
        progress = true;
      }
    }
    if (soonest < Number.POSITIVE_INFINITY) {
      clearTimeout(this.#rateTimer);
      this.#rateTimer = setTimeout(() => this.#dispatch(), soonest - now);
    }
  }

  /** What waits for a destination that has just gone down shares the outcome of the attempt that showed it. */
  #deferWaiting(destination: Destination): void {
    this.#ready.delete(destination);
    for (let task = destination.waiting.shift(); task !== undefined; task = destination.waiting.shift()) {
      void this.#ended(task, deferred(task.recipients, destination.lastOutcome!), false);
    }
    this.#unpark(destination);
  }

  async #deliver(task: Task): Promise<void> {
    const { message } = task.job;
    let results: DeliveryResult[];
    try {
      message.state = "sending";
      const body = await this.#spool.body(message.id);
      results = complete(task, await this.#options.deliverer.deliver(message, task.recipients, body));
    } catch (error) {
      this.#log.error({ queueId: message.id, error: (error as Error).message }, "delivery failed within");
      results = deferred(task.recipients, localTrouble("delivery"));
    }
    await this.#ended(task, results, true);
  }

  /** Records a task's results; `tried` tells whether the destination was contacted. */
  async #ended(task: Task, results: DeliveryResult[], tried: boolean): Promise<void> {
    const { job, destination } = task;
    applyResults(job.message, results);
    if (tried) {
      this.#delivering--;
      this.#judge(destination, results);
    }
    job.open--;
    job.results.push(...results);
    try {
      if (job.open === 0) await this.#finish(job, job.results);
      else if (results.some(({ kind }) => kind !== "deferred")) await this.#spool.progress(job.message);
    } catch (error) {
      this.#log.error({ queueId: job.message.id, error: (error as Error).message }, "outcome can't be recorded");
      this.#drop(job);
    }
    if (tried) {
      if (destination.waiting.length > 0) this.#ready.add(destination);
      this.#unpark(destination);
      this.#dispatch();
      if (destination.idle) this.#destinations.forget(destination);
    }
  }

  #judge(destination: Destination, results: DeliveryResult[]): void {
    const effect = this.#options.effectOf ?? effectOf;
    let worst: DestinationEffect = "down";
    for (const result of results) {
      const said = effect(result);
      if (said === "none") worst = worst === "slow down" ? worst : "none";
      else if (said === "slow down") worst = "slow down";
    }
    const down = results.find((result) => effect(result) === "down");
    const up = destination.ended(worst, down?.outcome, this.#now());
    if (up && this.#spool.hasten(destination.name, this.#now()) > 0) this.wake();
  }

  async #finish(job: Job, results: DeliveryResult[]): Promise<void> {
    await this.#settlement.finish(job.message, results);
    this.#options.onSettled?.(job.message, results);
    if (job.message.recipients.some(isPending)) this.#wakeBy(job.message.nextAttempt);
    this.#done();
  }

  /** Gives a message back unchanged. */
  #drop(job: Job): void {
    this.#spool.release(job.message.id);
    this.#done();
  }

  /** Gives back a task that was not begun; what the message's other tasks came to is kept. */
  async #putBack({ job }: Task): Promise<void> {
    if (--job.open > 0) return;
    if (job.results.length === 0) return this.#drop(job);
    await this.#spool.update(job.message);
    this.#done();
  }

  #done(): void {
    this.#inHand--;
    if (!this.#running) {
      if (this.#inHand === 0) this.#idle?.();
    } else if (this.#full && this.#inHand < this.#budget.queueInHand / 2) {
      this.wake();
    }
  }

  /** Takes parked messages back when the line has room; all of them, slice by slice, when it is down. */
  #unpark(destination: Destination): void {
    if (destination.parked.length === 0 || destination.suspended || !this.#running) return;
    const down = destination.isDown(this.#now());
    if (!down && destination.waiting.length >= this.#budget.queuePerDestination / 2) return;
    const ids = destination.parked.splice(0, down ? unparkAtOnce : this.#budget.queuePerDestination);
    for (const id of ids) this.#spool.release(id, this.#now());
    if (down && destination.parked.length > 0) setImmediate(() => this.#unpark(destination));
    this.wake();
  }
}
