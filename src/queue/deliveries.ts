/**
 * The scheduler's last stage: sorts messages in hand by destination, and lets as many deliveries run as each destination
 * and the machine allow.
 * Invariants: a message's recipients at several destinations end independently, each outcome recorded right after its
 * delivery; a destination known to be down costs no attempt on the network, and its first success frees what waits for
 * it; what can't go anywhere now waits outside memory. Failure: a deliverer that throws defers the message; an outcome
 * that can't be recorded gives the message back, to be tried again.
 */
import type { Budget } from "../config/budget.ts";
import type { Logger } from "../telemetry/log.ts";
import type { Destination, DestinationEffect, Job, Task } from "./destination.ts";
import type { Destinations } from "./destinations.ts";
import { coarse, originOf } from "./fair-queue.ts";
import { idNumber, idText } from "./message-index.ts";
import { localTrouble } from "./processing.ts";
import { complete, deferred, effectOf, suspendedOutcome } from "./results.ts";
import { applyResults } from "./settlement.ts";
import type { Deliverer, DeliveryResult, QueuedRecipient, ScheduledSpool } from "./types.ts";

export interface DeliveriesOptions {
  spool: ScheduledSpool;
  deliverer: Deliverer;
  destinations: Destinations;
  budget: Pick<Budget, "queuePerDestination" | "queueDeliveries">;
  log: Logger;
  now: () => number;
  effectOf?: (result: DeliveryResult) => DestinationEffect;
  /** All deliveries of a message have ended. */
  finish: (job: Job) => Promise<void>;
  /** A message is no longer in hand, without having ended. */
  left: () => void;
  /** Takes a parked message in hand; false when it is not there any more. */
  call: (id: string) => Promise<boolean>;
  /** Messages became due. */
  wake: () => void;
}

const unparkAtOnce = 2_000;

export class Deliveries {
  readonly #options: DeliveriesOptions;
  readonly #spool: ScheduledSpool;
  /** Destinations with waiting tasks, in turn. */
  readonly #ready = new Set<Destination>();
  /** Parked messages on their way back. */
  readonly #called = new Set<string>();
  #active = 0;
  #running = false;
  #rateTimer: NodeJS.Timeout | undefined;

  constructor(options: DeliveriesOptions) {
    this.#options = options;
    this.#spool = options.spool;
  }

  start(): void {
    this.#running = true;
  }

  /** Begins no more, and gives back what waits. */
  async stop(): Promise<void> {
    this.#running = false;
    clearTimeout(this.#rateTimer);
    for (const { waiting } of this.#options.destinations.all()) {
      for (let task = waiting.shift(); task !== undefined; task = waiting.shift()) await this.#putBack(task);
    }
    this.#ready.clear();
  }

  /** Lets a message's recipients wait for their destinations. */
  enqueue(job: Job, groups: Map<string, QueuedRecipient[]>): void {
    if (!this.#running) {
      this.giveBack(job);
      return;
    }
    const { budget, destinations: known } = this.#options;
    const now = this.#options.now();
    const { message } = job;
    const origin = originOf(message);
    const destinations = [...groups.keys()].map((name) => known.get(name));
    // A message that can't go anywhere now waits outside memory; whose turn it is then does not lose it again.
    const room = this.#called.delete(message.id) ? Number.POSITIVE_INFINITY : budget.queuePerDestination;
    if (destinations.every(({ suspended, waiting }) => suspended || waiting.length >= room)) {
      const full = destinations.find(({ suspended }) => suspended) ?? destinations[0]!;
      full.parked.push(idNumber(message.id), coarse(origin));
      this.#spool.park(message.id);
      this.#options.left();
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
      destination.waiting.push(task, origin);
      this.#ready.add(destination);
    }
    this.dispatch();
  }

  /** Starts what may start, one task of each destination in turn. */
  dispatch(): void {
    if (!this.#running) return;
    const now = this.#options.now();
    let soonest = Number.POSITIVE_INFINITY;
    for (let progress = true; progress; ) {
      progress = false;
      for (const destination of this.#ready) {
        if (this.#active >= this.#options.budget.queueDeliveries) return;
        if (destination.isDown(now)) {
          this.#deferWaiting(destination);
          continue;
        }
        if (!destination.mayStart(now)) {
          if (destination.nextStart > now) soonest = Math.min(soonest, destination.nextStart);
          else this.#ready.delete(destination); // the next delivery that ends, or `free`, brings it back
          continue;
        }
        const task = destination.waiting.shift();
        if (task === undefined) {
          this.#ready.delete(destination);
          continue;
        }
        destination.started(now);
        this.#active++;
        void this.#deliver(task);
        progress = true;
      }
    }
    if (soonest < Number.POSITIVE_INFINITY) {
      clearTimeout(this.#rateTimer);
      this.#rateTimer = setTimeout(() => this.dispatch(), soonest - now);
    }
  }

  /** A destination may be tried again: what waits for it, in memory or not, goes on. */
  free(destination: Destination): void {
    this.#ready.add(destination);
    this.#unpark(destination);
    this.dispatch();
  }

  /** Gives a message back unchanged. */
  giveBack({ message }: Job): void {
    this.#spool.release(message.id);
    this.#options.left();
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
      // Whoever took the message has all of it; after a failure somebody might still know the octets.
      if (results.every(({ kind }) => kind === "relayed" || kind === "delivered")) body.release?.();
    } catch (error) {
      this.#options.log.error({ queueId: message.id, error: (error as Error).message }, "delivery failed within");
      results = deferred(task.recipients, localTrouble("delivery"));
    }
    await this.#ended(task, results, true);
  }

  /** Records a task's results; `tried` tells whether the destination was contacted. */
  async #ended(task: Task, results: DeliveryResult[], tried: boolean): Promise<void> {
    const { job, destination } = task;
    applyResults(job.message, results);
    if (tried) {
      this.#active--;
      this.#judge(destination, results);
    }
    job.open--;
    job.results.push(...results);
    try {
      if (job.open === 0) await this.#options.finish(job);
      else if (results.some(({ kind }) => kind !== "deferred")) await this.#spool.progress(job.message);
    } catch (error) {
      this.#options.log.error(
        { queueId: job.message.id, error: (error as Error).message },
        "outcome can't be recorded",
      );
      this.giveBack(job);
    }
    if (tried) {
      if (destination.waiting.length > 0) this.#ready.add(destination);
      this.#unpark(destination);
      this.dispatch();
      if (destination.idle) this.#options.destinations.forget(destination);
    }
  }

  #judge(destination: Destination, results: DeliveryResult[]): void {
    const { now, wake } = this.#options;
    const effect = this.#options.effectOf ?? effectOf;
    let worst: DestinationEffect = "down";
    for (const result of results) {
      const said = effect(result);
      if (said === "none") worst = worst === "slow down" ? worst : "none";
      else if (said === "slow down") worst = "slow down";
    }
    const down = results.find((result) => effect(result) === "down");
    const up = destination.ended(worst, down?.outcome, now());
    if (up && this.#spool.hasten(destination.name, now()) > 0) wake();
  }

  /** Gives back a task that was not begun; what the message's other tasks came to is kept. */
  async #putBack({ job }: Task): Promise<void> {
    if (--job.open > 0) return;
    if (job.results.length === 0) return this.giveBack(job);
    await this.#spool.update(job.message);
    this.#options.left();
  }

  /** Takes parked messages back when the line has room. */
  #unpark(destination: Destination): void {
    const { parked, waiting, suspended } = destination;
    if (parked.length === 0 || suspended || !this.#running) return;
    if (destination.isDown(this.#options.now())) this.#unparkAll(destination);
    else if (waiting.length < this.#options.budget.queuePerDestination / 2) void this.#call(destination);
  }

  /** Lets those whose turn it is come back at once, ahead of whatever else is due. */
  async #call(destination: Destination): Promise<void> {
    if (destination.calling) return;
    destination.calling = true;
    const ids: string[] = [];
    while (ids.length + destination.waiting.length < this.#options.budget.queuePerDestination) {
      const id = destination.parked.shift();
      if (id === undefined) break;
      ids.push(idText(id));
      this.#called.add(idText(id));
    }
    const came = await Promise.all(ids.map((id) => this.#options.call(id)));
    destination.calling = false;
    for (const [i, id] of ids.entries()) if (!came[i]) this.#called.delete(id);
    // Those that came call the next when they go.
    if (!came.includes(true)) this.#unpark(destination);
  }

  /** Makes all that is parked at a destination which is down due, slice by slice: each shares the outcome. */
  #unparkAll(destination: Destination): void {
    const now = this.#options.now();
    for (let left = unparkAtOnce; left > 0; left--) {
      const id = destination.parked.shift();
      if (id === undefined) break;
      this.#spool.unpark(idText(id), now);
    }
    if (destination.parked.length > 0) setImmediate(() => this.#unpark(destination));
    this.#options.wake();
  }
}
