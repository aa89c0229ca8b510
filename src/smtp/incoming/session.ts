/**
 * One client's session from accept to close: PROXY header, flow control, TLS, greeting, command lines, time-outs, end.
 * What the commands mean is dialogue.ts, what content may hold transfer.ts. Invariants: one reply a command, in order;
 * a handler is never asked while an earlier question is open; every way out ends in one `onClose`. Failure: a handler
 * that throws costs its command a 451 4.3.0, and the session only where it can't go on in step.
 */
import type { Socket } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import type { TLSSocket } from "node:tls";
import { type Outcome, printable } from "../../message/outcome.ts";
import { Connection, type ConnectionOwner } from "./connection.ts";
import { Dialogue } from "./dialogue.ts";
import type { MaybePromise, SessionHandler, SmtpClientInfo } from "./hooks.ts";
import type { FlowEntry, Listener } from "./listener.ts";
import { refusal } from "./protocol.ts";
import { readProxyHeader } from "./proxy.ts";
import { formatReply, outcomeReply } from "./reply.ts";
import { clientCertificateOf, describeTls } from "./tls.ts";

const lf = 0x0a;
const cr = 0x0d;
const suspectOctets = /[\x00\r\x80-\xff]/;
const utf8 = new TextDecoder("utf-8", { fatal: true });

/** What the next octets of the client are. */
type Mode = "opening" | "proxy" | "handshake" | "command" | "overlong" | "content";

export class Session implements ConnectionOwner {
  readonly client: SmtpClientInfo;
  readonly connection: Connection;
  readonly listener: Listener;
  handler: SessionHandler | undefined;
  private readonly dialogue: Dialogue;
  private mode: Mode = "opening";
  private entry: FlowEntry | undefined;
  private protocolErrors = 0;
  private overlongOctets = 0;
  private draining = false;
  private gone = false;

  constructor(listener: Listener, socket: Socket) {
    this.listener = listener;
    this.client = {
      remoteIp: plainIp(socket.remoteAddress),
      remotePort: socket.remotePort ?? 0,
      localIp: plainIp(socket.localAddress),
      localPort: socket.localPort ?? 0,
      ehlo: "",
      esmtp: false,
      tls: "",
      authUser: "",
      protocol: "SMTP",
      sessionId: listener.nextSessionId(),
    };
    this.connection = new Connection(socket, this, listener.budget);
    this.dialogue = new Dialogue(this);
  }

  // Opening.

  open(): void {
    if (this.listener.expectsProxy(this.client.remoteIp)) {
      this.mode = "proxy";
      this.connection.deadline = Date.now() + this.listener.budget.proxyHeaderMs;
    } else this.enter();
  }

  private enter(): void {
    this.mode = "opening";
    this.settle(this.listener.enter(this.client.remoteIp), (entry) => {
      this.entry = entry;
      if (this.gone) this.listener.leave(entry);
      else if (entry.refusal) this.finish(entry.refusal, entry.refusal.text);
      else if (this.listener.tls?.mode === "implicit") this.startTls();
      else this.greet();
    });
  }

  /** A new handler, its verdict on the client, the greeting. XCLIENT comes back here. */
  greet(): void {
    this.mode = "opening";
    this.touch();
    const handler = this.listener.factory(this.client);
    this.handler = handler;
    const wait = this.listener.options.greetDelayMs ?? 0;
    const answer = wait > 0 ? delay(wait).then(() => handler.onConnect(this.client)) : handler.onConnect(this.client);
    this.settle(answer, (verdict) => {
      // RFC 5321 §4.3.1: the client waits for the greeting; one that doesn't is no mail client.
      if (this.connection.waiting > 0) {
        this.finish(refusal(554, "5.5.1", "You talked before the greeting"), "early talker");
      } else if (verdict && verdict.code >= 400) {
        // smtpfilters.md §7.2: 554 or 421, then close.
        this.finish({ ...verdict, code: verdict.temporary ? 421 : 554 }, verdict.text);
      } else if (!this.leaveIfDraining()) {
        this.mode = "command";
        this.connection.reply(formatReply(220, "", handler.settings.greeting));
        this.touch();
      }
    });
  }

  startTls(): void {
    this.mode = "handshake";
    const secure = this.listener.tls!.wrap(this.connection.socket);
    this.connection.upgrade(secure);
    this.connection.deadline = Date.now() + this.listener.budget.tlsHandshakeMs;
    secure.once("secure", () => this.secured(secure));
  }

  private secured(secure: TLSSocket): void {
    this.client.tls = describeTls(secure);
    const certificate = clientCertificateOf(secure);
    if (certificate) this.client.clientCertificate = certificate;
    const { servername } = secure as { servername?: string | false };
    if (servername) this.client.serverName = printable(servername);
    this.dialogue.restart(true, ""); // RFC 3207 §4.2: what was known before is forgotten
    if (this.handler) {
      this.mode = "command";
      this.touch();
    } else this.greet();
  }

  // Input.

  consume(input: Buffer, from: number): number {
    try {
      switch (this.mode) {
        case "command":
        case "overlong":
          return this.consumeLine(input, from);
        case "content":
          return this.dialogue.consumeContent(input, from);
        case "proxy":
          return this.consumeProxy(input, from);
        default:
          return from; // opening: `greet` looks whether the client talked early; handshake: TLS has the socket
      }
    } catch (error) {
      this.handlerFailed(error);
      return input.length;
    }
  }

  private consumeProxy(input: Buffer, from: number): number {
    const header = readProxyHeader(input, from);
    if (header === "more") return from;
    if (header === "bad" || (header === "none" && this.listener.options.proxy?.required)) {
      this.connection.destroy("bad PROXY header");
      return input.length;
    }
    let next = from;
    if (header !== "none") {
      Object.assign(this.client, header.addresses);
      next = header.end;
    }
    // What follows the header belongs to the client proper; under implicit TLS it must be found on the socket.
    this.connection.giveBack(input.subarray(next));
    this.enter();
    return input.length;
  }

  private consumeLine(input: Buffer, from: number): number {
    const end = input.indexOf(lf, from);
    const length = (end < 0 ? input.length : end + 1) - from;
    const { budget } = this.listener;
    // RFC 5321 §4.5.3.1.4, RFC 4954 §4
    if (this.mode === "overlong" || length > (this.dialogue.authenticating ? budget.authLine : budget.commandLine)) {
      return this.skipOverlong(end, length, input.length);
    }
    if (end < 0) return from;
    if (end === from || input[end - 1] !== cr) return this.brokenLine(end + 1, input.length);
    let line = input.toString("latin1", from, end - 1);
    if (suspectOctets.test(line)) {
      if (/[\x00\r]/.test(line)) return this.brokenLine(end + 1, input.length);
      try {
        line = utf8.decode(input.subarray(from, end - 1));
      } catch {
        line = ""; // not UTF-8: no command can hold it, and "" is no command
      }
    }
    try {
      this.dialogue.line(line, end + 1 < input.length);
    } catch (error) {
      this.handlerFailed(error); // what follows the line must not be lost
    }
    return end + 1;
  }

  private skipOverlong(end: number, length: number, inputLength: number): number {
    this.overlongOctets += length;
    this.mode = "overlong";
    if (this.overlongOctets > this.listener.budget.textLineRead) {
      this.finish(refusal(500, "5.5.2", "Line too long"), "endless line");
      return inputLength;
    }
    if (end < 0) return inputLength;
    this.overlongOctets = 0;
    this.mode = "command";
    this.dialogue.dropAuthentication();
    this.fail(refusal(500, "5.5.2", "Line too long")); // RFC 5321 §4.5.3.1.9
    return end + 1;
  }

  /** A bare LF, bare CR or NUL in a command line (RFC 5321 §2.3.8). */
  private brokenLine(next: number, inputLength: number): number {
    if (this.closesOnBrokenLines) {
      this.finish(refusal(521, "5.5.2", "Lines must end in CRLF"), "broken line ending");
      return inputLength;
    }
    this.fail(refusal(500, "5.5.2", "Lines must end in CRLF"));
    return next;
  }

  get closesOnBrokenLines(): boolean {
    return this.listener.options.bareNewline !== "reject";
  }

  /** The next octets are content (true) or commands again. */
  expectContent(content: boolean): void {
    this.mode = content ? "content" : "command";
    this.touch();
  }

  /** Asks a hook and goes on with `next` at once or later; input waits meanwhile. */
  settle<T>(value: MaybePromise<T>, next: (value: T) => void): void {
    if (!(value instanceof Promise)) {
      next(value);
      return;
    }
    this.connection.hold();
    const carryOn = (result: T): void => {
      try {
        next(result);
      } catch (error) {
        this.handlerFailed(error);
      }
    };
    value.then(
      (result) => this.connection.release(() => carryOn(result)),
      (error: unknown) => this.connection.release(() => this.handlerFailed(error)),
    );
  }

  // Replies.

  say(outcome: Outcome): void {
    const { smtpUtf8 } = this.dialogue.state;
    this.connection.reply(outcomeReply(outcome, smtpUtf8), smtpUtf8);
  }

  /** A reply that counts as a protocol error of the client. */
  fail(outcome: Outcome): void {
    if (++this.protocolErrors > this.listener.budget.protocolErrors) {
      this.finish(refusal(421, "4.7.0", "Too many errors"), "too many errors");
    } else this.say(outcome);
  }

  /** Last reply, then the connection is closed. */
  finish(outcome: Outcome, reason: string): void {
    if (this.connection.isClosing) return;
    this.listener.log?.info(
      { session: this.client.sessionId, ip: this.client.remoteIp, reason },
      "session ended by us",
    );
    this.say(outcome);
    this.leave(reason);
  }

  leave(reason: string): void {
    this.connection.end(reason, Date.now());
  }

  private handlerFailed(error: unknown): void {
    this.logFailure(error);
    if (this.mode === "command" && this.handler) this.dialogue.handlerFailed();
    else this.finish(refusal(421, "4.3.0", "Internal error, try again later"), "internal error");
  }

  logFailure(error: unknown): void {
    this.listener.log?.error({ session: this.client.sessionId, err: error }, "session handler failed");
  }

  // Time and end.

  touch(): void {
    this.connection.deadline = Date.now() + this.listener.idleMs();
  }

  timedOut(): void {
    const { connection } = this;
    if (connection.isClosing || connection.isChoked || this.mode === "handshake" || this.mode === "proxy") {
      connection.destroy(connection.isChoked ? "client does not read replies" : "timeout");
    } else if (connection.isHeld) {
      this.touch(); // it is we who are slow
    } else {
      const name = this.handler?.settings.hostName ?? "";
      this.finish(refusal(421, "4.4.2", `${name} timeout expired waiting for data`.trim()), "timeout");
    }
  }

  /** The listener closes: idle sessions end now, a running transaction may come to its end. */
  drain(): void {
    this.draining = true;
    if (this.mode === "handshake" || this.mode === "proxy") this.connection.destroy("shutting down");
    else if (this.mode === "command" && this.dialogue.isIdle && !this.connection.isHeld) this.leaveIfDraining();
  }

  /** Between two transactions: true, after a 421, when the listener is closing. */
  leaveIfDraining(): boolean {
    if (!this.draining) return false;
    const name = this.handler?.settings.hostName ?? "";
    this.finish(refusal(421, "4.3.2", `${name} is shutting down`.trim()), "shutting down");
    return true;
  }

  inputEnded(): void {
    this.leave("closed by client");
  }

  closed(reason: string): void {
    this.gone = true;
    this.dialogue.abort();
    this.handler?.onClose(reason);
    if (this.entry) this.listener.leave(this.entry);
    this.listener.forget(this);
  }
}

/** IPv4-mapped IPv6 addresses as IPv4 (RFC 4291 §2.5.5.2), without a zone. */
function plainIp(address: string | undefined): string {
  return (address ?? "").replace(/^::ffff:(?=\d+\.)/i, "").replace(/%.*$/, "");
}
