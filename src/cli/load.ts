/** Reads and compiles a script for a command, printing what is wrong with it. */
import { readFileSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { diagnosticJson, formatDiagnostic } from "../language/diagnostic.ts";
import { compilePolicy } from "../policy/compile.ts";
import { decodeScript } from "../policy/source.ts";
import type { LoadedPolicy } from "../workbench/play/loaded.ts";
import { reasonOf } from "./arguments.ts";
import type { CommandIo } from "./command.ts";

/** Undefined after printing why; diagnostics of level error only. `json`: prints them as one JSON document. */
export function loadPolicy(file: string, io: CommandIo, json: boolean): LoadedPolicy | undefined {
  const path = resolve(io.cwd, file);
  let source: string;
  try {
    source = decodeScript(readFileSync(path));
  } catch (error) {
    io.err(`postern: ${file}: ${reasonOf(error)}\n`);
    return undefined;
  }
  const result = compilePolicy(source, { file });
  if (result.ok) return { policy: result.program, source, folder: dirname(path) };
  const errors = result.diagnostics.filter((diagnostic) => diagnostic.severity === "error");
  if (json) io.out(`${JSON.stringify({ diagnostics: errors.map(diagnosticJson) }, null, 2)}\n`);
  else for (const diagnostic of errors) io.err(formatDiagnostic(diagnostic, source));
  return undefined;
}
