/**
 * `postern test PATH...`: runs policy tests (*.test.yaml beside a .script), with coverage of its rules, and *.svtest
 * files for Sieve.
 * Closes with "N passed, N failed". Exit codes: 0 all passed, 1 a test failed or coverage is below --min, 2 wrong usage.
 */
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join, relative, resolve } from "node:path";
import { type Coverage, coverageText, percentOf } from "../workbench/play/coverage.ts";
import { isTestFile, runTests, type TestResult } from "../workbench/play/run-tests.ts";
import { guarded, readArguments, reasonOf, UsageError } from "./arguments.ts";
import type { Command } from "./command.ts";

const help = `Usage: postern test PATH... [--json] [--coverage] [--min N] [--expect-failure]

Runs policy tests: *.test.yaml for scripts and *.svtest for Sieve, single files
or all of them below a folder.

  --coverage   show which rules were true and false at least once
  --min N      fail when fewer than N percent of the branches were taken
  --json       print one JSON document
  --expect-failure   every test of the *.svtest files must fail, or the file must not compile

Exit code: 0 all passed, 1 a test failed or coverage is too low, 2 wrong usage.`;

type ShownResult = TestResult & { file: string };

export const command: Command = {
  name: "test",
  summary: "run policy tests",
  help,
  run: guarded("test", async (argv, io) => {
    const options = {
      json: { type: "boolean" },
      coverage: { type: "boolean" },
      min: { type: "string" },
      "expect-failure": { type: "boolean" },
    } as const;
    const args = readArguments(argv, options);
    const expectFailure = args.values["expect-failure"] ?? false;
    const { json = false, coverage: showCoverage = false, min } = args.values;
    const least = min === undefined ? 0 : Number(min);
    if (!(least >= 0 && least <= 100)) throw new UsageError("--min takes a percentage");
    if (args.positionals.length === 0) throw new UsageError("no path given");
    const results: ShownResult[] = [];
    const coverages: Coverage[] = [];
    try {
      const files = args.positionals.flatMap((path) => testFiles(resolve(io.cwd, path)));
      if (files.length === 0) throw new UsageError("no *.test.yaml or *.svtest there");
      for (const file of files) {
        const shown = (path: string): string => relative(io.cwd, path);
        const run = await runTests(file, { read: readFileSync, shown, expectFailure }).catch((error: unknown) => {
          throw new UsageError(`${shown(file)}: ${reasonOf(error)}`);
        });
        results.push(...run.results.map((result) => ({ file: shown(file), ...result })));
        if (run.coverage) coverages.push(run.coverage);
      }
    } catch (error) {
      throw error instanceof UsageError ? error : new UsageError(reasonOf(error));
    }
    const failed = results.filter((result) => result.failures.length > 0).length;
    const hit = coverages.reduce((sum, coverage) => sum + coverage.hit, 0);
    const branches = coverages.reduce((sum, coverage) => sum + coverage.branches, 0);
    const percent = percentOf(hit, branches);
    if (json) {
      const document = {
        passed: results.length - failed,
        failed,
        tests: results,
        coverage: { percent, files: coverages },
      };
      io.out(`${JSON.stringify(document, null, 2)}\n`);
    } else {
      for (const { file, name, failures } of results) {
        io.out(`${failures.length === 0 ? "ok  " : "FAIL"} ${file}: ${name}\n`);
        for (const failure of failures) io.out(`       ${failure}\n`);
      }
      if (showCoverage) for (const coverage of coverages) io.out(`\n${coverageText(coverage)}`);
      if (percent < least) io.out(`\ncoverage ${percent} % is below ${least} %\n`);
      io.out(`${results.length - failed} passed, ${failed} failed\n`);
    }
    return failed > 0 || percent < least ? 1 : 0;
  }),
};

function testFiles(path: string): string[] {
  if (!statSync(path).isDirectory()) return [path];
  return readdirSync(path, { recursive: true, encoding: "utf8" })
    .filter(isTestFile)
    .sort()
    .map((name) => join(path, name));
}
