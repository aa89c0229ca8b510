/**
 * A conformance suite: runs test data written by others, read in place, and says what passed.
 * Invariants: a case that can't be run counts as skipped with a reason, never as passed.
 * Failure: `run` rejects only when the data folder itself can't be read.
 */
export interface SuiteResult {
  name: string;
  passed: number;
  failed: Array<{ name: string; reason: string }>;
  skipped: number;
}

export interface Suite {
  /** Folder name below the conformance directory. */
  name: string;
  /** `dir` is the suite's own folder. */
  run(dir: string): Promise<SuiteResult>;
}
