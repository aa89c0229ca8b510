/**
 * Constant folding: known slot values are put in place, constant tests decided, branches never taken removed, nested
 * any/all flattened, and members of an `any` that ask the same of one subject joined into one test with many keys.
 *
 * Invariants: tests with side effects (match variables, impure questions) are neither dropped nor added to a path.
 * Failure: none; a bad constant regex is left for the emitter to report.
 */
import { budgetDefaults } from "../../config/budget.ts";
import { EffectsOf, isPure } from "../effects.ts";
import type { Block, IfStatement, Module, SlotIndex, Statement, Subject, Test, Value } from "../ir.ts";
import { tester } from "../match.ts";
import { subjectKey, unchain } from "../walk.ts";
import { mapBlocks, rechain } from "./rewrite.ts";

export function foldConstants(module: Module): Module {
  const folder = new Folder(new EffectsOf(module));
  return mapBlocks(module, (block) => folder.block(block, new Known()));
}

/** Slots whose value is known at this point; a branch sees its parent's knowledge until it knows better. */
class Known {
  private readonly parent: Known | undefined;
  private readonly own = new Map<SlotIndex, string | undefined>();

  constructor(parent?: Known) {
    this.parent = parent;
  }

  get(slot: SlotIndex): string | undefined {
    return this.own.has(slot) ? this.own.get(slot) : this.parent?.get(slot);
  }

  set(slot: SlotIndex, text: string | undefined): void {
    this.own.set(slot, text);
  }
}

class Folder {
  private readonly effects: EffectsOf;

  constructor(effects: EffectsOf) {
    this.effects = effects;
  }

  block(block: Block, known: Known): Block {
    const out: Block = [];
    for (const s of block) {
      if (s.op === "if") out.push(...this.chain(s, known));
      else out.push(this.statement(s, known));
    }
    return out;
  }

  private chain(first: IfStatement, known: Known): Block {
    const chain = unchain(first);
    const rules: IfStatement[] = [];
    let otherwise = chain.otherwise;
    for (const rule of chain.rules) {
      const test = this.test(rule.test, known);
      if (test.op === "const" && test.value) {
        otherwise = rule.then;
        break;
      }
      if (test.op !== "const") rules.push({ ...rule, test, then: this.block(rule.then, new Known(known)) });
    }
    const folded = rechain(rules, this.block(otherwise, rules.length > 0 ? new Known(known) : known));
    if (rules.length > 0) {
      for (const rule of rules) this.forgetWrites(rule.then, known);
      this.forgetWrites(otherwise, known);
    }
    return folded;
  }

  private statement(s: Exclude<Statement, IfStatement>, known: Known): Statement {
    switch (s.op) {
      case "set": {
        const value = this.value(s.value, known);
        known.set(s.slot, value.op === "const" ? value.text : undefined);
        return { ...s, value };
      }
      case "effect":
        return { ...s, args: this.values(s.args, known) };
      case "each": {
        this.forgetWrites(s.body, known);
        const body = this.block(s.body, new Known(known));
        return { ...s, body };
      }
      default:
        this.forgetWrites([s], known);
        return s;
    }
  }

  private forgetWrites(block: Block, known: Known): void {
    this.effects.eachWrite(block, (slot) => known.set(slot, undefined));
  }

  private test(t: Test, known: Known): Test {
    switch (t.op) {
      case "any":
      case "all":
        return this.junction(t, known);
      case "not": {
        const test = this.test(t.test, known);
        if (test.op === "const") return { ...test, value: !test.value };
        return test.op === "not" ? test.test : { ...t, test };
      }
      case "match": {
        const subject = this.subject(t.subject, known);
        return decide({ ...t, subject, keys: this.values(t.keys, known) });
      }
      case "count":
        return { ...t, subject: this.subject(t.subject, known), keys: this.values(t.keys, known) };
      case "inList":
        return { ...t, subject: this.subject(t.subject, known), lists: this.values(t.lists, known) };
      case "ask":
        return { ...t, args: this.values(t.args, known) };
      case "const":
        return t;
    }
  }

  private junction(t: Extract<Test, { op: "any" | "all" }>, known: Known): Test {
    const deciding = t.op === "any";
    const members: Test[] = [];
    for (const inner of t.tests) {
      const test = this.test(inner, known);
      if (test.op === "const" && test.value !== deciding) continue;
      if (test.op === t.op) members.push(...test.tests);
      else members.push(test);
      if (test.op !== "const") continue;
      // Decides here; what comes before matters only for its side effects, what follows is never asked.
      if (members.every(isPure)) return test;
      break;
    }
    const joined = deciding ? joinKeys(members) : members;
    if (joined.length === 0) return { op: "const", value: !deciding, span: t.span };
    return joined.length === 1 ? joined[0]! : { ...t, tests: joined };
  }

  private subject(s: Subject, known: Known): Subject {
    if (s.op === "one") return { ...s, value: this.value(s.value, known) };
    if (s.op === "list") return { ...s, values: this.values(s.values, known) };
    return s.args.length === 0 ? s : { ...s, args: this.values(s.args, known) };
  }

  private values(list: readonly Value[], known: Known): Value[] {
    return list.map((v) => this.value(v, known));
  }

  private value(v: Value, known: Known): Value {
    switch (v.op) {
      case "const":
        return v;
      case "slot": {
        const text = known.get(v.slot);
        return text === undefined ? v : { op: "const", text };
      }
      case "concat":
        return concatenated(this.values(v.parts, known));
      case "pure":
      case "host":
        return v.args.length === 0 ? v : { ...v, args: this.values(v.args, known) };
    }
  }
}

/** Longest text that folding puts together; beyond it the program does, within its own budget. */
const longestFolded = 4_096;

function concatenated(parts: readonly Value[]): Value {
  const out: Value[] = [];
  for (const part of parts) {
    const last = out.at(-1);
    if (part.op === "const" && last?.op === "const" && last.text.length + part.text.length <= longestFolded) {
      out[out.length - 1] = { op: "const", text: last.text + part.text };
    } else out.push(part);
  }
  const [only] = out;
  if (!only) return { op: "const", text: "" };
  return out.length === 1 && only.op === "const" ? only : { op: "concat", parts: out };
}

/** A match of constants is decided now; regexes are left to run, they may be faulty. */
function decide(t: Extract<Test, { op: "match" }>): Test {
  if (t.capture || t.how === "regex") return t;
  const texts = t.subject.op === "one" ? [t.subject.value] : t.subject.op === "list" ? t.subject.values : undefined;
  if (!texts?.every((v) => v.op === "const") || !t.keys.every((v) => v.op === "const")) return t;
  const keys = t.keys.map((v) => v.text);
  const value = texts.map((v) => v.text).some(tester(t.how, t.fold, keys, budgetDefaults));
  return { op: "const", value, span: t.span };
}

/**
 * Members that ask the same of one subject become one test; without side effects, neither their order nor that of their
 * keys matters. A member with side effects keeps its place.
 */
function joinKeys(tests: readonly Test[]): Test[] {
  const out: Test[] = [];
  const joined = new Map<string, Extract<Test, { op: "match" }>>();
  for (const test of tests) {
    if (!isPure(test)) joined.clear();
    if (test.op !== "match" || test.capture) {
      out.push(test);
      continue;
    }
    const asks = `${test.how} ${test.fold} ${subjectKey(test.subject)}`;
    const same = joined.get(asks);
    if (same) same.keys.push(...test.keys);
    else {
      const first = { ...test, keys: [...test.keys] };
      joined.set(asks, first);
      out.push(first);
    }
  }
  return out;
}
