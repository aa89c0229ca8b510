/**
 * How often each rule of a script is taken by recorded transactions, decided again under it. Invariants: a rule counts
 * once a transaction; the event loop is given back every few milliseconds. Failure: undefined when `stale` says that
 * nobody waits any more.
 */
import { setImmediate as turn } from "node:timers/promises";
import { budgetDefaults } from "../../config/budget.ts";
import type { Trace } from "../../language/host.ts";
import type { LoadedPolicy } from "../play/loaded.ts";
import { isRule } from "../play/trace.ts";
import type { DecisionRecord } from "../record/types.ts";
import { decide } from "./decide.ts";
import { openLists } from "./lists.ts";

const turnMs = 5;

export interface RuleHits {
  /** Offset of each `if` whose event ran → transactions that took it. */
  taken: ReadonlyMap<number, number>;
  /** What rules asked for and the records don't know: it counted as failed. */
  missing: ReadonlySet<string>;
}

export async function hitsOf(
  { policy, source, folder }: LoadedPolicy,
  records: readonly DecisionRecord[],
  stale: () => boolean,
): Promise<RuleHits | undefined> {
  const taken = new Map<number, number>();
  const missing = new Set<string>();
  const inList = openLists(policy.lists, folder, budgetDefaults);
  let until = performance.now() + turnMs;
  for (const record of records) {
    if (record.later?.context === "sieve") continue;
    const seen = new Map<number, boolean>();
    const trace: Trace = {
      test() {},
      statement(span, _rule, kind, detail) {
        if (kind !== "if" || !isRule(source, span)) return;
        const { offset } = span.start;
        seen.set(offset, seen.get(offset) === true || detail === "then");
      },
    };
    const decided = await decide(policy, record, {
      inList,
      open: (facts, context, exports) => policy.tracedSession(context, facts, { ...exports }, trace),
    });
    for (const [offset, hit] of seen) taken.set(offset, (taken.get(offset) ?? 0) + Number(hit));
    for (const what of decided.missing) missing.add(what);
    if (performance.now() < until) continue;
    await turn();
    if (stale()) return undefined;
    until = performance.now() + turnMs;
  }
  return { taken, missing };
}
