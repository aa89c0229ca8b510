/**
 * `postern conformance DIR`: runs every known suite of public test data found below DIR, in place.
 * Prints `suite: N passed, N failed, N skipped` for each and closes with the total. Exit 1 when a case failed.
 */
import { existsSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { suites as checkSuites } from "../checks/conformance.ts";
import { suites as deliverySuites } from "../delivery/conformance.ts";
import { suites as messageSuites } from "../message/conformance.ts";
import { suites as smtpSuites } from "../smtp/incoming/conformance.ts";
import type { Suite, SuiteResult } from "../telemetry/suite.ts";
import type { Command } from "./command.ts";

const all: readonly Suite[] = [...smtpSuites, ...checkSuites, ...deliverySuites, ...messageSuites];

export const command: Command = {
  name: "conformance",
  summary: "run public test suites found in a folder",
  help: `Usage: postern conformance DIR [--suite NAME]... [--known FILE] [--json]

Runs the suites below DIR that Postern knows: ${all.map((suite) => suite.name).join(", ")}.
The data is read in place. FILE is JSON, {"suite": {"case": "why we read the standard otherwise"}}: failures
that it names count as known differences. Exit code: 0 nothing else failed, 1 a case failed, 2 wrong usage.`,
  async run(argv, io) {
    const { values, positionals } = parseArgs({
      args: argv,
      allowPositionals: true,
      options: {
        suite: { type: "string", multiple: true },
        known: { type: "string" },
        json: { type: "boolean" },
      },
    });
    const [folder] = positionals;
    if (folder === undefined || positionals.length > 1) {
      io.err("usage: postern conformance DIR [--suite NAME] [--json]\n");
      return 2;
    }
    const unknown = (values.suite ?? []).filter((name) => !all.some((suite) => suite.name === name));
    if (unknown.length > 0) {
      io.err(`unknown suite ${unknown.join(", ")}; known: ${all.map((suite) => suite.name).join(", ")}\n`);
      return 2;
    }
    const root = resolve(io.cwd, folder);
    const chosen = all.filter((suite) => values.suite === undefined || values.suite.includes(suite.name));
    const known = values.known === undefined ? {} : readKnown(resolve(io.cwd, values.known));
    const results: SuiteResult[] = [];
    let explained = 0;
    for (const suite of chosen) {
      const directory = join(root, suite.name);
      if (!existsSync(directory)) continue;
      const result = await suite.run(directory);
      results.push(result);
      const differences = known[suite.name] ?? {};
      explained += result.failed.filter(({ name }) => name in differences).length;
      if (!values.json) {
        io.out(`${result.name}: ${result.passed} passed, ${result.failed.length} failed, ${result.skipped} skipped\n`);
        const open = result.failed.filter(({ name }) => !(name in differences));
        for (const { name, reason } of open.slice(0, 10)) io.out(`  ${name}: ${reason}\n`);
        if (open.length > 10) io.out(`  … ${open.length - 10} more under --json\n`);
      }
    }
    if (results.length === 0) {
      io.err(`no known suite below ${root}\n`);
      return 2;
    }
    const passed = results.reduce((sum, result) => sum + result.passed, 0);
    const failed = results.reduce((sum, result) => sum + result.failed.length, 0);
    const skipped = results.reduce((sum, result) => sum + result.skipped, 0);
    if (values.json) io.out(`${JSON.stringify({ suites: results, passed, failed, explained, skipped }, null, 1)}\n`);
    else {
      if (explained > 0) io.out(`${explained} of the failures are known differences (${values.known})\n`);
      io.out(`${passed} passed, ${failed} failed, ${skipped} skipped\n`);
    }
    return failed === explained ? 0 : 1;
  },
};

function readKnown(file: string): Record<string, Record<string, string>> {
  return JSON.parse(readFileSync(file, "utf8")) as Record<string, Record<string, string>>;
}
