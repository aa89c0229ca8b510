/**
 * From IR to something that runs: optimise, then emit; or the traced variant, which interprets the module as written.
 * Failure: a module that is not well-formed is a fault of the language that made it and shows as an error here or later;
 * tests check every module with verify.ts.
 */
import { type Budget, budgetDefaults } from "../config/budget.ts";
import { emit } from "./emit.ts";
import { interpreted } from "./interpret.ts";
import type { Module } from "./ir.ts";
import { optimise } from "./optimise/optimise.ts";
import type { CompiledModule } from "./run.ts";

export type { CompiledModule } from "./run.ts";

export interface CompileOptions {
  readonly budget?: Budget;
  /** Makes the variant that reports to a Trace and keeps the order and number of tests of the source. */
  readonly traced?: boolean;
  /** Default true; false emits the module as it is (for comparison). */
  readonly optimise?: boolean;
}

export function compileModule(module: Module, options: CompileOptions = {}): CompiledModule {
  const limits = { budget: options.budget ?? budgetDefaults };
  if (options.traced) return interpreted(module, limits);
  return emit(options.optimise === false ? module : optimise(module), limits);
}
