/**
 * The configured Sieve scripts: compiled together when a configuration is taken, made into filters of the chain.
 * Invariant: either all scripts compile or none is used, so that a reload with a broken one leaves the old in force.
 * Failure: `ok: false` with every script's diagnostics.
 */
import type { Budget } from "../config/budget.ts";
import { type Diagnostic, hasErrors } from "../language/diagnostic.ts";
import { compileSieve, type SieveScript } from "../sieve/compile.ts";
import type { IncludeLoader } from "../sieve/includes.ts";
import { type Profile, profiles } from "../sieve/profile.ts";
import type { SieveSettings } from "../sieve/settings.ts";
import type { Filter, FilterLevel } from "./filter.ts";
import { type SieveFilterOptions, sieveFilter } from "./sieve-filter.ts";

/** One entry of `policy.sieve`, with the file's text. */
export interface SieveSource {
  level: FilterLevel;
  /** Domain or account address; "" at server level. */
  match: string;
  priority: number;
  file: string;
  text: string;
  /** Scripts that it may include. */
  includeLoader?: IncludeLoader;
}

export type CompiledSieve = Omit<SieveSource, "text" | "includeLoader"> & { script: SieveScript };

export function compileSieveScripts(
  sources: readonly SieveSource[],
  options: { budget: Budget; settings: SieveSettings; profile: keyof typeof profiles },
): { ok: true; scripts: CompiledSieve[]; diagnostics: Diagnostic[] } | { ok: false; diagnostics: Diagnostic[] } {
  const profile: Profile = profiles[options.profile];
  const scripts: CompiledSieve[] = [];
  const diagnostics: Diagnostic[] = [];
  for (const { text, includeLoader, ...source } of sources) {
    const { budget, settings } = options;
    const loader = includeLoader === undefined ? {} : { includeLoader };
    const result = compileSieve(text, { file: source.file, budget, settings, profile, ...loader });
    diagnostics.push(...result.diagnostics);
    if (result.ok) scripts.push({ ...source, script: result.script });
  }
  const ok = scripts.length === sources.length && !hasErrors(diagnostics);
  return ok ? { ok, scripts, diagnostics } : { ok, diagnostics };
}

/** Filters of compiled scripts, in the order given; the chain sorts them by level and priority. */
export function sieveFilters(
  scripts: readonly CompiledSieve[],
  options: Omit<SieveFilterOptions, "level" | "priority" | "owner">,
): Filter[] {
  return scripts.map(({ script, level, match, priority }) =>
    sieveFilter(script, { ...options, level, priority, ...(level === "server" ? {} : { owner: match }) }),
  );
}
