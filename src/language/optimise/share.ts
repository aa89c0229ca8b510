/**
 * Common test sharing: neighbouring ifs with the same test become one, when the first one's branches can't change the
 * answer. (Subjects are shared more widely than tests: the emitter asks the host once per stable subject.)
 * Invariants: order of effects kept. Failure: none.
 */
import { EffectsOf, isPure, testUnaffected } from "../effects.ts";
import type { Block, IfStatement, Module } from "../ir.ts";
import { unchain } from "../walk.ts";
import { mapBlocks, rechain } from "./rewrite.ts";

export function shareTests(module: Module): Module {
  const effects = new EffectsOf(module);
  return mapBlocks(module, (block) => share(block, effects));
}

function share(block: Block, effects: EffectsOf): Block {
  const out: Block = [];
  for (const s of block) {
    const last = out.at(-1);
    if (s.op === "if" && last?.op === "if" && mergeable(last, s, effects)) {
      out[out.length - 1] = { ...last, then: [...last.then, ...s.then], else: [...last.else, ...s.else] };
    } else out.push(s);
  }
  return out.map((s) => {
    if (s.op === "each") return { ...s, body: share(s.body, effects) };
    if (s.op !== "if") return s;
    const { rules, otherwise } = unchain(s);
    const shared = rules.map((rule) => ({ ...rule, then: share(rule.then, effects) }));
    return rechain(shared, share(otherwise, effects))[0]!;
  });
}

function mergeable(first: IfStatement, second: IfStatement, effects: EffectsOf): boolean {
  if (!sameTest(first.test, second.test) || !isPure(first.test)) return false;
  return [first.then, first.else].every((branch) => {
    const e = effects.of(branch);
    return !e.leaves && !e.looksUp && testUnaffected(first.test, e);
  });
}

/** Same question, wherever it is written: equal but for spans. */
function sameTest(a: unknown, b: unknown): boolean {
  if (a === b) return true;
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return false;
  const [left, right] = [Object.entries(a), b as Record<string, unknown>];
  return (
    left.length === Object.keys(b).length && left.every(([key, value]) => key === "span" || sameTest(value, right[key]))
  );
}
