/**
 * The meaning of the IR, spelled out: a direct interpreter, statement by statement, without caches or indexes.
 *
 * It is the reference that emitted and optimised programs are compared with, and the traced variant that explain,
 * coverage and the debugger run: what it reports is by construction what the rules mean.
 * Trace: one `test` per evaluated leaf test with the texts it saw (at most `tracedValues`), and one `statement` per
 * statement; an `if` reports kind "if" with detail "then" or "else". A test or statement not reported was not reached:
 * its span lies behind a short circuit, a branch not taken, or a stop.
 * Failure: as run.ts.
 */
import type { Host, Trace } from "./host.ts";
import type { Block, IfStatement, Module, Statement, Subject, Test, Value } from "./ir.ts";
import { capturer, tester } from "./match.ts";
import {
  applyAnswer,
  type CompiledModule,
  drive,
  firstBreak,
  isPending,
  proceed,
  type RunLimits,
  type Running,
  RunState,
  returned,
  type Signal,
  stateLimits,
  stopped,
} from "./run.ts";

/** How many texts of one subject a trace shows. */
const tracedValues = 10;

export function interpreted(module: Module, limits: RunLimits): CompiledModule {
  const state = stateLimits(module, limits);
  return {
    entries: Object.keys(module.entries),
    has: (entry) => (module.entries[entry]?.length ?? 0) > 0,
    run(entry, slots, host, trace) {
      const block = module.entries[entry];
      if (!block) return;
      const machine = new Interpreter(module, limits, slots, host, new RunState(state), trace);
      return drive(machine.block(block, []));
    },
  };
}

class Interpreter {
  private readonly module: Module;
  private readonly limits: RunLimits;
  private readonly slots: string[];
  private readonly host: Host;
  private readonly state: RunState;
  private readonly trace: Trace | undefined;

  constructor(
    module: Module,
    limits: RunLimits,
    slots: string[],
    host: Host,
    state: RunState,
    trace: Trace | undefined,
  ) {
    this.module = module;
    this.limits = limits;
    this.slots = slots;
    this.host = host;
    this.state = state;
    this.trace = trace;
  }

  /** `loops`: names of the loops around the block, outermost first. */
  *block(block: Block, loops: ReadonlyArray<string | undefined>): Running {
    for (const statement of block) {
      const signal: Signal = yield* this.statement(statement, loops);
      if (signal !== proceed) return signal;
    }
    return proceed;
  }

  private *statement(s: Statement, loops: ReadonlyArray<string | undefined>): Running {
    if (s.op === "if") return yield* this.chain(s, loops);
    if (s.op === "indexed") return yield* this.indexed(s, loops);
    this.state.step(1);
    switch (s.op) {
      case "set": {
        const value = this.state.sized(this.value(s.value));
        this.slots[s.slot] = value;
        this.trace?.statement(s.span, s.rule, "set", `${this.module.slots[s.slot]!.name} = ${value}`);
        return proceed;
      }
      case "effect": {
        const args = this.values(s.args);
        this.trace?.statement(s.span, s.rule, "effect", [s.kind, ...args].join(" "));
        this.host.effect(s.kind, s.data, args, s.span);
        return proceed;
      }
      case "lookup": {
        const started = this.state.lookup(this.host, s.name, s.data);
        const answer = isPending(started) ? yield started : started;
        applyAnswer(this.slots, s.writes, answer);
        const seen = s.writes.map((slot) => `${this.module.slots[slot]!.name} = ${this.slots[slot]}`);
        this.trace?.statement(s.span, s.rule, "lookup", [s.name, ...seen].join(" "));
        return proceed;
      }
      case "export":
        this.trace?.statement(s.span, undefined, "export", this.module.slots[s.slot]!.name);
        this.host.exported(s.slot);
        return proceed;
      case "stop":
        this.trace?.statement(s.span, undefined, "stop", "");
        return stopped;
      case "return":
        return returned;
      case "call": {
        const signal: Signal = yield* this.block(this.module.routines[s.routine]!, []);
        return signal === stopped ? stopped : proceed;
      }
      case "break": {
        const depth = s.name === undefined ? loops.length - 1 : loops.lastIndexOf(s.name);
        return firstBreak + depth;
      }
      case "each":
        return yield* this.each(s, loops);
    }
  }

  /** An elsif chain of any length takes one frame. */
  private *chain(first: IfStatement, loops: ReadonlyArray<string | undefined>): Running {
    for (let rule = first; ; ) {
      const taken = this.test(rule.test, rule.rule);
      this.trace?.statement(rule.span, rule.rule, "if", taken ? "then" : "else");
      if (taken) return yield* this.block(rule.then, loops);
      const [next] = rule.else;
      if (rule.else.length !== 1 || next?.op !== "if") return yield* this.block(rule.else, loops);
      rule = next;
    }
  }

  private *each(s: Extract<Statement, { op: "each" }>, loops: ReadonlyArray<string | undefined>): Running {
    this.host.eachBegin(s.source, s.data);
    try {
      while (this.host.eachNext()) {
        this.state.step(1);
        const signal: Signal = yield* this.block(s.body, [...loops, s.name]);
        if (signal === firstBreak + loops.length) break;
        if (signal !== proceed) return signal;
      }
      return proceed;
    } finally {
      this.host.eachEnd();
    }
  }

  /** The plan of an index is advice: its meaning is the rules in order. */
  private *indexed(s: Extract<Statement, { op: "indexed" }>, loops: ReadonlyArray<string | undefined>): Running {
    for (const rule of s.ifs) {
      const taken = this.test(rule.test, rule.rule);
      this.trace?.statement(rule.span, rule.rule, "if", taken ? "then" : "else");
      const signal: Signal = yield* this.block(taken ? rule.then : rule.else, loops);
      if (signal !== proceed) return signal;
      if (taken && s.otherwise) return proceed;
    }
    return s.otherwise ? yield* this.block(s.otherwise, loops) : proceed;
  }

  private test(t: Test, rule: string | undefined): boolean {
    if (t.op === "any") return t.tests.some((inner) => this.test(inner, rule));
    if (t.op === "all") return t.tests.every((inner) => this.test(inner, rule));
    if (t.op === "not") return !this.test(t.test, rule);
    let seen: readonly string[] = [];
    let result: boolean;
    switch (t.op) {
      case "const":
        result = t.value;
        break;
      case "match": {
        seen = this.subject(t.subject);
        const keys = this.values(t.keys);
        if (t.capture) {
          const capture = capturer(t.how, t.fold, keys, this.limits.budget);
          let groups: readonly string[] | undefined;
          for (const text of seen) if ((groups = capture(text))) break;
          if (groups && (t.how === "glob" || t.how === "regex")) this.host.captured(groups);
          result = groups !== undefined;
        } else {
          result = seen.some(tester(t.how, t.fold, keys, this.limits.budget));
        }
        break;
      }
      case "count":
        seen = [String(this.subject(t.subject).length)];
        result = seen.some(tester(t.how, t.fold, this.values(t.keys), this.limits.budget));
        break;
      case "inList": {
        seen = this.subject(t.subject);
        const lists = this.values(t.lists);
        result = seen.some((text) => lists.some((list) => this.host.inList(list, text)));
        break;
      }
      case "ask":
        seen = this.values(t.args);
        result = this.host.ask(t.name, t.data, seen);
        break;
    }
    this.trace?.test(t.span, rule, result, seen.slice(0, tracedValues));
    return result;
  }

  private subject(s: Subject): readonly string[] {
    if (s.op === "one") return [this.value(s.value)];
    if (s.op === "list") return this.values(s.values);
    return this.host.source(s.source, s.data, this.values(s.args));
  }

  private values(list: readonly Value[]): string[] {
    return list.map((v) => this.value(v));
  }

  private value(v: Value): string {
    switch (v.op) {
      case "const":
        return v.text;
      case "slot":
        return this.slots[v.slot]!;
      case "concat":
        return this.state.sized(this.values(v.parts).join(""));
      case "pure":
      case "host":
        return this.host.value(v.name, v.data, this.values(v.args));
    }
  }
}
