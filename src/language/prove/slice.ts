/**
 * The part of a program that a question depends on: from the slots and effects asked about, back over what sets them,
 * the tests around that, and what those tests read, until nothing is added. All entry points are one: what an event
 * leaves in a slot another may read.
 *
 * Invariants: conservative; a statement left out can't change the answer. What a look-up answers is taken as free: its
 * inputs don't count. Recursion over tests and values only, which the grammar's nesting budget bounds.
 */
import type { Block, Module, SlotIndex, Statement, Test, Value } from "../ir.ts";
import { statementValues, testValues, walkStatements, walkTests, walkValue } from "../walk.ts";

export interface Criterion {
  slots: readonly SlotIndex[];
  /** Kinds of effects that count. */
  effects: ReadonlySet<string>;
  /** The statement that begins at this offset of the text, and the way to it. */
  at?: number;
  /** Everything. */
  all?: boolean;
  /** Only what happens in these entry points can matter; all by default. */
  entries?: readonly string[];
}

export interface Slice {
  slots: ReadonlySet<SlotIndex>;
  /** Leaf tests whose answers count. */
  tests: ReadonlySet<Test>;
  /** set and lookup statements that count. */
  statements: ReadonlySet<Statement>;
}

export function sliceOf(module: Module, criterion: Criterion): Slice {
  const slots = new Set(criterion.slots);
  const tests = new Set<Test>();
  const statements = new Set<Statement>();
  const names = criterion.entries ?? Object.keys(module.entries);
  const entries = names.map((name) => module.entries[name] ?? []);
  for (let size = -1; size !== slots.size + tests.size + statements.size; ) {
    size = slots.size + tests.size + statements.size;
    for (const block of entries) mark(block);
  }
  return { slots, tests, statements };

  function reads(value: Value): void {
    walkValue(value, (v) => v.op === "slot" && slots.add(v.slot));
  }

  /** Adds what counts in the block; answers whether anything does. */
  function mark(block: Block): boolean {
    let counts = false;
    for (const s of block) if (markOne(s)) counts = true;
    return counts;
  }

  function markOne(s: Statement): boolean {
    if (s.op === "if") {
      const inside = [mark(s.then), mark(s.else)].includes(true);
      const counts = inside || criterion.all === true || criterion.at === s.span.start.offset;
      if (counts) {
        walkTests(s.test, (leaf) => {
          tests.add(leaf);
          for (const value of testValues(leaf)) reads(value);
        });
      }
      return counts;
    }
    if (!countsAlone(s)) return false;
    statements.add(s);
    for (const value of statementValues(s)) reads(value);
    return true;
  }

  function countsAlone(s: Statement): boolean {
    if (criterion.all || criterion.at === s.span.start.offset) return true;
    if (s.op === "set") return slots.has(s.slot);
    if (s.op === "lookup") return s.writes.some((slot) => slots.has(slot));
    return s.op === "effect" && criterion.effects.has(s.kind);
  }
}

/** How many look-ups of each name the text makes, in all entry points. */
export function lookupCounts(module: Module): Map<string, number> {
  const counts = new Map<string, number>();
  walkStatements(Object.values(module.entries), (s) => {
    if (s.op === "lookup") counts.set(s.name, (counts.get(s.name) ?? 0) + 1);
  });
  return counts;
}
