/**
 * Scripts included by scripts (RFC 6609): each is read, checked and lowered once per compile, as a routine.
 * Invariants: no cycles, bounded depth and number; a loader answers from memory or local storage only.
 * Failure: CodeGenerationError with the include's span; the included script's own mistakes are in `diagnostics`.
 */
import { parserLimits, parseSieve } from "../../grammar/sieve/parser.ts";
import type { Diagnostic } from "../language/diagnostic.ts";
import type { Module } from "../language/ir.ts";
import type { Span } from "../language/span.ts";
import { type CheckContext, Checker } from "./check.ts";
import { codes } from "./codes.ts";
import { Lowering } from "./lower.ts";
import { Scope, type SlotTable } from "./strings.ts";

export type IncludeLocation = "personal" | "global";

/** Answers a script's text, undefined when there is none of that name. */
export type IncludeLoader = (location: IncludeLocation, name: string) => string | undefined;

/** A checked script that can't be lowered. */
export class CodeGenerationError extends Error {
  readonly span: Span;
  constructor(message: string, span: Span) {
    super(message);
    this.name = "CodeGenerationError";
    this.span = span;
  }
}

export class Includes {
  readonly diagnostics: Diagnostic[] = [];
  readonly #context: CheckContext;
  readonly #module: Module;
  readonly #table: SlotTable;
  readonly #loader: IncludeLoader | undefined;
  readonly #routines = new Map<string, number>();
  /** Scripts being lowered, outermost first. */
  readonly #open: string[] = [];

  constructor(context: CheckContext, module: Module, table: SlotTable, loader: IncludeLoader | undefined) {
    this.#context = context;
    this.#module = module;
    this.#table = table;
    this.#loader = loader;
  }

  newScope(): Scope {
    return new Scope(this.#table, { variables: this.#context.settings.maxVariables, matchValues: 32 });
  }

  /** The routine of an included script; undefined for an optional one that isn't there. */
  routine(location: IncludeLocation, name: string, optional: boolean, span: Span): number | undefined {
    const key = `${location}:${name}`;
    const { includeDepth, includes } = this.#context.settings;
    const fail = (message: string): never => {
      throw new CodeGenerationError(message, span);
    };
    if (this.#open.includes(key)) fail("circular include");
    if (this.#open.length >= includeDepth) fail(`cannot nest includes deeper than ${includeDepth} levels`);
    const known = this.#routines.get(key);
    if (known !== undefined) return known;
    const source = this.#loader?.(location, name);
    if (source === undefined) {
      if (optional) return undefined;
      fail(`included ${location} script '${name}' does not exist`);
    }
    if (this.#routines.size >= includes)
      fail(`failed to include script '${name}': no more than ${includes} includes allowed`);
    const routine = this.#module.routines.push([]) - 1;
    this.#routines.set(key, routine);
    this.#open.push(key);
    this.#lower(source!, name, routine, span);
    this.#open.pop();
    return routine;
  }

  #lower(source: string, name: string, routine: number, span: Span): void {
    const file = `${name}.sieve`;
    const parsed = parseSieve(source, file, { ...parserLimits, script: this.#context.settings.scriptBytes });
    for (const { message, span } of parsed.errors) {
      this.diagnostics.push({ severity: "error", code: codes.syntax, message, span });
    }
    if (parsed.errors.length > 0) throw new CodeGenerationError(`failed to parse included script '${name}'`, span);
    const scope = this.newScope();
    const checker = new Checker({ ...this.#context, file }, scope);
    const calls = checker.block(parsed.commands);
    this.diagnostics.push(...checker.diagnostics);
    if (checker.failed) throw new CodeGenerationError(`failed to validate included script '${name}'`, span);
    try {
      const body = new Lowering(this.#module, scope, this).block(calls);
      // RFC 6609 §3.1: each inclusion begins with fresh local variables.
      const globals = new Set(this.#table.globalSlots);
      const fresh = [...scope.locals].filter((slot) => !globals.has(slot));
      this.#module.routines[routine] = [
        ...fresh.map((slot) => ({ op: "set" as const, slot, value: { op: "const" as const, text: "" }, span })),
        ...body,
      ];
    } catch (error) {
      if (!(error instanceof CodeGenerationError)) throw error;
      this.diagnostics.push({ severity: "error", code: codes.include, message: error.message, span: error.span });
      throw new CodeGenerationError(`failed to generate code for included script '${name}'`, span);
    }
  }
}
