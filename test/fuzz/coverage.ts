/**
 * Which of our own code has run, from V8's precise block coverage: asking resets the counters, so that each answer is
 * about what ran since the last one. V8 names the parts of a function that did not run; what is kept of each function
 * is the parts that never did. Failure: rejects when the inspector is in use already.
 */
import { Session } from "node:inspector/promises";

type Range = readonly [start: number, end: number];

interface Reached {
  length: number;
  never: readonly Range[];
}

export class Coverage {
  readonly #session = new Session();
  readonly #functions = new Map<string, Reached>();
  readonly #root: string;

  private constructor(root: string) {
    this.#root = root;
  }

  /** `root`: URL prefix of the files that count. */
  static async start(root: string): Promise<Coverage> {
    const coverage = new Coverage(root);
    coverage.#session.connect();
    await coverage.#session.post("Profiler.enable");
    await coverage.#session.post("Profiler.startPreciseCoverage", { callCount: true, detailed: true });
    return coverage;
  }

  /** Functions entered, and the share of their text that ran. */
  get reached(): { functions: number; share: number } {
    let [all, never] = [0, 0];
    for (const reached of this.#functions.values()) {
      all += reached.length;
      never += octets(reached.never);
    }
    return { functions: this.#functions.size, share: all === 0 ? 0 : 1 - never / all };
  }

  /** True when what ran since the last question has run for the first time; it counts as seen from now on. */
  async taken(): Promise<boolean> {
    const news = await this.#news();
    for (const [name, reached] of news) this.#functions.set(name, reached);
    return news.size > 0;
  }

  /** The same, but it stays news. */
  async peeked(): Promise<boolean> {
    return (await this.#news()).size > 0;
  }

  async #news(): Promise<Map<string, Reached>> {
    const news = new Map<string, Reached>();
    const { result } = await this.#session.post("Profiler.takePreciseCoverage");
    for (const { url, functions } of result) {
      if (!url.startsWith(this.#root) || url.includes("node_modules") || /\/test\/(?!unit)/.test(url)) continue;
      for (const { ranges } of functions) {
        const [whole, ...parts] = ranges;
        if (whole === undefined || whole.count === 0) continue;
        const skipped = parts
          .filter(({ count }) => count === 0)
          .map(({ startOffset, endOffset }): Range => [startOffset, endOffset]);
        const name = `${url}:${whole.startOffset}`;
        const before = this.#functions.get(name);
        const never = before ? common(before.never, skipped) : skipped;
        if (before && octets(never) === octets(before.never)) continue;
        news.set(name, { length: whole.endOffset - whole.startOffset, never });
      }
    }
    return news;
  }
}

function common(some: readonly Range[], others: readonly Range[]): Range[] {
  return some.flatMap(([start, end]) =>
    others.map(([from, to]): Range => [Math.max(start, from), Math.min(end, to)]).filter(([from, to]) => from < to),
  );
}

function octets(ranges: readonly Range[]): number {
  return ranges.reduce((sum, [start, end]) => sum + end - start, 0);
}
