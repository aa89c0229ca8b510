/**
 * A scanner whose protocol is described by data, for servers that no other client speaks to: what to send, where a
 * reply ends, and rules that read it (the part that AFSL files play for Axigen's socket filters).
 * Invariants: texts sent hold no octets of the envelope but printable ones; patterns run in linear time over a reply of
 * at most `scannerLine` octets (`scannerReply` when it ends with the connection); the first rule that matches decides.
 * Failure: RegexError for a bad pattern when the scanner is made; ScannerError afterwards, "protocol" when no rule
 * matches.
 */
import type { Budget } from "../config/budget.ts";
import { compileRegex, type Regex } from "../language/regex.ts";
import { printable } from "../message/outcome.ts";
import { ConnectionPool } from "./pool.ts";
import type { ScannerSocket, SocketAddress } from "./stream.ts";
import { type ScanInput, type Scanner, ScannerError, type ScanVerdict } from "./types.ts";

/**
 * One thing to send. A text may name %size%, %from%, %rcpt%, %ip%, %helo%, %user% and %id%. The message goes as it is
 * ("raw"), with SMTP dot-stuffing and a final dot ("dotted"), or in chunks that begin with their length in four octets
 * and end with an empty one ("chunked").
 */
export type SocketStep = { text: string } | { message: "raw" | "dotted" | "chunked" };

/** A reading of the reply. `$1`…`$9` in a value stand for the pattern's groups. */
export interface SocketRule {
  /** Regular expression, anywhere in the reply. */
  pattern: string;
  virus?: string | undefined;
  score?: string | undefined;
  threshold?: string | undefined;
  action?: ScanVerdict["action"] | undefined;
  message?: string | undefined;
}

export interface SocketProtocol {
  request: readonly SocketStep[];
  /** What ends a reply: a line end, a NUL, or the end of the connection. */
  replyEnd: "line" | "nul" | "close";
  /** The server takes another message on the same connection. */
  keepOpen: boolean;
  rules: readonly SocketRule[];
  /** Request and pattern of the liveness probe; absent: connecting is enough. */
  ping?: { text: string; pattern: string } | undefined;
}

export interface SocketScannerOptions {
  name: string;
  address: SocketAddress;
  timeoutMs: number;
  protocol: SocketProtocol;
  budget: Pick<Budget, "scannerLine" | "scannerReply" | "regexBytes">;
}

export class SocketScanner implements Scanner {
  readonly name: string;
  readonly #options: SocketScannerOptions;
  readonly #pool: ConnectionPool;
  readonly #rules: ReadonlyArray<SocketRule & { regex: Regex }>;
  readonly #pong: Regex | undefined;

  constructor(options: SocketScannerOptions) {
    const { protocol, budget } = options;
    this.name = options.name;
    this.#options = options;
    this.#pool = new ConnectionPool(options.address, options.timeoutMs);
    this.#rules = protocol.rules.map((rule) => ({ ...rule, regex: compileRegex(rule.pattern, "octet", budget) }));
    this.#pong = protocol.ping && compileRegex(protocol.ping.pattern, "octet", budget);
  }

  async scan(input: ScanInput): Promise<ScanVerdict> {
    const began = performance.now();
    const reply = await this.#pool.use(async (socket) => {
      for (const step of this.#options.protocol.request) await this.#send(socket, step, input);
      return { value: await this.#reply(socket), keep: this.#options.protocol.keepOpen };
    });
    return this.read(reply, performance.now() - began);
  }

  async ping(): Promise<void> {
    const { ping } = this.#options.protocol;
    await this.#pool.use(async (socket) => {
      if (ping === undefined) return { value: "", keep: false };
      await socket.write(Buffer.from(ping.text), this.#options.timeoutMs);
      const reply = await this.#reply(socket);
      if (this.#pong?.test(reply) !== true) throw this.#unexpected(reply);
      return { value: reply, keep: this.#options.protocol.keepOpen };
    });
  }

  async close(): Promise<void> {
    this.#pool.close();
  }

  async #send(socket: ScannerSocket, step: SocketStep, input: ScanInput): Promise<void> {
    const { timeoutMs } = this.#options;
    if ("text" in step) {
      await socket.write(Buffer.from(expand(step.text, input)), timeoutMs);
      return;
    }
    for await (const piece of encodings[step.message](input.bytes())) await socket.write(piece, timeoutMs);
  }

  async #reply(socket: ScannerSocket): Promise<string> {
    const { protocol, budget, timeoutMs } = this.#options;
    switch (protocol.replyEnd) {
      case "line":
        return socket.readLine(budget.scannerLine, timeoutMs);
      case "nul":
        return (await socket.readUntil(0, budget.scannerLine, timeoutMs)).toString("latin1");
      case "close":
        return (await socket.readAll(budget.scannerReply, timeoutMs)).toString("latin1");
    }
  }

  /** What the rules make of an answer; ScannerError "protocol" when none matches. */
  read(reply: string, elapsed: number): ScanVerdict {
    for (const rule of this.#rules) {
      const groups = rule.regex.exec(reply);
      if (groups === undefined) continue;
      const fill = (template: string) =>
        printable(template.replace(/\$([1-9])/g, (_, n: string) => groups[Number(n)] ?? ""));
      const number = (template: string) => {
        const value = Number(fill(template));
        if (Number.isNaN(value)) throw this.#unexpected(reply);
        return value;
      };
      return {
        scanner: this.name,
        virus: rule.virus === undefined ? "" : fill(rule.virus),
        symbols: [],
        elapsed,
        ...(rule.score === undefined ? {} : { score: number(rule.score) }),
        ...(rule.threshold === undefined ? {} : { threshold: number(rule.threshold) }),
        ...(rule.action === undefined ? {} : { action: rule.action }),
        ...(rule.message === undefined ? {} : { message: fill(rule.message) }),
      };
    }
    throw this.#unexpected(reply);
  }

  #unexpected(reply: string): ScannerError {
    return new ScannerError("protocol", `${this.name}: no rule reads ${JSON.stringify(reply.slice(0, 100))}`);
  }
}

function expand(text: string, input: ScanInput): string {
  const values: Readonly<Record<string, string>> = {
    size: String(input.size),
    from: input.mailFrom,
    rcpt: input.rcptTo.join(","),
    ip: input.remoteIp,
    helo: input.ehlo,
    user: input.authUser,
    id: input.queueId,
  };
  return text.replace(/%([a-z]+)%/g, (whole, name: string) => (name in values ? printable(values[name]!) : whole));
}

const encodings = { raw: (message: AsyncIterable<Uint8Array>) => message, dotted, chunked };

async function* chunked(message: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  for await (const chunk of message) {
    if (chunk.length === 0) continue; // an empty chunk would end the message
    const length = Buffer.allocUnsafe(4);
    length.writeUInt32BE(chunk.length);
    yield length;
    yield chunk;
  }
  yield Buffer.alloc(4);
}

/** RFC 5321 §4.5.2. */
async function* dotted(message: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  let last = 0x0a;
  for await (const chunk of message) {
    let from = 0;
    for (let at = 0; at < chunk.length; at++) {
      if (chunk[at] === 0x2e && last === 0x0a) {
        yield chunk.subarray(from, at);
        yield Buffer.from(".");
        from = at;
      }
      last = chunk[at]!;
    }
    yield chunk.subarray(from);
  }
  yield Buffer.from(last === 0x0a ? ".\r\n" : "\r\n.\r\n");
}
