/**
 * Rspamd over HTTP: POST /checkv2 with the envelope in request headers (rspamd.com, "Protocol").
 * Failure: ScannerError.
 */
import { z } from "zod";
import type { Budget } from "../config/budget.ts";
import { HttpExchange, parseJson } from "./http.ts";
import type { SocketAddress } from "./stream.ts";
import { type ScanInput, type Scanner, ScannerError, type ScanVerdict } from "./types.ts";

export interface RspamdOptions {
  name: string;
  address: SocketAddress;
  timeoutMs: number;
  password?: string;
  budget: Pick<Budget, "scannerReply">;
}

const replySchema = z.object({
  score: z.number(),
  required_score: z.number(),
  action: z.string(),
  symbols: z.record(z.string(), z.unknown()).default({}),
  messages: z.object({ smtp_message: z.string().optional() }).loose().optional(),
});

const actions: Readonly<Record<string, NonNullable<ScanVerdict["action"]>>> = {
  "no action": "accept",
  greylist: "tmpreject",
  "soft reject": "tmpreject",
  "add header": "add header",
  "rewrite subject": "rewrite subject",
  quarantine: "quarantine",
  discard: "discard",
  reject: "reject",
};

export class RspamdScanner implements Scanner {
  readonly name: string;
  readonly #password: string;
  readonly #http: HttpExchange;

  constructor({ name, address, timeoutMs, password = "", budget }: RspamdOptions) {
    this.name = name;
    this.#password = password;
    this.#http = new HttpExchange({ address, name: "rspamd", timeoutMs, replyBytes: budget.scannerReply });
  }

  async scan(input: ScanInput): Promise<ScanVerdict> {
    const began = performance.now();
    const headers = {
      "Content-Length": String(input.size),
      From: input.mailFrom,
      IP: input.remoteIp,
      Helo: input.ehlo,
      Hostname: input.remoteHost,
      User: input.authUser,
      "Queue-Id": input.queueId,
      Rcpt: input.rcptTo.slice(0, 20).join(", "),
      Password: this.#password,
    };
    const reply = parseRspamdReply(await this.#http.run("POST", "/checkv2", headers, input.bytes()));
    const action = actions[reply.action];
    const message = reply.messages?.smtp_message;
    return {
      scanner: this.name,
      virus: "",
      score: reply.score,
      threshold: reply.required_score,
      symbols: Object.keys(reply.symbols).slice(0, 1_000),
      ...(action === undefined ? {} : { action }),
      ...(message === undefined ? {} : { message }),
      elapsed: performance.now() - began,
    };
  }

  async ping(): Promise<void> {
    await this.#http.run("GET", "/ping", {}, []);
  }

  async close(): Promise<void> {
    this.#http.close();
  }
}

/** Reads the JSON of /checkv2; ScannerError "protocol" when it is something else. */
export function parseRspamdReply(text: string): z.output<typeof replySchema> {
  const parsed = replySchema.safeParse(parseJson(text, "rspamd"));
  if (!parsed.success) throw new ScannerError("protocol", "rspamd: unexpected reply");
  return parsed.data;
}
