/**
 * One coarse clock for the time-outs of all outgoing connections: no timer is made per command or connection.
 * Invariants: granularity 250 ms; the clock runs only while something is watched and never keeps the process alive.
 */

export interface Watched {
  /** Milliseconds since epoch of the next expiry; 0 = none. */
  deadline: number;
  expire(): void;
}

const tickMs = 250;
const watched = new Set<Watched>();
let clock: NodeJS.Timeout | undefined;

function tick(): void {
  const now = Date.now();
  for (const entry of watched) if (entry.deadline !== 0 && entry.deadline <= now) entry.expire();
}

export function watch(entry: Watched): void {
  watched.add(entry);
  clock ??= setInterval(tick, tickMs).unref();
}

export function unwatch(entry: Watched): void {
  watched.delete(entry);
  if (watched.size === 0) {
    clearInterval(clock);
    clock = undefined;
  }
}
