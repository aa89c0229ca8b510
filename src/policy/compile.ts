/**
 * From the text of a smtpFilters script to a program (DESIGN §1): parse, check, lower, emit.
 * Failure: a script with errors gives diagnostics and no program; any text gives an answer in bounded time.
 */
import { createHash } from "node:crypto";
import type { Script } from "../../grammar/smtpfilters/ast.ts";
import { type ParseResult, parse } from "../../grammar/smtpfilters/parser.ts";
import { type Budget, budgetDefaults } from "../config/budget.ts";
import { compileModule } from "../language/compile.ts";
import { type Diagnostic, hasErrors } from "../language/diagnostic.ts";
import type { Trace } from "../language/host.ts";
import type { Module } from "../language/ir.ts";
import { assertionsOf } from "./assertion.ts";
import { check } from "./check.ts";
import { type Code, codes } from "./codes.ts";
import { checkFlow } from "./flow.ts";
import { type Lowered, lower } from "./lower.ts";
import { Program } from "./program.ts";
import { Reporter } from "./reporter.ts";
import { Session } from "./runtime.ts";
import { SourceText } from "./source.ts";
import type { FactSource, PolicyContext, PolicySession } from "./types.ts";

/** Part of the hash: a change of meaning of the same text must show as another policy. */
const compilerVersion = "1";

/** Mistakes after which lowering would not end, or would read operands that are not there. */
const unfitToLower: ReadonlySet<string> = new Set(["P007", "P009", "P015", "P018", "P019"]);

export interface PolicyOptions {
  /** Name for diagnostics. */
  file: string;
  budget?: Budget;
  /** Flags what the original language doesn't have. */
  strict?: boolean;
}

export type PolicyResult =
  | { ok: true; program: Policy; diagnostics: Diagnostic[] }
  | { ok: false; diagnostics: Diagnostic[] };

/** A script as an editor needs it: what could be read, and everything that is wrong with it. */
export interface PolicyAnalysis {
  /** Undefined when the text is too large to be read. */
  script: Script | undefined;
  diagnostics: Diagnostic[];
  /** Undefined when the script has errors. */
  lowered: Lowered | undefined;
}

/** The compiler without its last stage: no code is made. `parsed`: the tree, when it is at hand. */
export function analysePolicy(source: string, options: PolicyOptions, parsed?: ParseResult): PolicyAnalysis {
  const budget = options.budget ?? budgetDefaults;
  const text = new SourceText(options.file, source);
  const reporter = new Reporter(text, options.strict ?? false);
  const size = Buffer.byteLength(source);
  if (size > budget.scriptBytes) {
    reporter.report("P006", { start: 0, end: 0 }, `the script has ${size} bytes, the limit is ${budget.scriptBytes}`);
    return { script: undefined, diagnostics: reporter.diagnostics(), lowered: undefined };
  }
  const { script, problems } = parsed ?? parse(source, { nesting: budget.nesting });
  for (const problem of problems) {
    const code = problem.code as Code;
    reporter.report(code, problem, problem.message, problem.hint, codes[code].severity);
  }
  for (const { span, message, hint } of assertionsOf(source, options.file, budget).diagnostics) {
    reporter.report("P060", { start: span.start.offset, end: span.end.offset }, message, hint);
  }
  const checked = check(script, budget, reporter);
  // Most mistakes leave the rest of the script readable: its variables and values are looked at all the same.
  if (reporter.diagnostics().some(({ code }) => unfitToLower.has(code))) {
    return { script, diagnostics: reporter.diagnostics(), lowered: undefined };
  }
  const lowered = lower(checked, text, budget, reporter);
  if (!reporter.failed) checkFlow(lowered.module, reporter);
  const diagnostics = reporter.diagnostics();
  return { script, diagnostics, lowered: hasErrors(diagnostics) ? undefined : lowered };
}

/** Names what a text means: content and compiler. */
export function policyHash(source: string): string {
  return createHash("sha256").update(`${compilerVersion}\n`).update(source).digest("hex").slice(0, 32);
}

export function compilePolicy(source: string, options: PolicyOptions): PolicyResult {
  const { diagnostics, lowered } = analysePolicy(source, options);
  if (lowered === undefined) return { ok: false, diagnostics };
  const program = new Policy(source, options.file, lowered, diagnostics, options.budget ?? budgetDefaults);
  return { ok: true, program, diagnostics };
}

export class Policy extends Program {
  private readonly lowered: Lowered;
  private readonly budget: Budget;

  constructor(source: string, file: string, lowered: Lowered, warnings: readonly Diagnostic[], budget: Budget) {
    const compiled = compileModule(lowered.module, { budget });
    super({ hash: policyHash(source), file, warnings, lists: lowered.lists }, { compiled, lowered, budget });
    this.lowered = lowered;
    this.budget = budget;
  }

  /** For the prover, the difference of two policies and coverage. */
  get module(): Module {
    return this.lowered.module;
  }

  /** A session that runs the rules as written and reports each test and statement. */
  tracedSession(
    context: PolicyContext,
    facts: FactSource,
    exports: Record<string, string>,
    trace: Trace,
  ): PolicySession {
    const compiled = compileModule(this.lowered.module, { budget: this.budget, traced: true });
    return new Session({ compiled, lowered: this.lowered, budget: this.budget, trace }, context, facts, exports);
  }
}
