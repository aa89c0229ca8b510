/**
 * What the suites of this folder share: reading `cases.json`, counting, and zones from JSON.
 * Failure: a suite rejects only when its data can't be read; a throw inside a case is a failed case.
 */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { budgetWith } from "../../config/budget.ts";
import type { Resolver } from "../../dns/types.ts";
import type { SuiteResult } from "../../telemetry/suite.ts";
import type { CheckContext } from "../types.ts";

export async function readCases<T>(dir: string, file = "cases.json"): Promise<T> {
  return JSON.parse(await readFile(join(dir, file), "utf8")) as T;
}

/** Runs `check` for each case; it answers "" for passed, else the reason. */
export async function runCases<C>(
  name: string,
  cases: Iterable<C>,
  nameOf: (testCase: C) => string,
  check: (testCase: C) => string | Promise<string>,
): Promise<SuiteResult> {
  const result: SuiteResult = { name, passed: 0, failed: [], skipped: 0 };
  for (const testCase of cases) {
    let reason: string;
    try {
      reason = await check(testCase);
    } catch (error) {
      reason = `threw ${String(error)}`;
    }
    if (reason === "") result.passed += 1;
    else result.failed.push({ name: nameOf(testCase), reason });
  }
  return result;
}

/** "" when equal, else the difference in words. */
export function expectEqual(what: string, actual: unknown, expected: unknown): string {
  const [a, b] = [JSON.stringify(actual), JSON.stringify(expected)];
  return a === b ? "" : `${what}: got ${a}, expected ${b}`;
}

/** Default budgets, and the clock at `now` (ms). */
export function caseContext(resolver: Resolver, now = Date.now()): CheckContext {
  return { resolver, budget: budgetWith(), hostName: "receiver.example", now: () => now };
}
