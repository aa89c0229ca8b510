/**
 * Removes what no run can notice: statements behind a stop, stores that a neighbour overwrites, tests without branches.
 * Invariants: never removes an effect, a look-up or a test with side effects. Failure: none.
 */
import { isPure, slotsReadBy } from "../effects.ts";
import type { Block, Module, SlotIndex, Statement } from "../ir.ts";
import { unchain } from "../walk.ts";
import { mapBlocks, rechain } from "./rewrite.ts";

export function removeDead(module: Module): Module {
  return mapBlocks(module, live);
}

function live(block: Block): Block {
  const out: Array<Statement | undefined> = [];
  /** Where in `out` the last store to a slot stands, while nothing could have read it. */
  const unread = new Map<SlotIndex, number>();
  for (const s of block) {
    if (s.op === "set") {
      for (const slot of slotsReadBy(s)) unread.delete(slot);
      const earlier = unread.get(s.slot);
      if (earlier !== undefined) out[earlier] = undefined;
      unread.set(s.slot, out.push(s) - 1);
      continue;
    }
    unread.clear();
    if (s.op === "if") out.push(...liveChain(s));
    else out.push(s.op === "each" ? { ...s, body: live(s.body) } : s);
    if (s.op === "stop" || s.op === "return" || s.op === "break") break;
  }
  return out.filter((s) => s !== undefined);
}

function liveChain(s: Extract<Statement, { op: "if" }>): Block {
  const chain = unchain(s);
  const rules = chain.rules.map((rule) => ({ ...rule, then: live(rule.then) }));
  const otherwise = live(chain.otherwise);
  // A last rule that does nothing, with nothing behind it, need not be asked.
  while (otherwise.length === 0 && rules.at(-1)?.then.length === 0 && isPure(rules.at(-1)!.test)) rules.pop();
  return rechain(rules, otherwise);
}
