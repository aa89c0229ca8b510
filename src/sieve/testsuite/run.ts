/**
 * Runs test files written for Pigeonhole's test suite (.svtest) and reports each test.
 * Invariants: a file's tests run in order in one interpreter; nothing outside the process changes. Failure: a file that
 * doesn't compile is one failed test with its diagnostics; rejects only when the file can't be read.
 */
import { readFile } from "node:fs/promises";
import { basename, dirname, resolve } from "node:path";
import { BudgetExceeded } from "../../config/budget.ts";
import { type Diagnostic, formatDiagnostic } from "../../language/diagnostic.ts";
import { RegexError } from "../../language/regex.ts";
import { compileSieve, type Entry, type SieveScript } from "../compile.ts";
import { SieveRuntimeError } from "../errors.ts";
import { extensions } from "../extensions/index.ts";
import { Registry } from "../registry.ts";
import { Suite, SuiteStopped, suiteIncludes, TestFailed } from "./suite.ts";
import { testsuite } from "./words.ts";

export interface SvtestOptions {
  /** The file passes when it doesn't compile or every test fails. */
  expectFailure?: boolean;
  /** The file's text, when it is not to be read: an editor's. */
  source?: string;
}

export interface SvtestCase {
  name: string;
  /** "none": the file ended inside the test (`stop`), which is no verdict. */
  outcome: "passed" | "failed" | "none";
  reason?: string;
}

export interface SvtestReport {
  file: string;
  tests: SvtestCase[];
  passed: number;
  failed: number;
  /** Of the whole file, with `expectFailure` taken into account. */
  ok: boolean;
}

export const suiteRegistry = new Registry([...extensions, testsuite]);

export async function runSvtest(path: string, options: SvtestOptions = {}): Promise<SvtestReport> {
  const source = options.source ?? (await readFile(path, "utf8"));
  const file = resolve(path);
  const compiled = compileSieve(source, {
    file: basename(path),
    registry: suiteRegistry,
    includeLoader: suiteIncludes(dirname(file)),
  });
  if (!compiled.ok) {
    return report(
      path,
      [{ name: "(file)", outcome: "failed", reason: problems(compiled.diagnostics, source) }],
      options,
    );
  }
  return report(path, runEntries(compiled.script, new Suite(file, suiteRegistry)), options);
}

function problems(diagnostics: readonly Diagnostic[], source: string): string {
  const errors = diagnostics.filter((diagnostic) => diagnostic.severity === "error");
  return errors.map((diagnostic) => formatDiagnostic(diagnostic, source)).join("");
}

function runEntries(script: SieveScript, suite: Suite): SvtestCase[] {
  const slots = script.module.slots.map(() => "");
  const cases: SvtestCase[] = [];
  for (const entry of script.entries) {
    const ended = runEntry(script, entry, slots, suite);
    if (entry.test !== undefined) cases.push({ name: entry.test, ...(ended ?? { outcome: "passed" }) });
    else if (ended?.outcome === "failed") cases.push({ name: "(outside tests)", ...ended });
    if (ended?.last) break;
  }
  return cases;
}

interface Ended {
  outcome: "failed" | "none";
  reason?: string;
  /** The file ends here. */
  last: boolean;
}

/** Undefined when the end of the entry was reached. */
function runEntry(script: SieveScript, entry: Entry, slots: string[], suite: Suite): Ended | undefined {
  try {
    void script.program.run(entry.name, slots, suite.host);
    return undefined;
  } catch (error) {
    suite.host.leaveLoops();
    if (error instanceof TestFailed)
      return { outcome: "failed", reason: error.message, last: entry.test === undefined };
    if (error instanceof SuiteStopped) {
      return error.message === ""
        ? { outcome: "none", last: true }
        : { outcome: "failed", reason: error.message, last: true };
    }
    const ofScript =
      error instanceof SieveRuntimeError || error instanceof BudgetExceeded || error instanceof RegexError;
    if (!ofScript) throw error;
    return { outcome: "failed", reason: `run-time error: ${error.message}`, last: true };
  }
}

function report(file: string, tests: SvtestCase[], options: SvtestOptions): SvtestReport {
  const failed = tests.filter((test) => test.outcome === "failed").length;
  const passed = tests.filter((test) => test.outcome === "passed").length;
  const ok = options.expectFailure ? passed === 0 && failed > 0 : failed === 0;
  return {
    file,
    tests: tests.map(({ name, outcome, reason }) => ({ name, outcome, ...(reason === undefined ? {} : { reason }) })),
    passed,
    failed,
    ok,
  };
}
