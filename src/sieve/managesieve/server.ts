/**
 * A ManageSieve listener (RFC 5804): sockets, STARTTLS, one command at a time per connection.
 * Invariants: nothing that was sent in plain text before TLS began is read after it; a command has a bounded size; an
 * idle connection is ended. Failure: a broken connection ends alone; `listen` rejects when the port can't be had.
 */
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import { createSecureContext, type SecureContext, TLSSocket } from "node:tls";
import { ProtocolError, readCommand } from "./protocol.ts";
import { ManageSieveSession, type SessionOptions } from "./session.ts";

export interface ManageSieveOptions extends SessionOptions {
  host: string;
  port: number;
  /** Lets further processes listen on the same port. */
  reusePort?: boolean;
  tls?: { key: string | Buffer; cert: string | Buffer };
  /** Connections at a time. Default 100. */
  connections?: number;
  /** Milliseconds. Default 30 minutes (§1.2 asks for that much). */
  idleMs?: number;
}

export class ManageSieveServer {
  #options: ManageSieveOptions;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  #context: SecureContext | undefined;

  constructor(options: ManageSieveOptions) {
    this.#options = options;
    this.#server = createServer((socket) => this.#accept(socket));
    this.reload(options);
  }

  /** Takes what can change while listening: all but host and port. Throws for a bad certificate. */
  reload(options: ManageSieveOptions): void {
    this.#context = options.tls && createSecureContext({ ...options.tls, minVersion: "TLSv1.2" });
    this.#options = options;
    this.#server.maxConnections = options.connections ?? 100;
  }

  listen(): Promise<AddressInfo> {
    return new Promise((resolve, reject) => {
      this.#server.once("error", reject);
      const { host, port, reusePort = false } = this.#options;
      this.#server.listen({ host, port, reusePort }, () => resolve(this.#server.address() as AddressInfo));
    });
  }

  close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    return new Promise((resolve) => this.#server.close(() => resolve()));
  }

  #accept(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on("close", () => this.#sockets.delete(socket));
    const session = new ManageSieveSession(this.#options, false, this.#context !== undefined);
    socket.write(session.greeting());
    this.#serve(socket, session);
  }

  #serve(socket: Socket, session: ManageSieveSession): void {
    const limits = { command: (this.#options.scriptBytes ?? 64 * 1024) + 4_096, words: 8 };
    let pending: Buffer = Buffer.alloc(0);
    let busy = false;
    socket.setTimeout(this.#options.idleMs ?? 30 * 60_000, () => socket.end('BYE "Idle for too long"\r\n'));
    // The peer went away; "close" follows.
    socket.on("error", () => socket.destroy());
    const work = async (): Promise<void> => {
      if (busy) return;
      busy = true;
      try {
        for (let command = readCommand(pending, limits); command; command = readCommand(pending, limits)) {
          pending = pending.subarray(command.length);
          const { text, then } = await session.handle(command.words);
          if (then === "close") return void socket.end(text);
          socket.write(text);
          // What came after STARTTLS in plain text is not read (RFC 5804 §2.2).
          if (then === "starttls") return this.#startTls(socket, session);
        }
        busy = false;
        socket.resume();
      } catch (error) {
        socket.end(`BYE "${error instanceof ProtocolError ? error.message : "Internal error"}"\r\n`);
      }
    };
    socket.on("data", (chunk: Buffer) => {
      pending = pending.length === 0 ? chunk : Buffer.concat([pending, chunk]);
      // No reading ahead while a command is at work, so that `pending` stays within its limit.
      if (busy) socket.pause();
      void work();
    });
  }

  #startTls(socket: Socket, session: ManageSieveSession): void {
    socket.removeAllListeners("data");
    socket.setTimeout(0);
    const secure = new TLSSocket(socket, { isServer: true, secureContext: this.#context! });
    secure.on("secure", () => secure.write(session.tlsStarted()));
    this.#serve(secure, session);
  }
}
