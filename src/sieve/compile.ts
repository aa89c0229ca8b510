/**
 * Sieve source → a script that can run: parse, check, lower, then the shared optimiser and emitter.
 * Invariants: one pass reports all mistakes of a file; the answer is immutable and identified by a hash of all that
 * went into it; nothing here reads files. Failure: `ok: false` with diagnostics; never throws on bad source.
 */
import { createHash } from "node:crypto";
import type { CommandNode } from "../../grammar/sieve/ast.ts";
import { parserLimits, parseSieve } from "../../grammar/sieve/parser.ts";
import { type Budget, BudgetExceeded, budgetDefaults } from "../config/budget.ts";
import { type CompiledModule, compileModule } from "../language/compile.ts";
import type { Diagnostic } from "../language/diagnostic.ts";
import type { Module } from "../language/ir.ts";
import { RegexError } from "../language/regex.ts";
import { type CheckContext, Checker } from "./check.ts";
import { codes } from "./codes.ts";
import { registry } from "./extensions/index.ts";
import { CodeGenerationError, type IncludeLoader, Includes } from "./includes.ts";
import { Lowering } from "./lower.ts";
import { type Profile, profiles } from "./profile.ts";
import type { Call, Registry } from "./registry.ts";
import { defaultSettings, type SieveSettings } from "./settings.ts";
import { SlotTable } from "./strings.ts";

export interface CompileSieveOptions {
  /** Name for diagnostics. */
  file: string;
  budget?: Budget;
  settings?: SieveSettings;
  profile?: Profile;
  /** Scripts for `include`, read beforehand or from local storage. */
  includeLoader?: IncludeLoader;
  /** Words beyond the shipped extensions (the test suite's). */
  registry?: Registry;
  /** Keep call order visible to `explain`: no optimiser, trace calls in the program. */
  traced?: boolean;
}

/** One stretch of a script: all of it, or the commands between two `test` blocks of a test suite, or one such block. */
export interface Entry {
  name: string;
  /** Title of the `test` block. */
  test?: string;
}

export interface SieveScript {
  readonly file: string;
  /** Hash of the source, included scripts and compiler settings, hexadecimal. */
  readonly hash: string;
  readonly module: Module;
  readonly program: CompiledModule;
  readonly entries: readonly Entry[];
  /** Capabilities that the script requires. */
  readonly capabilities: ReadonlySet<string>;
}

/** Which stage ended the compile; a later one did not run. */
export type Stage = "parse" | "validate" | "generate";

export type CompileSieveResult =
  | { ok: true; script: SieveScript; diagnostics: Diagnostic[] }
  | { ok: false; stage: Stage; diagnostics: Diagnostic[] };

/** A script as an editor needs it: what could be read, and everything that is wrong with it. */
export interface SieveAnalysis {
  commands: readonly CommandNode[];
  diagnostics: Diagnostic[];
  /** The stage that found errors; undefined when there are none. */
  failed: Stage | undefined;
}

/** The compiler without its last stage: no code is made. */
export function analyseSieve(source: string, options: CompileSieveOptions): SieveAnalysis {
  const { commands, diagnostics, failed } = analyse(source, options);
  return { commands, diagnostics, failed };
}

export function compileSieve(source: string, options: CompileSieveOptions): CompileSieveResult {
  const { diagnostics, failed, lowered } = analyse(source, options);
  if (failed !== undefined || lowered === undefined) return { ok: false, stage: failed ?? "generate", diagnostics };
  try {
    const script = assemble(lowered.module, lowered.entries, lowered.capabilities, options);
    return { ok: true, script, diagnostics };
  } catch (problem) {
    return { ok: false, stage: "generate", diagnostics: [...diagnostics, describeProblem(problem, options.file)] };
  }
}

interface Analysed extends SieveAnalysis {
  lowered?: { module: Module; entries: readonly Entry[]; capabilities: ReadonlySet<string> };
}

function analyse(source: string, options: CompileSieveOptions): Analysed {
  const settings = options.settings ?? defaultSettings;
  const { commands, errors } = parseSieve(source, options.file, { ...parserLimits, script: settings.scriptBytes });
  if (errors.length > 0) {
    const diagnostics = errors.map(({ message, span }) => error(codes.syntax, message, span));
    return { commands, failed: "parse", diagnostics };
  }
  const context: CheckContext = {
    registry: options.registry ?? registry,
    settings,
    profile: options.profile ?? profiles.rfc,
    file: options.file,
  };
  const table = new SlotTable();
  const module: Module = { language: "sieve", file: options.file, slots: table.slots, entries: {}, routines: [] };
  const includes = new Includes(context, module, table, options.includeLoader);
  const checker = new Checker(context, includes.newScope());
  const calls = checker.block(commands);
  if (checker.failed) return { commands, failed: "validate", diagnostics: checker.diagnostics };
  try {
    const entries = lowerEntries(calls, new Lowering(module, checker.scope, includes));
    const diagnostics = [...checker.diagnostics, ...includes.diagnostics];
    return {
      commands,
      failed: undefined,
      diagnostics,
      lowered: { module, entries, capabilities: checker.scope.enabled },
    };
  } catch (problem) {
    const last = describeProblem(problem, options.file);
    return { commands, failed: "generate", diagnostics: [...checker.diagnostics, ...includes.diagnostics, last] };
  }
}

/** A script from its stored module (the form that a binary would have). */
export function loadModule(
  module: Module,
  entries: readonly Entry[],
  capabilities: ReadonlySet<string>,
  options: CompileSieveOptions,
): SieveScript {
  return assemble(module, entries, capabilities, options);
}

function assemble(
  module: Module,
  entries: readonly Entry[],
  capabilities: ReadonlySet<string>,
  options: CompileSieveOptions,
): SieveScript {
  const budget = options.budget ?? budgetDefaults;
  const cpuSteps = (options.settings ?? defaultSettings).cpuMs * stepsPerMs;
  const program = compileModule(module, {
    budget: { ...budget, sieveInstructions: Math.min(budget.sieveInstructions, cpuSteps) },
    ...(options.traced ? { traced: true, optimise: false } : {}),
  });
  let hash: string | undefined;
  return {
    file: options.file,
    module,
    program,
    entries,
    capabilities,
    get hash() {
      hash ??= createHash("sha256").update(JSON.stringify(module)).digest("hex").slice(0, 32);
      return hash;
    },
  };
}

/** Statements that a millisecond of CPU time stands for: the same script ends at the same place on each machine. */
const stepsPerMs = 10_000;

function lowerEntries(calls: readonly Call[], to: Lowering): Entry[] {
  const entries: Entry[] = [];
  const add = (body: readonly Call[], test?: string) => {
    const name = entries.length === 0 ? "main" : `main${entries.length}`;
    to.module.entries[name] = to.block(body);
    entries.push(test === undefined ? { name } : { name, test });
  };
  let from = 0;
  for (const [i, call] of calls.entries()) {
    if (call.spec.name !== "test") continue;
    if (i > from) add(calls.slice(from, i));
    add(call.block ?? [], to.constants(call.arguments[0])?.[0] ?? "");
    from = i + 1;
  }
  if (from < calls.length || entries.length === 0) add(calls.slice(from));
  return entries;
}

function describeProblem(problem: unknown, file: string): Diagnostic {
  const start = { offset: 0, line: 1, column: 1 };
  const whole = { file, start, end: start };
  if (problem instanceof CodeGenerationError) return error(codes.include, problem.message, problem.span);
  if (problem instanceof BudgetExceeded) return error(codes.limit, problem.message, whole);
  if (problem instanceof RegexError) return error(codes.value, problem.message, whole);
  throw problem;
}

function error(code: string, message: string, span: Diagnostic["span"]): Diagnostic {
  return { severity: "error", code, message, span };
}
