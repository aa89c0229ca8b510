/**
 * `postern fmt FILE...`: writes scripts in the one layout, comments kept, meaning unchanged.
 * Exit codes: 0 done, 1 a script has syntax errors (or, with --check, would change), 2 wrong usage or unreadable file.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { resolve } from "node:path";
import { parse } from "../../grammar/smtpfilters/parser.ts";
import { print } from "../../grammar/smtpfilters/print.ts";
import { budgetDefaults } from "../config/budget.ts";
import { formatDiagnostic } from "../language/diagnostic.ts";
import { decodeScript, SourceText } from "../policy/source.ts";
import { guarded, readArguments, reasonOf, UsageError } from "./arguments.ts";
import type { Command, CommandIo } from "./command.ts";

const help = `Usage: postern fmt FILE... [--check]

Writes scripts in one layout. Comments and meaning stay.

  --check   write nothing; list the files that would change

Exit code: 0 done, 1 syntax errors (or files that would change), 2 wrong usage.`;

export const command: Command = {
  name: "fmt",
  summary: "lay out policy scripts in one form",
  help,
  run: guarded("fmt", async (argv, io) => {
    const options = { check: { type: "boolean" } } as const;
    const args = readArguments(argv, options);
    if (args.positionals.length === 0) throw new UsageError("no file given");
    let failed = false;
    for (const file of args.positionals) {
      const path = resolve(io.cwd, file);
      try {
        const source = decodeScript(readFileSync(path));
        const formatted = format(source, file, io);
        if (formatted === undefined) failed = true;
        else if (formatted !== source) {
          io.out(`${file}\n`);
          if (args.values.check) failed = true;
          else writeFileSync(path, formatted);
        }
      } catch (error) {
        throw new UsageError(`${file}: ${reasonOf(error)}`);
      }
    }
    return failed ? 1 : 0;
  }),
};

/** Undefined after printing the errors that keep the text from being read. */
function format(source: string, file: string, io: CommandIo): string | undefined {
  if (Buffer.byteLength(source) > budgetDefaults.scriptBytes) {
    io.err(`postern fmt: ${file}: larger than ${budgetDefaults.scriptBytes} bytes\n`);
    return undefined;
  }
  const { script, problems } = parse(source, { nesting: budgetDefaults.nesting });
  const errors = problems.filter((problem) => !problem.warning);
  if (errors.length === 0) return print(script, source);
  const text = new SourceText(file, source);
  for (const { code, message, hint, ...range } of errors) {
    const diagnostic = { severity: "error" as const, code, message, ...(hint ? { hint } : {}), span: text.span(range) };
    io.err(formatDiagnostic(diagnostic, source));
  }
  return undefined;
}
