/**
 * What commands share of their arguments: reading them, files that they name, and what is said when they are wrong.
 * Failure: UsageError, which `guarded` prints as `postern NAME: why` with exit code 2.
 */
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { type ParseArgsOptionsConfig, parseArgs } from "node:util";
import { type Budget, budgetDefaults, budgetWith } from "../config/budget.ts";
import { recordFolder } from "../gateway/recording.ts";
import type { Command, CommandIo } from "./command.ts";
import { findDataFolder } from "./data-folder.ts";

export class UsageError extends Error {}

/** "ENOENT: no such file or directory, open '…'" → the part a user needs. */
export const reasonOf = (error: unknown): string => {
  const text = error instanceof Error ? error.message : String(error);
  return text.replace(/^[A-Z]+: /, "").replace(/, (open|read) .*$/, "");
};

/** A command's `run` that answers wrong usage as all do. */
export const guarded =
  (name: string, run: Command["run"]): Command["run"] =>
  async (argv, io) => {
    try {
      return await run(argv, io);
    } catch (error) {
      if (!(error instanceof UsageError)) throw error;
      io.err(`postern ${name}: ${error.message}\n`);
      return 2;
    }
  };

export function readArguments<O extends ParseArgsOptionsConfig>(argv: string[], options: O) {
  try {
    return parseArgs({ args: argv, options, allowPositionals: true });
  } catch (error) {
    throw new UsageError(reasonOf(error));
  }
}

/** What `read` makes of a file that the user named; a UsageError with its name when that fails. */
export function fileArgument<T>(file: string, io: CommandIo, read: (bytes: Buffer) => T): T {
  try {
    return read(readFileSync(resolve(io.cwd, file)));
  } catch (error) {
    throw new UsageError(`${file}: ${reasonOf(error)}`);
  }
}

export const jsonOf = (bytes: Buffer): unknown => JSON.parse(bytes.toString("utf8"));

/** The budget with `--cases N`. */
export function budgetOf(cases: string | undefined): Budget {
  if (cases === undefined) return budgetDefaults;
  if (!/^[1-9]\d{0,7}$/.test(cases)) throw new UsageError("--cases: give a number");
  return budgetWith({ proveCases: Number(cases) });
}

/** Decision records: `--records DIR`, else those of the gateway of `--config`. */
export function recordsArgument(values: { records?: string; config?: string }, io: CommandIo): string {
  if (values.records !== undefined) return resolve(io.cwd, values.records);
  const { config } = values;
  return recordFolder({ data: findDataFolder(config === undefined ? {} : { config }, io).dir });
}
