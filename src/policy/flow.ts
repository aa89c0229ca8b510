/**
 * What only the order of statements shows, read off the lowered program: values always overwritten (P043), tests that
 * can't be true (P040), branches never reached (P042), results read before their check was called (P024).
 * A method is expanded wherever it is called; a finding counts when it holds at every such place.
 * Conservative: silent where it can't be sure. Failure: diagnostics only.
 */
import type { Block, IfStatement, Module, Statement } from "../language/ir.ts";
import type { Span } from "../language/span.ts";
import { statementValues, testValues, walkTests, walkValue } from "../language/walk.ts";
import { type Assumptions, assume, known } from "./assume.ts";
import type { Code } from "./codes.ts";
import { eventContext, eventNames } from "./events.ts";
import type { Reporter } from "./reporter.ts";
import { fixedSlots, hidden, slotOf } from "./slots.ts";
import { variables } from "./variables.ts";

export function checkFlow(module: Module, reporter: Reporter): void {
  const findings = new Findings();
  const called: Record<string, Set<string>> = {};
  for (const event of eventNames) {
    const block = module.entries[event];
    if (!block) continue;
    overwritten(block, new Map(), module, findings);
    reachability(block, new Map(), findings);
    readEarly(block, (called[eventContext[event]] ??= new Set()), findings);
  }
  findings.report(reporter);
}

/** Counts places looked at and places where the finding held. */
class Findings {
  private readonly places = new Map<Code, Map<number, { span: Span; seen: number; held: number; message: string }>>();

  note(code: Code, span: Span, held: boolean, message: () => string): void {
    let byOffset = this.places.get(code);
    if (!byOffset) this.places.set(code, (byOffset = new Map()));
    const place = byOffset.get(span.start.offset);
    if (!place) {
      byOffset.set(span.start.offset, { span, seen: 1, held: Number(held), message: held ? message() : "" });
      return;
    }
    place.seen++;
    if (!held) return;
    place.held++;
    place.message ||= message();
  }

  report(reporter: Reporter): void {
    for (const [code, byOffset] of this.places) {
      for (const { span, seen, held, message } of byOffset.values()) {
        if (held !== seen) continue;
        reporter.report(code, { start: span.start.offset, end: span.end.offset }, message);
      }
    }
  }
}

// --- P043 ------------------------------------------------------------------------------------------------------------

const hiddenSlots = new Set(Object.values(hidden).map(slotOf));

/**
 * Backwards through a block. `later`: slots that are set afterwards on every way, before anything reads them, with the
 * line of that setting. It is changed to what holds for the place before the block.
 */
function overwritten(block: Block, later: Map<number, number>, module: Module, findings: Findings): void {
  for (let i = block.length - 1; i >= 0; i--) {
    const s = block[i]!;
    if (s.op === "set") {
      if (s.slot < fixedSlots.length && !hiddenSlots.has(s.slot)) {
        const line = later.get(s.slot);
        const message = () => `${module.slots[s.slot]!.name} is always overwritten later, in line ${line}`;
        findings.note("P043", s.span, line !== undefined, message);
      }
      later.set(s.slot, s.span.start.line);
    } else if (s.op === "if") {
      const onThen = new Map(later);
      overwritten(s.then, onThen, module, findings);
      if (s.else.length > 0) overwritten(s.else, later, module, findings);
      for (const slot of later.keys()) if (!onThen.has(slot)) later.delete(slot);
    }
    if (later.size > 0) for (const slot of readsOf(s)) later.delete(slot);
  }
}

/** Slots that the statement itself reads. */
function readsOf(s: Statement): number[] {
  if (s.op === "lookup") return s.reads;
  if (s.op === "export") return [s.slot];
  const slots: number[] = [];
  for (const value of statementValues(s)) walkValue(value, (v) => v.op === "slot" && slots.push(v.slot));
  return slots;
}

// --- P040, P042 ------------------------------------------------------------------------------------------------------

/** Forwards through a block with what is known of the slots; `facts` is changed to what is known behind it. */
function reachability(block: Block, facts: Assumptions, findings: Findings): void {
  for (const s of block) {
    if (s.op === "if") branch(s, facts, findings);
    else if (s.op === "set") {
      facts.delete(s.slot);
      if (s.value.op === "const") facts.set(s.slot, known(s.value.text));
    } else if (s.op === "lookup") for (const slot of s.writes) facts.delete(slot);
  }
}

function branch(s: IfStatement, facts: Assumptions, findings: Findings): void {
  const onThen = new Map(facts);
  const possible = assume(s.test, true, onThen);
  const alone = possible || assume(s.test, true, new Map());
  findings.note("P040", s.test.span, !alone, () => "this test can't be true: its parts contradict each other");
  if (s.then.length > 0 && alone) {
    findings.note(
      "P042",
      s.test.span,
      !possible,
      () => "never reached: the tests before or around it exclude this one",
    );
  }
  if (possible) reachability(s.then, onThen, findings);
  if (s.else.length > 0) {
    const onElse = new Map(facts);
    const otherwise = assume(s.test, false, onElse);
    const message = () => "never reached: the test before it is always true here";
    if (!isElseIf(s.else)) findings.note("P042", s.else[0]!.span, !otherwise, message);
    if (otherwise) reachability(s.else, onElse, findings);
  }
  for (const slot of writesOf(s)) facts.delete(slot);
}

const isElseIf = (block: Block): boolean => block.length === 1 && block[0]!.op === "if";

function writesOf(s: IfStatement): Set<number> {
  const slots = new Set<number>();
  const todo: Block[] = [s.then, s.else];
  for (let block = todo.pop(); block; block = todo.pop()) {
    for (const inner of block) {
      if (inner.op === "set") slots.add(inner.slot);
      else if (inner.op === "lookup") for (const slot of inner.writes) slots.add(slot);
      else if (inner.op === "if") todo.push(inner.then, inner.else);
    }
  }
  return slots;
}

// --- P024 ------------------------------------------------------------------------------------------------------------

const producers = new Map(
  variables.flatMap((row) => (row.producer ? [[slotOf(row.name), row.producer] as const] : [])),
);

function readEarly(block: Block, called: Set<string>, findings: Findings): void {
  const read = (slot: number, span: Span): void => {
    const producer = producers.get(slot);
    if (producer === undefined) return;
    const message = () => `${fixedSlots[slot]} is read before call (${producer})`;
    findings.note("P024", span, !called.has(producer), message);
  };
  for (const s of block) {
    if (s.op === "if") {
      walkTests(s.test, (leaf) => {
        for (const value of testValues(leaf)) walkValue(value, (v) => v.op === "slot" && read(v.slot, leaf.span));
      });
      readEarly(s.then, called, findings);
      readEarly(s.else, called, findings);
    } else {
      for (const slot of readsOf(s)) read(slot, s.span);
      if (s.op === "lookup") called.add(s.name);
    }
  }
}
