/**
 * Checked calls → the intermediate form that both languages share (src/language/ir.ts). Header, address and envelope
 * tests become `match` on named host subjects, so that the optimiser can index runs of rules; chains of
 * if/elsif/else become nested ifs.
 * Invariants: a script file is lowered once even when included twice; included scripts are routines with variables of
 * their own (RFC 6609 §3). Failure: CodeGenerationError for an include that can't be read.
 */
import type { ArgumentNode, StringNode } from "../../grammar/sieve/ast.ts";
import type { Block, Data, Fold, MatchKind, Module, Statement, Subject, Test, Value } from "../language/ir.ts";
import type { Span } from "../language/span.ts";
import type { Includes } from "./includes.ts";
import type { Call, CommandSpec, TestSpec } from "./registry.ts";
import type { Scope } from "./strings.ts";

/** Effects after which header subjects must be asked again. */
export const headerEffects = ["addheader", "deleteheader", "replace", "enclose", "test_set", "test_message"] as const;
/** Effects after which envelope subjects must be asked again: only a test suite changes an envelope. */
export const envelopeEffects = ["test_set", "test_message"] as const;
/** Effects after which settings may answer differently: only a test suite changes them. */
export const settingEffects = ["test_config_reload"] as const;

const relations = new Set(["gt", "ge", "lt", "le", "eq", "ne"]);

export class Lowering {
  readonly module: Module;
  readonly scope: Scope;
  readonly includes: Includes;
  /** Loops around the statement being lowered. */
  loops = 0;
  readonly #subjects = new Map<string, Subject>();

  constructor(module: Module, scope: Scope, includes: Includes) {
    this.module = module;
    this.scope = scope;
    this.includes = includes;
  }

  block(calls: readonly Call[]): Block {
    const out: Block = [];
    for (let i = 0; i < calls.length; i++) {
      const call = calls[i]!;
      if (call.spec.name === "if") {
        const chain = [call];
        while (isBranch(calls[i + 1])) chain.push(calls[++i]!);
        out.push(...this.#chain(chain));
      } else out.push(...(call.spec as CommandSpec).lower(call, this));
    }
    return out;
  }

  /** if, elsif…, else (RFC 5228 §3.1) → nested ifs; branches that are never taken are left out. */
  #chain(chain: readonly Call[]): Block {
    let rest: Block = [];
    for (const call of chain.toReversed()) {
      if (call.unreachable) continue;
      const constant = call.spec.name === "else" ? true : call.tests[0]?.constant;
      if (constant === false) continue;
      const body = this.block(call.block ?? []);
      if (constant === true) rest = body;
      else rest = [{ op: "if", test: this.test(call.tests[0]!), then: body, else: rest, span: call.node.span }];
    }
    return rest;
  }

  test(call: Call): Test {
    if (call.constant !== undefined) return { op: "const", value: call.constant, span: call.node.span };
    return (call.spec as TestSpec).lower(call, this);
  }

  // ---- values

  value(argument: ArgumentNode | undefined): Value {
    return this.values(argument)[0] ?? { op: "const", text: "" };
  }

  values(argument: ArgumentNode | undefined): Value[] {
    if (argument === undefined || argument.kind === "tag") return [];
    if (argument.kind === "number") return [{ op: "const", text: String(argument.value) }];
    const nodes: readonly StringNode[] = argument.kind === "list" ? argument.items : [argument];
    return nodes.map((node) => this.scope.value(node.text));
  }

  /** Texts of a list without variables; undefined when one has some, or there is no argument. */
  constants(argument: ArgumentNode | undefined): string[] | undefined {
    if (argument === undefined) return undefined;
    const texts = this.values(argument).map((value) => (value.op === "const" ? value.text : undefined));
    return texts.every((text) => text !== undefined) ? (texts as string[]) : undefined;
  }

  /** Named groups of values as one argument list; `data.arguments` says where each group is. */
  named(groups: Readonly<Record<string, readonly Value[]>>, data: Data = {}): { args: Value[]; data: Data } {
    const args: Value[] = [];
    const places: Record<string, [number, number]> = {};
    for (const [name, values] of Object.entries(groups)) {
      places[name] = [args.length, args.length + values.length];
      args.push(...values);
    }
    return { args, data: { ...data, arguments: places } };
  }

  effect(
    kind: string,
    span: Span,
    groups: Readonly<Record<string, readonly Value[]>> = {},
    data: Data = {},
  ): Statement {
    return { op: "effect", kind, ...this.named(groups, data), span };
  }

  ask(name: string, span: Span, values: readonly Value[] = [], data: Data = {}, pure = false): Test {
    return { op: "ask", name, args: [...values], data, pure, span };
  }

  /** A test suite must know that `stop` ended it; other scripts need no such mark. */
  beforeStop(span: Span): Statement[] {
    return this.scope.enabled.has("vnd.dovecot.testsuite") ? [this.effect("test_stop", span)] : [];
  }

  // ---- matching

  /** Strings that a host source lists. `invalidatedBy`: effects after which it must be asked again. */
  subject(source: string, data: Data, invalidatedBy: readonly string[], args: readonly Value[] = []): Subject {
    // The words of a test suite change messages and settings in the middle of a script.
    const stable =
      this.loops === 0 &&
      !this.scope.enabled.has("vnd.dovecot.testsuite") &&
      args.every((value) => value.op === "const");
    // Rules ask the same few things: one object for each, which the optimiser recognises at once.
    const key = JSON.stringify([source, data, args, stable, invalidatedBy]);
    let subject = this.#subjects.get(key);
    if (subject === undefined) {
      this.#subjects.set(key, (subject = { op: "host", source, data, args: [...args], stable, invalidatedBy }));
    }
    return subject;
  }

  /** The test that a call's match type and comparator ask for (RFC 5228 §2.7, RFC 5231, RFC 6134). */
  match(
    call: Call,
    subject: Subject,
    keys: ArgumentNode | undefined,
    options: { fold?: Fold; capture?: false } = {},
  ): Test {
    const span = call.node.span;
    const comparator = call.tags.get("comparator")?.value;
    const name = this.constants(comparator)?.[0];
    const fold = (name === undefined ? undefined : this.scope.comparators.get(name)) ?? options.fold ?? "ascii";
    const values = this.values(keys);
    const relation = call.tags.get("value") ?? call.tags.get("count");
    if (relation !== undefined) {
      const how = (this.constants(relation.value)?.[0] ?? "eq").toLowerCase();
      if (!relations.has(how)) throw new Error(`unchecked relation ${how}`);
      const relational = how as "gt";
      return relation.spec.name === "count"
        ? { op: "count", subject, how: relational, keys: values, fold, span }
        : { op: "match", subject, how: relational, fold, keys: values, span };
    }
    if (call.tags.has("list")) return { op: "inList", subject, lists: values, span };
    const how: MatchKind = call.tags.has("contains")
      ? "contains"
      : call.tags.has("matches")
        ? "glob"
        : call.tags.has("regex")
          ? "regex"
          : "is";
    const capture = (how === "glob" || how === "regex") && options.capture !== false && this.scope.hasVariables;
    return { op: "match", subject, how, fold, keys: values, ...(capture ? { capture: true } : {}), span };
  }
}

function isBranch(call: Call | undefined): boolean {
  return call?.spec.name === "elsif" || call?.spec.name === "else";
}
