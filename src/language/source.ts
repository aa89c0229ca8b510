/**
 * Writes the JavaScript of one unit: a block, a rule, or the reading of one subject.
 *
 * The text produced is made of fixed words and of indexes: `K` is the unit's constant table (names, data, author text,
 * slot numbers, prepared matchers), `S` the slots, `H` the host, `R` the RunState, `M` the functions at the end of this
 * file. Slot numbers are constants too, so that rules of one form have one source. Look-ups that nothing on the way can
 * influence start at the first of them and are applied at their own place (planned in plan.ts).
 * Invariants: no author text in the source, whatever it holds. Failure: RegexError for a bad constant pattern.
 */
import type { EffectsOf } from "./effects.ts";
import type { Host } from "./host.ts";
import type { Block, Data, IfStatement, Statement, Subject, Test, Value } from "./ir.ts";
import { capturer, tester } from "./match.ts";
import { startableWith } from "./plan.ts";
import { testerOfMany } from "./probe.ts";
import type { RuleTable } from "./rules.ts";
import { taken } from "./rules.ts";
import {
  applyAnswer,
  firstBreak,
  isPending,
  type RunLimits,
  type RunState,
  returned,
  stopped,
  type Unit,
} from "./run.ts";
import { unchain } from "./walk.ts";

type Loops = ReadonlyArray<string | undefined>;
type Lookup = Extract<Statement, { op: "lookup" }>;

/** Blocks and chains longer than this become tables of rules. */
const inlineStatements = 24;

/** The module as a unit sees it. */
export interface SourceContext {
  readonly limits: RunLimits;
  readonly effects: EffectsOf;
  routine(index: number): Unit;
  table(statements: readonly Statement[], loops: Loops): RuleTable;
  chain(rules: readonly IfStatement[], otherwise: Block, loops: Loops): RuleTable;
  indexed(s: Extract<Statement, { op: "indexed" }>, loops: Loops): RuleTable;
  /** The cache place of a stable subject. */
  subjectNumber(subject: Subject): number | undefined;
  /** Cache places that an effect or look-up empties. */
  invalidatedBy(kind: string): readonly number[];
}

export interface UnitOptions {
  /** Names of the loops around the unit, outermost first; a break leaves the unit with the loop's signal. */
  readonly loops: Loops;
  readonly async: boolean;
  readonly context: SourceContext;
}

/** What a unit does: run a block, run one rule of a chain (answering `taken` when it was true), or read a subject. */
export type UnitBody = { block: Block } | { rule: IfStatement } | { subject: Subject };

/** The unit's source (a function body of `M` that answers constants → function) and its constants. */
export function writeUnit(body: UnitBody, options: UnitOptions): { source: string; constants: unknown[] } {
  const writer = new UnitWriter(options);
  let text: string;
  if ("subject" in body) text = `return ${writer.subject(body.subject)};`;
  else if ("rule" in body) text = `${writer.chainRule(body.rule, options.loops)}return 0;`;
  else text = `${writer.block(body.block, options.loops)}return 0;`;
  const star = options.async ? "*" : "";
  return { source: `return (K) => function${star} (S, H, R) { ${text} };`, constants: writer.constants };
}

class UnitWriter {
  readonly constants: unknown[] = [];
  private readonly options: UnitOptions;
  private readonly context: SourceContext;
  private readonly places = new Map<unknown, string>();
  private variables = 0;

  constructor(options: UnitOptions) {
    this.options = options;
    this.context = options.context;
  }

  block(block: Block, loops: Loops): string {
    if (block.length <= inlineStatements) return this.straight(block, loops);
    const grouped = groupBetweenLookups(block);
    if (grouped.length > 1) return this.straight(grouped, loops);
    const table = this.context.table(block, loops);
    return this.callUnit(this.constant(table), loops, table.async);
  }

  /** One rule of a chain: says when it was the one. */
  chainRule(rule: IfStatement, loops: Loops): string {
    return `if (${this.test(rule.test)}) {${this.block(rule.then, loops)}return ${taken};}`;
  }

  private straight(block: Block, loops: Loops): string {
    let out = "";
    let segment = "";
    let steps = 0;
    const endSegment = (): void => {
      out += steps > 0 ? `R.step(${steps});${segment}` : segment;
      segment = "";
      steps = 0;
    };
    const started = new Map<Lookup, string>();
    for (const [i, s] of block.entries()) {
      if (s.op === "if" || s.op === "indexed") endSegment();
      else steps++;
      if (s.op === "lookup") {
        if (!started.has(s)) {
          for (const other of [s, ...startableWith(block, i, this.context.effects)]) {
            if (!started.has(other)) segment += this.start(other, started);
          }
        }
        segment += this.await(s, started.get(s)!);
      } else segment += this.statement(s, loops);
      if (s.op === "stop" || s.op === "return" || s.op === "break") break;
    }
    endSegment();
    return out;
  }

  private start(s: Lookup, started: Map<Lookup, string>): string {
    const name = `v${this.variables++}`;
    started.set(s, name);
    return `const ${name} = M.start(R, H, ${this.constant(s.name)}, ${this.constant(s.data)});`;
  }

  private statement(s: Exclude<Statement, Lookup>, loops: Loops): string {
    switch (s.op) {
      case "if":
        return this.if(s, loops);
      case "set":
        return `S[${this.constant(s.slot)}] = ${this.sized(s.value)};`;
      case "effect":
        return `H.effect(${this.constant(s.kind)}, ${this.constant(s.data)}, ${this.values(s.args)}, ${this.constant(s.span)});${this.forget(s.kind)}`;
      case "export":
        return `H.exported(${this.constant(s.slot)});`;
      case "stop":
        return `return ${stopped};`;
      case "return":
        return `return ${returned};`;
      case "break":
        return this.break(s.name, loops);
      case "call": {
        const unit = this.context.routine(s.routine);
        const result = unit.async ? "yield* " : "";
        return `if ((${result}${this.constant(unit)}.run(S, H, R)) === ${stopped}) return ${stopped};`;
      }
      case "each":
        return this.each(s, loops);
      case "indexed": {
        const table = this.context.indexed(s, loops);
        return this.callUnit(this.constant(table), loops, table.async);
      }
    }
  }

  private if(s: IfStatement, loops: Loops): string {
    const { rules, otherwise } = unchain(s);
    if (rules.length > inlineStatements) {
      const table = this.context.chain(rules, otherwise, loops);
      return this.callUnit(this.constant(table), loops, table.async);
    }
    const branches = rules.map((rule) => `if (${this.test(rule.test)}) {${this.block(rule.then, loops)}}`);
    const last = otherwise.length > 0 ? ` else {${this.block(otherwise, loops)}}` : "";
    return branches.join(" else ") + last;
  }

  /** Runs another unit and passes on what it says about leaving: to a loop of this unit, or out of it. */
  private callUnit(unit: string, loops: Loops, async: boolean): string {
    const name = `v${this.variables++}`;
    let out = `const ${name} = ${async ? "yield* " : ""}${unit}.run(S, H, R);if (${name} !== 0) {`;
    for (let depth = this.options.loops.length; depth < loops.length; depth++) {
      out += `if (${name} === ${firstBreak + depth}) break L${depth};`;
    }
    return `${out}return ${name};}`;
  }

  private break(name: string | undefined, loops: Loops): string {
    const depth = name === undefined ? loops.length - 1 : loops.lastIndexOf(name);
    return depth >= this.options.loops.length ? `break L${depth};` : `return ${firstBreak + depth};`;
  }

  private each(s: Extract<Statement, { op: "each" }>, loops: Loops): string {
    const body = this.block(s.body, [...loops, s.name]);
    return (
      `H.eachBegin(${this.constant(s.source)}, ${this.constant(s.data)}); R.cache = [];` +
      `try { L${loops.length}: while (H.eachNext()) { R.step(1); R.cache = []; ${body} } } ` +
      `finally { H.eachEnd(); R.cache = []; }`
    );
  }

  private await(s: Lookup, started: string): string {
    const answer = `M.isPending(${started}) ? yield ${started} : ${started}`;
    return `M.applyAnswer(S, ${this.constant(s.writes)}, ${answer});${this.forget(s.name)}`;
  }

  private forget(kind: string): string {
    const places = this.context.invalidatedBy(kind);
    return places.length > 0 ? `M.forget(R, ${this.constant(places)});` : "";
  }

  private test(t: Test): string {
    switch (t.op) {
      case "const":
        return String(t.value);
      case "any":
        return t.tests.length === 0 ? "false" : `(${t.tests.map((inner) => this.test(inner)).join(" || ")})`;
      case "all":
        return t.tests.length === 0 ? "true" : `(${t.tests.map((inner) => this.test(inner)).join(" && ")})`;
      case "not":
        return `!${this.test(t.test)}`;
      case "match":
        return this.match(t);
      case "count":
        return `${this.tester(t)}(String(${this.subject(t.subject)}.length))`;
      case "inList":
        return `M.inList(H, ${this.subject(t.subject)}, ${this.values(t.lists)})`;
      case "ask":
        return `H.ask(${this.constant(t.name)}, ${this.constant(t.data)}, ${this.values(t.args)})`;
    }
  }

  private match(t: Extract<Test, { op: "match" }>): string {
    if (t.capture && (t.how === "glob" || t.how === "regex")) {
      const capture = t.keys.every(isConst)
        ? this.constant(capturer(t.how, t.fold, t.keys.map(constText), this.context.limits.budget))
        : `M.capturer(${this.constant(t.how)}, ${this.constant(t.fold)}, ${this.values(t.keys)})`;
      return `M.captures(H, ${this.subject(t.subject)}, ${capture})`;
    }
    const [only] = t.keys;
    if (t.subject.op === "one") {
      const text = this.value(t.subject.value);
      // The commonest test needs no function call.
      if (t.how === "is" && t.fold === "octet" && t.keys.length === 1) return `(${text} === ${this.value(only!)})`;
      return `${this.tester(t)}(${text})`;
    }
    return `M.some(${this.subject(t.subject)}, ${this.tester(t)})`;
  }

  private tester(t: Extract<Test, { op: "match" | "count" }>): string {
    if (t.keys.every(isConst)) {
      return this.constant(testerOfMany(t.how, t.fold, t.keys.map(constText), this.context.limits.budget));
    }
    return `M.tester(${this.constant(t.how)}, ${this.constant(t.fold)}, ${this.values(t.keys)})`;
  }

  subject(s: Subject): string {
    if (s.op === "one") return `[${this.value(s.value)}]`;
    if (s.op === "list") return this.values(s.values);
    const ask = `H.source(${this.constant(s.source)}, ${this.constant(s.data)}, ${this.values(s.args)})`;
    const place = this.context.subjectNumber(s);
    return place === undefined ? ask : `(R.cache[${this.constant(place)}] ??= ${ask})`;
  }

  private values(list: readonly Value[]): string {
    return `[${list.map((v) => this.value(v)).join(", ")}]`;
  }

  private value(v: Value): string {
    switch (v.op) {
      case "const":
        return this.constant(v.text);
      case "slot":
        return `S[${this.constant(v.slot)}]`;
      case "concat":
        return `R.sized(${["''", ...v.parts.map((part) => this.value(part))].join(" + ")})`;
      case "pure":
      case "host":
        return `H.value(${this.constant(v.name)}, ${this.constant(v.data)}, ${this.values(v.args)})`;
    }
  }

  /** A value for a slot, held to the size of a variable. */
  private sized(v: Value): string {
    const fits = v.op === "const" && v.text.length <= this.context.limits.budget.variableBytes;
    return fits || v.op === "concat" ? this.value(v) : `R.sized(${this.value(v)})`;
  }

  private constant(value: unknown): string {
    let place = this.places.get(value);
    if (place === undefined) {
      place = `K[${this.constants.push(value) - 1}]`;
      this.places.set(value, place);
    }
    return place;
  }
}

/** A long block as its own look-ups, which so can start together, and what stands between them. */
function groupBetweenLookups(block: Block): Block {
  const grouped: Block = [];
  let run: Statement[] = [];
  const endRun = (): void => {
    const [first] = run;
    if (!first) return;
    grouped.push({
      op: "if",
      test: { op: "const", value: true, span: first.span },
      then: run,
      else: [],
      span: first.span,
    });
    run = [];
  };
  for (const s of block) {
    if (s.op === "lookup") {
      endRun();
      grouped.push(s);
    } else run.push(s);
  }
  endRun();
  return grouped;
}

function isConst(v: Value): v is Extract<Value, { op: "const" }> {
  return v.op === "const";
}

function constText(v: Value): string {
  return (v as Extract<Value, { op: "const" }>).text;
}

/** The functions that generated code calls as `M`. */
export function runtimeFor({ budget }: RunLimits): Record<string, unknown> {
  return {
    applyAnswer,
    isPending,
    start(state: RunState, host: Host, name: string, data: Data) {
      const answer = state.lookup(host, name, data);
      // Awaited at its own place; until then, a failure must not count as unhandled when an earlier look-up fails too.
      if (isPending(answer)) answer.catch(() => undefined);
      return answer;
    },
    forget(state: RunState, places: readonly number[]) {
      for (const place of places) state.cache[place] = undefined;
    },
    some(texts: readonly string[], test: (text: string) => boolean) {
      for (const text of texts) if (test(text)) return true;
      return false;
    },
    captures(host: Host, texts: readonly string[], capture: ReturnType<typeof capturer>) {
      for (const text of texts) {
        const groups = capture(text);
        if (!groups) continue;
        host.captured(groups);
        return true;
      }
      return false;
    },
    inList(host: Host, texts: readonly string[], lists: readonly string[]) {
      return texts.some((text) => lists.some((list) => host.inList(list, text)));
    },
    tester: (how: Parameters<typeof tester>[0], fold: Parameters<typeof tester>[1], keys: readonly string[]) =>
      tester(how, fold, keys, budget),
    capturer: (how: Parameters<typeof tester>[0], fold: Parameters<typeof tester>[1], keys: readonly string[]) =>
      capturer(how, fold, keys, budget),
  };
}
