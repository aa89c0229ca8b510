/**
 * What a well-formed module is; for tests and for finding faults of a lowering early.
 * Checks that indexes are in range, that breaks and returns have something to leave, that routines don't call each other
 * in circles, that numeric comparators are asked only numeric questions and index plans name their rules.
 * Failure: answers a list of sentences; empty when well-formed.
 */
import type { Block, Module, Statement, Subject, Test, Value } from "./ir.ts";
import { blocksOf, statementValues, subjectValues, unchain, walkStatements, walkTests, walkValue } from "./walk.ts";

export function verify(module: Module): string[] {
  const faults: string[] = [];
  const slot = (index: number, where: string): void => {
    if (!module.slots[index]) faults.push(`${where}: no slot ${index}`);
  };
  const value = (v: Value): void => walkValue(v, (inner) => inner.op === "slot" && slot(inner.slot, "value"));
  walkStatements(blocksOf(module), (s) => {
    for (const v of statementValues(s)) value(v);
    if (s.op === "set" || s.op === "export") slot(s.slot, s.op);
    if (s.op === "lookup") for (const index of [...s.reads, ...s.writes]) slot(index, s.name);
    if (s.op === "call" && !module.routines[s.routine]) faults.push(`call: no routine ${s.routine}`);
    if (s.op === "if") walkTests(s.test, (leaf) => faults.push(...testFaults(leaf)));
    if (s.op === "indexed") faults.push(...planFaults(s, value));
  });
  for (const block of Object.values(module.entries)) faults.push(...leavingFaults(block, [], false));
  for (const block of module.routines) faults.push(...leavingFaults(block, [], true));
  if (callsInCircles(module)) faults.push("call: routines call each other in a circle");
  return faults;
}

const relations: ReadonlySet<string> = new Set(["is", "gt", "ge", "lt", "le", "eq", "ne"]);

function testFaults(leaf: Test): string[] {
  if (leaf.op !== "match" && leaf.op !== "count") return [];
  const number = leaf.fold === "numeric" || leaf.fold === "integer";
  return number && !relations.has(leaf.how) ? [`${leaf.how} has no meaning under comparator ${leaf.fold}`] : [];
}

function planFaults(s: Extract<Statement, { op: "indexed" }>, value: (v: Value) => void): string[] {
  const subjects: Subject[] = s.plan.probes.map((probe) => probe.subject);
  for (const subject of subjects) for (const v of subjectValues(subject)) value(v);
  const named = [...s.plan.always, ...s.plan.probes.flatMap((probe) => probe.entries.map((entry) => entry.rule))];
  return named.filter((rule) => !s.ifs[rule]).map((rule) => `index: no rule ${rule}`);
}

/** Breaks outside of a loop of their name, returns outside of a routine. */
function leavingFaults(block: Block, loops: ReadonlyArray<string | undefined>, routine: boolean): string[] {
  const faults: string[] = [];
  for (const s of block) {
    if (s.op === "break" && (s.name === undefined ? loops.length === 0 : !loops.includes(s.name))) {
      faults.push(`break: no loop ${s.name ?? "around it"}`);
    }
    if (s.op === "return" && !routine) faults.push("return outside of a routine");
    if (s.op === "each") faults.push(...leavingFaults(s.body, [...loops, s.name], routine));
    if (s.op === "if") {
      const { rules, otherwise } = unchain(s);
      for (const rule of rules) faults.push(...leavingFaults(rule.then, loops, routine));
      faults.push(...leavingFaults(otherwise, loops, routine));
    }
    if (s.op === "indexed") faults.push(...leavingFaults([...s.ifs, ...(s.otherwise ?? [])], loops, routine));
  }
  return faults;
}

function callsInCircles(module: Module): boolean {
  const done = new Set<number>();
  const open = new Set<number>();
  const visit = (routine: number): boolean => {
    if (done.has(routine)) return false;
    if (open.has(routine)) return true;
    open.add(routine);
    let circle = false;
    walkStatements([module.routines[routine] ?? []], (s) => {
      if (s.op === "call") circle ||= visit(s.routine);
    });
    open.delete(routine);
    done.add(routine);
    return circle;
  };
  return module.routines.some((_, i) => visit(i));
}
