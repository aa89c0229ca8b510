/**
 * One consistent reading of the configuration and of every policy file it names. The supervisor takes it, proves that
 * it compiles, and hands the texts to the workers, so that a worker restarted later runs what was proven and not
 * what is being edited (DESIGN §1: one Program per policy version).
 * Failure: problems come back as printable diagnostics; the caller keeps what it had.
 */
import { readFileSync } from "node:fs";
import { type LoadedConfig, loadConfig, parseConfig } from "../config/load.ts";
import { type Diagnostic, formatDiagnostic, hasErrors } from "../language/diagnostic.ts";
import { compilePolicy } from "../policy/compile.ts";
import type { PolicyProgram } from "../policy/types.ts";
import { makeRewriting, type Rewriting, rewritingFiles } from "./rewriting.ts";

/** Plain data: crosses the process border. */
export interface Snapshot {
  configFile: string;
  configText: string;
  /** Policy files by absolute path. */
  files: Record<string, string>;
}

export interface Compiled {
  loaded: LoadedConfig;
  /** The empty program when no script is configured: the engine's own policy decides alone. */
  program: PolicyProgram;
  rewriting: Rewriting;
}

export type Result<T> = ({ ok: true; warnings: string } & T) | { ok: false; problems: string };

/** Reads configuration and policy files; refuses what can't be read or does not compile. */
export function takeSnapshot(configFile: string): Result<{ snapshot: Snapshot; compiled: Compiled }> {
  const result = loadConfig(configFile);
  if (!result.ok) return { ok: false, problems: print(result.diagnostics, { [configFile]: result.source ?? "" }) };
  const { config } = result.loaded;
  const files: Record<string, string> = {};
  const wanted = [
    config.policy.smtpFilters,
    ...config.policy.sieve.map((script) => script.file),
    ...rewritingFiles(config),
  ];
  for (const file of wanted) {
    if (file === null) continue;
    try {
      files[file] = readFileSync(file, "utf8");
    } catch (error) {
      const reason = (error as NodeJS.ErrnoException).code === "ENOENT" ? "there is no such file" : String(error);
      return { ok: false, problems: `${configFile}: error C006 cannot read ${file}: ${reason}\n` };
    }
  }
  const snapshot = { configFile, configText: readFileSync(configFile, "utf8"), files };
  const compiled = compileSnapshot(snapshot);
  return compiled.ok ? { ...compiled, snapshot } : compiled;
}

export function compileSnapshot(snapshot: Snapshot): Result<{ compiled: Compiled }> {
  const result = parseConfig(snapshot.configText, snapshot.configFile);
  if (!result.ok)
    return { ok: false, problems: print(result.diagnostics, { [snapshot.configFile]: snapshot.configText }) };
  const { loaded } = result;
  const script = loaded.config.policy.smtpFilters;
  const text = script === null ? "" : (snapshot.files[script] ?? "");
  const policy = compilePolicy(text, { file: script ?? "(no script)", budget: loaded.budget });
  const printed = print(policy.diagnostics, snapshot.files);
  if (!policy.ok || hasErrors(policy.diagnostics)) return { ok: false, problems: printed };
  try {
    const rewriting = makeRewriting(loaded.config, loaded.budget, snapshot.files);
    return { ok: true, compiled: { loaded, program: policy.program, rewriting }, warnings: printed };
  } catch (error) {
    return { ok: false, problems: `${snapshot.configFile}: error C007 ${(error as Error).message}\n` };
  }
}

function print(diagnostics: readonly Diagnostic[], sources: Readonly<Record<string, string>>): string {
  return diagnostics.map((diagnostic) => formatDiagnostic(diagnostic, sources[diagnostic.span.file])).join("");
}
