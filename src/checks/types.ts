/**
 * Facts about a sender or message: each check is a function of (input, resolver, budget) → result with a failure value
 * of its own, never an exception for anything the network did. Deadlines and caching are the caller's (policy runtime).
 */
import type { Budget } from "../config/budget.ts";
import type { Resolver } from "../dns/types.ts";

export interface CheckContext {
  resolver: Resolver;
  budget: Budget;
  /** Name of this host, for Received-SPF and Authentication-Results. */
  hostName: string;
  /** ms since epoch; injected so that evaluation is repeatable. */
  now: () => number;
}
