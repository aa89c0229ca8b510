/**
 * Rate limits over a sliding window, by any key: address, network, domain, account.
 * Failure: when the state does not answer, nothing is over its rate.
 */
import type { SharedState } from "../state/types.ts";

export interface RateLimit {
  /** Hits allowed within the window. */
  count: number;
  windowMs: number;
}

const namespace = "rate";
const maxKey = 512;

/** Counts `amount` hits for `key` and answers whether it is over the limit now. */
export async function overRate(state: SharedState, key: string, limit: RateLimit, amount = 1): Promise<boolean> {
  try {
    // The window is part of the name: two limits over one key don't share a counter.
    const counter = `${limit.windowMs}|${key.slice(0, maxKey)}`;
    return (await state.increment(namespace, counter, amount, limit.windowMs)) > limit.count;
  } catch {
    return false; // declared above; the state's owner logs its errors
  }
}
