/**
 * A recorded decision for `postern explain --id`: the path its policy took, the facts with the time each took, and the
 * smallest changes that would have ended otherwise. The policy is the one of that time, whose text lies with the records.
 * Failure: `findRecord` and `policyOf` throw with a reason for the user.
 */
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { budgetDefaults } from "../../config/budget.ts";
import { printable } from "../../message/outcome.ts";
import { compilePolicy } from "../../policy/compile.ts";
import { readRecords } from "../record/read.ts";
import type { DecisionRecord, Fact } from "../record/types.ts";
import { decide } from "../replay/decide.ts";
import { openLists } from "../replay/lists.ts";
import { type FlipCause, nearestFlips } from "../replay/nearest-flip.ts";
import { explanationJson, explanationText } from "./explanation.ts";
import type { LoadedPolicy } from "./loaded.ts";
import type { Played } from "./played.ts";
import { RuleTrace } from "./trace.ts";

const shownFlips = 10;
const shownLater = 100;

export async function findRecord(dir: string, id: string): Promise<DecisionRecord> {
  for await (const batch of readRecords(dir, { having: `"id":${JSON.stringify(id)}` })) {
    const record = batch.find((candidate) => candidate.id === id);
    if (record) return record;
  }
  throw new Error(`there is no record ${printable(id)} in ${dir}`);
}

/** What was decided later about the message that a decision let in, in order of time. */
export async function laterRecords(dir: string, id: string): Promise<DecisionRecord[]> {
  const found: DecisionRecord[] = [];
  for await (const batch of readRecords(dir, { having: `"of":${JSON.stringify(id)}` })) {
    for (const record of batch) if (record.later?.of === id && found.length < shownLater) found.push(record);
  }
  return found.sort((a, b) => a.time - b.time);
}

/** The policy that decided a record. */
export function policyOf(dir: string, record: DecisionRecord): LoadedPolicy {
  let kept: { file: string; text: string };
  try {
    kept = JSON.parse(readFileSync(join(dir, "policies", `${record.policy}.json`), "utf8"));
  } catch {
    throw new Error(`the text of policy ${record.policy} is not with the records: name a script`);
  }
  const result = compilePolicy(kept.text, { file: kept.file });
  if (!result.ok) throw new Error(`policy ${record.policy} does not compile any more: name a script`);
  return { policy: result.program, source: kept.text, folder: dirname(kept.file) };
}

export interface RecordedDecision {
  record: DecisionRecord;
  played: Played;
  flips: FlipCause[];
}

export async function playRecord(record: DecisionRecord, loaded: LoadedPolicy): Promise<RecordedDecision> {
  const { policy, source, folder } = loaded;
  const trace = new RuleTrace(source);
  const played: Played = {
    policy: policy.hash,
    ...{ events: [], replies: [], ehlo: [], route: null, routes: [], reports: [], headers: "", missing: [], notes: [] },
  };
  const inList = openLists(policy.lists, folder, budgetDefaults);
  const { decision, missing } = await decide(policy, record, {
    inList,
    open: (facts, context, exports) => policy.tracedSession(context, facts, { ...exports }, trace),
    before: () => trace.begin(),
    after(event, result, _session, recipient) {
      played.events.push({
        event,
        ...(recipient === "" ? {} : { about: recipient }),
        path: trace.path,
        writes: { ...trace.writes },
        action: result.action,
        explanation: result.explanation,
        effects: result.effects,
        lookups: trace.lookups,
      });
    },
  });
  const { code, text, by, at } = decision;
  if (!record.later) played.replies.push({ command: at, code, enhanced: "", text, by });
  played.missing = [...missing];
  if (record.cut) played.notes.push("a limit cut this record: the path may differ from the one taken");
  if (policy.hash !== record.policy) played.notes.push(`decided by policy ${record.policy}, shown under another`);
  if (record.decision.verdict !== decision.verdict) {
    played.notes.push(`it was ${record.decision.verdict} then, and is ${decision.verdict} by this path`);
  }
  return { record, played, flips: await nearestFlips(policy, record, { inList }) };
}

/** One line a decision: for those of a message's later life, and for Sieve, whose runs are not played again. */
export function laterText({ id, time, steps, decision, later }: DecisionRecord): string {
  const { verdict, at, by, code, text, effect } = decision;
  const inputs = steps[0]?.in ?? {};
  const about = inputs.rcptTo ?? inputs.rcptToDomain ?? inputs.ndrRcptAddress ?? inputs.dsnRcptAddress ?? "";
  const what = later?.context === "sieve" ? by : `${at}${by === "engine" ? "" : ` by ${by}`}`;
  const words = [verdict, ...(code >= 400 && text !== "" ? [text] : []), ...(effect ? [effect] : [])].join(", ");
  return printable(`  ${id} ${new Date(time).toISOString()} ${what}${about === "" ? "" : ` for ${about}`}: ${words}`);
}

export function recordedJson({ record, played, flips }: RecordedDecision, { policy, source }: LoadedPolicy): object {
  const { id, time, ms, session, facts, decision } = record;
  return {
    ...{ id, time: new Date(time).toISOString(), ms, session, decision, facts: facts.map(factJson) },
    ...(explanationJson(played, policy.module, source) as object),
    flips,
  };
}

export function recordedText({ record, played, flips }: RecordedDecision, { policy, source }: LoadedPolicy): string {
  const { id, time, ms, session, decision } = record;
  const { verdict, at, by, code, text, effect } = decision;
  const out = [
    `decision ${id} of ${new Date(time).toISOString()}, session ${session}, ${ms} ms`,
    `${verdict} at ${at} by ${by}${code >= 400 ? `: ${code} ${text}` : ""}${effect ? `: ${effect}` : ""}`,
    "",
    explanationText(played, policy.module, source).trimEnd(),
    "",
    record.facts.length > 0 ? "facts" : "facts: none were asked",
    ...record.facts.flatMap(factText).map((line) => `  ${line}`),
    "",
    flips.length > 0 ? "one change that would flip it" : "no single change of a fact that was tried flips it",
    ...flips.slice(0, shownFlips).map(flipText),
  ];
  return `${out.join("\n")}\n`;
}

const factJson = (fact: Fact): unknown => {
  const [name, inputs, answer, ms] = fact;
  return { name, inputs, answer, ms, from: sourcesOf(fact) };
};

function factText(fact: Fact): string[] {
  const [name, inputs, answer, ms] = fact;
  const said = answer === null ? "failed" : JSON.stringify(answer);
  const sources = sourcesOf(fact).map((source) => `  source: ${printable(source)}`);
  return [printable(`${name}(${inputs.join(", ")}) = ${said}, ${ms} ms`), ...sources];
}

/** What came from DNS and the like says so in the record; the others are known by their names. */
function sourcesOf([name, , , , from]: Fact): readonly string[] {
  if (from !== undefined) return from;
  if (name === "header" || name === "strings") return ["the message"];
  if (name === "inList") return ["the list in memory"];
  return name === "rate" ? ["counters in the shared state"] : [];
}

function flipText({ fact, from, to, decision }: FlipCause): string {
  return printable(
    `  ${fact} "${to}" instead of "${from}": ${decision.verdict} at ${decision.at} by ${decision.by}${decision.effect ? `, ${decision.effect}` : ""}`,
  );
}
