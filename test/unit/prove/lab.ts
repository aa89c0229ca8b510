/** Proofs and plays of script texts, for tests and the table of faults. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { type Budget, budgetDefaults } from "../../../src/config/budget.ts";
import { parseIpSet } from "../../../src/language/ipset.ts";
import { assertionsOf } from "../../../src/policy/assertion.ts";
import { compilePolicy } from "../../../src/policy/compile.ts";
import { play } from "../../../src/workbench/play/play.ts";
import type { Played } from "../../../src/workbench/play/played.ts";
import { readSession } from "../../../src/workbench/play/session.ts";
import { RuleTrace } from "../../../src/workbench/play/trace.ts";
import { fileOf, type Subject } from "../../../src/workbench/prove/search.ts";
import type { Finding, Question } from "../../../src/workbench/prove/theorem.ts";
import { proveAll } from "../../../src/workbench/prove/theorems.ts";
import type { Fault } from "./faults.ts";

const rules = resolve(import.meta.dirname, "../../../rules");
export const shipped = ["default", "inbound-mx", "smart-host"] as const;

export const textOf = (script: string): string => readFileSync(resolve(rules, `${script}.script`), "utf8");

export function subjectOf(source: string, budget: Budget = budgetDefaults): Subject {
  const compiled = compilePolicy(source, { file: "t.script" });
  assert.ok(compiled.ok, JSON.stringify(compiled.diagnostics));
  return { policy: compiled.program, source, folder: rules, budget };
}

/** `trusted`: networks as `--trusted` takes them; `wanted`: how the theorem's name begins. */
export function proofOf(
  source: string,
  { trusted = "", budget = budgetDefaults, wanted = "" }: { trusted?: string; budget?: Budget; wanted?: string } = {},
): Promise<Finding[]> {
  const question: Question = { subject: subjectOf(source, budget), trusted: parseIpSet(trusted) ?? [] };
  const { assertions, diagnostics } = assertionsOf(source, "t.script", budget);
  assert.deepEqual(diagnostics, []);
  return proveAll(question, assertions, (id) => id.startsWith(wanted));
}

export function faulty({ script, from, to, name, more = "" }: Fault): string {
  const text = textOf(script);
  assert.ok(text.includes(from), `${name}: "${from}" does not occur in ${script}.script`);
  return `${text.replace(from, to)}${more}`;
}

/** Plays a finding's session as `postern explain` would, from its file. */
export function replay(source: string, finding: Finding): Promise<Played> {
  const { policy, folder } = subjectOf(source);
  const session = readSession(JSON.parse(JSON.stringify(fileOf(finding.session!))));
  return play(policy, session, undefined, new RuleTrace(source), folder);
}

/** What `postern explain` shows of a failed theorem; undefined when it shows nothing of the kind. */
export function shownBy(source: string, finding: Finding, played: Played): string | undefined {
  const reply = (verb: string) => played.replies.filter(({ command }) => command.startsWith(verb)).at(-1);
  const end = reply(".");
  const recipient = reply("RCPT TO");
  switch (finding.theorem) {
    case "no-open-relay":
      return recipient?.code === 250 && played.route ? `${recipient.command}: ${recipient.code}, relayed` : undefined;
    case "no-clear-text-auth":
      return played.ehlo.find((line) => line.startsWith("AUTH "));
    case "no-backscatter": {
      const late = played.notes.find((note) => note.startsWith("processing rejects"));
      return end?.code === 250 && (late || played.reports.length > 0)
        ? (late ?? `a report: ${played.reports[0]!.subject}`)
        : undefined;
    }
    case "virus-never-delivered":
      return end?.code === 250 ? `end of data: ${end.code}` : undefined;
    case "safe-when-checks-fail":
      return played.events.flatMap(({ lookups }) => lookups).includes("checkDMARC")
        ? "checkDMARC without an answer"
        : undefined;
    case "rules-reachable": {
      const taken = played.events.some(({ path }) => path.some(({ line, result }) => line === finding.line && result));
      return taken ? undefined : `line ${finding.line} is not taken`;
    }
    case "no-dead-write": {
      const words = source.split("\n")[finding.line! - 1]!;
      const [, variable, value] = /set \((\w+), "([^"%]*)/.exec(words) ?? [];
      const kept = played.events.some(({ writes }) => variable !== undefined && writes[variable] === value);
      return kept ? undefined : `line ${finding.line} leaves no trace`;
    }
    default:
      return /^assert always refuse/.test(finding.theorem)
        ? played.replies.every(({ code }) => code < 400)
          ? "no refusal"
          : undefined
        : end?.code === 250
          ? `end of data: ${end.code}`
          : undefined;
  }
}
