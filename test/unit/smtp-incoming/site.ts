/** A listener with a handler that tests can look into, and a raw client that reads whole replies. */
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { type ConnectionOptions, connect as connectTls } from "node:tls";
import { type Budget, budgetWith } from "../../../src/config/budget.ts";
import type { Envelope } from "../../../src/message/envelope.ts";
import { outcome } from "../../../src/message/outcome.ts";
import type { MessageSink, SessionHandler, SessionSettings, SmtpClientInfo } from "../../../src/smtp/incoming/hooks.ts";
import { createSmtpServer, type ListenerOptions, type SmtpServer } from "../../../src/smtp/incoming/server.ts";

export const accepted = outcome.accept({
  code: 250,
  enhanced: "2.0.0",
  text: "Mail queued for delivery",
  origin: "test",
});

export interface Received {
  envelope: Envelope;
  content: string;
  client: SmtpClientInfo;
}

export interface Site {
  server: SmtpServer;
  port: number;
  received: Received[];
  /** What happened, in order: "connect", "ehlo", "reset", "abort", "close <reason>". */
  events: string[];
  settings: SessionSettings;
  client(): Promise<Client>;
  secureClient(options?: ConnectionOptions): Promise<Client>;
  close(): Promise<void>;
}

export interface SiteOptions extends Partial<Omit<ListenerOptions, "budget">> {
  budget?: Partial<Record<keyof Budget, number>>;
  settings?: Partial<SessionSettings>;
  handler?: (site: Site) => Partial<SessionHandler>;
}

export async function startSite(options: SiteOptions = {}): Promise<Site> {
  const { budget, settings, handler, ...listener } = options;
  const site: Site = {
    received: [],
    events: [],
    settings: {
      greeting: "mx.test ESMTP ready",
      hostName: "mx.test",
      maxMessageBytes: 1024 * 1024,
      maxRecipients: 100,
      maxReceivedHeaders: 30,
      allowStartTls: true,
      allow8bitMime: true,
      allowBinary: true,
      allowPipelining: true,
      allowDsn: true,
      allowSmtpUtf8: true,
      authSecure: ["PLAIN", "LOGIN"],
      authPlain: [],
      ...settings,
    },
    server: undefined as unknown as SmtpServer,
    port: 0,
    client: async () => new Client(connect(site.port, "127.0.0.1")),
    secureClient: async (tls = {}) => {
      const socket = connectTls({ port: site.port, host: "127.0.0.1", rejectUnauthorized: false, ...tls });
      await once(socket, "secureConnect");
      return new Client(socket);
    },
    close: () => site.server.close(0),
  };
  const makeHandler = (client: SmtpClientInfo): SessionHandler => ({
    settings: site.settings,
    onConnect: () => undefined,
    onEhlo: () => undefined,
    onAuth: ({ username, password }) => ({ ok: password === "secret", user: username }),
    onMailFrom: () => undefined,
    onRcptTo: () => undefined,
    onData: (envelope) => collectingSink(site, envelope, client),
    onReset: () => void site.events.push("reset"),
    onClose: (reason) => void site.events.push(`close ${reason}`),
    ...handler?.(site),
  });
  site.server = createSmtpServer(
    {
      host: "127.0.0.1",
      port: 0,
      ...listener,
      budget: budgetWith({ authTarpitMs: 0, connectionsPerPeer: 1_000, connections: 2_000, ...budget }),
    },
    makeHandler,
  );
  site.port = (await site.server.listen()).port;
  return site;
}

export function collectingSink(site: Site, envelope: Envelope, client: SmtpClientInfo): MessageSink {
  const pieces: Buffer[] = [];
  return {
    write: (piece) => {
      pieces.push(Buffer.from(piece));
      return undefined;
    },
    end: () => {
      site.received.push({ envelope, content: Buffer.concat(pieces).toString("latin1"), client: { ...client } });
      return accepted;
    },
    abort: () => void site.events.push("abort"),
  };
}

/** Speaks raw octets; `reply` answers the next whole reply, lines joined by "\n", and "" when the server closed. */
export class Client {
  socket: Socket;
  closed = false;
  private text = "";
  private wake: () => void = () => {};

  constructor(socket: Socket) {
    this.socket = socket;
    this.listen(socket);
  }

  private listen(socket: Socket): void {
    socket.on("data", (chunk: Buffer) => {
      this.text += chunk.toString("utf8");
      this.wake();
    });
    socket.on("error", () => {});
    socket.on("end", () => {
      this.closed = true;
      this.wake();
    });
    socket.on("close", () => {
      this.closed = true;
      this.wake();
    });
  }

  write(data: string | Buffer): void {
    this.socket.write(data);
  }

  async reply(): Promise<string> {
    for (;;) {
      const match = /^(?:\d{3}-.*\r\n)*\d{3} .*\r\n/.exec(this.text);
      if (match) {
        this.text = this.text.slice(match[0].length);
        return match[0].trimEnd().replaceAll("\r\n", "\n");
      }
      if (this.closed) return "";
      await new Promise<void>((resolve) => {
        this.wake = resolve;
      });
    }
  }

  /** Sends a line, answers its reply. */
  async ask(line: string): Promise<string> {
    this.write(`${line}\r\n`);
    return await this.reply();
  }

  /** Greeting and EHLO. */
  async hello(): Promise<string> {
    await this.reply();
    return await this.ask("EHLO client.test");
  }

  /** A transaction up to the 354. */
  async toData(from = "a@x.test", to = "b@y.test"): Promise<string> {
    await this.ask(`MAIL FROM:<${from}>`);
    await this.ask(`RCPT TO:<${to}>`);
    return await this.ask("DATA");
  }

  /** All replies until the server closes. */
  async rest(): Promise<string[]> {
    const replies: string[] = [];
    for (let reply = await this.reply(); reply !== ""; reply = await this.reply()) replies.push(reply);
    return replies;
  }

  async startTls(options: ConnectionOptions = {}): Promise<void> {
    this.socket.removeAllListeners("data");
    const secure = connectTls({ socket: this.socket, rejectUnauthorized: false, ...options });
    await once(secure, "secureConnect");
    this.socket = secure;
    this.text = "";
    this.listen(secure);
  }

  end(): void {
    this.socket.destroy();
  }
}

/** Runs `body` with a site and closes it in any case. */
export async function withSite(options: SiteOptions, body: (site: Site) => Promise<void>): Promise<void> {
  const site = await startSite(options);
  try {
    await body(site);
  } finally {
    await site.close();
  }
}
