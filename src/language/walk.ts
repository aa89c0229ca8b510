/**
 * Walking the IR without recursion over statements, so that an elsif chain of any length needs no stack.
 *
 * Invariants: visits every statement reachable from the given blocks (routines are separate blocks: pass them too), in
 * no particular order across branches. Tests nest no deeper than the grammar's nesting budget, so those may recurse.
 */
import type { Block, HostSubject, IfStatement, Module, Statement, Subject, Test, Value } from "./ir.ts";

/** All blocks a module starts from. */
export function blocksOf(module: Module): Block[] {
  return [...Object.values(module.entries), ...module.routines];
}

/** Visits every statement in the blocks, nested ones included, but for those that are packed. */
export function walkStatements(blocks: readonly Block[], visit: (s: Statement) => void): void {
  const todo = [...blocks];
  for (let block = todo.pop(); block; block = todo.pop()) {
    for (const s of block) {
      visit(s);
      if (s.op === "if") todo.push(s.then, s.else);
      else if (s.op === "each") todo.push(s.body);
      else if (s.op === "indexed") {
        todo.push(s.ifs);
        if (s.otherwise) todo.push(s.otherwise);
      }
    }
  }
}

/** Visits the leaf tests of a test. */
export function walkTests(test: Test, visit: (leaf: Test) => void): void {
  if (test.op === "any" || test.op === "all") for (const inner of test.tests) walkTests(inner, visit);
  else if (test.op === "not") walkTests(test.test, visit);
  else visit(test);
}

/** Visits a value and the values inside it. */
export function walkValue(value: Value, visit: (v: Value) => void): void {
  visit(value);
  if (value.op === "concat") for (const part of value.parts) walkValue(part, visit);
  else if (value.op === "pure" || value.op === "host") for (const arg of value.args) walkValue(arg, visit);
}

export function subjectValues(subject: Subject): readonly Value[] {
  if (subject.op === "one") return [subject.value];
  return subject.op === "list" ? subject.values : subject.args;
}

/** A run asks the host for such a subject once, until something invalidates the answer. */
export function isSharedSubject(subject: Subject): subject is HostSubject {
  return subject.op === "host" && subject.stable && subject.args.every((arg) => arg.op === "const");
}

/** The same text for subjects that ask the host the same. */
export function subjectKey(subject: Subject): string {
  let key = subjectKeys.get(subject);
  if (key === undefined) subjectKeys.set(subject, (key = JSON.stringify(subject)));
  return key;
}

/** Passes ask for the same subjects again and again; subjects never change. */
const subjectKeys = new WeakMap<Subject, string>();

/** The values that a leaf test computes. */
export function testValues(leaf: Test): readonly Value[] {
  switch (leaf.op) {
    case "match":
    case "count":
      return [...subjectValues(leaf.subject), ...leaf.keys];
    case "inList":
      return [...subjectValues(leaf.subject), ...leaf.lists];
    case "ask":
      return leaf.args;
    default:
      return [];
  }
}

/** The values that a statement itself computes (not those of its blocks). */
export function statementValues(s: Statement): Value[] {
  if (s.op === "set") return [s.value];
  if (s.op === "effect") return s.args;
  if (s.op !== "if") return [];
  const values: Value[] = [];
  walkTests(s.test, (leaf) => values.push(...testValues(leaf)));
  return values;
}

/** An if/elsif/else chain as its rules in order and the last else. */
export function unchain(first: IfStatement): { rules: IfStatement[]; otherwise: Block } {
  const rules = [first];
  let otherwise = first.else;
  while (otherwise.length === 1 && otherwise[0]!.op === "if") {
    rules.push(otherwise[0]!);
    otherwise = otherwise[0]!.else;
  }
  return { rules, otherwise };
}
