/**
 * What statements read and write, for the optimiser's questions "may these two swap?" and "may this start early?".
 * Invariants: conservative; a routine's effects include those of the routines it calls. Failure: none.
 */
import type { Block, Module, SlotIndex, Statement, Test } from "./ir.ts";
import { statementValues, testValues, walkStatements, walkTests, walkValue } from "./walk.ts";

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

/** Slots that a test reads. */
export function slotsRead(test: Test): Set<SlotIndex> {
  const slots = new Set<SlotIndex>();
  walkTests(test, (leaf) => {
    for (const value of testValues(leaf)) walkValue(value, (v) => v.op === "slot" && slots.add(v.slot));
  });
  return slots;
}

/** Slots that the values of one statement read (its blocks not included); a look-up's declared reads count. */
export function slotsReadBy(s: Statement): Set<SlotIndex> {
  const slots = new Set<SlotIndex>(s.op === "lookup" ? s.reads : s.op === "export" ? [s.slot] : []);
  for (const value of statementValues(s)) walkValue(value, (v) => v.op === "slot" && slots.add(v.slot));
  return slots;
}
