/**
 * MTA Hooks: asks an HTTP service about a message at the stage "data", in the JSON that Stalwart has spoken since 0.9.
 * The Internet-Draft of the same name changes its form with every version, so it is not followed yet.
 * Invariants: changes follow the index rules of milters; at most `milterActions` of them; texts that reach replies are
 * printable. Octets of the message that are no UTF-8 are shown as U+FFFD, as JSON has no others. Failure: ScannerError;
 * BudgetExceeded from the header editor.
 */
import { z } from "zod";
import type { Budget } from "../config/budget.ts";
import { parseHeaders } from "../message/headers.ts";
import { type Outcome, outcome, printable } from "../message/outcome.ts";
import { HttpExchange, parseJson } from "./http.ts";
import type { Modification } from "./milter/codec.ts";
import { type ScanInput, ScannerError } from "./types.ts";

export interface MtaHookOptions {
  name: string;
  /** http: or https: */
  url: string;
  /** More header fields of the request, such as Authorization. */
  headers: Readonly<Record<string, string>>;
  timeoutMs: number;
  /** Our name in the greeting. */
  hostName: string;
  budget: Pick<Budget, "scannerReply" | "milterActions" | "headerSection" | "headerFields">;
}

export interface HookReply {
  action: "accept" | "reject" | "discard" | "quarantine";
  /** What the client is told, for "reject". */
  outcome?: Outcome;
  modifications: Modification[];
}

const parameters = z.record(z.string(), z.string().nullable()).default({});
const index = z.number().int().min(0).max(10_000);
const name = z.string().regex(/^[\x21-\x39\x3b-\x7e]{1,256}$/);
const address = z.string().regex(/^[^\s<>\x00-\x1f\x7f]{0,320}$/);
/** A field's value may be folded, and break lines in no other way. */
const value = z.string().regex(/^(?:[^\x00\r\n]|\r?\n[ \t])*$/);

const modification = z.discriminatedUnion("type", [
  z.object({ type: z.literal("changeFrom"), value: address, parameters }),
  z.object({ type: z.literal("addRecipient"), value: address, parameters }),
  z.object({ type: z.literal("deleteRecipient"), value: address }),
  z.object({ type: z.literal("replaceContents"), value: z.string() }),
  z.object({ type: z.literal("addHeader"), name, value }),
  z.object({ type: z.literal("insertHeader"), index, name, value }),
  z.object({ type: z.literal("changeHeader"), index, name, value }),
  z.object({ type: z.literal("deleteHeader"), index, name }),
]);

const replySchema = z.object({
  action: z.enum(["accept", "reject", "discard", "quarantine"]),
  response: z
    .object({
      status: z.number().int().min(400).max(599).catch(550),
      enhancedStatus: z
        .string()
        .regex(/^[45]\.\d{1,3}\.\d{1,3}$/)
        .optional()
        .catch(undefined),
      message: z.string().default("Message rejected"),
    })
    .nullish(),
  modifications: z.array(modification).default([]),
});

export class MtaHook {
  readonly name: string;
  readonly #options: MtaHookOptions;
  readonly #http: HttpExchange;
  readonly #path: string;

  /** Throws TypeError when the URL is none, RangeError when it is of another scheme. */
  constructor(options: MtaHookOptions) {
    const url = new URL(options.url);
    const tls = url.protocol === "https:";
    if (!tls && url.protocol !== "http:") throw new RangeError(`not a http: or https: URL: ${options.url}`);
    this.name = options.name;
    this.#options = options;
    this.#path = url.pathname + url.search;
    this.#http = new HttpExchange({
      address: { host: url.hostname.replace(/^\[|\]$/g, ""), port: Number(url.port) || (tls ? 443 : 80) },
      tls,
      name: options.name,
      timeoutMs: options.timeoutMs,
      replyBytes: options.budget.scannerReply,
    });
  }

  /** `header`: the section with its blank line, `ownFields` of it ours. */
  async ask(input: ScanInput, header: Buffer, ownFields: number): Promise<HookReply> {
    const { budget } = this.#options;
    const body = Buffer.from(JSON.stringify(await this.#request(input, header, ownFields)));
    const length = String(body.length);
    const headers = { ...this.#options.headers, "Content-Type": "application/json", "Content-Length": length };
    return parseHookReply(await this.#http.run("POST", this.#path, headers, [body]), this.name, budget);
  }

  async close(): Promise<void> {
    this.#http.close();
  }

  async #request(input: ScanInput, header: Buffer, ownFields: number): Promise<object> {
    const { hostName, budget } = this.#options;
    const chunks = await Array.fromAsync(input.bytes());
    const contents = Buffer.concat(chunks).subarray(header.length).toString("utf8");
    const fields = parseHeaders(header, budget).fields.map((field) => [field.name, field.raw.trim()]);
    return {
      context: {
        stage: "data",
        client: { ip: input.remoteIp, port: input.remotePort ?? 0, ptr: input.remoteHost || null, helo: input.ehlo },
        ...(input.authUser === "" ? {} : { sasl: { login: input.authUser } }),
        server: { name: hostName, port: 0 },
        queue: { id: input.queueId },
        protocol: { version: 1 },
      },
      envelope: { from: { address: input.mailFrom }, to: input.rcptTo.map((to) => ({ address: to })) },
      message: {
        headers: fields.slice(ownFields),
        serverHeaders: fields.slice(0, ownFields),
        contents,
        size: input.size,
      },
    };
  }
}

/** Reads a hook's answer; ScannerError "protocol" when it is no such thing, "limit" when it asks for too much. */
export function parseHookReply(text: string, origin: string, budget: Pick<Budget, "milterActions">): HookReply {
  const parsed = replySchema.safeParse(parseJson(text, origin));
  if (!parsed.success)
    throw new ScannerError("protocol", `${origin}: ${printable(z.prettifyError(parsed.error)).slice(0, 200)}`);
  const { action, response, modifications } = parsed.data;
  if (modifications.length > budget.milterActions) throw new ScannerError("limit", `${origin}: too many modifications`);
  const changes = modifications.map(changeOf);
  if (action !== "reject") return { action, modifications: changes };
  const { status: code, enhancedStatus, message } = { status: 550, message: "Message rejected", ...response };
  const enhanced = enhancedStatus ?? (code < 500 ? "4.7.1" : "5.7.1");
  return { action, outcome: outcome.of({ code, enhanced, text: printable(message), origin }), modifications: changes };
}

function changeOf(change: z.output<typeof modification>): Modification {
  switch (change.type) {
    case "changeFrom":
      return { kind: "changeFrom", address: change.value, args: "" };
    case "addRecipient":
      return { kind: "addRecipient", address: change.value, args: "" };
    case "deleteRecipient":
      return { kind: "deleteRecipient", address: change.value };
    case "replaceContents":
      return { kind: "replaceBody", chunk: bodyOf(change.value) };
    case "addHeader":
      return { kind: "addHeader", name: change.name, value: octets(change.value) };
    case "insertHeader":
    case "changeHeader":
      return { kind: change.type, index: change.index, name: change.name, value: octets(change.value) };
    case "deleteHeader":
      return { kind: "changeHeader", index: change.index, name: change.name, value: "" };
  }
}

/** Octets of the text as a milter's values are kept: one code unit an octet. */
function octets(text: string): string {
  return Buffer.from(text).toString("latin1");
}

/** No octets but whole lines reach the queue: CRLF line ends, no NUL. */
function bodyOf(text: string): Buffer {
  const lines = text.replaceAll("\0", "").replace(/\r\n|\r|\n/g, "\r\n");
  return Buffer.from(lines === "" || lines.endsWith("\r\n") ? lines : `${lines}\r\n`);
}
