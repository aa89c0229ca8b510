/**
 * Connections to one server, kept for the next request where the protocol allows.
 * Invariants: one request at a time on a connection; a connection is kept only when the talk said so and nothing is
 * left unread. A request that fails because a kept connection was closed meanwhile is tried once on a new one.
 * Failure: ScannerError.
 */
import { ScannerSocket, type SocketAddress } from "./stream.ts";
import { ScannerError } from "./types.ts";

export interface Talk<T> {
  value: T;
  keep: boolean;
}

export class ConnectionPool {
  readonly #address: SocketAddress;
  readonly #timeoutMs: number;
  readonly #keepIdle: number;
  readonly #idle: ScannerSocket[] = [];
  #closed = false;

  /** `timeoutMs` bounds a whole request, connecting included. */
  constructor(address: SocketAddress, timeoutMs: number, keepIdle = 4) {
    this.#address = address;
    this.#timeoutMs = timeoutMs;
    this.#keepIdle = keepIdle;
  }

  /** Runs one request. `fresh` tells whether the connection is new, for protocols that begin with a greeting. */
  async use<T>(talk: (socket: ScannerSocket, fresh: boolean) => Promise<Talk<T>>): Promise<T> {
    const deadline = Date.now() + this.#timeoutMs;
    const kept = this.#takeIdle();
    if (kept !== undefined) {
      try {
        return await this.#run(kept, false, deadline, talk);
      } catch (error) {
        if (!(error instanceof ScannerError) || error.kind !== "closed") throw error;
      }
    }
    const left = Math.max(1, deadline - Date.now());
    return this.#run(await ScannerSocket.connect(this.#address, left), true, deadline, talk);
  }

  close(): void {
    this.#closed = true;
    for (const socket of this.#idle.splice(0)) socket.close();
  }

  #takeIdle(): ScannerSocket | undefined {
    for (let socket = this.#idle.pop(); socket !== undefined; socket = this.#idle.pop()) {
      if (socket.reusable) return socket;
      socket.close();
    }
    return undefined;
  }

  async #run<T>(
    socket: ScannerSocket,
    fresh: boolean,
    deadline: number,
    talk: (socket: ScannerSocket, fresh: boolean) => Promise<Talk<T>>,
  ): Promise<T> {
    socket.deadline = deadline;
    let keep = false;
    try {
      const result = await talk(socket, fresh);
      keep = result.keep && socket.reusable && !this.#closed && this.#idle.length < this.#keepIdle;
      return result.value;
    } finally {
      if (keep) this.#idle.push(socket);
      else socket.close();
    }
  }
}
