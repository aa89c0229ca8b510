/**
 * Messages without a record, from a folder or an mbox file, made into records: envelope and client are read off the
 * header section, as far as they are there. Facts are unknown, so rules that ask checks see them fail.
 * Invariants: one message in memory at a time, none larger than `messageKiB`. Failure: a file that can't be read rejects
 * with the system's error; a header section over its limits is left out and counted.
 */
import { createReadStream } from "node:fs";
import { readdir, readFile, stat } from "node:fs/promises";
import { isIP } from "node:net";
import { basename, join } from "node:path";
import { type Budget, BudgetExceeded } from "../../config/budget.ts";
import { stringsOf } from "../../gateway/session-facts.ts";
import { mailboxesOf, parseAddresses } from "../../message/addresses.ts";
import { type HeaderSection, parseHeaders } from "../../message/headers.ts";
import { type ParsedMessage, parseMessage } from "../../message/parse.ts";
import type { Strings } from "../record/facts.ts";
import type { DecisionRecord, Step } from "../record/types.ts";

export interface Mail {
  record: DecisionRecord;
  strings(variable: Strings): readonly string[];
}

export interface MailCount {
  /** Files and messages over a limit. */
  skipped: number;
}

/** Every file below `folder` as one message. */
export async function* mailsOfFolder(folder: string, budget: Budget, count: MailCount): AsyncGenerator<Mail> {
  const names = await readdir(folder, { recursive: true, withFileTypes: true });
  for (const entry of names) {
    if (!entry.isFile()) continue;
    const path = join(entry.parentPath, entry.name);
    if ((await stat(path)).size > budget.messageKiB * 1024) count.skipped++;
    else yield* mailOf(basename(path), await readFile(path), "", budget, count);
  }
}

/** The messages of an mbox file (RFC 4155): each begins with a line "From address date" behind an empty line. */
export async function* mailsOfMbox(path: string, budget: Budget, count: MailCount): AsyncGenerator<Mail> {
  let rest: Buffer = Buffer.alloc(0);
  let number = 0;
  let tooLarge = false;
  const limit = budget.messageKiB * 1024;
  const next = (bytes: Buffer): Generator<Mail> => {
    const sender = /^From (\S+)/.exec(bytes.toString("latin1", 0, 400))?.[1] ?? "";
    return mailOf(`${basename(path)}#${++number}`, bytes, sender.includes("@") ? sender : "", budget, count);
  };
  for await (const chunk of createReadStream(path) as AsyncIterable<Buffer>) {
    rest = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    for (;;) {
      const begin = separator(rest);
      if (begin < 0) break;
      if (tooLarge) tooLarge = false;
      else if (begin > limit) count.skipped++;
      else yield* next(rest.subarray(0, begin));
      rest = rest.subarray(begin);
    }
    if (rest.length > limit) {
      // Passed over up to the next separator; the last octets may be its beginning.
      if (!tooLarge) count.skipped++;
      tooLarge = true;
      rest = rest.subarray(-separatorLine);
    }
  }
  if (rest.length > 0 && !tooLarge) yield* next(rest);
}

/** Octets of a separator line, at most. */
const separatorLine = 1_000;

/** Where the next message begins; -1 when not in these octets. A line of text may begin with "From " as well. */
function separator(bytes: Buffer): number {
  for (let at = 0; ; ) {
    at = bytes.indexOf("\nFrom ", at) + 1;
    if (at === 0) return -1;
    const end = bytes.indexOf(0x0a, at);
    if (end < 0) return -1;
    const line = bytes.toString("latin1", at, Math.min(end, at + separatorLine));
    const behindEmpty = bytes[at - 2] === 0x0a || (bytes[at - 2] === 0x0d && bytes[at - 3] === 0x0a);
    if (behindEmpty && /^From \S+ .*\d\d:\d\d/.test(line)) return at;
  }
}

function* mailOf(id: string, bytes: Buffer, sender: string, budget: Budget, count: MailCount): Generator<Mail> {
  let headers: HeaderSection;
  try {
    headers = parseHeaders(bytes, budget);
  } catch (error) {
    if (!(error instanceof BudgetExceeded)) throw error;
    count.skipped++;
    return;
  }
  let parsed: ParsedMessage | undefined;
  yield {
    record: recordOf(id, bytes, headers, sender),
    strings(variable) {
      parsed ??= parseMessage(bytes, budget);
      return stringsOf(parsed, variable);
    },
  };
}

function recordOf(id: string, bytes: Buffer, headers: HeaderSection, sender: string): DecisionRecord {
  const address = (names: readonly string[]): string => {
    for (const name of names) {
      const [found] = mailboxesOf(parseAddresses(headers.first(name)?.value ?? ""));
      if (found?.address.includes("@")) return found.address;
    }
    return "";
  };
  const { ip, host } = clientOf(headers);
  const steps: Step[] = [
    { event: "onConnect", in: { remoteSmtpIp: ip, isSSLConnection: "no" } },
    { event: "onEhlo", in: { ehloHost: host, isESMTP: "yes" } },
    { event: "onMailFrom", in: { mailFrom: sender || address(["return-path", "sender", "from"]) } },
    {
      event: "onRcptTo",
      in: { rcptTo: address(["delivered-to", "x-original-to", "to"]) || "postmaster", isLocalRcpt: "yes" },
    },
  ];
  const at = Date.parse(headers.first("date")?.value ?? "");
  return {
    id,
    time: Number.isFinite(at) ? at : 0,
    ms: 0,
    policy: "",
    session: "",
    steps,
    facts: [],
    header: Buffer.concat(headers.fields.map((field) => field.bytes)).toString("latin1"),
    size: bytes.length,
    decision: { verdict: "accept", at: "onDataReceived", code: 250, text: "", by: "engine", recipients: "a" },
  };
}

/** Who gave the message to the server that kept it, by its topmost trace field that names another host's address. */
function clientOf(headers: HeaderSection): { ip: string; host: string } {
  for (const { value } of headers.all("received")) {
    const match = /\bfrom\s+([\w.-]+).{0,200}?\[(?:IPv6:)?([0-9a-fA-F.:]{3,45})\]/.exec(value.slice(0, 1_000));
    if (match && isIP(match[2]!) && !match[2]!.startsWith("127.") && match[2] !== "::1")
      return { host: match[1]!, ip: match[2]! };
  }
  return { ip: "192.0.2.1", host: "unknown.invalid" };
}
