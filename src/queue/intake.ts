/**
 * Takes messages out of the spool at their time, and sets the alarm for the next.
 * Invariants: at most the budget's `queueInHand` messages are in hand, whatever the backlog, but for those whose
 * destination calls them; while new mail flows the backlog goes on in small steps, so that neither starves. Failure: a
 * spool that can't be read is logged and asked again at the next alarm.
 */
import { setTimeout as sleep } from "node:timers/promises";
import type { Budget } from "../config/budget.ts";
import type { Logger } from "../telemetry/log.ts";
import type { QueuedMessage, ScheduledSpool } from "./types.ts";

export interface IntakeOptions {
  spool: ScheduledSpool;
  budget: Pick<Budget, "queueInHand">;
  log: Logger;
  now: () => number;
  /** False when `now` is not the wall clock. */
  watchClock: boolean;
  /** A message is in hand from here until `left`. */
  begin: (message: QueuedMessage) => void;
  /** The wall clock was set back by this many ms (negative), and the spool's times with it. */
  onClock: (ms: number) => void;
}

/** Messages looked at between two turns of the event loop, and of the backlog while there is new mail. */
const takeAtOnce = 32;
const dueBesideFresh = takeAtOnce / 4;
/** New mail "flows" for so many ms after the last came. */
const freshMs = 200;
const dueStepMs = 2;
const shortestSleepMs = 20;
const longestSleepMs = 30_000;
const clockJumpMs = 60_000;

export class Intake {
  readonly #options: IntakeOptions;
  /** New mail; ids before `#freshAt` are taken. */
  #fresh: string[] = [];
  #freshAt = 0;
  #freshUntil = 0;
  #inHand = 0;
  #running = false;
  #taking = false;
  /** Taking ended because the hand was full. */
  #full = false;
  #again = false;
  #timer: NodeJS.Timeout | undefined;
  #wakeAt = Number.POSITIVE_INFINITY;
  #idle: (() => void) | undefined;
  #wall = 0;
  #monotonic = 0;

  constructor(options: IntakeOptions) {
    this.#options = options;
  }

  get running(): boolean {
    return this.#running;
  }

  start(): void {
    const { spool, budget, now } = this.#options;
    this.#running = true;
    this.#wall = now();
    this.#monotonic = performance.now();
    spool.onCommitted = (ids) => {
      // Beyond the bound they are found as due messages, like the rest of the backlog.
      if (this.#fresh.length - this.#freshAt < budget.queueInHand) this.#fresh.push(...ids);
      this.wake();
    };
    this.wake();
  }

  /** Takes no more. */
  stop(): void {
    this.#running = false;
    this.#options.spool.onCommitted = undefined;
    clearTimeout(this.#timer);
  }

  /** Resolves when nothing is in hand any more, at the latest after `ms`. */
  async drained(ms: number): Promise<void> {
    if (this.#inHand === 0) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#idle = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  /** Looks for due messages now. */
  wake(): void {
    if (!this.#running) return;
    if (this.#taking) {
      this.#again = true;
      return;
    }
    this.#taking = true;
    void this.#take()
      .catch((error: Error) => this.#options.log.error({ error: error.message }, "queue can't be read"))
      .finally(() => {
        this.#taking = false;
        if (this.#again) {
          this.#again = false;
          this.wake();
        }
      });
  }

  /** Sets the alarm (ms since epoch), unless it is set for an earlier time. */
  wakeBy(due: number): void {
    const now = this.#options.now();
    // Lower bound: a spool that holds messages back (disk trouble) is not asked in a busy loop.
    const wait = Math.min(longestSleepMs, Math.max(due - now, shortestSleepMs));
    if (!this.#running || now + wait >= this.#wakeAt) return;
    this.#wakeAt = now + wait;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.wake(), wait);
  }

  /** Takes a parked message in hand at once, beyond the bound: its destination has room. False when it is gone. */
  async call(id: string): Promise<boolean> {
    const message = await this.#options.spool.takeParked(id);
    if (message === undefined) return false;
    this.#begin(message);
    return true;
  }

  /** A message is no longer in hand. */
  left(): void {
    this.#inHand--;
    if (!this.#running) {
      if (this.#inHand === 0) this.#idle?.();
    } else if (this.#full && this.#inHand < this.#options.budget.queueInHand / 2) {
      this.wake();
    }
  }

  async #take(): Promise<void> {
    const { spool, budget, now } = this.#options;
    this.#heedClock();
    this.#full = false;
    while (this.#running && this.#inHand < budget.queueInHand) {
      const fresh = await this.#takeFresh();
      if (fresh > 0) this.#freshUntil = performance.now() + freshMs;
      const flowing = performance.now() < this.#freshUntil;
      const room = Math.min(flowing ? dueBesideFresh : takeAtOnce, budget.queueInHand - this.#inHand);
      const due = room > 0 ? await spool.takeDue(now(), room) : [];
      for (const message of due) this.#begin(message);
      if (fresh + due.length === 0) break;
      // The backlog's work costs as much as new mail's: while that flows, it goes a step at a time.
      if (due.length > 0)
        await (flowing && fresh === 0 ? sleep(dueStepMs) : new Promise((resolve) => setImmediate(resolve)));
    }
    this.#full = this.#inHand >= budget.queueInHand;
    await this.#sleep();
  }

  async #takeFresh(): Promise<number> {
    const { spool, budget, now } = this.#options;
    let count = 0;
    while (count < takeAtOnce && this.#freshAt < this.#fresh.length && this.#inHand < budget.queueInHand) {
      const message = await spool.take(this.#fresh[this.#freshAt++]!);
      count++;
      if (message === undefined) continue;
      if (message.nextAttempt > now()) spool.release(message.id);
      else this.#begin(message);
    }
    if (this.#freshAt === this.#fresh.length) {
      this.#fresh = [];
      this.#freshAt = 0;
    }
    return count;
  }

  #begin(message: QueuedMessage): void {
    this.#inHand++;
    this.#options.begin(message);
  }

  async #sleep(): Promise<void> {
    clearTimeout(this.#timer);
    if (!this.#running || this.#full) return; // a message that leaves the hand wakes us
    this.#wakeAt = Number.POSITIVE_INFINITY;
    this.wakeBy((await this.#options.spool.nextDue()) ?? Number.POSITIVE_INFINITY);
  }

  /** When the wall clock was set back, messages would wait by as much longer: shift their times along. */
  #heedClock(): void {
    const wall = this.#options.now();
    const monotonic = performance.now();
    const jump = wall - this.#wall - (monotonic - this.#monotonic);
    this.#wall = wall;
    this.#monotonic = monotonic;
    if (jump > -clockJumpMs || !this.#options.watchClock) return;
    this.#options.log.warn({ ms: Math.round(jump) }, "the clock was set back; the queue's schedule moves along");
    this.#options.spool.shiftClock(Math.round(jump));
    this.#options.onClock(jump);
  }
}
