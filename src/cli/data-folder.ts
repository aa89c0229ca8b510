/**
 * Where the data folder is, for the commands that work on it: `--data DIR`, else what the configuration says, else
 * ./var, where `npm start` puts it. Failure: a broken configuration is an error with its first diagnostic.
 */
import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { type Budget, budgetWith } from "../config/budget.ts";
import { loadConfig } from "../config/load.ts";
import type { CommandIo } from "./command.ts";

export interface DataFolder {
  dir: string;
  hostName: string;
  budget: Budget;
}

export function findDataFolder(values: { config?: string; data?: string }, io: CommandIo): DataFolder {
  const file = resolve(io.cwd, values.config ?? "postern.yaml");
  const given = values.data === undefined ? undefined : resolve(io.cwd, values.data);
  if (values.config === undefined && !existsSync(file)) {
    return { dir: given ?? resolve(io.cwd, "var"), hostName: "localhost", budget: budgetWith() };
  }
  const result = loadConfig(file);
  if (!result.ok) {
    const [first] = result.diagnostics;
    throw new Error(`${first?.span.file}:${first?.span.start.line}: ${first?.message}`);
  }
  const { config, budget } = result.loaded;
  return { dir: given ?? config.data, hostName: config.server.name, budget };
}
