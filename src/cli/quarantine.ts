/** `postern quarantine`: what filters set aside, to look at safely, to release, to delete. */
import { userInfo } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { askShard } from "../queue/ask.ts";
import { quarantineAccount } from "../store/types.ts";
import type { Command } from "./command.ts";
import { findDataFolder } from "./data-folder.ts";
import { openDataStore, printMessages } from "./store.ts";

const help = `Usage: postern quarantine list [--json]
       postern quarantine show UID       the message with control characters made harmless
       postern quarantine release UID    back into the queue, past the filters, to its recipients
       postern quarantine delete UID

--folder F (default INBOX), --why TEXT for the journal, --config FILE, --data DIR.
Exit code: 0 done, 1 not found, 2 wrong usage.
`;

const options = {
  config: { type: "string" },
  data: { type: "string" },
  json: { type: "boolean" },
  folder: { type: "string" },
  why: { type: "string" },
} as const;

/** How much of a message `show` prints, octets. */
const shown = 64 * 1024;

export const command: Command = {
  name: "quarantine",
  summary: "list, show, release and delete quarantined messages",
  help,
  async run(argv, io) {
    try {
      const { values, positionals } = parseArgs({ args: argv, options, allowPositionals: true });
      const [word = "", uidText = ""] = positionals;
      const uid = Number(uidText);
      const folder = values.folder ?? "INBOX";
      if (!["list", "show", "release", "delete"].includes(word) || (word !== "list" && !/^\d+$/.test(uidText))) {
        io.err(help);
        return 2;
      }
      const data = findDataFolder(values, io);
      if (word === "release") {
        const ask = { ...data, dir: join(data.dir, "queue"), shard: 0, store: () => openDataStore(data) };
        const account = { who: userInfo().username, why: values.why ?? "" };
        const answer = await askShard(ask, { operation: "release quarantined", folder, uid, ...account });
        if ("error" in answer) throw new Error(answer.error);
        const id = "done" in answer ? answer.done[0] : undefined;
        if (id === undefined) io.err(`postern quarantine: no message ${uid} that can be released\n`);
        else io.out(`released as ${id}\n`);
        return id === undefined ? 1 : 0;
      }
      const store = await openDataStore(data);
      try {
        if (word === "list") return printMessages(await store.list(quarantineAccount), values.json === true, io);
        if (word === "delete") {
          if (await store.remove(quarantineAccount, folder, uid)) return 0;
        } else {
          const chunks = await store.read(quarantineAccount, folder, uid);
          if (chunks !== undefined) {
            io.out(await harmless(chunks));
            return 0;
          }
        }
        io.err(`postern quarantine: no message ${uid} in ${folder}\n`);
        return 1;
      } finally {
        await store.close();
      }
    } catch (error) {
      io.err(`postern quarantine: ${(error as Error).message}\n`);
      return (error as NodeJS.ErrnoException).code?.startsWith("ERR_PARSE_ARGS") === true ? 2 : 1;
    }
  },
};

/** The message's start as text that no terminal acts upon: what is not printable ASCII or a line end becomes "?". */
async function harmless(chunks: AsyncIterable<Uint8Array>): Promise<string> {
  let text = "";
  for await (const chunk of chunks) {
    text += Buffer.from(chunk).toString("latin1");
    if (text.length > shown) break;
  }
  const cut = text.length > shown ? "\n[cut here]\n" : "";
  return `${text
    .slice(0, shown)
    .replace(/\r\n/g, "\n")
    .replace(/[^\n\t\x20-\x7e]/g, "?")}${cut}`;
}
