/**
 * `postern backup`: a consistent copy of the store and of the accounts' Sieve scripts, taken while the gateway runs; and
 * the way back. In the copy the scripts lie beside the store's files, in sieve/.
 */
import { existsSync } from "node:fs";
import { cp, rename } from "node:fs/promises";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { pino } from "pino";
import { budgetWith } from "../config/budget.ts";
import { ScriptDatabase } from "../sieve/managesieve/database.ts";
import { openStore } from "../store/store.ts";
import type { Command } from "./command.ts";
import { findDataFolder } from "./data-folder.ts";
import { openDataStore } from "./store.ts";

const help = `Usage: postern backup DIR                copy the store and the accounts' Sieve scripts into DIR, which must
                                         not exist
       postern backup --restore DIR      put the copy in their place; stop the gateway first

The queue is not part of it: restored, it would send mail again that has long gone out. What a restore replaces is kept
beside it as store.before-restore and sieve.before-restore. --config FILE, --data DIR: where the data folder is.
`;

const options = {
  config: { type: "string" },
  data: { type: "string" },
  restore: { type: "boolean" },
} as const;

export const command: Command = {
  name: "backup",
  summary: "copy the store while the gateway runs, or restore it",
  help,
  async run(argv, io) {
    try {
      const { values, positionals } = parseArgs({ args: argv, options, allowPositionals: true });
      const [dir] = positionals;
      if (dir === undefined) {
        io.err(help);
        return 2;
      }
      const data = findDataFolder(values, io);
      const copy = resolve(io.cwd, dir);
      if (values.restore === true) return await restore(copy, data.dir, io.out);
      const store = await openDataStore(data);
      try {
        const { messages, files } = await store.backup(copy);
        const scripts = copyScripts(join(data.dir, scriptsFile), join(copy, scriptsFile));
        io.out(
          `${messages} messages and ${files} body files${scripts ? ", and Sieve scripts," : ""} copied to ${copy}\n`,
        );
        return 0;
      } finally {
        await store.close();
      }
    } catch (error) {
      io.err(`postern backup: ${(error as Error).message}\n`);
      return (error as NodeJS.ErrnoException).code?.startsWith("ERR_PARSE_ARGS") === true ? 2 : 1;
    }
  },
};

const scriptsFile = join("sieve", "scripts.db");

/** False when no account has ever kept a script. */
function copyScripts(from: string, to: string): boolean {
  if (!existsSync(from)) return false;
  const scripts = new ScriptDatabase(from);
  try {
    scripts.backup(to);
  } finally {
    scripts.close();
  }
  return true;
}

/** Copies and checks the backup beside store and scripts first; then renames put it in place. */
async function restore(copy: string, data: string, out: (text: string) => void): Promise<number> {
  if (!existsSync(join(copy, "store.db"))) throw new Error(`${copy} is not a backup of the store`);
  const [target, sieve] = [join(data, "store"), join(data, "sieve")];
  const withScripts = existsSync(join(copy, scriptsFile));
  const fresh = `${target}.restoring`;
  for (const old of [`${target}.before-restore`, `${sieve}.before-restore`]) {
    if (existsSync(old)) throw new Error(`${old} is in the way; move or delete it first`);
  }
  await cp(copy, fresh, { recursive: true, errorOnExist: true, force: false });
  const store = await openStore({ dir: fresh, budget: budgetWith(), log: pino({ level: "silent" }) });
  const { problems } = await store.check(false);
  await store.close();
  if (problems.length > 0) throw new Error(`the backup is not whole: ${problems[0]}; ${fresh} can be deleted`);
  if (withScripts) {
    new ScriptDatabase(join(fresh, scriptsFile)).close(); // throws when it is no database of ours
    await replace(join(fresh, "sieve"), sieve);
  }
  await replace(fresh, target);
  out(`restored ${copy} to ${target}${withScripts ? ` and ${sieve}` : ""}\n`);
  return 0;
}

/** Puts `fresh` at `target`; what is there is kept beside it. */
async function replace(fresh: string, target: string): Promise<void> {
  if (existsSync(target)) await rename(target, `${target}.before-restore`);
  await rename(fresh, target);
}
