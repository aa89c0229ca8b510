/**
 * One HTTP exchange with a scanner: a request that streams its body, and a reply of limited size within a time-out.
 * Invariants: connections are kept alive; header values hold printable ASCII only. Failure: ScannerError: "limit" for
 * a reply beyond `replyBytes`, "protocol" for a status other than 200, "timeout", "connect" for all else.
 */
import { Agent, type IncomingMessage, request } from "node:http";
import { Agent as TlsAgent, request as tlsRequest } from "node:https";
import type { SocketAddress } from "./stream.ts";
import { ScannerError } from "./types.ts";

type Body = AsyncIterable<Uint8Array> | Iterable<Uint8Array>;

export interface HttpTarget {
  address: SocketAddress;
  tls?: boolean;
  /** How messages of errors begin. */
  name: string;
  /** Bounds a whole exchange, connecting included. */
  timeoutMs: number;
  replyBytes: number;
}

export class HttpExchange {
  readonly #target: HttpTarget;
  readonly #agent: Agent;

  constructor(target: HttpTarget) {
    this.#target = target;
    const options = { keepAlive: true, maxFreeSockets: 4 };
    this.#agent = target.tls ? new TlsAgent(options) : new Agent(options);
  }

  close(): void {
    this.#agent.destroy();
  }

  /** The body of a 200, as text. Empty header values are left out. */
  async run(method: string, path: string, headers: Readonly<Record<string, string>>, body: Body): Promise<string> {
    const { address, name, timeoutMs, tls } = this.#target;
    const signal = AbortSignal.timeout(timeoutMs);
    const place = "path" in address ? { socketPath: address.path } : { host: address.host, port: address.port };
    const options = { ...place, method, path, headers: clean(headers), agent: this.#agent, signal };
    const req = tls ? tlsRequest(options) : request(options);
    const response = new Promise<IncomingMessage>((resolve, reject) => {
      req.once("response", resolve);
      req.once("error", reject);
    });
    try {
      const [reply] = await Promise.all([response, send(req, body)]);
      return await this.#text(reply);
    } catch (error) {
      req.destroy();
      if (error instanceof ScannerError) throw error;
      if (signal.aborted) throw new ScannerError("timeout", `${name}: no answer within ${timeoutMs} ms`);
      throw new ScannerError("connect", `${name}: ${(error as Error).message}`);
    }
  }

  async #text(reply: IncomingMessage): Promise<string> {
    const { name, replyBytes } = this.#target;
    const chunks: Buffer[] = [];
    let size = 0;
    for await (const chunk of reply as AsyncIterable<Buffer>) {
      size += chunk.length;
      if (size > replyBytes) throw new ScannerError("limit", `${name}: reply too large`);
      chunks.push(chunk);
    }
    if (reply.statusCode !== 200) throw new ScannerError("protocol", `${name}: HTTP ${reply.statusCode}`);
    return Buffer.concat(chunks).toString("utf8");
  }
}

function clean(headers: Readonly<Record<string, string>>): Record<string, string> {
  const given = Object.entries(headers).filter(([, value]) => value !== "");
  return Object.fromEntries(given.map(([name, value]) => [name, value.replace(/[^\x20-\x7e]/g, "?").slice(0, 1_000)]));
}

async function send(req: ReturnType<typeof request>, body: Body): Promise<void> {
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

/** JSON of a reply; ScannerError "protocol" when it is none. */
export function parseJson(text: string, name: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new ScannerError("protocol", `${name}: the reply is no JSON`);
  }
}
