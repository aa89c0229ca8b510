/**
 * The statistics of a candidate policy on trial: sums up what the workers count, and says when a threshold is passed.
 * Invariants: thresholds look at the last `window` only; what is kept is bounded, whatever the workers tell.
 * Failure: none.
 */
import type { Config } from "../config/schema.ts";
import { printable } from "../message/outcome.ts";
import { noCounts, type TrialCounts } from "./shadow.ts";

type Candidate = NonNullable<Config["policy"]["candidate"]>;

/** Rules named in a status. */
const shownRules = 20;
/** Distinct flips kept over a whole trial. */
const maxRules = 200;

export class Trial {
  readonly hash: string;
  readonly #candidate: Candidate;
  readonly #total = noCounts();
  /** What came in the window, oldest first. */
  readonly #recent: Array<{ at: number; counts: TrialCounts }> = [];
  readonly #began = Date.now();

  constructor(hash: string, candidate: Candidate) {
    this.hash = hash;
    this.#candidate = candidate;
  }

  /** Adds a worker's counts; answers why the trial has to stop, or undefined. */
  add(counts: TrialCounts, now = Date.now()): string | undefined {
    addCounts(this.#total, counts);
    this.#recent.push({ at: now, counts });
    const { window, ...limits } = this.#candidate.stepBack;
    while (this.#recent.length > 0 && this.#recent[0]!.at < now - window) this.#recent.shift();
    const sum = noCounts();
    for (const { counts: some } of this.#recent) addCounts(sum, some);
    return overLimit(sum, limits);
  }

  /** Lines for `postern policy status`. */
  status(): string {
    const { smtpFilters, enforce } = this.#candidate;
    const { sessions, enforced, transactions, flips, events, errors, skipped, rules } = this.#total;
    const seconds = Math.round((Date.now() - this.#began) / 1_000);
    const { candidate, live } = means(this.#total);
    const lines = [
      `candidate ${smtpFilters} (${this.hash}) on trial for ${seconds} s, ${enforce > 0 ? `enforced for ${enforce} % of the clients` : "watching only"}`,
      `sessions ${sessions}, enforced ${enforced}, not followed ${skipped}`,
      `transactions ${transactions}, decided otherwise ${flips} (${percent(flips, transactions)} %)`,
      `events ${events}, failed ${errors} (${percent(errors, events)} %)`,
      `mean time of an event ${candidate.toFixed(3)} ms, of the live policy ${live.toFixed(3)} ms`,
    ];
    const named = Object.entries(rules).sort((a, b) => b[1].count - a[1].count);
    for (const [rule, { count, example }] of named.slice(0, shownRules)) {
      lines.push(`  ${count} × ${printable(rule)} (such as ${printable(example)})`);
    }
    return `${lines.join("\n")}\n`;
  }
}

function overLimit(sum: TrialCounts, limits: Omit<Candidate["stepBack"], "window">): string | undefined {
  if (sum.transactions < limits.minimum) return undefined;
  const flips = percent(sum.flips, sum.transactions);
  if (flips > limits.flips) return `decided ${flips} % of the transactions otherwise, the limit is ${limits.flips} %`;
  const errors = percent(sum.errors, sum.events);
  if (errors > limits.errors) return `failed in ${errors} % of the events, the limit is ${limits.errors} %`;
  const { candidate, live } = means(sum);
  if (candidate - live <= limits.latency) return undefined;
  return `took ${candidate.toFixed(1)} ms an event where the live policy took ${live.toFixed(1)} ms, the limit is ${limits.latency} ms more`;
}

function means({ candidateMs, liveMs, events }: TrialCounts): { candidate: number; live: number } {
  return { candidate: candidateMs / Math.max(1, events), live: liveMs / Math.max(1, events) };
}

const percent = (part: number, whole: number): number => Math.round((part / Math.max(1, whole)) * 1_000) / 10;

function addCounts(to: TrialCounts, from: TrialCounts): void {
  const { rules, ...numbers } = from;
  for (const [name, value] of Object.entries(numbers) as Array<[keyof typeof numbers, number]>) to[name] += value;
  for (const [rule, { count, example }] of Object.entries(rules)) {
    const known = Object.hasOwn(to.rules, rule) ? to.rules[rule] : undefined;
    if (known) known.count += count;
    else if (Object.keys(to.rules).length < maxRules) to.rules[rule] = { count, example };
  }
}
