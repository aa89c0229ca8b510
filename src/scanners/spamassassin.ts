/**
 * SpamAssassin's spamd (spamd/PROTOCOL 1.5): CHECK, SYMBOLS, HEADERS, PROCESS, TELL and PING.
 * Invariants: the message streams to the server with an exact Content-length; one request a connection, as spamd closes
 * it. Failure: ScannerError; spamd's error codes are "protocol", but 75 (temporary) is "closed".
 */
import type { Budget } from "../config/budget.ts";
import { ScannerSocket, type SocketAddress } from "./stream.ts";
import { type ScanInput, type Scanner, ScannerError, type ScanVerdict } from "./types.ts";

export interface SpamassassinOptions {
  name: string;
  address: SocketAddress;
  timeoutMs: number;
  budget: Pick<Budget, "scannerLine" | "scannerReply">;
  /** Whose preferences apply; "" for the daemon's own. */
  user?: string;
}

interface SpamdReply {
  /** Names in lower case. */
  headers: Map<string, string>;
  body: Buffer;
}

/** EX_TEMPFAIL of sysexits.h. */
const temporaryFailure = 75;
const maxReplyHeaders = 50;

export class SpamassassinScanner implements Scanner {
  readonly name: string;
  readonly #options: SpamassassinOptions;

  constructor(options: SpamassassinOptions) {
    this.name = options.name;
    this.#options = options;
  }

  async scan(input: ScanInput): Promise<ScanVerdict> {
    const began = performance.now();
    const reply = await this.#request("SYMBOLS", [], input);
    const { spam, score, threshold } = spamdScore(reply.headers.get("spam") ?? "");
    const symbols = reply.body
      .toString("latin1")
      .split(/[,\s]+/)
      .filter(Boolean)
      .slice(0, 1_000);
    return {
      scanner: this.name,
      virus: "",
      score,
      threshold,
      symbols,
      action: spam ? "add header" : "accept",
      elapsed: performance.now() - began,
    };
  }

  /** Score alone, for callers that need no symbols. */
  async check(input: ScanInput): Promise<{ spam: boolean; score: number; threshold: number }> {
    return spamdScore((await this.#request("CHECK", [], input)).headers.get("spam") ?? "");
  }

  /** The header section as spamd rewrote it. */
  async headers(input: ScanInput): Promise<Buffer> {
    return (await this.#request("HEADERS", [], input)).body;
  }

  /** The whole message as spamd rewrote it. */
  async process(input: ScanInput): Promise<Buffer> {
    return (await this.#request("PROCESS", [], input)).body;
  }

  /** Teaches the Bayes data base; answers whether it learnt (or forgot) something. */
  async tell(input: ScanInput, lesson: "spam" | "ham" | "forget"): Promise<boolean> {
    const headers = lesson === "forget" ? ["Remove: local"] : [`Message-class: ${lesson}`, "Set: local"];
    const reply = await this.#request("TELL", headers, input);
    return reply.headers.has("didset") || reply.headers.has("didremove");
  }

  async ping(): Promise<void> {
    const { timeoutMs, budget, address } = this.#options;
    const socket = await ScannerSocket.connect(address, timeoutMs);
    try {
      await socket.write(Buffer.from("PING SPAMC/1.5\r\n\r\n"), timeoutMs);
      const line = await socket.readLine(budget.scannerLine, timeoutMs);
      if (!/^SPAMD\/\d+\.\d+ 0 PONG/.test(line)) throw new ScannerError("protocol", `spamd: ${line.slice(0, 100)}`);
    } finally {
      socket.close();
    }
  }

  async close(): Promise<void> {}

  async #request(command: string, headers: string[], input: ScanInput): Promise<SpamdReply> {
    const { timeoutMs, address, user } = this.#options;
    const socket = await ScannerSocket.connect(address, timeoutMs);
    socket.deadline = Date.now() + timeoutMs;
    try {
      const lines = [`${command} SPAMC/1.5`, `Content-length: ${input.size}`, ...headers];
      if (user) lines.push(`User: ${user.replace(/[^\x21-\x7e]/g, "")}`);
      await socket.write(Buffer.from(`${lines.join("\r\n")}\r\n\r\n`), timeoutMs);
      for await (const chunk of input.bytes()) await socket.write(chunk, timeoutMs);
      socket.endWriting();
      return await this.#reply(socket);
    } finally {
      socket.close();
    }
  }

  async #reply(socket: ScannerSocket): Promise<SpamdReply> {
    const { timeoutMs, budget } = this.#options;
    const first = await socket.readLine(budget.scannerLine, timeoutMs);
    const status = /^SPAMD\/\d+\.\d+ (\d+) /.exec(`${first} `);
    if (status === null) throw new ScannerError("protocol", `spamd: ${first.slice(0, 100)}`);
    const code = Number(status[1]);
    if (code !== 0) throw new ScannerError(code === temporaryFailure ? "closed" : "protocol", first.slice(0, 200));
    const headers = new Map<string, string>();
    for (let line = await this.#line(socket); line !== ""; line = await this.#line(socket)) {
      if (headers.size >= maxReplyHeaders) throw new ScannerError("limit", "spamd: too many reply headers");
      const colon = line.indexOf(":");
      if (colon > 0) headers.set(line.slice(0, colon).trim().toLowerCase(), line.slice(colon + 1).trim());
    }
    return { headers, body: await socket.readAll(budget.scannerReply, timeoutMs) };
  }

  #line(socket: ScannerSocket): Promise<string> {
    return socket.readLine(this.#options.budget.scannerLine, this.#options.timeoutMs);
  }
}

/** Reads the value of "Spam: True ; 15.0 / 5.0"; some replies say Yes and No. ScannerError "protocol" for others. */
export function spamdScore(value: string): { spam: boolean; score: number; threshold: number } {
  const match = /^(true|yes|false|no)\s*;\s*(-?[\d.]+)\s*\/\s*(-?[\d.]+)/i.exec(value);
  const score = Number(match?.[2]);
  const threshold = Number(match?.[3]);
  if (match === null || Number.isNaN(score) || Number.isNaN(threshold)) {
    throw new ScannerError("protocol", "spamd: reply without a score");
  }
  return { spam: /^(true|yes)$/i.test(match[1]!), score, threshold };
}
