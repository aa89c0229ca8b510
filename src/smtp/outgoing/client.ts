/**
 * One SMTP or LMTP connection to a next hop (RFC 5321, RFC 2033): greeting, EHLO, STARTTLS, AUTH, then any number of
 * transactions, one at a time.
 * Invariants: commands are written by group and answers counted, so a reply is never taken for another command's;
 * everything read is bounded and timed (RFC 5321 §4.5.3.2); nothing read before the TLS handshake is used after it.
 * Failure: `open` rejects with SmtpError; afterwards every failure closes the connection, and `exchange` rejects with
 * an SmtpError of stage "transaction".
 */
import { connect, isIP, type Socket } from "node:net";
import { type SecureVersion, type TLSSocket, connect as tlsConnect } from "node:tls";
import { type Budget, BudgetExceeded } from "../../config/budget.ts";
import type { MimeBudget } from "../../message/mime.ts";
import { type Outcome, outcome, printable } from "../../message/outcome.ts";
import type { Logger } from "../../telemetry/log.ts";
import { AuthError, type Credentials, chooseMechanism } from "./auth.ts";
import { unwatch, type Watched, watch } from "./deadline.ts";
import { type ConnectStage, networkError, SmtpError } from "./error.ts";
import { type Reply, ReplyError, ReplyParser, replyOutcome } from "./reply.ts";

export interface TlsDemand {
  /** "none": never STARTTLS; "offered": when the host offers it; "required": or the connection fails. */
  mode: "none" | "offered" | "required";
  /** TLS from the first byte (RFC 8314). */
  implicit: boolean;
  minVersion: SecureVersion;
  maxVersion: SecureVersion;
  /** Trusted roots in PEM instead of the built-in ones. */
  ca?: readonly string[];
  /**
   * Judges the peer after the handshake: undefined = good, else the reason and its RFC 8460 §4.3 result type.
   * `socket.authorized` holds the result of the usual (PKIX and host name) check.
   */
  verify?: (socket: TLSSocket) => { reason: string; result: string } | undefined;
}

export interface Timeouts {
  connect: number;
  greeting: number;
  command: number;
  dataInit: number;
  dataBlock: number;
  dataEnd: number;
}

/** RFC 5321 §4.5.3.2, milliseconds; `connect` is for each address. */
export const defaultTimeouts: Timeouts = {
  connect: 30_000,
  greeting: 300_000,
  command: 300_000,
  dataInit: 120_000,
  dataBlock: 180_000,
  dataEnd: 600_000,
};

export type ClientBudget = MimeBudget & Pick<Budget, "replyBytes" | "replyLines" | "textLineWritten" | "convertedBody">;

export interface ConnectOptions {
  /** Host name for logs, SNI and certificate checks; an address literal's text when there is no name. */
  host: string;
  /** Addresses to try in order, a few seconds apart (RFC 8305's idea). Never empty. */
  addresses: readonly string[];
  port: number;
  localAddress: string;
  lmtp: boolean;
  tls: TlsDemand;
  credentials: Credentials | undefined;
  /** Our name in EHLO. */
  ehloName: string;
  timeouts: Timeouts;
  budget: ClientBudget;
  log?: Logger;
}

/** How long an address may take before the next one is tried beside the list's last. */
const attemptMs = 3_000;
/** How long a host may take to close after QUIT. */
const quitMs = 5_000;

export class SmtpConnection implements Watched {
  readonly options: ConnectOptions;
  /** EHLO keywords, upper case, with their parameters. */
  extensions: ReadonlyMap<string, string> = new Map();
  /** Transactions begun on this connection. */
  transactions = 0;
  /** Set by the pool: when the last transaction ended, ms since epoch. */
  idleSince = 0;
  /** A transaction was left open on the host's side: the next one starts with RSET. */
  needsReset = false;
  /** "TLSv1.3 TLS_AES_256_GCM_SHA384", "" in plain text. */
  tlsInfo = "";
  /** True when the peer's certificate passed the usual check, or the `verify` of a required demand. */
  tlsVerified = false;
  /** "remote mx.example [192.0.2.1]:25": the origin of its outcomes. */
  origin: string;
  deadline = 0;
  /** Set by the pool: called once when the connection is gone. */
  onClose: (() => void) | undefined;

  #socket: Socket | TLSSocket;
  readonly #parser: ReplyParser;
  #stage: ConnectStage = "connect";
  #error: SmtpError | undefined;
  #replies: Reply[] = [];
  #awaited = 0;
  #settle: { resolve(replies: Reply[]): void; reject(error: SmtpError): void } | undefined;
  #onReply: (() => void) | undefined;
  #drained: (() => void) | undefined;
  #timeout = 0;

  private constructor(options: ConnectOptions, socket: Socket) {
    this.options = options;
    this.origin = `remote ${options.host}:${options.port}`;
    this.#parser = new ReplyParser(options.budget);
    this.#socket = socket;
    this.#listen(socket);
    watch(this);
  }

  /** Connects and makes the session ready for transactions. */
  static async open(options: ConnectOptions): Promise<SmtpConnection> {
    const socket = await connectSocket(options);
    const connection = new SmtpConnection(options, socket);
    const address = socket.remoteAddress ?? options.addresses[0]!;
    connection.origin = `remote ${options.host} [${address}]:${options.port}`;
    try {
      await connection.#prepare();
    } catch (error) {
      connection.destroy();
      throw error;
    }
    return connection;
  }

  get usable(): boolean {
    return this.#error === undefined && this.#settle === undefined && !this.#socket.destroyed;
  }

  /** Octets of ours may still be waiting to be sent. */
  get unsent(): boolean {
    return this.#socket.writableLength > 0;
  }

  /** Replies read so far of the exchange under way. */
  get partial(): readonly Reply[] {
    return this.#replies;
  }

  supports(keyword: string): boolean {
    return this.extensions.has(keyword);
  }

  /**
   * Writes a group of commands or pieces of content (or nothing) and waits for `count` replies.
   * @param timeoutMs time allowed for each reply
   * @param onReply called after each reply, with those so far in `partial`
   */
  exchange(
    data: string | readonly Uint8Array[],
    count: number,
    timeoutMs: number,
    onReply?: () => void,
  ): Promise<Reply[]> {
    if (this.#error) return Promise.reject(this.#error);
    this.#replies = [];
    this.#awaited = count;
    this.#timeout = timeoutMs;
    this.#onReply = onReply;
    this.deadline = Date.now() + timeoutMs;
    const done = new Promise<Reply[]>((resolve, reject) => {
      this.#settle = { resolve, reject };
    });
    if (data.length > 0) {
      this.options.log?.debug({ to: this.origin, replies: count }, "commands");
      this.#send(data);
    }
    return done;
  }

  /** All in one system call, without a copy. */
  #send(data: string | readonly Uint8Array[]): void {
    if (typeof data === "string") {
      this.#socket.write(data);
      return;
    }
    this.#socket.cork();
    for (const piece of data) if (piece.length > 0) this.#socket.write(piece);
    this.#socket.uncork();
  }

  /** Writes content of the exchange under way; resolves when more may be written. */
  write(data: Uint8Array): Promise<void> | undefined {
    if (this.#error) return Promise.reject(this.#error);
    this.deadline = Date.now() + this.options.timeouts.dataBlock;
    if (this.#socket.write(data)) return undefined;
    return new Promise((resolve) => {
      this.#drained = resolve;
    });
  }

  /** Sets the time allowed for the replies still awaited. */
  allow(timeoutMs: number): void {
    this.#timeout = timeoutMs;
    this.deadline = Date.now() + timeoutMs;
  }

  /** Says QUIT and closes without waiting for the answer. */
  quit(): void {
    const socket = this.#socket;
    if (this.usable) socket.end("QUIT\r\n").setTimeout(quitMs, () => socket.destroy());
    this.#fail(networkError("transaction", "connection closed by us", this.origin));
  }

  destroy(): void {
    this.#fail(networkError(this.#stage, "connection closed by us", this.origin));
    this.#socket.destroy();
  }

  /** Watched: the deadline has passed. */
  expire(): void {
    const what = this.#stage === "transaction" ? "conversation" : this.#stage;
    this.#fail(networkError(this.#stage, `timed out in ${what}`, this.origin));
    this.#socket.destroy();
  }

  async #prepare(): Promise<void> {
    const { tls, timeouts, credentials } = this.options;
    if (tls.implicit) await this.#startTls();
    this.#stage = "greeting";
    const [greeting] = await this.exchange("", 1, timeouts.greeting);
    // RFC 5321 §3.1: only 220 is an invitation.
    if (greeting!.code !== 220) throw this.#refused(greeting!);
    await this.#hello();
    if (!tls.implicit && tls.mode !== "none") await this.#upgrade();
    if (credentials) await this.#authenticate(credentials);
    this.#stage = "transaction";
  }

  async #hello(): Promise<void> {
    this.#stage = "ehlo";
    const { lmtp, ehloName, timeouts } = this.options;
    const [reply] = await this.exchange(`${lmtp ? "LHLO" : "EHLO"} ${ehloName}\r\n`, 1, timeouts.command);
    if (reply!.code === 250) {
      const extensions = new Map<string, string>();
      for (const line of reply!.lines.slice(1)) {
        const space = line.indexOf(" ");
        const keyword = (space < 0 ? line : line.slice(0, space)).toUpperCase();
        extensions.set(keyword, space < 0 ? "" : line.slice(space + 1).trim());
      }
      this.extensions = extensions;
      return;
    }
    // RFC 5321 §3.2: a host that does not know EHLO may know HELO.
    if (lmtp || reply!.code < 500) throw this.#refused(reply!);
    const [helo] = await this.exchange(`HELO ${ehloName}\r\n`, 1, timeouts.command);
    if (helo!.code !== 250) throw this.#refused(helo!);
    this.extensions = new Map();
  }

  async #upgrade(): Promise<void> {
    const required = this.options.tls.mode === "required";
    if (!this.supports("STARTTLS")) {
      if (required)
        throw this.#tlsError("TLS is required, but the host does not offer STARTTLS", "starttls-not-supported");
      return;
    }
    this.#stage = "tls";
    const [reply] = await this.exchange("STARTTLS\r\n", 1, this.options.timeouts.command);
    if (reply!.code !== 220) {
      if (required) throw this.#tlsError(`STARTTLS answered ${reply!.code}`, "starttls-not-supported");
      return;
    }
    await this.#startTls();
    await this.#hello();
  }

  async #startTls(): Promise<void> {
    this.#stage = "tls";
    // RFC 3207 §4.2: what was sent before the handshake is unauthenticated and must not be used after it.
    if (this.#parser.pending) throw this.#tlsError("data was sent before the TLS handshake", "validation-failure");
    const { host, tls, timeouts } = this.options;
    const plain = this.#socket;
    plain.removeAllListeners("data").removeAllListeners("close").removeAllListeners("drain").removeAllListeners("end");
    this.deadline = Date.now() + timeouts.command;
    const secure = await new Promise<TLSSocket>((resolve, reject) => {
      const socket = tlsConnect({
        socket: plain,
        host,
        ...(isIP(host) === 0 ? { servername: host } : {}),
        minVersion: tls.minVersion,
        maxVersion: tls.maxVersion,
        ...(tls.ca ? { ca: [...tls.ca] } : {}),
        // The certificate is judged by `verify` below: opportunistic TLS takes any (RFC 7435).
        rejectUnauthorized: false,
      });
      this.#socket = socket;
      this.#settle = { resolve: () => {}, reject };
      socket.once("secureConnect", () => resolve(socket));
      socket.on("error", (error) =>
        reject(this.#tlsError(`TLS handshake failed: ${error.message}`, "validation-failure")),
      );
      socket.once("close", () =>
        reject(this.#tlsError("connection closed in the TLS handshake", "validation-failure")),
      );
    });
    this.#settle = undefined;
    secure.removeAllListeners("close").removeAllListeners("error");
    this.#listen(secure);
    const refusal = tls.verify?.(secure);
    if (refusal) throw this.#tlsError(refusal.reason, refusal.result);
    // A `verify` of a demand that is not required may only watch (MTA-STS in testing mode).
    this.tlsVerified = secure.authorized || (tls.verify !== undefined && tls.mode === "required");
    this.tlsInfo = `${secure.getProtocol()} ${secure.getCipher().name}`;
    this.deadline = 0;
  }

  async #authenticate(credentials: Credentials): Promise<void> {
    this.#stage = "auth";
    const offered = new Set((this.extensions.get("AUTH") ?? "").toUpperCase().split(/\s+/));
    // A password is shown only under TLS, or where the administrator switched TLS off for this hop.
    const exchange = chooseMechanism(credentials, offered, this.tlsInfo !== "" || this.options.tls.mode === "none");
    if (!exchange) throw this.#authError("no usable AUTH mechanism is offered");
    const initial = exchange.initial();
    let command = `AUTH ${exchange.mechanism}${initial ? ` ${initial.toString("base64") || "="}` : ""}\r\n`;
    for (let step = 0; step < 6; step++) {
      const [reply] = await this.exchange(command, 1, this.options.timeouts.command);
      if (reply!.code === 235 && exchange.complete) return;
      if (reply!.code !== 334)
        throw reply!.code === 235 ? this.#authError("AUTH ended too early") : this.#refused(reply!);
      try {
        const response = await exchange.respond(Buffer.from(reply!.lines[0] ?? "", "base64"));
        command = `${response.toString("base64")}\r\n`;
      } catch (error) {
        if (error instanceof AuthError) throw this.#authError(error.message);
        throw error;
      }
    }
    throw this.#authError("AUTH does not come to an end");
  }

  /** RFC 4954 §6: a failed AUTH says nothing about the recipients, so the mail waits for the administrator. */
  #authError(text: string, replyCode = 0): SmtpError {
    const said = outcome.defer({ code: 454, enhanced: "4.7.0", text, origin: this.origin });
    return new SmtpError("auth", said, undefined, replyCode);
  }

  #tlsError(text: string, result: string): SmtpError {
    const parts = { code: 454, enhanced: "4.7.5", text: printable(text), origin: this.origin };
    return new SmtpError("tls", outcome.defer(parts), result);
  }

  #refused(reply: Reply): SmtpError {
    if (this.#stage === "auth")
      return this.#authError(`AUTH refused: ${reply.code} ${reply.lines.join(" ")}`, reply.code);
    const said = replyOutcome(reply, this.origin);
    if (said.code >= 400) return new SmtpError(this.#stage, said);
    return new SmtpError(this.#stage, protocolOutcome(`unexpected reply ${reply.code} to ${this.#stage}`, this.origin));
  }

  #listen(socket: Socket): void {
    socket.setNoDelay(true);
    socket.on("data", (chunk: Buffer) => this.#read(chunk));
    socket.on("drain", () => this.#release());
    socket.on("error", (error) => this.#fail(networkError(this.#stage, printable(error.message), this.origin)));
    socket.on("end", () => socket.destroy());
    socket.on("close", () => this.#fail(networkError(this.#stage, "connection closed by the host", this.origin)));
  }

  #read(chunk: Buffer): void {
    try {
      this.#parser.push(chunk, this.#take);
    } catch (error) {
      if (!(error instanceof ReplyError || error instanceof BudgetExceeded)) throw error;
      this.#fail(new SmtpError(this.#stage, protocolOutcome(error.message, this.origin)));
      this.#socket.destroy();
    }
  }

  readonly #take = (reply: Reply): void => {
    this.options.log?.debug({ from: this.origin, code: reply.code, text: reply.lines[0] }, "reply");
    if (!this.#settle) {
      // Nothing was asked: a 421 before closing (RFC 5321 §3.8), or a host that has lost count.
      this.#fail(new SmtpError(this.#stage, this.#unasked(reply)));
      this.#socket.destroy();
      return;
    }
    this.#replies.push(reply);
    this.#awaited--;
    this.deadline = Date.now() + this.#timeout;
    this.#onReply?.();
    if (this.#awaited === 0) {
      const settle = this.#settle;
      this.#settle = undefined;
      this.deadline = 0;
      settle.resolve(this.#replies);
    }
  };

  #unasked(reply: Reply): Outcome {
    if (reply.code >= 400 && reply.code < 500) return replyOutcome(reply, this.origin);
    return protocolOutcome(`reply ${reply.code} to no command`, this.origin);
  }

  #release(): void {
    const drained = this.#drained;
    this.#drained = undefined;
    drained?.();
  }

  #fail(error: SmtpError): void {
    if (this.#error) return;
    this.#error = error;
    this.deadline = 0;
    unwatch(this);
    const settle = this.#settle;
    this.#settle = undefined;
    settle?.reject(error);
    this.#release();
    this.onClose?.();
  }
}

/** A host that does not keep to the protocol. */
export function protocolOutcome(text: string, origin: string): Outcome {
  // RFC 3463 X.5.0: a protocol trouble of the host's; temporary, since hosts get repaired.
  return outcome.defer({ code: 451, enhanced: "4.5.0", text: `protocol error: ${printable(text)}`, origin });
}

/** A connected plain socket, trying the addresses in turn. */
function connectSocket(options: ConnectOptions): Promise<Socket> {
  const { addresses, host, port, localAddress, timeouts } = options;
  const origin = `remote ${host}:${port}`;
  return new Promise((resolve, reject) => {
    const known = addresses.map((address) => ({ address, family: isIP(address) }));
    const socket = connect({
      host,
      port,
      noDelay: true,
      ...(localAddress ? { localAddress } : {}),
      ...(known.length > 1
        ? { autoSelectFamily: true, autoSelectFamilyAttemptTimeout: Math.min(attemptMs, timeouts.connect) }
        : {}),
      lookup: (_name, wanted, callback) => {
        if (wanted.all) callback(null, known);
        else callback(null, known[0]!.address, known[0]!.family);
      },
    });
    const late: Watched = {
      deadline: Date.now() + timeouts.connect,
      expire: () => socket.destroy(new Error("timed out connecting")),
    };
    watch(late);
    socket.once("connect", () => {
      unwatch(late);
      socket.removeAllListeners("error");
      resolve(socket);
    });
    socket.once("error", (error) => {
      unwatch(late);
      const causes =
        error instanceof AggregateError ? error.errors.map((cause: Error) => cause.message).join("; ") : "";
      reject(networkError("connect", printable(causes || error.message), origin));
    });
  });
}
