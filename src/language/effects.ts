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

/** Answers Effects of statements and blocks of one module; answers are kept. */
export class EffectsOf {
  private readonly module: Module;
  private readonly known = new WeakMap<Statement | Block, Effects>();

  constructor(module: Module) {
    this.module = module;
  }

  of(what: Statement | Block): Effects {
    let effects = this.known.get(what);
    if (!effects) this.known.set(what, (effects = this.compute(Array.isArray(what) ? what : [what])));
    return effects;
  }

  private compute(block: Block): Effects {
    const writes = new Set<SlotIndex>();
    const kinds = new Set<string>();
    let looksUp = false;
    let leaves = false;
    let loops = false;
    let impureTests = false;
    walkStatements([block], (s) => {
      if (s.op === "set") writes.add(s.slot);
      else if (s.op === "effect") kinds.add(s.kind);
      else if (s.op === "lookup") {
        looksUp = true;
        kinds.add(s.name);
        for (const slot of s.writes) writes.add(slot);
      } else if (s.op === "each") loops = true;
      else if (s.op === "stop" || s.op === "return" || s.op === "break") leaves = true;
      else if (s.op === "if") impureTests ||= !isPure(s.test);
      else if (s.op === "call") {
        const callee = this.of(this.module.routines[s.routine]!);
        for (const slot of callee.writes) writes.add(slot);
        for (const kind of callee.kinds) kinds.add(kind);
        looksUp ||= callee.looksUp;
        leaves ||= callee.leaves;
        loops ||= callee.loops;
        impureTests ||= callee.impureTests;
      }
    });
    return { writes, kinds, looksUp, leaves, loops, impureTests };
  }
}

/** True when evaluating the test has no side effect whatever its result. */
export function isPure(test: Test): boolean {
  let pure = true;
  walkTests(test, (leaf) => {
    if (leaf.op === "ask" && !leaf.pure) pure = false;
    if (leaf.op === "match" && leaf.capture) pure = false;
  });
  return pure;
}

/** What a test's result depends on. */
export interface Inputs {
  readonly slots: Set<SlotIndex>;
  /** Effect kinds and look-ups that can change its subjects. */
  readonly invalidators: Set<string>;
  /** Reads strings of the host, which a loop's step can change. */
  readonly hosted: boolean;
  /** Asks the host something whose dependencies are not declared. */
  readonly opaque: boolean;
}

export function testInputs(test: Test): Inputs {
  const inputs = { slots: new Set<SlotIndex>(), invalidators: new Set<string>(), hosted: false, opaque: false };
  walkTests(test, (leaf) => {
    if (leaf.op === "ask" || leaf.op === "inList") inputs.opaque = true;
    if ("subject" in leaf) addSubject(leaf.subject, inputs);
    for (const value of testValues(leaf)) addValue(value, inputs);
  });
  return inputs;
}

export function subjectInputs(subject: Subject): Inputs {
  const inputs = { slots: new Set<SlotIndex>(), invalidators: new Set<string>(), hosted: false, opaque: false };
  addSubject(subject, inputs);
  for (const value of subjectValues(subject)) addValue(value, inputs);
  return inputs;
}

type Growing = { -readonly [K in keyof Inputs]: Inputs[K] };

function addSubject(subject: Subject, inputs: Growing): void {
  if (subject.op !== "host") return;
  inputs.hosted = true;
  if (!subject.stable) inputs.opaque = true;
  for (const kind of subject.invalidatedBy) inputs.invalidators.add(kind);
}

function addValue(value: Value, inputs: Growing): void {
  walkValue(value, (v) => {
    if (v.op === "slot") inputs.slots.add(v.slot);
    else if (v.op === "host") inputs.opaque = true;
  });
}

/** True when running something with these effects can't change what the inputs lead to. */
export function unaffected(
  inputs: Inputs,
  effects: Pick<Effects, "writes" | "kinds" | "loops" | "impureTests">,
): boolean {
  if (inputs.opaque && (effects.kinds.size > 0 || effects.loops || effects.impureTests)) return false;
  if (inputs.hosted && effects.loops) return false;
  return inputs.slots.isDisjointFrom(effects.writes) && inputs.invalidators.isDisjointFrom(effects.kinds);
}

/** Slots that the values of one statement read (its blocks not included); a look-up's declared reads count. */
export function slotsReadBy(s: Statement): Set<SlotIndex> {
  const slots = new Set<SlotIndex>(s.op === "lookup" ? s.reads : s.op === "export" ? [s.slot] : []);
  for (const value of statementValues(s)) walkValue(value, (v) => v.op === "slot" && slots.add(v.slot));
  return slots;
}
