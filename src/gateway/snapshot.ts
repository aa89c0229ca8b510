/**
 * One consistent reading of the configuration and of every policy file it names. The supervisor takes it, compiles the
 * policy and proves the rest, and hands texts and compiled policy to the workers, so that a worker restarted later runs
 * what was proven and not what is being edited (DESIGN §1: one Program per policy version).
 * Failure: problems come back as printable diagnostics; the caller keeps what it had.
 */
import { readFileSync } from "node:fs";
import { type LoadedConfig, loadConfig } from "../config/load.ts";
import { type Diagnostic, formatDiagnostic, hasErrors } from "../language/diagnostic.ts";
import { type ImageResult, imageOf, openImage, type PolicyImage } from "../policy/image.ts";
import type { PolicyProgram } from "../policy/types.ts";
import type { CompiledSieve } from "../processing/sieve-scripts.ts";
import { makeRewriting, type Rewriting, rewritingFiles } from "./rewriting.ts";
import { checkGlobals, compileConfigured, globalScriptFiles } from "./sieve-scripts.ts";

/** Plain data: crosses the process border. */
export interface Snapshot {
  configFile: string;
  loaded: LoadedConfig;
  /** Policy files by absolute path. */
  files: Record<string, string>;
  /** The live policy, compiled. */
  policy: PolicyImage;
  /** The policy on trial; absent when there is none, when it was stopped, and when it is the live one. */
  candidate?: PolicyImage;
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
  /** The policy on trial. */
  candidate?: PolicyProgram;
}

export type Result<T> = ({ ok: true; warnings: string } & T) | { ok: false; problems: string };

/** Reads configuration and policy files; refuses what can't be read or does not compile. */
export function takeSnapshot(configFile: string, stoppedCandidate?: string): Result<{ snapshot: Snapshot }> {
  const result = loadConfig(configFile);
  if (!result.ok) return { ok: false, problems: print(result.diagnostics, { [configFile]: result.source ?? "" }) };
  const { loaded } = result;
  const { config, budget } = loaded;
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
  const script = config.policy.smtpFilters;
  const live = imageOf(script === null ? "" : files[script]!, { file: script ?? "(no script)", budget });
  if (!live.ok) return { ok: false, problems: print(live.diagnostics, files) };
  const candidate = candidateOf(loaded, files);
  if (candidate?.ok === false) return { ok: false, problems: print(candidate.diagnostics, files) };
  const { hash } = candidate?.image.identity ?? {};
  const onTrial = candidate && hash !== live.image.identity.hash && hash !== stoppedCandidate;
  const snapshot: Snapshot = {
    ...{ configFile, loaded, files, policy: live.image },
    ...(onTrial ? { candidate: candidate.image } : {}),
    ...(stoppedCandidate ? { stoppedCandidate } : {}),
  };
  // What scripts include is known when they are compiled.
  const rest = compileRest(loaded, snapshot, (file) => {
    const text = files[file] ?? textOf(file);
    if (text !== undefined) files[file] = text;
    return text;
  });
  if (!rest.ok) return rest;
  return { ok: true, snapshot, warnings: `${print(live.diagnostics, files)}${rest.warnings}` };
}

/** Puts a snapshot to work, in steps between which the event loop turns. Only Sieve scripts are compiled again. */
export async function openSnapshot(snapshot: Snapshot): Promise<Result<{ compiled: Compiled }>> {
  const { loaded } = snapshot;
  const rest = compileRest(loaded, snapshot, (file) => snapshot.files[file]);
  if (!rest.ok) return rest;
  const program = await openImage(snapshot.policy, loaded.budget);
  const trial = snapshot.candidate?.identity.hash === snapshot.stoppedCandidate ? undefined : snapshot.candidate;
  const candidate = trial && (await openImage(trial, loaded.budget));
  const texts: Record<string, string> = {};
  for (const one of [program, candidate]) if (one) texts[one.hash] = snapshot.files[one.file] ?? "";
  const compiled = { loaded, program, texts, ...(candidate ? { candidate } : {}), ...rest.compiled };
  return { ok: true, compiled, warnings: rest.warnings };
}

/**
 * What is not in the compiled policy.
 * @param read answers a file's text by its path; undefined when there is none
 */
function compileRest(
  loaded: LoadedConfig,
  { configFile, files }: Snapshot,
  read: (file: string) => string | undefined,
): Result<{ compiled: Pick<Compiled, "rewriting" | "sieve" | "globalScripts"> }> {
  const sieve = compileConfigured(loaded, read);
  const global = checkGlobals(loaded, files);
  const printed = print([...sieve.diagnostics, ...global.diagnostics], files);
  if (!sieve.ok || hasErrors(global.diagnostics)) return { ok: false, problems: printed };
  try {
    const rewriting = makeRewriting(loaded.config, loaded.budget, files);
    return {
      ok: true,
      compiled: { rewriting, sieve: sieve.scripts, globalScripts: global.scripts },
      warnings: printed,
    };
  } catch (error) {
    return { ok: false, problems: `${configFile}: error C007 ${(error as Error).message}\n` };
  }
}

/** Undefined when there is none. */
function candidateOf({ config, budget }: LoadedConfig, files: Snapshot["files"]): ImageResult | undefined {
  const file = config.policy.candidate?.smtpFilters;
  return file === undefined ? undefined : imageOf(files[file]!, { file, budget });
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
