/**
 * Theorems about each rule: some session takes it, and what it sets is not always overwritten. Both are searches: a
 * session found is the proof, none in all cases the refutation. Each session played counts for every rule it covers.
 * What shows a rule unreachable is a session of its event, for the eye: `postern explain` tells why it isn't taken.
 */
import type { SlotIndex, Statement } from "../../language/ir.ts";
import type { Span } from "../../language/span.ts";
import { statementValues, walkStatements, walkValue } from "../../language/walk.ts";
import { fixedSlots, slotOf } from "../../policy/slots.ts";
import type { Played } from "../play/played.ts";
import { type PlaySession, readSession } from "../play/session.ts";
import { isRule, RuleTrace } from "../play/trace.ts";
import { type Answer, fileOf, type Subject, searchTraced } from "./search.ts";
import { acceptance, type Finding, type Question, readingOf, type Theorem, termsOf } from "./theorem.ts";

const reachableId = "rules-reachable";
const deadId = "no-dead-write";

/** All targets together may play so many times the cases of one theorem. */
const shareOfAll = 5;

/** Something of the author's text that some session should come to. */
interface Target {
  span: Span;
  /** Is it what this session came to? */
  reached(trace: CoverageTrace): boolean;
  /** Does this session show well that it is not? */
  shows(trace: CoverageTrace, played: Played): boolean;
  /** Variables that decide about it, besides the way to it. */
  slots: readonly string[];
  fault: string;
}

/** Notes which settings ran, and which had the last word when their event ended. */
class CoverageTrace extends RuleTrace {
  readonly ran = new Set<number>();
  readonly lasting = new Set<number>();
  private last = new Map<string, number>();

  override begin(): void {
    this.settle();
    super.begin();
  }

  override statement(span: Span, rule: string | undefined, kind: string, detail: string): void {
    super.statement(span, rule, kind, detail);
    if (kind !== "set") return;
    this.ran.add(span.start.offset);
    this.last.set(detail.slice(0, detail.indexOf(" = ")), span.start.offset);
  }

  /** The last event is over. */
  settle(): void {
    for (const offset of this.last.values()) this.lasting.add(offset);
    this.last = new Map();
  }
}

export const reachable: Theorem = {
  id: reachableId,
  says: "Each rule is taken in some session.",
  prove: (question) =>
    cover(reachableId, question, ruleTargets(question.subject), "each rule is taken in some session"),
};

export const deadWrites: Theorem = {
  id: deadId,
  says: "Nothing that a rule sets is always overwritten before it counts.",
  prove: (question) => cover(deadId, question, settingTargets(question.subject), "each setting counts in some session"),
};

async function cover(
  theorem: string,
  question: Question,
  targets: readonly Target[],
  holds: string,
): Promise<Finding[]> {
  const { subject } = question;
  const open = new Set(targets);
  const findings: Finding[] = [];
  let cases = 0;
  for (const target of targets) {
    if (!open.has(target)) continue;
    const { line } = target.span.start;
    if (cases > subject.budget.proveCases * shareOfAll) {
      findings.push({ theorem, result: "unknown", reason: "too many cases for all rules", line, cases: 0 });
      break;
    }
    let example: PlaySession | undefined;
    const answer = await searchFor(question, target, (session, played, trace) => {
      for (const other of open) if (other.reached(trace)) open.delete(other);
      if (!example && target.shows(trace, played)) example = session;
    });
    cases += answer.plays;
    if (answer.found) continue;
    if (answer.gap !== "") findings.push({ theorem, result: "unknown", reason: answer.gap, line, cases: answer.cases });
    else if (example) {
      const session = readSession(JSON.parse(JSON.stringify(fileOf(example))));
      findings.push({ theorem, result: "fails", reason: target.fault, line, cases: answer.cases, session });
    }
  }
  return findings.length > 0 ? findings : [{ theorem, result: "holds", reason: holds, cases }];
}

/** Plays cases until the target is reached; `see` is told of each. */
function searchFor(
  question: Question,
  target: Target,
  see: (session: PlaySession, played: Played, trace: CoverageTrace) => void,
): Promise<Answer> {
  const { subject } = question;
  const slots = [...acceptance, ...target.slots];
  const reading = readingOf(question, { slots, effects: new Set(), at: target.span.start.offset });
  const wanted = (session: PlaySession, played: Played, trace: CoverageTrace): string | undefined => {
    trace.settle();
    see(session, played, trace);
    return target.reached(trace) ? "reached" : undefined;
  };
  const trace = (): CoverageTrace => new CoverageTrace(subject.source);
  return searchTraced(subject, reading, termsOf(question, { rights: true }), wanted, trace);
}

/** The `if`s of the author's text, and their `else`s. A method's rules count once, wherever it is called from. */
function ruleTargets(subject: Subject): Target[] {
  const events = new Map<number, Set<string>>();
  const targets = new Map<string, Target>();
  for (const [event, block] of Object.entries(subject.policy.module.entries)) {
    walkStatements([block], (s) => {
      if (s.op !== "if" || !isRule(subject.source, s.span)) return;
      const { offset, line } = s.span.start;
      const around = (events.get(offset) ?? new Set()).add(event);
      events.set(offset, around);
      const shows = (_trace: CoverageTrace, played: Played): boolean => played.events.some((e) => around.has(e.event));
      targets.set(`then ${offset}`, {
        span: s.span,
        shows,
        slots: [],
        reached: ({ hits }) => hits.then.has(offset),
        fault: `the rule in line ${line} is never taken`,
      });
      if (!hasElse(s.else, subject.source)) return;
      targets.set(`else ${offset}`, {
        span: s.span,
        shows,
        slots: [],
        reached: ({ hits }) => hits.else.has(offset),
        fault: `the else of the rule in line ${line} is never taken`,
      });
    });
  }
  return inOrder([...targets.values()]);
}

/** An else with statements of its own; an else-if is a rule itself. */
const hasElse = (block: readonly Statement[], source: string): boolean =>
  block.length > 0 && !block.some((s) => s.op === "if" && isRule(source, s.span));

/** Settings of variables whose value only the engine reads, after the event; and those the compiler calls overwritten. */
function settingTargets(subject: Subject): Target[] {
  const { module, warnings } = subject.policy;
  const warned = new Set(warnings.filter(({ code }) => code === "P043").map(({ span }) => span.start.offset));
  const readSlots = slotsRead(Object.values(module.entries).flat());
  const targets = new Map<string, Target>();
  for (const block of Object.values(module.entries)) {
    walkStatements([block], (s) => {
      if (s.op !== "set" || s.slot >= fixedSlots.length || s.slot === slotOf("(smtpAction origin)")) return;
      const { offset, line } = s.span.start;
      if (!/^set\b/i.test(subject.source.slice(offset, offset + 4))) return;
      if (readSlots.has(s.slot) && !warned.has(offset)) return;
      const name = fixedSlots[s.slot]!;
      targets.set(`${offset}`, {
        span: s.span,
        slots: [name],
        reached: ({ lasting }) => lasting.has(offset),
        shows: ({ ran }) => ran.has(offset),
        fault: `what line ${line} sets (${name.replace(/^\(route (.*)\)$/, "$1")}) is always overwritten`,
      });
    });
  }
  return inOrder([...targets.values()]);
}

const inOrder = (targets: Target[]): Target[] => targets.sort((a, b) => a.span.start.offset - b.span.start.offset);

/** Slots whose value some statement uses. */
function slotsRead(block: readonly Statement[]): Set<SlotIndex> {
  const slots = new Set<SlotIndex>();
  walkStatements([[...block]], (s) => {
    if (s.op === "lookup") for (const slot of s.reads) slots.add(slot);
    if (s.op === "export") slots.add(s.slot);
    for (const value of statementValues(s)) walkValue(value, (v) => v.op === "slot" && slots.add(v.slot));
  });
  return slots;
}
