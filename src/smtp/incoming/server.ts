/**
 * The SMTP server: listens, makes a session per connection, drains on close, takes new settings while it runs.
 * Invariants: after `close` resolves no session and no socket is left. Failure: `listen` rejects with the system's
 * error (port in use, no right); `reload` throws on bad settings and leaves the old ones in force.
 */
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import type { SessionHandlerFactory } from "./hooks.ts";
import { Listener } from "./listener.ts";
import type { ListenerOptions } from "./options.ts";
import { Session } from "./session.ts";

export type { ListenerOptions } from "./options.ts";

export interface SmtpServer {
  listen(): Promise<AddressInfo>;
  /**
   * Stops accepting; idle sessions get 421 at once, running transactions may end.
   * @param drainMs after this time what is left is cut off
   */
  close(drainMs: number): Promise<void>;
  /** New settings for connections from now on; the address must be the same. Throws and changes nothing when bad. */
  reload(options: ListenerOptions): void;
  readonly sessionCount: number;
}

/** How many connections the kernel may hold ready for us. */
const backlog = 1_024;

class IncomingServer implements SmtpServer {
  private readonly listener: Listener;
  private readonly server: Server;

  constructor(options: ListenerOptions, factory: SessionHandlerFactory) {
    this.listener = new Listener(options, factory);
    // Half-open: a client may end its side after QUIT or the final dot and still read our reply.
    this.server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => this.accept(socket));
  }

  get sessionCount(): number {
    return this.listener.sessions.size;
  }

  private accept(socket: Socket): void {
    if (socket.remoteAddress === undefined) {
      socket.destroy(); // reset before we came to it
      return;
    }
    const session = new Session(this.listener, socket);
    this.listener.sessions.add(session);
    session.open();
  }

  listen(): Promise<AddressInfo> {
    const { host, port, reusePort } = this.listener.options;
    return new Promise((resolve, reject) => {
      this.server.once("error", reject);
      this.server.listen({ host, port, backlog, reusePort: reusePort ?? false }, () => {
        this.server.off("error", reject);
        this.server.on("error", (error) => this.listener.log?.error({ err: error }, "listener"));
        this.listener.startSweep();
        resolve(this.server.address() as AddressInfo);
      });
    });
  }

  close(drainMs: number): Promise<void> {
    return new Promise((resolve) => {
      const cut = setTimeout(() => {
        for (const session of this.listener.sessions) session.connection.destroy("shutting down");
      }, drainMs);
      this.server.close(() => {
        clearTimeout(cut);
        // The last sockets tell their sessions of the close a little later.
        this.listener.whenEmpty(() => {
          this.listener.stopSweep();
          resolve();
        });
      });
      for (const session of this.listener.sessions) session.drain();
    });
  }

  reload(options: ListenerOptions): void {
    const { host, port } = this.listener.options;
    if (options.host !== host || options.port !== port) throw new RangeError("a reload can't move the listener");
    this.listener.configure(options);
  }
}

export function createSmtpServer(options: ListenerOptions, factory: SessionHandlerFactory): SmtpServer {
  return new IncomingServer(options, factory);
}
