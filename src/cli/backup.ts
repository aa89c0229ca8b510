/** `postern backup`: a consistent copy of the store, taken while the gateway runs; and the way back. */
import { existsSync } from "node:fs";
import { cp, rename } from "node:fs/promises";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { pino } from "pino";
import { budgetWith } from "../config/budget.ts";
import { openStore } from "../store/store.ts";
import type { Command } from "./command.ts";
import { findDataFolder } from "./data-folder.ts";
import { openDataStore } from "./store.ts";

const help = `Usage: postern backup DIR                copy the store into DIR, which must not exist
       postern backup --restore DIR      put the copy in place of the store; stop the gateway first

The queue is not part of it: restored, it would send mail again that has long gone out. The store that a restore
replaces is kept beside it as store.before-restore. --config FILE, --data DIR: where the data folder is.
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
      if (values.restore === true) return await restore(copy, join(data.dir, "store"), io.out);
      const store = await openDataStore(data);
      try {
        const { messages, files } = await store.backup(copy);
        io.out(`${messages} messages and ${files} body files copied to ${copy}\n`);
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

/** Copies and checks the backup beside the store first; then two renames put it in place. */
async function restore(copy: string, target: string, out: (text: string) => void): Promise<number> {
  if (!existsSync(join(copy, "store.db"))) throw new Error(`${copy} is not a backup of the store`);
  const fresh = `${target}.restoring`;
  const old = `${target}.before-restore`;
  if (existsSync(old)) throw new Error(`${old} is in the way; move or delete it first`);
  await cp(copy, fresh, { recursive: true, errorOnExist: true, force: false });
  const store = await openStore({ dir: fresh, budget: budgetWith(), log: pino({ level: "silent" }) });
  const { problems } = await store.check(false);
  await store.close();
  if (problems.length > 0) throw new Error(`the backup is not whole: ${problems[0]}; ${fresh} can be deleted`);
  if (existsSync(target)) await rename(target, old);
  await rename(fresh, target);
  out(`restored ${copy} to ${target}\n`);
  return 0;
}
