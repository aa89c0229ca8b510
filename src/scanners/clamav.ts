/**
 * ClamAV's clamd over TCP or a Unix socket: INSTREAM inside an IDSESSION, so that one connection serves many messages
 * (clamd(8), "IDSESSION", "INSTREAM").
 * Invariants: the message is sent as it is read, in chunks of at most 64 KiB. Failure: ScannerError; clamd's own ERROR
 * replies are "limit" for its size limit and "protocol" otherwise.
 */
import type { Budget } from "../config/budget.ts";
import { printable } from "../message/outcome.ts";
import { ConnectionPool } from "./pool.ts";
import type { ScannerSocket, SocketAddress } from "./stream.ts";
import { type ScanInput, type Scanner, ScannerError, type ScanVerdict } from "./types.ts";

const chunkSize = 64 * 1024;

export interface ClamavOptions {
  name: string;
  address: SocketAddress;
  timeoutMs: number;
  budget: Pick<Budget, "scannerLine">;
}

export class ClamavScanner implements Scanner {
  readonly name: string;
  readonly #options: ClamavOptions;
  readonly #pool: ConnectionPool;

  constructor(options: ClamavOptions) {
    this.name = options.name;
    this.#options = options;
    this.#pool = new ConnectionPool(options.address, options.timeoutMs);
  }

  async scan(input: ScanInput): Promise<ScanVerdict> {
    const began = performance.now();
    const reply = await this.#request(async (socket) => {
      await socket.write(Buffer.from("zINSTREAM\0"), this.#options.timeoutMs);
      for await (const chunk of input.bytes()) await this.#sendChunk(socket, chunk);
      await socket.write(Buffer.alloc(4), this.#options.timeoutMs);
    });
    return clamdVerdict(reply, this.name, performance.now() - began);
  }

  async ping(): Promise<void> {
    const reply = await this.#request((socket) => socket.write(Buffer.from("zPING\0"), this.#options.timeoutMs));
    if (reply !== "PONG") throw new ScannerError("protocol", `clamd: ${reply.slice(0, 100)}`);
  }

  async close(): Promise<void> {
    this.#pool.close();
  }

  #request(send: (socket: ScannerSocket) => Promise<void>): Promise<string> {
    const { timeoutMs, budget } = this.#options;
    return this.#pool.use(async (socket, fresh) => {
      if (fresh) await socket.write(Buffer.from("zIDSESSION\0"), timeoutMs);
      await send(socket);
      const line = (await socket.readUntil(0, budget.scannerLine, timeoutMs)).toString("latin1");
      // Inside a session replies carry the number of their request: "3: stream: OK".
      const match = /^\d+: (.*)$/s.exec(line);
      return { value: match?.[1] ?? line, keep: match !== null && !line.endsWith("ERROR") };
    });
  }

  async #sendChunk(socket: ScannerSocket, chunk: Uint8Array): Promise<void> {
    for (let at = 0; at < chunk.length; at += chunkSize) {
      const part = chunk.subarray(at, at + chunkSize);
      const framed = Buffer.allocUnsafe(4 + part.length);
      framed.writeUInt32BE(part.length, 0);
      framed.set(part, 4);
      await socket.write(framed, this.#options.timeoutMs);
    }
  }
}

/** Reads an answer to INSTREAM, without its number. */
export function clamdVerdict(reply: string, scanner: string, elapsed: number): ScanVerdict {
  const base = { scanner, symbols: [], elapsed };
  if (reply === "stream: OK") return { ...base, virus: "", action: "accept" };
  const found = /^stream: (.{1,500}) FOUND$/.exec(reply);
  if (found !== null) {
    const virus = printable(found[1]!);
    return { ...base, virus, symbols: [virus], action: "reject" };
  }
  const kind = reply.startsWith("INSTREAM size limit exceeded") ? "limit" : "protocol";
  throw new ScannerError(kind, `clamd: ${reply.slice(0, 200)}`);
}
