/**
 * The fuzzing loop: mutates what is in the corpus, keeps what reaches new code, stops at the first finding. Asking for
 * coverage is slow, so it is done once a batch; when a batch brought news its halves run again, and theirs, until the
 * inputs that brought it are found.
 * A finding is an error that a target throws, or an input that takes longer than `slowMs`.
 */
import type { Coverage } from "./coverage.ts";
import { mutate, type Random } from "./mutate.ts";
import type { Target } from "./target.ts";

export interface Finding {
  input: Buffer;
  reason: string;
}

export interface FuzzResult {
  executions: number;
  /** Inputs that reached new code, the seeds among them. */
  corpus: Buffer[];
  finding?: Finding;
}

export interface FuzzOptions {
  coverage: Coverage;
  pick: Random;
  /** Time to spend, ms. */
  forMs: number;
  corpus: readonly Buffer[];
  /** Sees each input before it runs, so that a hang can be told. */
  onInput: (input: Buffer) => void;
}

const batchSize = 512;
const slowMs = 1_000;

export async function fuzz(target: Target, options: FuzzOptions): Promise<FuzzResult> {
  const { coverage, pick } = options;
  const result: FuzzResult = { executions: 0, corpus: [] };
  const run = (input: Buffer): boolean => {
    result.executions++;
    options.onInput(input);
    const started = performance.now();
    try {
      target.run(input);
    } catch (error) {
      result.finding = { input, reason: error instanceof Error ? (error.stack ?? error.message) : String(error) };
      return false;
    }
    const took = performance.now() - started;
    if (took > slowMs) result.finding = { input, reason: `took ${Math.round(took)} ms` };
    return took <= slowMs;
  };
  /** Finds the inputs that reach new code; they join the corpus. False at a finding. */
  const keepNews = async (inputs: readonly Buffer[]): Promise<boolean> => {
    for (const input of inputs) if (!run(input)) return false;
    if (inputs.length === 1) {
      if (await coverage.taken()) result.corpus.push(inputs[0]!);
      return true;
    }
    // Nothing is seen until an input shows it alone.
    if (!(await coverage.peeked())) return true;
    const middle = inputs.length >> 1;
    return (await keepNews(inputs.slice(0, middle))) && (await keepNews(inputs.slice(middle)));
  };

  await coverage.taken();
  const seeds = [...options.corpus, ...target.seeds.map((seed) => Buffer.from(seed, "latin1"))];
  if (seeds.length > 0 && !(await keepNews(seeds))) return result;
  if (result.corpus.length === 0) result.corpus.push(Buffer.alloc(0));
  const end = performance.now() + options.forMs;
  while (performance.now() < end) {
    const batch: Buffer[] = [];
    for (let i = 0; i < batchSize; i++) {
      const base = result.corpus[pick(result.corpus.length)]!;
      const other = result.corpus[pick(result.corpus.length)]!;
      batch.push(mutate(base, other, target.words, target.maxBytes, pick));
    }
    if (!(await keepNews(batch))) return result;
  }
  return result;
}
