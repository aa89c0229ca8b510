/**
 * The destinations a scheduler knows at this moment, by name.
 * Invariants: at most the budget's `queueDestinations`, as far as forgetting idle ones allows; a suspension outlives the
 * object it was set on. Failure: none.
 */
import type { Budget } from "../config/budget.ts";
import { Destination, type DestinationLimits, type DestinationStatus, defaultLimits } from "./destination.ts";
import type { RetrySchedule } from "./retry.ts";

export interface DestinationsOptions {
  retry: RetrySchedule;
  budget: Pick<Budget, "queueDestinations">;
  limitsOf?: (destination: string) => DestinationLimits;
}

export class Destinations {
  readonly #options: DestinationsOptions;
  readonly #known = new Map<string, Destination>();
  readonly #suspended = new Set<string>();

  constructor(options: DestinationsOptions) {
    this.#options = options;
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
      destination.suspended = this.#suspended.has(name);
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

  suspend(name: string): void {
    this.#suspended.add(name);
    this.get(name).suspended = true;
  }

  /** Answers the destination when it is known. */
  resume(name: string): Destination | undefined {
    this.#suspended.delete(name);
    const destination = this.#known.get(name);
    if (destination !== undefined) destination.suspended = false;
    return destination;
  }

  statuses(now: number): DestinationStatus[] {
    return [...this.#known.values()].map((destination) => destination.status(now));
  }

  /** Too many destinations are down: those with nothing at work are forgotten, at the price of one attempt each. */
  #forgetSome(): void {
    for (const [name, { active, waiting, parked, suspended }] of this.#known) {
      if (active === 0 && waiting.length === 0 && parked.length === 0 && !suspended) this.#known.delete(name);
    }
  }
}
