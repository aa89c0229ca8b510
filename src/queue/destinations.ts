/**
 * The destinations a scheduler knows at this moment, by name.
 * Invariants: at most the budget's `queueDestinations`, as far as forgetting idle ones allows; a suspension outlives the
 * object it was set on. Failure: `suspend` and `resume` reject when that can't be noted on disk.
 */
import type { Budget } from "../config/budget.ts";
import { Destination, type DestinationLimits, type DestinationStatus, defaultLimits } from "./destination.ts";
import type { RetrySchedule } from "./retry.ts";
import type { Suspension, Suspensions } from "./suspensions.ts";

export interface DestinationsOptions {
  retry: RetrySchedule;
  budget: Pick<Budget, "queueDestinations">;
  limitsOf?: (destination: string) => DestinationLimits;
  suspensions?: Suspensions;
}

export class Destinations {
  readonly #options: DestinationsOptions;
  readonly #known = new Map<string, Destination>();
  readonly #suspended = new Map<string, Suspension>();

  constructor(options: DestinationsOptions) {
    this.#options = options;
    for (const suspension of options.suspensions?.all() ?? []) this.#suspended.set(suspension.destination, suspension);
  }

  /** The destination if it is known. */
  find(name: string): Destination | undefined {
    return this.#known.get(name);
  }

  /** The destination, made when it is new. */
  get(name: string): Destination {
    let destination = this.#known.get(name);
    if (destination === undefined) {
      const { budget, limitsOf, retry } = this.#options;
      if (this.#known.size >= budget.queueDestinations) this.#forgetSome();
      destination = new Destination(name, limitsOf?.(name) ?? defaultLimits, retry);
      destination.suspended = this.#suspended.get(name);
      this.#known.set(name, destination);
    }
    return destination;
  }

  all(): Iterable<Destination> {
    return this.#known.values();
  }

  forget(destination: Destination): void {
    this.#known.delete(destination.name);
  }

  async suspend(suspension: Suspension): Promise<void> {
    await this.#options.suspensions?.suspend(suspension);
    this.#suspended.set(suspension.destination, suspension);
    this.get(suspension.destination).suspended = suspension;
  }

  /** Answers the destination when it is known. */
  async resume(name: string): Promise<Destination | undefined> {
    await this.#options.suspensions?.resume(name);
    this.#suspended.delete(name);
    const destination = this.#known.get(name);
    if (destination !== undefined) destination.suspended = undefined;
    return destination;
  }

  statuses(now: number): DestinationStatus[] {
    for (const name of this.#suspended.keys()) this.get(name);
    return [...this.#known.values()].map((destination) => destination.status(now));
  }

  /** The wall clock was set back by this many ms (negative). */
  shiftClock(ms: number): void {
    for (const destination of this.#known.values()) destination.downUntil += ms;
  }

  /** Too many destinations are down: those with nothing at work are forgotten, at the price of one attempt each. */
  #forgetSome(): void {
    for (const [name, { active, waiting, parked, suspended }] of this.#known) {
      if (active === 0 && waiting.length === 0 && parked.length === 0 && !suspended) this.#known.delete(name);
    }
  }
}
