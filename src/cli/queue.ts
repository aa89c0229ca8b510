/** `postern queue`: look at the queue and act on it, while the gateway runs or while it does not. */
import { existsSync, readdirSync } from "node:fs";
import { userInfo } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { pino } from "pino";
import { printable } from "../message/outcome.ts";
import { askShard } from "../queue/ask.ts";
import type { DestinationStatus } from "../queue/destination.ts";
import type { QueueAnswer, QueueRequest } from "../queue/operations.ts";
import { repairQueue } from "../queue/repair.ts";
import type { MessageState, QueuedMessage, QueueFilter } from "../queue/types.ts";
import type { Command, CommandIo } from "./command.ts";
import { type DataFolder, findDataFolder } from "./data-folder.ts";

const help = `Usage: postern queue list|count|show|retry|hold|release|delete|bounce|reroute [ID...] [filters] [--json]
       postern queue destinations | suspend NAME | resume NAME | flush NAME
       postern queue repair

Filters (all given must hold; * stands for any characters):
  --sender ADDRESS      --recipient ADDRESS    --destination NAME
  --size '>1M'          --age '<2h'            (units K M; s m h d; without a sign: more than)
  --status STATE        e.g. received, "send failure", held
  --failure TEXT        words of the last failure
  --next-before TIME    --next-after TIME      time of the next attempt, e.g. 2026-11-20T18:00
  --limit N             list no more than N
  --all                 needed to change messages without naming ids or a filter

  reroute needs --to HOST[:PORT]. --why TEXT goes into the journal, and into the report of a bounce.
  --config FILE, --data DIR: where the data folder is (default: postern.yaml, else ./var).

Works on the running gateway through its control socket; when none runs, on the folder itself. Exit code: 0 done,
1 nothing matched, 2 wrong usage.
`;

const options = {
  config: { type: "string" },
  data: { type: "string" },
  json: { type: "boolean" },
  all: { type: "boolean" },
  sender: { type: "string" },
  recipient: { type: "string" },
  destination: { type: "string" },
  size: { type: "string" },
  age: { type: "string" },
  status: { type: "string" },
  failure: { type: "string" },
  "next-before": { type: "string" },
  "next-after": { type: "string" },
  limit: { type: "string" },
  to: { type: "string" },
  why: { type: "string" },
} as const;

type Values = ReturnType<typeof parseArgs<{ options: typeof options; allowPositionals: true }>>["values"];

class UsageError extends Error {}

export const command: Command = {
  name: "queue",
  summary: "list queued messages; retry, hold, release, delete, bounce or reroute them; repair the queue",
  help,
  async run(argv, io) {
    try {
      const { values, positionals } = parseArgs({ args: argv, options, allowPositionals: true });
      const [word = "", ...rest] = positionals;
      const folder = findDataFolder(values, io);
      if (word === "repair") return await repair(folder, values.json === true, io);
      const request = requestOf(word, rest, values);
      return print(word, await askAll(folder, request), values.json === true, io);
    } catch (error) {
      io.err(`postern queue: ${(error as Error).message}\n`);
      const { code } = error as NodeJS.ErrnoException;
      return error instanceof UsageError || code?.startsWith("ERR_PARSE_ARGS") === true ? 2 : 1;
    }
  },
};

function requestOf(word: string, rest: string[], values: Values): QueueRequest {
  const account = { who: userInfo().username, why: values.why ?? "" };
  switch (word) {
    case "count":
    case "destinations":
      return { operation: word };
    case "list":
      return { operation: "list", filter: filterOf(rest, values) };
    case "show":
      if (rest.length === 0) throw new UsageError("show needs the id of a message");
      return { operation: "list", filter: { ids: rest } };
    case "suspend":
    case "resume":
    case "flush":
      if (rest.length !== 1) throw new UsageError(`${word} needs the name of one destination`);
      return { operation: word, destination: rest[0]!, ...account };
    case "retry":
    case "hold":
    case "release":
    case "delete":
    case "bounce":
    case "reroute": {
      const filter = filterOf(rest, values);
      if (Object.keys(filter).length === 0 && values.all !== true) {
        throw new UsageError(`${word} needs ids, a filter, or --all`);
      }
      if (word !== "reroute") return { operation: word, filter, ...account };
      const to = /^(\[[^\]]+\]|[^:]+)(?::(\d{1,5}))?$/.exec(values.to ?? "");
      if (to === null) throw new UsageError("reroute needs --to HOST[:PORT]");
      return { operation: "reroute", filter, host: to[1]!, port: Number(to[2] ?? 25), ...account };
    }
    default:
      throw new UsageError(word === "" ? "say what to do; see postern queue --help" : `unknown operation "${word}"`);
  }
}

function filterOf(ids: string[], values: Values): QueueFilter {
  const filter: QueueFilter = {};
  if (ids.length > 0) filter.ids = ids;
  for (const name of ["sender", "recipient", "destination", "failure"] as const) {
    const value = values[name];
    if (value !== undefined) filter[name] = value;
  }
  if (values.status !== undefined) filter.status = values.status.toLowerCase() as MessageState;
  if (values.size !== undefined) {
    const { below, value } = measure("--size", values.size, { "": 1, K: 1024, M: 1024 ** 2, G: 1024 ** 3 });
    filter[below ? "sizeUnder" : "sizeOver"] = value;
  }
  if (values.age !== undefined) {
    const units = { "": 1_000, S: 1_000, M: 60_000, H: 3_600_000, D: 86_400_000 };
    const { below, value } = measure("--age", values.age, units);
    filter[below ? "youngerThanMs" : "olderThanMs"] = value;
  }
  if (values["next-before"] !== undefined) filter.nextBefore = time("--next-before", values["next-before"]);
  if (values["next-after"] !== undefined) filter.nextAfter = time("--next-after", values["next-after"]);
  if (values.limit !== undefined) {
    if (!/^\d+$/.test(values.limit)) throw new UsageError("--limit needs a number");
    filter.limit = Number(values.limit);
  }
  return filter;
}

function measure(name: string, text: string, units: Record<string, number>): { below: boolean; value: number } {
  const found = /^\s*([<>]?)\s*(\d+)\s*([a-z]?)\s*$/i.exec(text);
  const unit = found === null ? undefined : units[found[3]!.toUpperCase()];
  if (found === null || unit === undefined) throw new UsageError(`${name}: "${text}" is not understood`);
  return { below: found[1] === "<", value: Number(found[2]) * unit };
}

function time(name: string, text: string): number {
  const at = Date.parse(text);
  if (Number.isNaN(at)) throw new UsageError(`${name}: "${text}" is not a time`);
  return at;
}

/** Asks each shard and joins the answers. */
async function askAll(folder: DataFolder, request: QueueRequest): Promise<QueueAnswer> {
  const answers: QueueAnswer[] = [];
  for (const shard of shards(folder.dir)) {
    answers.push(await askShard({ ...folder, dir: join(folder.dir, "queue"), shard }, request));
  }
  const failed = answers.find((answer) => "error" in answer);
  if (failed !== undefined) return failed;
  const all = <K extends string, T>(key: K): T[] =>
    answers.flatMap((answer) => (key in answer ? (answer as unknown as Record<K, T[]>)[key] : []));
  switch (request.operation) {
    case "list": {
      const messages = all<"messages", QueuedMessage>("messages").sort((a, b) => a.receivedAt - b.receivedAt);
      return { messages: messages.slice(0, request.filter.limit) };
    }
    case "destinations":
      return { destinations: all("destinations") };
    case "count": {
      const count: Record<string, number> = { total: 0 };
      for (const answer of answers) {
        if (!("count" in answer)) continue;
        for (const [state, number] of Object.entries(answer.count)) count[state] = (count[state] ?? 0) + number;
      }
      return { count };
    }
    case "suspend":
    case "resume":
    case "flush":
      return { due: answers.reduce((sum, answer) => sum + ("due" in answer ? answer.due : 0), 0) };
    default:
      return { done: all("done"), busy: all("busy") };
  }
}

function shards(dir: string): number[] {
  const queue = join(dir, "queue");
  if (!existsSync(queue)) return [];
  return readdirSync(queue)
    .filter((name) => /^\d{1,3}$/.test(name))
    .map(Number)
    .sort((a, b) => a - b);
}

async function repair(folder: DataFolder, json: boolean, io: CommandIo): Promise<number> {
  const log = pino({ level: "silent" });
  const dir = join(folder.dir, "queue");
  const reports = [];
  for (const shard of shards(folder.dir)) {
    reports.push({ shard, ...(await repairQueue({ dir, shard, budget: folder.budget, log })) });
  }
  if (json) {
    io.out(`${JSON.stringify(reports)}\n`);
    return 0;
  }
  for (const { shard, kept, lost, ranges, keptIn } of reports) {
    io.out(`shard ${shard}: ${kept} messages kept, ${ranges.length} damaged ranges\n`);
    for (const { file, from, to } of ranges) io.out(`  ${file}: octets ${from} to ${to}\n`);
    if (lost.length > 0) io.out(`  lost: ${lost.join(" ")}\n`);
    if (keptIn !== "") io.out(`  the old files are in ${keptIn}\n`);
  }
  return 0;
}

function print(word: string, answer: QueueAnswer, json: boolean, io: CommandIo): number {
  if ("error" in answer) {
    io.err(`postern queue: ${answer.error}\n`);
    return 1;
  }
  const found = "messages" in answer ? answer.messages.length > 0 : !("done" in answer) || answer.done.length > 0;
  const code = found || ["list", "suspend", "resume", "flush"].includes(word) ? 0 : 1;
  if (json) io.out(`${JSON.stringify(answer)}\n`);
  else if ("messages" in answer)
    io.out(
      printable(
        word === "show" ? answer.messages.map(details).join("\n") : aligned(answer.messages.map(messageRow)),
        true,
      ),
    );
  else if ("count" in answer) for (const [state, n] of Object.entries(answer.count)) io.out(`${state}: ${n}\n`);
  else if ("destinations" in answer) io.out(printable(aligned(answer.destinations.map(destinationRow)), true));
  else if ("due" in answer)
    io.out(word === "flush" ? `flush: ${answer.due} messages are due now\n` : `${word}: done\n`);
  else {
    const busy = answer.busy.length === 0 ? "" : `; ${answer.busy.length} left alone, they are being delivered`;
    io.out(`${word}: ${answer.done.length} messages${busy}\n`);
  }
  if (code === 1) io.err("postern queue: no message matches\n");
  return code;
}

function destinationRow(status: DestinationStatus): string[] {
  const { destination, state, active, waiting, downUntil, lastError, suspended } = status;
  const until = state === "down" ? `until ${new Date(downUntil).toISOString()}: ` : "";
  const by = suspended && `by ${suspended.who}, ${new Date(suspended.since).toISOString()}: ${suspended.why}`;
  return [destination, state, `${active} active`, `${waiting} waiting`, by ?? `${until}${lastError}`];
}

function messageRow(message: QueuedMessage): string[] {
  return [
    message.id,
    message.state,
    String(message.size),
    new Date(message.receivedAt).toISOString(),
    `<${message.envelope.mailFrom}>`,
    message.recipients.map(({ address }) => address).join(","),
    message.failure,
  ];
}

/** Rows as lines; the first columns, which are short, stand one below another. */
function aligned(rows: string[][], columns = 4): string {
  const widths = Array.from({ length: columns }, (_, column) => Math.max(0, ...rows.map((row) => row[column]!.length)));
  return rows
    .map(
      (row) =>
        `${row
          .map((cell, i) => cell.padEnd(widths[i] ?? 0))
          .join("  ")
          .trimEnd()}\n`,
    )
    .join("");
}

/** The fields of mqview (smtpfilters.md §12.3), and the decision trace. */
function details(message: QueuedMessage): string {
  const due = message.nextAttempt <= Date.now() ? "As Soon As Possible" : new Date(message.nextAttempt).toISOString();
  const lines = [
    `ID: ${message.id}`,
    `State: ${message.state}${message.held === undefined ? "" : ` (${message.held})`}`,
    `Received: ${new Date(message.receivedAt).toISOString()} from ${message.client.ehlo} [${message.client.remoteIp}]`,
    `Size: ${message.size}`,
    `Number of RCPTs: ${message.recipients.length}`,
    `Next Send Schedule: ${message.state === "held" ? "held" : due}`,
    `Retry Count: ${message.attempts}`,
    `Reverse Path: <${message.envelope.mailFrom}>`,
    `Authenticated Path: ${message.client.authUser}`,
    `Failure Info: ${message.failure}`,
    `Marks: ${JSON.stringify(message.marks)}`,
  ];
  for (const { address, state, attempts, destination, lastOutcome } of message.recipients) {
    lines.push(`Recipient: <${address}>`, `  State: ${state}`, `  Attempts: ${attempts}`);
    lines.push(`  Destination: ${destination ?? ""}`);
    if (lastOutcome !== undefined) {
      lines.push(
        `  Last Outcome: ${lastOutcome.code} ${lastOutcome.enhanced} ${lastOutcome.text.replaceAll("\n", " | ")}`,
      );
    }
  }
  return `${lines.join("\n")}\n`;
}
