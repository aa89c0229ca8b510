/**
 * `postern check FILE...`: compiles policy files and prints what is wrong with them (DESIGN §6).
 * Exit codes: 0 clean or warnings, 1 errors, 2 wrong usage or an unreadable file.
 */
import { readFileSync } from "node:fs";
import { dirname, extname, resolve } from "node:path";
import { parseConfig } from "../config/load.ts";
import { type Diagnostic, diagnosticJson, formatDiagnostic, hasErrors } from "../language/diagnostic.ts";
import { compilePolicy } from "../policy/compile.ts";
import { decodeScript } from "../policy/source.ts";
import { compileSieve } from "../sieve/compile.ts";
import { fileIncludes } from "../sieve/include-files.ts";
import { guarded, readArguments, reasonOf, UsageError } from "./arguments.ts";
import type { Command } from "./command.ts";

interface CheckOptions {
  strict: boolean;
}

/** `path` is where the file lies, for what it includes; `file` its name as the user gave it. */
type Checker = (source: string, file: string, path: string, options: CheckOptions) => Diagnostic[];

/** What can be checked, by the ending of the file's name. */
const checkers: Readonly<Record<string, Checker>> = {
  ".script": (source, file, _path, { strict }) => compilePolicy(source, { file, strict }).diagnostics,
  ".sieve": (source, file, path) =>
    compileSieve(source, { file, includeLoader: fileIncludes(dirname(path)) }).diagnostics,
  ".yaml": configDiagnostics,
  ".yml": configDiagnostics,
};

function configDiagnostics(source: string, file: string): Diagnostic[] {
  const result = parseConfig(source, file);
  return result.ok ? [] : result.diagnostics;
}

const help = `Usage: postern check FILE... [--json] [--strict]

Compiles policy files (.script, .sieve, postern.yaml) and prints errors, warnings and notes.

  --json     print one JSON document
  --strict   also flag what the original language doesn't have

Exit code: 0 clean or warnings only, 1 errors, 2 wrong usage.`;

export const command: Command = {
  name: "check",
  summary: "compile policy files and show what is wrong",
  help,
  run: guarded("check", async (argv, io) => {
    const options = { json: { type: "boolean" }, strict: { type: "boolean" } } as const;
    const args = readArguments(argv, options);
    if (args.positionals.length === 0) throw new UsageError("no file given");
    const found: Diagnostic[] = [];
    for (const file of args.positionals) {
      const checker = checkers[extname(file).toLowerCase()];
      if (!checker)
        throw new UsageError(`${file}: can't check this kind of file (${Object.keys(checkers).join(", ")})`);
      const path = resolve(io.cwd, file);
      let source: string;
      try {
        source = decodeScript(readFileSync(path));
      } catch (error) {
        throw new UsageError(`${file}: ${reasonOf(error)}`);
      }
      const diagnostics = checker(source, file, path, { strict: args.values.strict ?? false });
      found.push(...diagnostics);
      if (!args.values.json) for (const diagnostic of diagnostics) io.out(formatDiagnostic(diagnostic, source));
    }
    const ok = !hasErrors(found);
    if (args.values.json) {
      const document = { ok, files: args.positionals, diagnostics: found.map(diagnosticJson) };
      io.out(`${JSON.stringify(document, null, 2)}\n`);
    } else io.out(`${summary(args.positionals.length, found)}\n`);
    return ok ? 0 : 1;
  }),
};

function summary(files: number, found: readonly Diagnostic[]): string {
  const count = (severity: string, word: string): string => {
    const n = found.filter((diagnostic) => diagnostic.severity === severity).length;
    return `${n} ${word}${n === 1 ? "" : "s"}`;
  };
  const what = `${count("error", "error")}, ${count("warning", "warning")}, ${count("info", "note")}`;
  return `${files} file${files === 1 ? "" : "s"}: ${what}`;
}
