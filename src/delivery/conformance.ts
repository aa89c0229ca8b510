/**
 * Conformance suites of delivery: bounces of the field, replies of the field, MTA-STS and TLS-RPT texts.
 * Bounces pass when the number of recipients and each one's hard/soft are right; the confusion of reasons is a matter
 * of `bounceConfusion`, since names of reasons are a choice.
 */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { budgetDefaults } from "../config/budget.ts";
import type { Suite, SuiteResult } from "../telemetry/suite.ts";
import { parseBounce } from "./bounce/parse.ts";
import { classifyReply } from "./classify.ts";
import { parseStsPolicy, parseStsRecord, parseTlsRptRecord } from "./tls/records.ts";

interface ExpectedRecipient {
  reason: string;
  hardbounce: boolean;
}

async function readCases<T>(dir: string): Promise<T> {
  return JSON.parse(await readFile(join(dir, "cases.json"), "utf8")) as T;
}

const bounce: Suite = {
  name: "bounce",
  async run(dir) {
    const { cases } = await readCases<{ cases: Record<string, ExpectedRecipient[]> }>(dir);
    const result: SuiteResult = { name: "bounce", passed: 0, failed: [], skipped: 0 };
    for (const [name, expected] of Object.entries(cases)) {
      const parsed = parseBounce(await readFile(join(dir, "messages", name)), budgetDefaults);
      const got = (parsed?.recipients ?? []).map((one) => one.hard);
      const want = expected.map((one) => one.hardbounce);
      if (JSON.stringify(got) === JSON.stringify(want)) result.passed++;
      else {
        const reasons = (parsed?.recipients ?? []).map((one) => `${one.reason}${one.hard ? " (hard)" : ""}`).join(", ");
        result.failed.push({
          name,
          reason: `expected ${expected.map((one) => one.reason).join(", ")}; got ${reasons || "nothing"}`,
        });
      }
    }
    return result;
  },
};

/** How often each expected reason was read as each of ours. */
export async function bounceConfusion(dir: string): Promise<Map<string, Map<string, number>>> {
  const { cases } = await readCases<{ cases: Record<string, ExpectedRecipient[]> }>(dir);
  const table = new Map<string, Map<string, number>>();
  for (const [name, expected] of Object.entries(cases)) {
    const parsed = parseBounce(await readFile(join(dir, "messages", name)), budgetDefaults);
    for (const [index, want] of expected.entries()) {
      const row = table.get(want.reason) ?? new Map<string, number>();
      const got = parsed?.recipients[index]?.reason ?? "none";
      row.set(got, (row.get(got) ?? 0) + 1);
      table.set(want.reason, row);
    }
  }
  return table;
}

const replies: Suite = {
  name: "replies",
  async run(dir) {
    const { cases } = await readCases<{ cases: Array<{ response: string; action: string; category: string }> }>(dir);
    const result: SuiteResult = { name: "replies", passed: 0, failed: [], skipped: 0 };
    for (const { response, action, category } of cases) {
      const got = classifyReply(response);
      if (got.action === action && got.category === category) result.passed++;
      else
        result.failed.push({
          name: response,
          reason: `expected ${action} ${category}, got ${got.action} ${got.category}`,
        });
    }
    return result;
  },
};

interface TextCase {
  input: string;
  valid: boolean;
}

const mtaSts: Suite = {
  name: "mta-sts",
  async run(dir) {
    const parsers: Record<string, (text: string) => object | undefined> = {
      "mtasts-records": parseStsRecord,
      "mtasts-policies": parseStsPolicy,
      "tlsrpt-records": parseTlsRptRecord,
    };
    const groups = await readCases<Record<string, TextCase[]>>(dir);
    const result: SuiteResult = { name: "mta-sts", passed: 0, failed: [], skipped: 0 };
    for (const [group, cases] of Object.entries(groups)) {
      const parser = parsers[group];
      if (!Array.isArray(cases)) continue;
      if (!parser) {
        result.skipped += cases.length;
        continue;
      }
      for (const { input, valid } of cases) {
        if ((parser(input) !== undefined) === valid) result.passed++;
        else
          result.failed.push({
            name: `${group}: ${JSON.stringify(input)}`,
            reason: `should be ${valid ? "valid" : "refused"}`,
          });
      }
    }
    return result;
  },
};

export const suites: Suite[] = [bounce, replies, mtaSts];
