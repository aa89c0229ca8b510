/**
 * Rspamd over HTTP: POST /checkv2 with the envelope in request headers (rspamd.com, "Protocol").
 * Invariants: connections are kept alive; header values hold printable ASCII only. Failure: ScannerError.
 */
import { Agent, type IncomingMessage, request } from "node:http";
import { z } from "zod";
import type { Budget } from "../config/budget.ts";
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
  readonly #options: RspamdOptions;
  readonly #agent = new Agent({ keepAlive: true, maxFreeSockets: 4 });

  constructor(options: RspamdOptions) {
    this.name = options.name;
    this.#options = options;
  }

  async scan(input: ScanInput): Promise<ScanVerdict> {
    const began = performance.now();
    const headers: Record<string, string> = { "Content-Length": String(input.size) };
    const add = (name: string, value: string) => {
      if (value !== "") headers[name] = value.replace(/[^\x20-\x7e]/g, "?").slice(0, 1_000);
    };
    add("From", input.mailFrom);
    add("IP", input.remoteIp);
    add("Helo", input.ehlo);
    add("Hostname", input.remoteHost);
    add("User", input.authUser);
    add("Queue-Id", input.queueId);
    add("Rcpt", input.rcptTo.slice(0, 20).join(", "));
    add("Password", this.#options.password ?? "");
    const body = await this.#exchange("POST", "/checkv2", headers, input.bytes());
    const reply = parseReply(body);
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
    await this.#exchange("GET", "/ping", {}, []);
  }

  async close(): Promise<void> {
    this.#agent.destroy();
  }

  /** One HTTP exchange within the time-out; answers the body of a 200. */
  async #exchange(
    method: string,
    path: string,
    headers: Record<string, string>,
    body: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  ): Promise<string> {
    const { address, timeoutMs, budget } = this.#options;
    const signal = AbortSignal.timeout(timeoutMs);
    const target = "path" in address ? { socketPath: address.path } : { host: address.host, port: address.port };
    const req = request({ ...target, method, path, headers, agent: this.#agent, signal });
    const response = new Promise<IncomingMessage>((resolve, reject) => {
      req.once("response", resolve);
      req.once("error", reject);
    });
    try {
      const sent = this.#send(req, body);
      const [reply] = await Promise.all([response, sent]);
      const chunks: Buffer[] = [];
      let size = 0;
      for await (const chunk of reply as AsyncIterable<Buffer>) {
        size += chunk.length;
        if (size > budget.scannerReply) throw new ScannerError("limit", "rspamd: reply too large");
        chunks.push(chunk);
      }
      if (reply.statusCode !== 200) throw new ScannerError("protocol", `rspamd: HTTP ${reply.statusCode}`);
      return Buffer.concat(chunks).toString("utf8");
    } catch (error) {
      req.destroy();
      if (error instanceof ScannerError) throw error;
      if (signal.aborted) throw new ScannerError("timeout", `rspamd: no answer within ${timeoutMs} ms`);
      throw new ScannerError("connect", `rspamd: ${(error as Error).message}`);
    }
  }

  async #send(req: ReturnType<typeof request>, body: AsyncIterable<Uint8Array> | Iterable<Uint8Array>): Promise<void> {
    for await (const chunk of body) {
      if (req.destroyed) return;
      if (!req.write(chunk)) {
        await new Promise<void>((resolve) => {
          req.once("drain", resolve);
          req.once("close", resolve);
        });
      }
    }
    req.end();
  }
}

function parseReply(text: string): z.infer<typeof replySchema> {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    throw new ScannerError("protocol", "rspamd: the reply is no JSON");
  }
  const parsed = replySchema.safeParse(json);
  if (!parsed.success) throw new ScannerError("protocol", "rspamd: unexpected reply");
  return parsed.data;
}
