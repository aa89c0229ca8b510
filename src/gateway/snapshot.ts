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
import type { CompiledSieve } from "../processing/sieve-scripts.ts";
import { makeRewriting, type Rewriting, rewritingFiles } from "./rewriting.ts";
import { checkGlobals, compileConfigured, globalScriptFiles } from "./sieve-scripts.ts";

/** Plain data: crosses the process border. */
export interface Snapshot {
  configFile: string;
  configText: string;
  /** Policy files by absolute path. */
  files: Record<string, string>;
  /** Hash of a candidate policy whose trial was stopped: it is not tried again. */
  stoppedCandidate?: string;
}

export interface Compiled {
  loaded: LoadedConfig;
  /** The empty program when no script is configured: the engine's own policy decides alone. */
  program: PolicyProgram;
  rewriting: Rewriting;
  sieve: readonly CompiledSieve[];
  /** Texts that accounts' scripts may include as global ones, by name. */
  globalScripts: ReadonlyMap<string, string>;
  /** Texts of live policy and candidate, by the hash of the program. */
  texts: Readonly<Record<string, string>>;
  /** The policy on trial; absent when there is none, when it was stopped, and when it is the live one. */
  candidate?: PolicyProgram;
}

export type Result<T> = ({ ok: true; warnings: string } & T) | { ok: false; problems: string };

/** Reads configuration and policy files; refuses what can't be read or does not compile. */
export function takeSnapshot(
  configFile: string,
  stoppedCandidate?: string,
): Result<{ snapshot: Snapshot; compiled: Compiled }> {
  const result = loadConfig(configFile);
  if (!result.ok) return { ok: false, problems: print(result.diagnostics, { [configFile]: result.source ?? "" }) };
  const { config } = result.loaded;
  const files: Record<string, string> = {};
  const wanted = [
    config.policy.smtpFilters,
    config.policy.candidate?.smtpFilters ?? null,
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
  try {
    for (const file of globalScriptFiles(config)) files[file] = readFileSync(file, "utf8");
  } catch (error) {
    return {
      ok: false,
      problems: `${configFile}: error C006 managesieve.globalScripts: ${(error as Error).message}\n`,
    };
  }
  const configText = readFileSync(configFile, "utf8");
  const snapshot = { configFile, configText, files, ...(stoppedCandidate ? { stoppedCandidate } : {}) };
  // What scripts include is known when they are compiled.
  const compiled = compileSnapshot(snapshot, (file) => {
    const text = files[file] ?? textOf(file);
    if (text !== undefined) files[file] = text;
    return text;
  });
  return compiled.ok ? { ...compiled, snapshot } : compiled;
}

/** @param read answers a file's text by its path; undefined when there is none. */
export function compileSnapshot(
  snapshot: Snapshot,
  read: (file: string) => string | undefined = (file) => snapshot.files[file],
): Result<{ compiled: Compiled }> {
  const result = parseConfig(snapshot.configText, snapshot.configFile);
  if (!result.ok)
    return { ok: false, problems: print(result.diagnostics, { [snapshot.configFile]: snapshot.configText }) };
  const { loaded } = result;
  const script = loaded.config.policy.smtpFilters;
  const text = script === null ? "" : (snapshot.files[script] ?? "");
  const policy = compilePolicy(text, { file: script ?? "(no script)", budget: loaded.budget });
  const sieve = compileConfigured(loaded, read);
  const global = checkGlobals(loaded, snapshot.files);
  const printed = print([...policy.diagnostics, ...sieve.diagnostics, ...global.diagnostics], snapshot.files);
  if (!sieve.ok || hasErrors(global.diagnostics)) return { ok: false, problems: printed };
  if (!policy.ok || hasErrors(policy.diagnostics)) return { ok: false, problems: printed };
  const candidate = compileCandidate(loaded, snapshot);
  if (!candidate.ok) return candidate;
  const { hash } = policy.program;
  const texts: Record<string, string> = { [hash]: text };
  if (candidate.program) texts[candidate.program.hash] = snapshot.files[candidate.program.file] ?? "";
  const onTrial = candidate.program && candidate.program.hash !== hash ? { candidate: candidate.program } : {};
  try {
    const rewriting = makeRewriting(loaded.config, loaded.budget, snapshot.files);
    return {
      ok: true,
      compiled: {
        ...{ loaded, program: policy.program, rewriting, texts, ...onTrial },
        ...{ sieve: sieve.scripts, globalScripts: global.scripts },
      },
      warnings: printed,
    };
  } catch (error) {
    return { ok: false, problems: `${snapshot.configFile}: error C007 ${(error as Error).message}\n` };
  }
}

/** The policy on trial, unless it was stopped. */
function compileCandidate(
  { config, budget }: LoadedConfig,
  snapshot: Snapshot,
): { ok: true; program: PolicyProgram | undefined } | { ok: false; problems: string } {
  const file = config.policy.candidate?.smtpFilters;
  if (file === undefined) return { ok: true, program: undefined };
  const result = compilePolicy(snapshot.files[file] ?? "", { file, budget });
  if (!result.ok) return { ok: false, problems: print(result.diagnostics, snapshot.files) };
  return { ok: true, program: result.program.hash === snapshot.stoppedCandidate ? undefined : result.program };
}

/** Undefined when the file can't be read: whoever includes it says so. */
function textOf(file: string): string | undefined {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return undefined;
  }
}

function print(diagnostics: readonly Diagnostic[], sources: Readonly<Record<string, string>>): string {
  return diagnostics.map((diagnostic) => formatDiagnostic(diagnostic, sources[diagnostic.span.file])).join("");
}
