/** What a target of the fuzzer is, and how it says which errors are right answers. */
export interface Target {
  about: string;
  run(input: Buffer): void;
  /** Inputs to begin with, besides the kept corpus. */
  seeds: readonly string[];
  /** Words of the language. */
  words: readonly string[];
  maxBytes: number;
}

/** Runs it; these errors are right answers. */
export function refusing(errors: ReadonlyArray<new (...parts: never[]) => Error>, run: () => void): void {
  try {
    run();
  } catch (error) {
    if (!errors.some((kind) => error instanceof kind)) throw error;
  }
}
