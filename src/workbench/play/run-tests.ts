/**
 * Runs the tests of one file: *.test.yaml beside a script, *.svtest for Sieve. The command line, editors and the debugger
 * all run them by this.
 * Failure: throws an Error when the test file can't be read; a script that can't be used is a failed test "compiles".
 */
import { dirname, resolve } from "node:path";
import { svtestRunner } from "../../sieve/testsuite/index.ts";
import { type Coverage, coverageOf } from "./coverage.ts";
import { compileLoaded, type LoadedPolicy } from "./loaded.ts";
import { play } from "./play.ts";
import { type PolicyTest, readTests, unmet } from "./policy-test.ts";
import { RuleTrace } from "./trace.ts";

export interface TestResult {
  name: string;
  /** Empty: passed. */
  failures: string[];
}

export interface TestRun {
  results: TestResult[];
  /** Of the script's rules; absent for Sieve. */
  coverage?: Coverage;
}

export interface TestOptions {
  /** Answers a file's bytes; throws when it can't be read. Editors have texts that are not saved yet. */
  read(path: string): Uint8Array;
  /** A file's name for people. */
  shown?(path: string): string;
  /** Only the test of this name. */
  only?: string | undefined;
  /** Tests of a *.svtest file that must fail. */
  expectFailure?: boolean;
}

export const isTestFile = (path: string): boolean => path.endsWith(".test.yaml") || svtestRunner.accepts(path);

export async function runTests(path: string, options: TestOptions): Promise<TestRun> {
  const { read, shown = (file) => file, only } = options;
  if (svtestRunner.accepts(path)) return runSieve(path, options);
  const { script, tests } = testsOf(path, read);
  let loaded: LoadedPolicy;
  try {
    loaded = compileLoaded(read(script), script, shown(script));
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    return { results: [{ name: "compiles", failures: [`${shown(script)} can't be used: ${reason}`] }] };
  }
  const trace = new RuleTrace(loaded.source);
  const results: TestResult[] = [];
  for (const { name, session, expect } of tests) {
    if (only !== undefined && name !== only) continue;
    const played = await play(loaded.policy, session, undefined, trace, loaded.folder);
    results.push({ name, failures: unmet(expect, played) });
  }
  return { results, coverage: coverageOf(shown(script), loaded.policy.module, loaded.source, trace.hits) };
}

/** The tests of a *.test.yaml file and the path of their script. */
export function testsOf(path: string, read: TestOptions["read"]): { script: string; tests: PolicyTest[] } {
  const { script, tests } = readTests(Buffer.from(read(path)).toString("utf8"));
  const beside = path.replace(/\.test\.yaml$/, ".script");
  return { script: script === undefined ? beside : resolve(dirname(path), script), tests };
}

/** A test that `stop` ended has no verdict and isn't counted. Its tests build on each other, so all are run. */
async function runSieve(path: string, { read, only, expectFailure = false }: TestOptions): Promise<TestRun> {
  const source = Buffer.from(read(path)).toString("utf8");
  const { tests } = await svtestRunner.run(path, { expectFailure, source });
  const results: TestResult[] = [];
  for (const { name, outcome, reason = "failed without a reason" } of tests) {
    if (outcome === "none" || (only !== undefined && name !== only && !name.startsWith("("))) continue;
    const failures =
      (outcome === "failed") === expectFailure ? [] : [expectFailure ? "passed, but was to fail" : reason];
    results.push({ name, failures });
  }
  return { results };
}
