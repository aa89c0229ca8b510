/**
 * What happened, counted by period for reports to others: one SQLite file that all workers of a machine write to.
 * Invariants: periods begin at multiples of their length since the epoch, so that all workers mean the same one; a
 * period is taken once, by whoever comes first; it survives a restart, but for the last second of a worker that dies.
 * Limits: the kind's own subjects a period and rows a subject; what comes beyond is not counted, and logged.
 * Failure: opening and `take` reject with the database's error; counts that can't be written are lost with a log line.
 */
import { mkdir } from "node:fs/promises";
import { dirname } from "node:path";
import { DatabaseThread } from "../store/database-thread.ts";
import type { Logger } from "../telemetry/log.ts";

/** Where code that only counts puts it. */
export interface Counts {
  /**
   * @param domain whom the report is for
   * @param about what sets reports to one domain apart; "" when nothing does
   * @param row what is counted; equal rows are one row with a count
   */
  count(domain: string, about: string, row: string): void;
}

export interface TallyKind {
  name: string;
  periodMs: number;
  subjects: number;
  rows: number;
}

/** One subject of a period that is over. Times are ms since the epoch, `ends` the first that is not in it. */
export interface Taken {
  domain: string;
  about: string;
  begins: number;
  ends: number;
  rows: ReadonlyArray<{ row: string; count: number }>;
}

export interface CountArgument extends Omit<Taken, "rows"> {
  kind: string;
  row: string;
  count: number;
  /** Limits of the kind. */
  subjects: number;
  perSubject: number;
}

export interface TakeArgument {
  kind: string;
  /** Periods that ended at this time or before. */
  until: number;
}

/** Counts wait for this long, so that a busy second costs one transaction. */
export const flushMs = 1_000;
const maxWaiting = 10_000;

export class Tally {
  readonly #thread: DatabaseThread;
  readonly #log: Logger;
  #waiting = new Map<string, CountArgument>();
  #timer: NodeJS.Timeout | undefined;

  private constructor(thread: DatabaseThread, log: Logger) {
    this.#thread = thread;
    this.#log = log;
  }

  static async open(path: string, log: Logger): Promise<Tally> {
    await mkdir(dirname(path), { recursive: true, mode: 0o700 });
    return new Tally(await DatabaseThread.start(new URL("./tally-worker.ts", import.meta.url), { path }), log);
  }

  /** The counter of one kind. */
  counter(kind: TallyKind, now: () => number = Date.now): Counts {
    return {
      count: (domain, about, row) => {
        const begins = Math.floor(now() / kind.periodMs) * kind.periodMs;
        const id = JSON.stringify([kind.name, begins, domain, about, row]);
        const waiting = this.#waiting.get(id);
        if (waiting !== undefined) {
          waiting.count += 1;
          return;
        }
        if (this.#waiting.size >= maxWaiting) void this.flush();
        const ends = begins + kind.periodMs;
        const { name, subjects, rows: perSubject } = kind;
        this.#waiting.set(id, { kind: name, domain, about, begins, ends, row, count: 1, subjects, perSubject });
        this.#timer ??= setTimeout(() => void this.flush(), flushMs).unref();
      },
    };
  }

  /** Writes what waits; never rejects. */
  async flush(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const counts = [...this.#waiting.values()];
    this.#waiting = new Map();
    if (counts.length === 0) return;
    try {
      const dropped = await this.#thread.request<number>("count", counts);
      if (dropped > 0) this.#log.warn({ dropped }, "reports are not whole: too many different rows");
    } catch (error) {
      this.#log.warn({ err: error, lost: counts.length }, "counts for reports can't be written");
    }
  }

  /** Takes out one subject whose period ended at `until` (ms) or before; undefined when there is none left. */
  take(kind: string, until: number): Promise<Taken | undefined> {
    const argument: TakeArgument = { kind, until };
    return this.#thread.request("take", argument);
  }

  async close(): Promise<void> {
    await this.flush();
    await this.#thread.close();
  }
}
