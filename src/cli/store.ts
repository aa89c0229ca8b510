/** `postern store`: look into the local store, export messages, check and repair it. */
import { once } from "node:events";
import { createWriteStream } from "node:fs";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { pino } from "pino";
import { printable } from "../message/outcome.ts";
import { type DiskStore, openStore } from "../store/store.ts";
import type { StoredMessage } from "../store/types.ts";
import type { Command, CommandIo } from "./command.ts";
import { type DataFolder, findDataFolder } from "./data-folder.ts";

const help = `Usage: postern store list [ACCOUNT [FOLDER]] [--json]     accounts, or an account's messages
       postern store show ACCOUNT UID [--folder F]         a message on standard output
       postern store export ACCOUNT UID --out FILE [--folder F]
       postern store check [--repair]                      consistency of database and body files
       postern store quota ACCOUNT [OCTETS|none]

FOLDER is INBOX when not given. --config FILE, --data DIR: where the data folder is.
Works while the gateway runs. Exit code: 0 done, 1 not found or problems left, 2 wrong usage.
`;

const options = {
  config: { type: "string" },
  data: { type: "string" },
  json: { type: "boolean" },
  repair: { type: "boolean" },
  folder: { type: "string" },
  out: { type: "string" },
} as const;

export const command: Command = {
  name: "store",
  summary: "list, show and export stored messages; check and repair the store",
  help,
  async run(argv, io) {
    let store: DiskStore | undefined;
    try {
      const { values, positionals } = parseArgs({ args: argv, options, allowPositionals: true });
      const [word, account, third] = positionals;
      const folder = values.folder ?? "INBOX";
      store = await openDataStore(findDataFolder(values, io));
      switch (word) {
        case "list":
          return account === undefined
            ? await listAccounts(store, values.json === true, io)
            : printMessages(await store.list(account.toLowerCase(), third), values.json === true, io);
        case "show":
        case "export": {
          if (account === undefined || third === undefined || !/^\d+$/.test(third)) break;
          if (word === "export" && values.out === undefined) break;
          const chunks = await store.read(account.toLowerCase(), folder, Number(third));
          if (chunks === undefined) {
            io.err(`postern store: no message ${third} in ${folder} of ${account}\n`);
            return 1;
          }
          if (values.out !== undefined) await writeFile(resolve(io.cwd, values.out), chunks);
          else await writeText(chunks, io);
          return 0;
        }
        case "check":
          return await check(store, values.repair === true, values.json === true, io);
        case "quota": {
          if (account === undefined || (third !== undefined && !/^(\d+|none)$/.test(third))) break;
          if (third !== undefined)
            await store.setQuota(account.toLowerCase(), third === "none" ? undefined : Number(third));
          const { octets, limit } = await store.quota(account.toLowerCase());
          io.out(`${account}: ${octets} octets of ${limit ?? "no limit"}\n`);
          return 0;
        }
      }
      io.err(help);
      return 2;
    } catch (error) {
      io.err(`postern store: ${(error as Error).message}\n`);
      return (error as NodeJS.ErrnoException).code?.startsWith("ERR_PARSE_ARGS") === true ? 2 : 1;
    } finally {
      await store?.close();
    }
  },
};

/** The store of a data folder. */
export function openDataStore({ dir, budget }: DataFolder): Promise<DiskStore> {
  return openStore({ dir: join(dir, "store"), budget, log: pino({ level: "silent" }) });
}

async function listAccounts(store: DiskStore, json: boolean, io: CommandIo): Promise<number> {
  const accounts = await store.accounts();
  if (json) io.out(`${JSON.stringify(accounts)}\n`);
  else
    for (const { account, messages, octets } of accounts)
      io.out(`${account}  ${messages} messages  ${octets} octets\n`);
  return 0;
}

export function printMessages(messages: StoredMessage[], json: boolean, io: CommandIo): number {
  if (json) {
    io.out(`${JSON.stringify(messages)}\n`);
    return 0;
  }
  for (const { uid, folder, flags, size, receivedAt, from, subject, reason, score } of messages) {
    const why = reason === undefined ? "" : `  [${reason}${score === undefined ? "" : `, score ${score}`}]`;
    const line = `${uid}  ${folder}  ${new Date(receivedAt).toISOString()}  ${size}  ${flags.join(" ")}  ${from}  ${subject}${why}`;
    io.out(`${printable(line)}\n`);
  }
  return 0;
}

async function check(store: DiskStore, repair: boolean, json: boolean, io: CommandIo): Promise<number> {
  const result = await store.check(repair);
  if (json) io.out(`${JSON.stringify(result)}\n`);
  else {
    for (const problem of result.problems) io.out(`${printable(problem)}\n`);
    io.out(`${result.problems.length} problems, ${result.repaired} repaired\n`);
  }
  return result.problems.length === result.repaired ? 0 : 1;
}

async function writeText(chunks: AsyncIterable<Uint8Array>, io: CommandIo): Promise<void> {
  const decoder = new TextDecoder();
  for await (const chunk of chunks) io.out(decoder.decode(chunk, { stream: true }));
  io.out(decoder.decode());
}

async function writeFile(path: string, chunks: AsyncIterable<Uint8Array>): Promise<void> {
  const out = createWriteStream(path, { mode: 0o600 });
  for await (const chunk of chunks) if (!out.write(chunk)) await once(out, "drain");
  out.end();
  await once(out, "finish");
}
