/**
 * One destination's virtual queue: what waits for it, how many deliveries it may have at a time, whether it is up.
 * Up → down when a delivery shows that the host can't be reached: nothing is tried until `downUntil`, then one probe; a
 * failed probe doubles the pause, a success lifts it. A host that asks us to slow down gets half as many connections,
 * and one more again after each ten successes.
 * Invariants: pure state, times are passed in. Failure: none.
 */
import type { Outcome } from "../message/outcome.ts";
import { FairQueue } from "./fair-queue.ts";
import { type RetrySchedule, retryDelay } from "./retry.ts";
import type { Suspension } from "./suspensions.ts";
import type { DeliveryResult, QueuedMessage, QueuedRecipient } from "./types.ts";

export interface DestinationLimits {
  /** Deliveries at a time. */
  concurrency: number;
  /** Deliveries begun a second; undefined = no limit. */
  perSecond: number | undefined;
}

export const defaultLimits: DestinationLimits = { concurrency: 20, perSecond: undefined };

/** What a result says of the destination, beyond the message: see `effectOf`. */
export type DestinationEffect = "none" | "slow down" | "down";

/** A message's recipients at one destination. */
export interface Task {
  job: Job;
  recipients: QueuedRecipient[];
  destination: Destination;
}

/** A message in hand: its tasks at several destinations end independently. */
export interface Job {
  message: QueuedMessage;
  /** Tasks not yet ended. */
  open: number;
  /** Results of the ended ones. */
  results: DeliveryResult[];
}

export interface DestinationStatus {
  destination: string;
  state: "up" | "down" | "suspended";
  active: number;
  waiting: number;
  failures: number;
  downUntil: number;
  lastError: string;
  /** Who suspended it, when and why. */
  suspended?: Suspension;
}

/** The status of a destination while no scheduler runs. */
export function suspendedStatus(suspended: Suspension): DestinationStatus {
  const { destination } = suspended;
  const nothing = { active: 0, waiting: 0, failures: 0, downUntil: 0, lastError: "" };
  return { destination, state: "suspended", ...nothing, suspended };
}

/** Longest pause between two probes of a host that is down, ms. */
const longestPause = 30 * 60_000;
const successesPerStep = 10;

export class Destination {
  readonly name: string;
  readonly waiting = new FairQueue<Task>();
  /** Numbers of messages that wait outside memory because the line is full or the destination suspended. */
  readonly parked = new FairQueue<number>();
  /** Some of the parked are being taken back just now. */
  calling = false;
  active = 0;
  suspended: Suspension | undefined;
  /** Failed deliveries in a row that said "down"; 0 = up. */
  failures = 0;
  downUntil = 0;
  lastOutcome: Outcome | undefined;
  readonly #limits: DestinationLimits;
  readonly #retry: RetrySchedule;
  #allowed: number;
  #successes = 0;
  #nextStart = 0;

  constructor(name: string, limits: DestinationLimits, retry: RetrySchedule) {
    this.name = name;
    this.#limits = limits;
    this.#retry = retry;
    this.#allowed = limits.concurrency;
  }

  /** True while nothing may be tried: what arrives is deferred with `lastOutcome`. */
  isDown(now: number): boolean {
    return this.failures > 0 && now < this.downUntil;
  }

  /** True when the next delivery may begin now. */
  mayStart(now: number): boolean {
    if (this.suspended || this.isDown(now) || now < this.#nextStart) return false;
    return this.active < (this.failures > 0 ? 1 : this.#allowed); // one probe at a time while it is not known to be up
  }

  /** When the rate limit allows the next delivery (ms since epoch); in the past when it does already. */
  get nextStart(): number {
    return this.#nextStart;
  }

  started(now: number): void {
    this.active++;
    if (this.#limits.perSecond !== undefined) {
      this.#nextStart = Math.max(now, this.#nextStart) + 1_000 / this.#limits.perSecond;
    }
  }

  /** Ends a delivery; answers true when the destination has just come up again. */
  ended(effect: DestinationEffect, outcome: Outcome | undefined, now: number): boolean {
    this.active--;
    if (effect === "down") {
      this.failures++;
      this.lastOutcome = outcome;
      this.downUntil = now + Math.min(retryDelay(this.#retry, this.failures), longestPause);
      return false;
    }
    const wasDown = this.failures > 0;
    this.failures = 0;
    this.downUntil = 0;
    if (effect === "slow down") {
      this.#allowed = Math.max(1, Math.floor(this.#allowed / 2));
      this.#successes = 0;
    } else if (this.#allowed < this.#limits.concurrency && ++this.#successes >= successesPerStep) {
      this.#allowed++;
      this.#successes = 0;
    }
    return wasDown;
  }

  /** An administrator wants it tried now. */
  tryNow(): void {
    this.downUntil = 0;
  }

  /** True when forgetting this object loses nothing. */
  get idle(): boolean {
    const empty = this.active === 0 && this.waiting.length === 0 && this.parked.length === 0;
    return empty && !this.suspended && this.failures === 0 && this.#allowed === this.#limits.concurrency;
  }

  status(now: number): DestinationStatus {
    return {
      destination: this.name,
      state: this.suspended ? "suspended" : this.isDown(now) ? "down" : "up",
      active: this.active,
      waiting: this.waiting.length + this.parked.length,
      failures: this.failures,
      downUntil: this.downUntil,
      lastError: this.lastOutcome?.text ?? "",
      ...(this.suspended ? { suspended: this.suspended } : {}),
    };
  }
}
