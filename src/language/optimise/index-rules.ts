/**
 * Indexing: runs of ifs become `indexed` statements whose candidates are found by probing what they test.
 *
 * A list of ifs runs every candidate in order; a long if/elsif/else chain runs the first true one. In a list, a rule may
 * be probed only on what no earlier rule of the run can change; a rule that tests what others write is a candidate
 * always, and where many do, a new run begins.
 * Invariants: rules keep their order and their whole tests; statements between ifs stay in place as rules that are
 * always true. Failure: none.
 */
import { EffectsOf, EffectsSoFar, subjectUnaffected } from "../effects.ts";
import type { Block, IfStatement, IndexPlan, IndexProbe, Module, Statement, Subject } from "../ir.ts";
import { unchain } from "../walk.ts";
import { type Entry, type Need, needsOf } from "./needs.ts";
import { mapBlocks, rechain } from "./rewrite.ts";

/** Below this many probed rules, asking them one by one is as quick. */
const shortestRun = 8;
/** So many rules that test what earlier ones write begin a new run. */
const mostConflicts = 16;

export function indexRules(module: Module): Module {
  const indexer = new Indexer(new EffectsOf(module));
  return mapBlocks(module, (block) => indexer.block(block));
}

class Indexer {
  private readonly effects: EffectsOf;

  constructor(effects: EffectsOf) {
    this.effects = effects;
  }

  block(block: Block): Block {
    const inner = block.map((s) => this.nested(s));
    const out: Block = [];
    for (let at = 0; at < inner.length; ) {
      const run = this.run(inner, at);
      if (run.plan) out.push({ op: "indexed", ifs: run.rules, plan: run.plan, span: run.rules[0]!.span });
      else out.push(...inner.slice(at, run.end));
      at = run.end;
    }
    return out;
  }

  /** Indexes the blocks inside a statement, and a long chain itself. */
  private nested(s: Statement): Statement {
    if (s.op === "each") return { ...s, body: this.block(s.body) };
    if (s.op !== "if") return s;
    const chain = unchain(s);
    const rules = chain.rules.map((rule) => ({ ...rule, then: this.block(rule.then) }));
    const otherwise = this.block(chain.otherwise);
    if (rules.length >= shortestRun) {
      // No block of a chain runs before the last of its tests: nothing can change in between.
      const plan = planOf(rules.map((rule) => needsOf(rule.test, () => true)));
      const bare = rules.map((rule) => ({ ...rule, else: [] }));
      if (plan) return { op: "indexed", ifs: bare, otherwise, plan, span: s.span };
    }
    return rechain(rules, otherwise)[0]!;
  }

  /** The longest run from `at` on; without a plan when it is not worth an index. `end` is always beyond `at`. */
  private run(block: Block, at: number): { rules: IfStatement[]; plan: IndexPlan | undefined; end: number } {
    const rules: IfStatement[] = [];
    const needs: Array<Need | undefined> = [];
    const before = new EffectsSoFar();
    let conflicts = 0;
    let firstConflict = 0;
    let end = at;
    for (; end < block.length; end++) {
      const s = block[end]!;
      if (s.op === "lookup" || s.op === "call" || s.op === "each" || s.op === "indexed") break;
      if (s.op === "stop" || s.op === "return" || s.op === "break") break;
      let conflict = false;
      const need =
        s.op === "if"
          ? chainNeed(s, (subject) => {
              const usable = subjectUnaffected(subject, before);
              conflict ||= !usable;
              return usable;
            })
          : undefined;
      if (conflict && !need) {
        if (conflicts++ === 0) firstConflict = end;
        if (conflicts > mostConflicts && firstConflict > at) {
          const kept = firstConflict - at;
          return { rules: rules.slice(0, kept), plan: planOf(needs.slice(0, kept)), end: firstConflict };
        }
      }
      rules.push(s.op === "if" ? s : always(s));
      needs.push(need);
      this.effects.collect([s], before);
    }
    return { rules, plan: planOf(needs), end: Math.max(end, at + 1) };
  }
}

/** Needs of a rule with elsif branches: those of one of its tests; none known when it has a last else. */
function chainNeed(s: IfStatement, usable: (subject: Subject) => boolean): Need | undefined {
  const { rules, otherwise } = unchain(s);
  if (otherwise.length > 0) return undefined;
  const any: Need[] = [];
  for (const rule of rules) {
    const need = needsOf(rule.test, usable);
    if (!need) return undefined;
    any.push(need);
  }
  return { any };
}

function always(s: Statement): IfStatement {
  return { op: "if", test: { op: "const", value: true, span: s.span }, then: [s], else: [], span: s.span };
}

/** Chooses and groups the entries; undefined when too few rules can be probed. */
function planOf(needs: ReadonlyArray<Need | undefined>): IndexPlan | undefined {
  if (needs.reduce((count, need) => count + (need ? 1 : 0), 0) < shortestRun) return undefined;
  const shares = new Shares();
  for (const need of needs) if (need) shares.count(need);
  const probes = new Map<string, IndexProbe>();
  const alwaysRules: number[] = [];
  for (const [rule, need] of needs.entries()) {
    if (!need) {
      alwaysRules.push(rule);
      continue;
    }
    for (const { group, subject, how, fold, key } of shares.best(need).entries) {
      let probe = probes.get(group);
      if (!probe) probes.set(group, (probe = { subject, how, fold, entries: [] }));
      probe.entries.push({ key, rule });
    }
  }
  return { probes: [...probes.values()], always: alwaysRules };
}

/** How many rules share an entry, and what follows for choosing between entries. */
class Shares {
  private readonly groups = new Map<string, Map<string, number>>();

  count(need: Need): void {
    if ("any" in need) for (const inner of need.any) this.count(inner);
    else if ("choice" in need) for (const inner of need.choice) this.count(inner);
    else {
      let counts = this.groups.get(need.group);
      if (!counts) this.groups.set(need.group, (counts = new Map()));
      counts.set(need.key, (counts.get(need.key) ?? 0) + 1);
    }
  }

  /** The entries to look for, and how many candidates they may bring: lower is better. */
  best(need: Need): { entries: readonly Entry[]; cost: number } {
    if ("any" in need) {
      const parts = need.any.map((inner) => this.best(inner));
      return { entries: parts.flatMap((part) => part.entries), cost: Math.max(0, ...parts.map((part) => part.cost)) };
    }
    if ("choice" in need)
      return need.choice.map((inner) => this.best(inner)).reduce((a, b) => (b.cost < a.cost ? b : a));
    return { entries: [need], cost: this.groups.get(need.group)!.get(need.key)! * looseness(need) };
  }
}

/** How much of all traffic one entry of its kind meets, relative to an equality. */
function looseness({ how, key }: Entry): number {
  if (how === "is" || how === "eq") return 1;
  if (how === "domain") return 1.5;
  if (how === "cidr") return 2;
  return how === "contains" ? 3 + 8 / key.length : 1_000;
}
