/** Reads and compiles a script for a command, printing what is wrong with it. */
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { diagnosticJson, formatDiagnostic } from "../language/diagnostic.ts";
import { BrokenScript, compileLoaded, type LoadedPolicy } from "../workbench/play/loaded.ts";
import { reasonOf } from "./arguments.ts";
import type { CommandIo } from "./command.ts";

/** Undefined after printing why; diagnostics of level error only. `json`: prints them as one JSON document. */
export function loadPolicy(file: string, io: CommandIo, json: boolean): LoadedPolicy | undefined {
  const path = resolve(io.cwd, file);
  try {
    return compileLoaded(readFileSync(path), path, file);
  } catch (error) {
    if (!(error instanceof BrokenScript)) io.err(`postern: ${file}: ${reasonOf(error)}\n`);
    else if (json) io.out(`${JSON.stringify({ diagnostics: error.errors.map(diagnosticJson) }, null, 2)}\n`);
    else for (const diagnostic of error.errors) io.err(formatDiagnostic(diagnostic, error.source));
    return undefined;
  }
}
