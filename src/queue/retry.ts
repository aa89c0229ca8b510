/**
 * The retry schedule (smtpfilters.md §12.4): delay(n) = min(first · 2^(n−1), max), n = failed attempts so far; after
 * `attempts` of them the message is given up.
 */
export interface RetrySchedule {
  /** Delay after the first failed attempt, ms. */
  firstMs: number;
  /** Longest delay, ms. */
  maxMs: number;
  /** Attempts in all. */
  attempts: number;
}

export const defaultRetry: RetrySchedule = { firstMs: 300_000, maxMs: 28_800_000, attempts: 20 };

/** Milliseconds to wait after the `failed`th failed attempt (1 for the first). */
export function retryDelay(schedule: RetrySchedule, failed: number): number {
  return Math.min(schedule.firstMs * 2 ** Math.max(0, failed - 1), schedule.maxMs);
}
