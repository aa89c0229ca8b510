/**
 * Long work as a generator that yields now and then: done at once, or in slices between which the event loop turns.
 * Failure: what the work throws.
 */
import { setImmediate as turn } from "node:timers/promises";

/** Far below the 10 ms that nothing may hold up the loop for: a step may end late. */
const sliceMs = 3;

/** Runs to the end. */
export function atOnce<T>(work: Generator<void, T>): T {
  for (;;) {
    const step = work.next();
    if (step.done) return step.value;
  }
}

/** Runs to the end; other work has its turn first, and again every few milliseconds. */
export async function inSlices<T>(work: Generator<void, T>): Promise<T> {
  for (;;) {
    await turn();
    for (const end = performance.now() + sliceMs; performance.now() < end; ) {
      const step = work.next();
      if (step.done) return step.value;
    }
  }
}
