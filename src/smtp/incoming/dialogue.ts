/**
 * The commands of a session: a line is parsed (commands.ts), admitted (protocol.ts), then the handler is asked and the
 * state moves on. Reply texts follow smtpfilters.md §7.2 and §7.3. Invariants: state changes only after the handler's
 * yes; a transaction that ends without a message is told to the handler once (`onReset`). Failure: refusals of the
 * engine count as protocol errors, verdicts of the policy don't.
 */
import { setTimeout as delay } from "node:timers/promises";
import type { Envelope } from "../../message/envelope.ts";
import { type Outcome, printable } from "../../message/outcome.ts";
import { Authentication, type AuthStep } from "./authentication.ts";
import { type Command, parseCommand } from "./commands.ts";
import { ehloLines } from "./ehlo.ts";
import type { MaybePromise, MessageSink } from "./hooks.ts";
import * as protocol from "./protocol.ts";
import type { Reception } from "./reception.ts";
import { formatReply } from "./reply.ts";
import type { Session } from "./session.ts";
import { SubmissionSink } from "./submission.ts";
import { Transfer } from "./transfer.ts";
import { applyXclient, readXattributes, xforwardAttributes } from "./xclient.ts";

const { refusal } = protocol;
const nonAscii = /[^\x00-\x7f]/;
const helpText = "Commands: EHLO HELO MAIL RCPT DATA BDAT RSET NOOP VRFY AUTH STARTTLS QUIT HELP";
const internalError = refusal(451, "4.3.0", "Internal error, try again later");
const improperPipelining = refusal(503, "5.5.1", "Improper use of command pipelining");

export class Dialogue {
  state: protocol.ProtocolState = protocol.initialState(false);
  envelope: Envelope | undefined;
  private readonly session: Session;
  private transfer: Transfer | undefined;
  private authentication: Authentication | undefined;
  private authFailures = 0;
  private junkCommands = 0;
  private refusedRecipients = 0;
  /** Replies owed when the handler fails now: 1, or one a recipient (LMTP end of data). */
  private repliesOwed = 1;

  constructor(session: Session) {
    this.session = session;
  }

  get authenticating(): boolean {
    return this.authentication !== undefined;
  }

  get isIdle(): boolean {
    return this.state.transaction === "none" && !this.authentication;
  }

  /** Forgets everything: after STARTTLS, or for the client that XCLIENT speaks of. */
  restart(secure: boolean, authUser: string): void {
    const { client } = this.session;
    this.state = protocol.initialState(secure);
    this.state.authUser = authUser;
    client.authUser = authUser;
    client.ehlo = "";
    client.esmtp = false;
    this.envelope = undefined;
  }

  private terms(): protocol.Terms {
    const { session } = this;
    const { listener, connection } = session;
    const handler = session.handler!;
    return {
      profile: listener.profile,
      settings: handler.settings,
      tlsAvailable: listener.tls !== undefined,
      mechanisms: Authentication.offered(handler, connection.socket, this.state.secure),
      xclientTrusted: listener.trustsXclient(connection.socket.remoteAddress),
      now: Date.now(),
    };
  }

  /** One line of the client without CRLF; `more` tells that octets came after it. */
  line(line: string, more: boolean): void {
    if (this.authentication) {
      this.session.settle(this.authentication.next(line), (step) => this.authStep(step));
      return;
    }
    const command = parseCommand(line);
    const { log } = this.session.listener;
    if (log?.isLevelEnabled("debug")) {
      log.debug({ session: this.session.client.sessionId }, `<< ${shown(command, line)}`);
    }
    const terms = this.terms();
    if (more && this.outOfStep(command, terms)) {
      // RFC 2920 §3.1; what follows may have been meant for somebody else (RFC 3207 §6).
      this.session.finish(improperPipelining, "improper pipelining");
    } else if (nonAscii.test(line) && !(terms.settings.allowSmtpUtf8 && takesUtf8(command))) {
      this.session.fail(refusal(500, "5.5.2", "Octets above 127 are not allowed here")); // RFC 6531 §3.1
    } else {
      this.session.touch();
      const refused = protocol.admit(this.state, command, terms);
      if (command.verb === "BDAT") this.startTransfer().startChunk(command.size, command.last, refused);
      else if (refused) this.refuse(command, refused);
      else this.carryOut(command, terms);
    }
  }

  private outOfStep(command: Command, terms: protocol.Terms): boolean {
    if (command.verb === "QUIT" || command.verb === "BDAT") return false;
    if (protocol.endsPipelineGroup(command) || !terms.settings.allowPipelining) return true;
    return this.state.greeted !== "EHLO" && this.state.greeted !== "LHLO";
  }

  /** True when input came while a command was worked on that ends a pipeline group; the session ends then. */
  spokeTooEarly(): boolean {
    if (this.session.connection.waiting === 0) return false;
    this.session.finish(improperPipelining, "improper pipelining");
    return true;
  }

  private refuse(command: Command, refused: Outcome): void {
    if (command.verb === "invalid" && command.kind === "http") this.session.finish(refused, "not a mail client");
    // RFC 5321 §4.5.3.1.10: too many recipients is no error of the client, as long as it ends.
    else if (command.verb === "RCPT" && refused.temporary) this.refuseRecipient(refused);
    else this.session.fail(refused);
  }

  private refuseRecipient(refused: Outcome): void {
    if (++this.refusedRecipients > this.session.listener.budget.refusedRecipients) {
      this.session.finish(refusal(421, "4.5.3", "Too many refused recipients"), "endless recipients");
    } else this.session.say(refused);
  }

  private carryOut(command: Command, terms: protocol.Terms): void {
    const { session } = this;
    switch (command.verb) {
      case "EHLO":
      case "HELO":
      case "LHLO":
        this.hello(command.verb, command.domain);
        break;
      case "MAIL":
        this.mail(command, terms);
        break;
      case "RCPT":
        this.rcpt(command);
        break;
      case "DATA":
        this.startTransfer().startData();
        break;
      case "AUTH":
        this.authentication = new Authentication(session.handler!, command.mechanism, session.connection.socket);
        session.settle(this.authentication.start(command.initial), (step) => this.authStep(step));
        break;
      case "STARTTLS":
        session.connection.reply(formatReply(220, "2.0.0", "Go ahead"));
        session.startTls();
        break;
      case "RSET":
        this.resetTransaction();
        this.junk(250, "Reset done");
        break;
      case "NOOP":
        this.junk(250, "OK");
        break;
      case "HELP":
        this.junk(214, terms.settings.helpText ?? helpText);
        break;
      case "VRFY":
        this.junk(252, "Cannot verify the user; send the message and see"); // RFC 5321 §3.5.3
        break;
      case "XCLIENT":
        this.xclient(command.argument);
        break;
      case "XFORWARD":
        this.xforward(command.argument);
        break;
      case "QUIT":
        session.connection.reply(
          formatReply(221, "2.0.0", `${terms.settings.hostName} ESMTP is closing connection\nGood bye`),
        );
        session.connection.close("QUIT", terms.now);
        break;
      default: // every other verb was refused by `admit`
    }
  }

  private hello(verb: "EHLO" | "HELO" | "LHLO", domain: string): void {
    const { session } = this;
    this.resetTransaction(); // RFC 5321 §4.1.4
    session.client.ehlo = domain;
    session.client.esmtp = verb !== "HELO";
    this.state.greeted = verb;
    this.nameProtocol();
    const handler = session.handler!;
    session.settle(handler.onEhlo(session.client), (answer) => {
      if (answer && answer.code >= 400) {
        this.state.greeted = "";
        session.fail(answer);
        return;
      }
      if (this.spokeTooEarly()) return;
      const lines = verb === "HELO" ? [handler.settings.hostName] : ehloLines(this.state, this.terms());
      this.junk(250, lines.join("\n"), "");
    });
  }

  private mail(command: Command & { verb: "MAIL" }, terms: protocol.Terms): void {
    const { session } = this;
    if (session.leaveIfDraining()) return;
    // Level 3: what comes now might not be storable (RFC 3463 X.3.1).
    if (session.listener.loadLevel() >= 3) {
      session.say(refusal(452, "4.3.1", "Insufficient system storage"));
      return;
    }
    const { maySendAs } = session.listener.options;
    const sender = command.path.address;
    if (this.state.authUser !== "" && sender !== "" && maySendAs && !maySendAs(this.state.authUser, sender)) {
      session.say(refusal(553, "5.7.1", "The sender address is not yours to use"));
      return;
    }
    const envelope = protocol.newEnvelope(command, terms.now);
    this.state.smtpUtf8 = envelope.smtpUtf8;
    this.nameProtocol();
    session.settle(session.handler!.onMailFrom(envelope), (answer) => {
      if (answer && answer.code >= 400) {
        session.say(answer);
        this.state.smtpUtf8 = false;
        return;
      }
      this.envelope = envelope;
      this.state.transaction = "mail";
      this.state.binary = envelope.body === "BINARYMIME";
      this.state.recipients = 0;
      if (answer) session.say(answer);
      else session.connection.reply("250 2.1.0 Sender accepted\r\n");
    });
  }

  private rcpt(command: Command & { verb: "RCPT" }): void {
    const { session } = this;
    const envelope = this.envelope!;
    const recipient = protocol.newRecipient(command.path.address, command.parameters);
    session.settle(session.handler!.onRcptTo(envelope, recipient), (answer) => {
      if (answer && answer.code >= 400) {
        this.refuseRecipient(answer);
        return;
      }
      envelope.rcptTo.push(recipient);
      this.state.recipients++;
      this.state.transaction = "rcpt";
      if (answer) session.say(answer);
      else session.connection.reply("250 2.1.5 Recipient accepted\r\n");
    });
  }

  /** RFC 3848 word for the Received field, kept up to date where the handler can see it. */
  private nameProtocol(): void {
    this.session.client.protocol = protocol.protocolWord(this.state, this.session.listener.profile);
  }

  /** Commands that move no mail: a few are normal, each beyond `junkCommands` is an error of the client. */
  private junk(code: number, text: string, enhanced = code === 252 ? "2.5.0" : "2.0.0"): void {
    const { session } = this;
    if (++this.junkCommands > session.listener.budget.junkCommands) {
      session.fail(refusal(450, "4.7.0", "Too many commands without mail"));
    } else session.connection.reply(formatReply(code, enhanced, text));
    if (this.isIdle) session.leaveIfDraining();
  }

  // AUTH (RFC 4954 §4).

  dropAuthentication(): void {
    this.authentication = undefined;
  }

  private authStep(step: AuthStep): void {
    const { session } = this;
    session.touch();
    switch (step.kind) {
      case "challenge":
        session.connection.reply(`334 ${step.data}\r\n`);
        break;
      case "accepted":
        this.authentication = undefined;
        this.state.authUser = step.user;
        session.client.authUser = step.user;
        this.nameProtocol();
        session.listener.flow.authSucceeded(session.client.remoteIp);
        session.connection.reply(formatReply(235, "2.7.0", "Authentication successful"));
        break;
      case "refused":
        this.authentication = undefined;
        if (step.outcome.temporary) session.say(step.outcome);
        else this.authRefused(step.outcome, step.guess);
    }
  }

  /** Guessing is made slow, counted for the session, and counted for the peer, who may be banned for a while. */
  private authRefused(refused: Outcome, guess: boolean): void {
    const { session } = this;
    const { budget, flow, log } = session.listener;
    this.authFailures++;
    log?.warn({ session: session.client.sessionId, ip: session.client.remoteIp, guess }, "AUTH failed");
    const banned = guess ? flow.authFailed(session.client.remoteIp) : false;
    const pause = guess ? budget.authTarpitMs : 0;
    session.settle(pause > 0 ? delay(pause).then(() => banned) : banned, (out) => {
      if (out || this.authFailures >= budget.authFailures) {
        session.finish(refusal(421, "4.7.0", "Too many failed authentications"), "AUTH guessing");
      } else session.fail(refused);
    });
  }

  // XCLIENT and XFORWARD from trusted hosts.

  private xclient(argument: string): void {
    const { session } = this;
    const attributes = readXattributes(argument);
    if (!attributes) {
      session.fail(refusal(501, "5.5.4", "Bad XCLIENT attributes"));
      return;
    }
    session.handler!.onClose("XCLIENT");
    this.restart(this.state.secure, attributes.LOGIN ?? "");
    applyXclient(session.client, attributes);
    session.greet();
  }

  private xforward(argument: string): void {
    const { session } = this;
    const attributes = readXattributes(argument, xforwardAttributes);
    if (!attributes) {
      session.fail(refusal(501, "5.5.4", "Bad XFORWARD attributes"));
      return;
    }
    session.client.forwarded = { ...session.client.forwarded, ...attributes };
    session.connection.reply(formatReply(250, "2.0.0", "OK"));
  }

  // Message content: what transfer.ts asks for.

  private startTransfer(): Transfer {
    this.transfer ??= new Transfer(this.session, this);
    return this.transfer;
  }

  consumeContent(input: Buffer, from: number): number {
    return this.transfer!.consume(input, from);
  }

  /** Submission listeners complete and check the header (RFC 6409 §8). */
  wrapSink(sink: MessageSink, envelope: Envelope): MessageSink {
    const { listener, handler } = this.session;
    if (listener.profile !== "submission") return sink;
    return new SubmissionSink(sink, {
      user: this.state.authUser,
      hostName: handler!.settings.hostName,
      mailFrom: envelope.mailFrom,
      maySendAs: listener.options.maySendAs ?? (() => true),
      headerLimit: listener.budget.headerSection,
    });
  }

  transferRefused(outcome: Outcome): void {
    this.transfer = undefined;
    this.session.say(outcome);
    this.session.touch();
  }

  chunkRefused(outcome: Outcome, last: boolean): void {
    // A chunk that came before any recipient spoils nothing.
    if (this.state.transaction === "none" || this.state.transaction === "mail") this.transfer = undefined;
    else if (last) this.resetTransaction();
    else this.state.transaction = "failed";
    this.session.fail(outcome);
  }

  /** The end of a message: verdicts to the client, ready for the next. */
  messageEnded(reception: Reception): void {
    const { session } = this;
    const lmtp = session.listener.profile === "lmtp";
    const owed = lmtp ? this.state.recipients : 1;
    this.repliesOwed = owed;
    let verdict: MaybePromise<Outcome | Outcome[]>;
    try {
      verdict = reception.end(lmtp);
    } catch (error) {
      verdict = Promise.reject(error);
    }
    this.forgetTransaction(reception.refused !== undefined);
    session.settle(verdict, (outcomes) => {
      if (Array.isArray(outcomes) && outcomes.length !== owed) throw new RangeError("not one reply a recipient");
      this.repliesOwed = 1;
      for (let i = 0; i < owed; i++) session.say(Array.isArray(outcomes) ? outcomes[i]! : outcomes);
      this.junkCommands = 0;
      session.touch();
      session.leaveIfDraining();
    });
  }

  private resetTransaction(): void {
    this.abort();
    if (this.state.transaction !== "none") this.forgetTransaction(true);
  }

  private forgetTransaction(tellHandler: boolean): void {
    this.transfer = undefined;
    this.envelope = undefined;
    this.state.transaction = "none";
    this.state.binary = false;
    this.state.smtpUtf8 = false;
    this.state.recipients = 0;
    if (tellHandler) this.session.handler!.onReset();
  }

  /** An unfinished message is given up. */
  abort(): void {
    this.transfer?.abort();
    this.transfer = undefined;
  }

  /** The handler threw or rejected while a command was worked on: the command fails for now, the session goes on. */
  handlerFailed(): void {
    this.authentication = undefined;
    if (this.transfer?.handlerFailed(internalError)) return;
    const owed = this.repliesOwed;
    this.repliesOwed = 1;
    if (this.state.transaction !== "bdat") this.abort();
    for (let i = 0; i < owed; i++) this.session.say(internalError);
    this.session.touch();
  }
}

function takesUtf8(command: Command): boolean {
  return command.verb === "MAIL" || command.verb === "RCPT" || command.verb === "VRFY" || command.verb === "invalid";
}

/** The line for the log: credentials stay out of it. */
function shown(command: Command, line: string): string {
  return command.verb === "AUTH" ? `AUTH ${command.mechanism}` : printable(line);
}
