/**
 * Look-up planning: which look-ups may start together, and which ones an entry point may or must need.
 *
 * A look-up may start early when nothing between there and its own place can change its inputs, skip it, or be seen by
 * it. Results are always applied in program order, so starting early never changes what a program means.
 * Deadlines belong to the host: it settles each look-up's promise in time, with the declared failure values.
 */
import type { EffectsOf } from "./effects.ts";
import type { Block, Module, SlotIndex, Statement } from "./ir.ts";
import { walkStatements } from "./walk.ts";

type Lookup = Extract<Statement, { op: "lookup" }>;

/** The look-ups after `block[at]` (itself a look-up) that may start when it starts, in order. */
export function startableWith(block: Block, at: number, effects: EffectsOf): Lookup[] {
  const together: Lookup[] = [];
  const written = new Set<SlotIndex>();
  const acted = new Set<string>();
  for (let i = at; i < block.length; i++) {
    const s = block[i]!;
    if (s.op === "lookup") {
      if (i > at) {
        const settled = !s.reads.some((slot) => written.has(slot)) && !sees(s, acted);
        // Look-ups start in program order: one that must wait holds back those behind it.
        if (!settled) break;
        together.push(s);
      }
    } else {
      const e = effects.of([s]);
      if (s.op === "call" || e.looksUp || e.leaves || e.loops || e.impureTests) break;
      for (const kind of e.kinds) acted.add(kind);
    }
    for (const slot of effects.of([s]).writes) written.add(slot);
  }
  return together;
}

/** Whether an effect in between matters to the look-up: `sees` unstated means that every one does. */
function sees(s: Lookup, acted: ReadonlySet<string>): boolean {
  return s.sees ? s.sees.some((kind) => acted.has(kind)) : acted.size > 0;
}

export interface EntryLookups {
  /** Look-up names that some run of the entry point makes. */
  readonly may: ReadonlySet<string>;
  /** Look-up names that every run which ends normally makes. */
  readonly must: ReadonlySet<string>;
}

/** What each entry point may and must look up; for prefetching, prove and documentation. */
export function lookupsOf(module: Module): Record<string, EntryLookups> {
  const out: Record<string, EntryLookups> = {};
  for (const [entry, block] of Object.entries(module.entries)) {
    const may = new Set<string>();
    const routines = new Set<number>();
    const collect = (blocks: readonly Block[]): void =>
      walkStatements(blocks, (s) => {
        if (s.op === "lookup") may.add(s.name);
        if (s.op !== "call" || routines.has(s.routine)) return;
        routines.add(s.routine);
        collect([module.routines[s.routine]!]);
      });
    collect([block]);
    const must = new Set<string>();
    certain(module, block, must);
    out[entry] = { may, must };
  }
  return out;
}

/** Adds what every run through the block looks up; answers false when a run may leave the block on the way. */
function certain(module: Module, block: Block, must: Set<string>): boolean {
  for (const s of block) {
    if (s.op === "lookup") must.add(s.name);
    else if (s.op === "stop" || s.op === "return" || s.op === "break") return false;
    else if (s.op === "if") {
      const [first, second] = [new Set<string>(), new Set<string>()];
      const onward = [certain(module, s.then, first), certain(module, s.else, second)];
      for (const name of first) if (second.has(name)) must.add(name);
      if (onward.includes(false)) return false;
    } else if (s.op === "call") {
      // A return ends only the routine; a stop in it can't be told apart here, so either holds back what follows.
      if (!certain(module, module.routines[s.routine]!, must)) return false;
    } else if (s.op === "each" || s.op === "indexed") {
      if (mayLeave([s])) return false;
    }
  }
  return true;
}

function mayLeave(block: Block): boolean {
  let leaves = false;
  walkStatements([block], (s) => {
    if (s.op === "stop" || s.op === "return" || s.op === "call") leaves = true;
  });
  return leaves;
}
