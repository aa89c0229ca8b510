/**
 * Runs a compiled script on one message for one recipient and answers what should happen, without doing any of it.
 * Invariants: a pure function of (script, input, settings); no I/O. Failure: an error of the run leaves an implicit
 * keep of the message as it came in and says why in `errors` (RFC 5228 §2.10.6); the caller's own mistakes throw.
 */
import { type Budget, BudgetExceeded, budgetDefaults } from "../config/budget.ts";
import type { Trace } from "../language/host.ts";
import { RegexError } from "../language/regex.ts";
import type { SieveScript } from "./compile.ts";
import { SieveRuntimeError } from "./errors.ts";
import { registry } from "./extensions/index.ts";
import { type Remembered, SieveHost, type SieveInput } from "./host.ts";
import { type Action, Result } from "./result.ts";
import { defaultSettings, type SieveSettings } from "./settings.ts";

export interface RunOptions {
  budget?: Budget;
  settings?: SieveSettings;
  trace?: Trace;
}

export interface SieveResult {
  /** In script order; the implicit keep is not among them. */
  actions: Action[];
  implicitKeep: boolean;
  /** IMAP flags for an implicit keep (RFC 5232 §5). */
  keepFlags: string[];
  /** Why the run ended early; the actions are empty then. */
  errors: Array<{ line: number; message: string }>;
  /** The message with its edits, absent when it is unchanged. */
  editedMessage?: Buffer;
  /** Keys of `duplicate` tests to remember when the result is committed (RFC 7352 §3). */
  remember: Remembered[];
  /** Texts of debug commands. */
  log: string[];
}

export function runSieve(script: SieveScript, input: SieveInput, options: RunOptions = {}): SieveResult {
  const settings = options.settings ?? defaultSettings;
  const budget = options.budget ?? budgetDefaults;
  const result = new Result(() => ({
    maxActions: Math.min(settings.maxActions, budget.sieveActions),
    maxRedirects: Math.min(settings.maxRedirects, budget.sieveRedirects),
    maxNotifications: settings.maxNotifications,
  }));
  let host: SieveHost;
  try {
    host = new SieveHost({ registry, budget, settings, input, result });
    execute(script, host, options.trace);
  } catch (problem) {
    return failed(runProblem(problem));
  }
  return {
    actions: result.actions.map((placed) => placed.action),
    implicitKeep: result.implicitKeep,
    keepFlags: host.flags,
    errors: [],
    ...(host.mail.edited || host.replaced ? { editedMessage: host.mail.bytes } : {}),
    remember: host.remembered,
    log: host.notes,
  };
}

/** Runs all of a script against a host. Throws what `runProblem` explains. */
export function execute(script: SieveScript, host: SieveHost, trace?: Trace): void {
  const slots = script.module.slots.map(() => "");
  for (const { name } of script.entries) {
    // Sieve programs have no look-ups, so a run is over when it returns.
    void script.program.run(name, slots, host, trace);
  }
  host.finish();
}

/** The message for an error that a script can cause; rethrows any other. */
export function runProblem(problem: unknown): { line: number; message: string } {
  if (problem instanceof SieveRuntimeError) return { line: problem.span?.start.line ?? 0, message: problem.message };
  if (problem instanceof BudgetExceeded) return { line: 0, message: problem.message };
  if (problem instanceof RegexError) return { line: 0, message: `invalid regular expression: ${problem.message}` };
  if (problem instanceof RangeError) return { line: 0, message: problem.message };
  throw problem;
}

function failed(error: { line: number; message: string }): SieveResult {
  return { actions: [], implicitKeep: true, keepFlags: [], errors: [error], remember: [], log: [] };
}
