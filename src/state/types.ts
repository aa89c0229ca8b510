/**
 * Small shared facts with expiry: greylist triplets, counters, reputation, vacation memory.
 * Implementations: `embedded.ts` (one SQLite file shared by all workers) and, later, Valkey. Values are stale-tolerant:
 * losing the last second of them in a crash is acceptable, corrupting them is not.
 * Failure: methods reject with the driver's error; each caller declares what that means for it.
 */
export interface SharedState {
  get(namespace: string, key: string): Promise<string | undefined>;
  set(namespace: string, key: string, value: string, ttlMs: number): Promise<void>;
  delete(namespace: string, key: string): Promise<void>;
  /** Adds to a counter over a sliding window of `windowMs` and answers the count after adding. */
  increment(namespace: string, key: string, amount: number, windowMs: number): Promise<number>;
  /** Sets only when absent; answers true when it was set. */
  add(namespace: string, key: string, value: string, ttlMs: number): Promise<boolean>;
  close(): Promise<void>;
}
