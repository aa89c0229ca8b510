/**
 * What statements read and write, for the optimiser's questions "may these two swap?" and "may this start early?".
 * Invariants: conservative; a routine's effects include those of the routines it calls. Failure: none.
 */
import type { Block, Module, SlotIndex, Statement, Subject, Test, Value } from "./ir.ts";
import { statementValues, subjectValues, testValues, walkStatements, walkTests, walkValue } from "./walk.ts";

export interface Effects {
  readonly writes: ReadonlySet<SlotIndex>;
  /** Effect kinds and look-up names: what a stable subject may name in `invalidatedBy`. */
  readonly kinds: ReadonlySet<string>;
  /** Contains a look-up, so it may become asynchronous. */
  readonly looksUp: boolean;
  /** May end the block around it: stop, return or break. */
  readonly leaves: boolean;
  /** Contains a loop, which moves the host's current item. */
  readonly loops: boolean;
  /** Has a test with a side effect (match variables, an impure question). */
  readonly impureTests: boolean;
}

/** Effects of several statements, growing. */
export class EffectsSoFar implements Effects {
  readonly writes = new Set<SlotIndex>();
  readonly kinds = new Set<string>();
  looksUp = false;
  leaves = false;
  loops = false;
  impureTests = false;
}

/** Answers effects of statements and blocks of one module. */
export class EffectsOf {
  private readonly module: Module;
  private readonly routines: Array<Effects | undefined> = [];

  constructor(module: Module) {
    this.module = module;
  }

  of(block: Block): Effects {
    return this.collect(block, new EffectsSoFar());
  }

  /** Adds the effects of a block; no objects are made, so that 100,000 rules cost little. */
  collect(block: Block, into: EffectsSoFar): EffectsSoFar {
    walkStatements([block], (s) => {
      if (s.op === "set") into.writes.add(s.slot);
      else if (s.op === "effect") into.kinds.add(s.kind);
      else if (s.op === "lookup") {
        into.looksUp = true;
        into.kinds.add(s.name);
        for (const slot of s.writes) into.writes.add(slot);
      } else if (s.op === "each") into.loops = true;
      else if (s.op === "stop" || s.op === "return" || s.op === "break") into.leaves = true;
      else if (s.op === "if") into.impureTests ||= !isPure(s.test);
      else if (s.op === "call") add(this.routine(s.routine), into);
      else if (s.op === "indexed" && s.packed) add(s.packed.effects, into);
    });
    return into;
  }

  /** Visits the slots that a block may write, some perhaps more than once. */
  eachWrite(block: Block, visit: (slot: SlotIndex) => void): void {
    walkStatements([block], (s) => {
      if (s.op === "set") visit(s.slot);
      else if (s.op === "lookup") for (const slot of s.writes) visit(slot);
      else if (s.op === "call") for (const slot of this.routine(s.routine).writes) visit(slot);
    });
  }

  /** Whether a block may become asynchronous. */
  looksUp(block: Block): boolean {
    let found = false;
    walkStatements([block], (s) => {
      if (s.op === "call") found ||= this.routine(s.routine).looksUp;
      else if (s.op === "indexed") found ||= s.packed?.effects.looksUp === true;
      else found ||= s.op === "lookup";
    });
    return found;
  }

  private routine(index: number): Effects {
    return (this.routines[index] ??= this.of(this.module.routines[index]!));
  }
}

/** What is known of statements that are elsewhere. */
type Summary = Omit<Effects, "writes" | "kinds"> & { writes: Iterable<SlotIndex>; kinds: Iterable<string> };

function add(summary: Summary, into: EffectsSoFar): void {
  for (const slot of summary.writes) into.writes.add(slot);
  for (const kind of summary.kinds) into.kinds.add(kind);
  into.looksUp ||= summary.looksUp;
  into.leaves ||= summary.leaves;
  into.loops ||= summary.loops;
  into.impureTests ||= summary.impureTests;
}

/** True when evaluating the test has no side effect whatever its result. */
export function isPure(test: Test): boolean {
  switch (test.op) {
    case "any":
    case "all":
      return test.tests.every(isPure);
    case "not":
      return isPure(test.test);
    case "match":
      return !test.capture;
    case "ask":
      return test.pure;
    default:
      return true;
  }
}

/** True when running something with these effects can't change the test's result. */
export function testUnaffected(test: Test, by: Effects): boolean {
  let unaffected = true;
  walkTests(test, (leaf) => {
    if ((leaf.op === "ask" || leaf.op === "inList") && acts(by)) unaffected = false;
    if ("subject" in leaf) unaffected &&= subjectUnaffected(leaf.subject, by);
    unaffected &&= testValues(leaf).every((value) => valueUnaffected(value, by));
  });
  return unaffected;
}

/** True when running something with these effects can't change the subject's strings. */
export function subjectUnaffected(subject: Subject, by: Effects): boolean {
  if (subject.op === "host") {
    if (by.loops || (!subject.stable && acts(by))) return false;
    if (subject.invalidatedBy.some((kind) => by.kinds.has(kind))) return false;
  }
  return subjectValues(subject).every((value) => valueUnaffected(value, by));
}

function valueUnaffected(value: Value, by: Effects): boolean {
  switch (value.op) {
    case "const":
      return true;
    case "slot":
      return !by.writes.has(value.slot);
    case "concat":
      return value.parts.every((part) => valueUnaffected(part, by));
    case "pure":
      return value.args.every((arg) => valueUnaffected(arg, by));
    case "host":
      return !acts(by);
  }
}

/** Does something at the host, on which undeclared answers may depend. */
function acts(by: Effects): boolean {
  return by.kinds.size > 0 || by.loops || by.impureTests;
}

/** Slots that the values of one statement read (its blocks not included); a look-up's declared reads count. */
export function slotsReadBy(s: Statement): Set<SlotIndex> {
  const slots = new Set<SlotIndex>(s.op === "lookup" ? s.reads : s.op === "export" ? [s.slot] : []);
  for (const value of statementValues(s)) walkValue(value, (v) => v.op === "slot" && slots.add(v.slot));
  return slots;
}
