/**
 * Cost of rules: microseconds a message for 10 to 100,000 mixed rules (equality, domain, CIDR, contains, regex) when the
 * last one matches and when none does; the same program without the optimiser; a script of 10,000 rules from text to
 * program; evil regexes on 1 MB; and Postfix's header_checks and access maps, as cost added to a message.
 * Usage: node bench/policy.ts [--json] [--no-postfix] [--seconds N]
 */
import { existsSync } from "node:fs";
import { parseArgs } from "node:util";
import { budgetDefaults, budgetWith } from "../src/config/budget.ts";
import { type CompiledModule, compileModule } from "../src/language/compile.ts";
import { compileRegex } from "../src/language/regex.ts";
import { compilePolicy } from "../src/policy/compile.ts";
import { facts, hostOf, ruleModule, ruleScript } from "./policy-rules.ts";
import { postfixRuleCost } from "./postfix-rules.ts";

export interface PolicyBenchOptions {
  /** Length of each measurement. */
  seconds?: number;
  /** Measure Postfix too; default true when it is installed and we are root. */
  postfix?: boolean;
}

export interface PolicyBenchRow {
  engine: string;
  rules: number;
  /** From IR (or, for a script, from text) to a program that has run once. */
  compileMs?: number;
  /** No rule matches. */
  noneMicros?: number;
  /** Only the last rule matches. */
  lastMicros?: number;
}

const counts = [10, 100, 1_000, 10_000, 100_000];
const mostPlain = 10_000;
const scriptRules = 10_000;
const event = "onHeadersReceived";

export async function run(options: PolicyBenchOptions = {}): Promise<PolicyBenchRow[]> {
  const seconds = options.seconds ?? 0.5;
  const rows: PolicyBenchRow[] = [];
  for (const optimise of [true, false]) {
    for (const rules of counts) {
      if (optimise || rules <= mostPlain) rows.push(curvePoint(rules, optimise, seconds));
    }
  }
  rows.push(scriptCompile(), ...evilRegexes());
  const postfix = options.postfix ?? (existsSync("/usr/sbin/postfix") && process.getuid?.() === 0);
  if (postfix) {
    for (const { table, rules, micros } of await postfixRuleCost()) {
      rows.push({ engine: `Postfix ${table}`, rules, noneMicros: micros });
    }
  }
  return rows;
}

function curvePoint(rules: number, optimise: boolean, seconds: number): PolicyBenchRow {
  const module = ruleModule(rules);
  const started = performance.now();
  const program = compileModule(module, { optimise, budget: budgetDefaults });
  cost(program, rules, "none", 0);
  const compileMs = performance.now() - started;
  return {
    engine: optimise ? "indexed" : "plain",
    rules,
    compileMs,
    noneMicros: cost(program, rules, "none", seconds),
    lastMicros: cost(program, rules, "last", seconds),
  };
}

/** Median of rounds, in microseconds a message. Fails when the program decides wrongly. */
function cost(program: CompiledModule, rules: number, which: "none" | "last", seconds: number): number {
  const { slots, subject } = facts(rules, which);
  const host = hostOf(subject);
  const rounds: number[] = [];
  const begun = performance.now();
  do {
    const batch = rules > 1_000 ? 20 : 200;
    const started = performance.now();
    for (let i = 0; i < batch; i++) {
      const copy = slots.slice();
      void program.run(event, copy, host);
      if (copy[4] !== (which === "last" ? `rule ${rules - 1}` : "")) throw new Error(`decided ${copy[4]}`);
    }
    rounds.push(((performance.now() - started) * 1_000) / batch);
  } while (performance.now() - begun < seconds * 1_000);
  rounds.sort((a, b) => a - b);
  return rounds[rounds.length >> 1]!;
}

function scriptCompile(): PolicyBenchRow {
  const script = ruleScript(scriptRules);
  const budget = budgetWith({ scriptBytes: script.length });
  const started = performance.now();
  const result = compilePolicy(script, { file: "bench.script", budget });
  if (!result.ok) throw new Error(JSON.stringify(result.diagnostics[0]));
  return { engine: "smtpFilters script", rules: scriptRules, compileMs: performance.now() - started };
}

function evilRegexes(): PolicyBenchRow[] {
  const mega = 1 << 20;
  const patterns: Array<[pattern: string, text: string]> = [
    ["(a+)+$", `${"a".repeat(mega)}!`],
    ["(.*a){20}$", `${"a".repeat(mega)}!`],
    ["^(([a-z])+.)+[A-Z]([a-z])+$", "a".repeat(mega)],
    ["(?:a?){30}a{30}", `${"a".repeat(29)}b`.repeat(mega / 30)],
  ];
  return patterns.map(([pattern, text]) => {
    const regex = compileRegex(pattern, "octet", budgetDefaults);
    const started = performance.now();
    regex.test(text);
    return { engine: `regex ${pattern} on 1 MB`, rules: 1, noneMicros: (performance.now() - started) * 1_000 };
  });
}

function printed(rows: readonly PolicyBenchRow[]): string {
  const number = (value: number | undefined): string => (value === undefined ? "" : value.toFixed(value < 100 ? 2 : 0));
  const lines = rows.map(
    (row) =>
      `| ${row.engine} | ${row.rules} | ${number(row.compileMs)} | ${number(row.noneMicros)} | ${number(row.lastMicros)} |`,
  );
  return [
    "| engine | rules | compile ms | none matches µs | last matches µs |",
    "|---|---|---|---|---|",
    ...lines,
  ].join("\n");
}

if (import.meta.main) {
  const { values } = parseArgs({
    options: { json: { type: "boolean" }, "no-postfix": { type: "boolean" }, seconds: { type: "string" } },
  });
  const rows = await run({
    ...(values.seconds ? { seconds: Number(values.seconds) } : {}),
    ...(values["no-postfix"] ? { postfix: false } : {}),
  });
  console.log(values.json ? JSON.stringify(rows, null, 2) : printed(rows));
}
