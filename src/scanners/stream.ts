/**
 * One stream connection to a scanner, read by pulling: nothing is taken from the kernel before it is asked for, so a
 * server that sends gigabytes stalls on its own side.
 * Invariants: every wait has a time-out; every read states its limit. Failure: ScannerError (connect, timeout, closed,
 * limit); after one the socket is destroyed.
 */
import { connect, type Socket } from "node:net";
import { ScannerError } from "./types.ts";

export type SocketAddress = { host: string; port: number } | { path: string };

/**
 * Reads "host:port", "[::1]:port", "tcp:host:port", "inet:host:port", "inet:port@host" (as milters write it),
 * "inet://host:port", "unix:/path", "local:///path" or "/path". Throws RangeError when it is none of them.
 */
export function parseSocketAddress(text: string): SocketAddress {
  const local = /^(?:unix:|local:(?:\/\/)?)?(\/.+)$/.exec(text);
  if (local !== null) return { path: local[1]! };
  const inet = text.replace(/^(?:tcp|inet6?)(?::\/\/|:)/, "");
  const swapped = /^(\d+)@(.+)$/.exec(inet);
  const match = swapped === null ? /^(.+):(\d+)$/.exec(inet) : [inet, swapped[2]!, swapped[1]!];
  const port = Number(match?.[2]);
  if (match === null || !(port > 0 && port < 65_536)) throw new RangeError(`not a socket address: ${text}`);
  return { host: match[1]!.replace(/^\[|\]$/g, ""), port };
}

export class ScannerSocket {
  readonly #socket: Socket;
  #error: ScannerError | undefined;
  #ended = false;
  #wake: (() => void) | undefined;
  #buffered: Buffer = Buffer.alloc(0);
  /** Time (ms since epoch) after which every wait fails, however often the server shows signs of life. */
  deadline = Number.POSITIVE_INFINITY;

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.on("readable", () => {
      // Without a reader nobody would notice the end of the stream.
      if (this.#wake === undefined && socket.readableLength === 0) socket.read();
      this.#notify();
    });
    socket.on("drain", () => this.#notify());
    socket.on("end", () => {
      this.#ended = true;
      this.#notify();
    });
    socket.on("error", (error) => {
      this.#error ??= new ScannerError("closed", error.message);
      this.#notify();
    });
    socket.on("close", () => {
      this.#ended = true;
      this.#error ??= new ScannerError("closed", "connection closed");
      this.#notify();
    });
  }

  /** Connects within `timeoutMs` or rejects with a ScannerError "connect" or "timeout". */
  static connect(address: SocketAddress, timeoutMs: number): Promise<ScannerSocket> {
    return new Promise((resolve, reject) => {
      const socket = connect(address);
      const timer = setTimeout(() => {
        socket.destroy();
        reject(new ScannerError("timeout", `no connection within ${timeoutMs} ms`));
      }, timeoutMs);
      const onError = (error: Error) => {
        clearTimeout(timer);
        reject(new ScannerError("connect", error.message));
      };
      socket.once("error", onError);
      socket.once("connect", () => {
        clearTimeout(timer);
        socket.off("error", onError);
        socket.setNoDelay(true);
        resolve(new ScannerSocket(socket));
      });
    });
  }

  /** Open, and with nothing unread: fit to be used for another request. */
  get reusable(): boolean {
    return (
      this.#error === undefined && !this.#ended && this.#buffered.length === 0 && this.#socket.readableLength === 0
    );
  }

  /** Sends octets; waits until the kernel takes them when much is under way. */
  async write(bytes: Uint8Array, timeoutMs: number): Promise<void> {
    if (this.#error) throw this.#error;
    if (this.#socket.write(bytes)) return;
    while (this.#socket.writableNeedDrain && this.#error === undefined) await this.#wait(timeoutMs);
    if (this.#error) throw this.#error;
  }

  /** Says that nothing more will be sent. */
  endWriting(): void {
    this.#socket.end();
  }

  /** Next octets, or undefined at the end of the stream. */
  async read(timeoutMs: number): Promise<Buffer | undefined> {
    if (this.#buffered.length > 0) {
      const chunk = this.#buffered;
      this.#buffered = Buffer.alloc(0);
      return chunk;
    }
    for (;;) {
      const chunk = this.#socket.read() as Buffer | null;
      if (chunk !== null) return chunk;
      if (this.#ended) return undefined;
      if (this.#error) throw this.#error;
      await this.#wait(timeoutMs);
    }
  }

  /** Exactly `size` octets. */
  async readExactly(size: number, timeoutMs: number): Promise<Buffer> {
    const chunks: Buffer[] = [];
    let have = 0;
    while (have < size) {
      const chunk = await this.#more(timeoutMs);
      const part = chunk.subarray(0, size - have);
      this.#buffered = chunk.subarray(part.length);
      chunks.push(part);
      have += part.length;
    }
    return chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks);
  }

  /** Octets before the next `delimiter`, which is taken too; ScannerError "limit" when it does not come within `limit`. */
  async readUntil(delimiter: number, limit: number, timeoutMs: number): Promise<Buffer> {
    const chunks: Buffer[] = [];
    let have = 0;
    for (;;) {
      const chunk = await this.#more(timeoutMs);
      const at = chunk.indexOf(delimiter);
      const part = at < 0 ? chunk : chunk.subarray(0, at);
      have += part.length;
      if (have > limit) throw this.#fail("limit", `more than ${limit} octets in one item`);
      chunks.push(part);
      if (at >= 0) {
        this.#buffered = chunk.subarray(at + 1);
        return chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks);
      }
    }
  }

  /** Line without its CRLF or LF, as Latin-1 text. */
  async readLine(limit: number, timeoutMs: number): Promise<string> {
    const line = (await this.readUntil(0x0a, limit, timeoutMs)).toString("latin1");
    return line.endsWith("\r") ? line.slice(0, -1) : line;
  }

  /** Everything up to the end of the stream. */
  async readAll(limit: number, timeoutMs: number): Promise<Buffer> {
    const chunks: Buffer[] = [];
    let have = 0;
    for (;;) {
      const chunk = await this.read(timeoutMs);
      if (chunk === undefined) return Buffer.concat(chunks);
      have += chunk.length;
      if (have > limit) throw this.#fail("limit", `more than ${limit} octets in a reply`);
      chunks.push(chunk);
    }
  }

  close(): void {
    this.#socket.destroy();
  }

  async #more(timeoutMs: number): Promise<Buffer> {
    const chunk = await this.read(timeoutMs);
    if (chunk === undefined) throw this.#fail("closed", "connection closed before the reply was complete");
    return chunk;
  }

  #fail(kind: ScannerError["kind"], message: string): ScannerError {
    this.#error = new ScannerError(kind, message);
    this.#socket.destroy();
    return this.#error;
  }

  #notify(): void {
    this.#wake?.();
  }

  #wait(timeoutMs: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const left = Math.max(0, Math.min(timeoutMs, this.deadline - Date.now()));
      const timer = setTimeout(() => {
        this.#wake = undefined;
        reject(this.#fail("timeout", "no answer in time"));
      }, left);
      this.#wake = () => {
        clearTimeout(timer);
        this.#wake = undefined;
        resolve();
      };
    });
  }
}
