/**
 * From the text of a smtpFilters script to a program (DESIGN §1): parse, check, lower, emit.
 * Failure: a script with errors gives diagnostics and no program; any text gives an answer in bounded time.
 */
import { createHash } from "node:crypto";
import { parse } from "../../grammar/smtpfilters/parser.ts";
import { type Budget, budgetDefaults } from "../config/budget.ts";
import { compileModule } from "../language/compile.ts";
import { type Diagnostic, hasErrors } from "../language/diagnostic.ts";
import type { Trace } from "../language/host.ts";
import type { Module } from "../language/ir.ts";
import { check } from "./check.ts";
import { type Code, codes } from "./codes.ts";
import { checkFlow } from "./flow.ts";
import { type Lowered, lower } from "./lower.ts";
import { Reporter } from "./reporter.ts";
import { Session } from "./runtime.ts";
import { SourceText } from "./source.ts";
import type { EventName, FactSource, PolicyContext, PolicyProgram, PolicySession } from "./types.ts";

/** Part of the hash: a change of meaning of the same text must show as another policy. */
const compilerVersion = "1";

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

export function compilePolicy(source: string, options: PolicyOptions): PolicyResult {
  const budget = options.budget ?? budgetDefaults;
  const text = new SourceText(options.file, source);
  const reporter = new Reporter(text, options.strict ?? false);
  const size = Buffer.byteLength(source);
  if (size > budget.scriptBytes) {
    reporter.report("P006", { start: 0, end: 0 }, `the script has ${size} bytes, the limit is ${budget.scriptBytes}`);
    return { ok: false, diagnostics: reporter.diagnostics() };
  }
  const { script, problems } = parse(source, { nesting: budget.nesting });
  for (const problem of problems) {
    const code = problem.code as Code;
    reporter.report(code, problem, problem.message, problem.hint, codes[code].severity);
  }
  const checked = check(script, budget, reporter);
  if (reporter.failed) return { ok: false, diagnostics: reporter.diagnostics() };
  const lowered = lower(checked, text, budget, reporter);
  if (!reporter.failed) checkFlow(lowered.module, reporter);
  const diagnostics = reporter.diagnostics();
  if (hasErrors(diagnostics)) return { ok: false, diagnostics };
  return { ok: true, program: new Policy(source, options.file, lowered, diagnostics, budget), diagnostics };
}

export class Policy implements PolicyProgram {
  readonly hash: string;
  readonly file: string;
  readonly warnings: readonly Diagnostic[];
  readonly lists: readonly string[];
  private readonly lowered: Lowered;
  private readonly budget: Budget;
  private readonly compiled: ReturnType<typeof compileModule>;

  constructor(source: string, file: string, lowered: Lowered, warnings: readonly Diagnostic[], budget: Budget) {
    this.hash = createHash("sha256").update(`${compilerVersion}\n`).update(source).digest("hex").slice(0, 32);
    this.file = file;
    this.warnings = warnings;
    this.lists = lowered.lists;
    this.lowered = lowered;
    this.budget = budget;
    this.compiled = compileModule(lowered.module, { budget });
  }

  /** For the prover, the difference of two policies and coverage. */
  get module(): Module {
    return this.lowered.module;
  }

  isEmpty(event: EventName): boolean {
    return !this.compiled.has(event);
  }

  session(context: PolicyContext, facts: FactSource, exports: Record<string, string> = {}): PolicySession {
    return new Session(
      { compiled: this.compiled, lowered: this.lowered, budget: this.budget },
      context,
      facts,
      exports,
    );
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
