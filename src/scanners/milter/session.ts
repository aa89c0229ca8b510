/**
 * One SMTP session as one milter sees it (libmilter's callbacks from the MTA's side).
 * Invariants: commands go in protocol order; steps that the filter declined are not sent, steps without reply are not
 * waited for; modifications are accepted only at the end of a message; a message (or a greeting) takes at most `milterMessageMs`
 * however often the filter reports progress. Failure: ScannerError; the session is dead after it and the caller applies the
 * filter's declared failure action.
 */
import { type Outcome, outcome } from "../../message/outcome.ts";
import { ScannerError } from "../types.ts";
import {
  Command,
  chunkSize,
  connectPacket,
  decodeReply,
  type Modification,
  macroPacket,
  type Negotiation,
  packet,
  type Stage,
  Step,
  strings,
  type Verdict,
} from "./codec.ts";
import type { MilterClient, MilterLink } from "./link.ts";
import { type MacroSource, macrosOf } from "./macros.ts";

/** `reply` ends in a 4xx or 5xx; `shutdown` also closes the client's connection. */
export type MilterAnswer =
  | { kind: "continue" | "accept" | "discard" }
  | { kind: "reply" | "shutdown"; outcome: Outcome };

export interface MilterPeer {
  /** Verified name, or "[address]". */
  host: string;
  ip: string;
  port: number;
}

export interface MilterContent {
  /** Octets of name and value; the value with its leading blank and LF between folded lines. */
  fields: ReadonlyArray<{ name: Buffer; value: Buffer }>;
  body: () => AsyncIterable<Uint8Array> | Iterable<Uint8Array>;
}

const goOn: MilterAnswer = { kind: "continue" };

export class MilterSession {
  readonly #client: MilterClient;
  readonly #macros: MacroSource;
  #link: MilterLink | undefined;
  /** Set while a message is open at the filter, so that an early end is followed by ABORT. */
  #inMessage = false;
  #acceptedSession = false;
  #acceptedMessage = false;
  #deadline = Number.POSITIVE_INFINITY;

  constructor(client: MilterClient, macros: MacroSource) {
    this.#client = client;
    this.#macros = macros;
  }

  get #origin(): string {
    return `milter ${this.#client.settings.name}`;
  }

  async connect(peer: MilterPeer): Promise<MilterAnswer> {
    const { link, kept } = await this.#client.acquire();
    this.#link = link;
    this.#startClock();
    try {
      return await this.#greet(peer);
    } catch (error) {
      // A kept connection may have been closed meanwhile: a new one shows whether the filter is well.
      if (!kept || !(error instanceof ScannerError) || error.kind !== "closed") throw error;
      return this.connect(peer);
    }
  }

  async #greet(peer: MilterPeer): Promise<MilterAnswer> {
    const family = peer.ip === "" ? "U" : peer.ip.includes(":") ? "6" : "4";
    // Sendmail and Postfix write IPv6 addresses with this prefix.
    const address = family === "6" ? `IPv6:${peer.ip}` : peer.ip;
    const answer = await this.#command("connect", Command.connect, Step.noConnect, Step.noReplyConnect, () =>
      connectPacket(peer.host, family, peer.port, address),
    );
    this.#acceptedSession = answer.kind === "accept";
    return answer;
  }

  async helo(name: string): Promise<MilterAnswer> {
    this.#startClock();
    const answer = await this.#command("helo", Command.helo, Step.noHelo, Step.noReplyHelo, () =>
      packet(Command.helo, strings(name)),
    );
    this.#acceptedSession ||= answer.kind === "accept";
    return answer;
  }

  /** `args`: ESMTP parameters as given, e.g. "SIZE=100". */
  async mail(from: string, args: readonly string[] = []): Promise<MilterAnswer> {
    await this.abort();
    this.#acceptedMessage = false;
    this.#inMessage = !this.#acceptedSession;
    this.#startClock();
    return this.#messageCommand("mail", Command.mail, Step.noMail, Step.noReplyMail, () =>
      packet(Command.mail, strings(`<${from}>`, ...args)),
    );
  }

  /** A reply refuses this recipient only. */
  rcpt(to: string, args: readonly string[] = []): Promise<MilterAnswer> {
    return this.#messageCommand("rcpt", Command.rcpt, Step.noRcpt, Step.noReplyRcpt, () =>
      packet(Command.rcpt, strings(`<${to}>`, ...args)),
    );
  }

  data(): Promise<MilterAnswer> {
    return this.#messageCommand("data", Command.data, Step.noData, Step.noReplyData, () => packet(Command.data));
  }

  /** Header, body and end of message; the changes asked for come with a final "continue" or "accept". */
  async message(content: MilterContent): Promise<{ answer: MilterAnswer; modifications: Modification[] }> {
    const none: Modification[] = [];
    if (this.#idle) return { answer: goOn, modifications: none };
    const headers = await this.#headers(content);
    if (headers.kind !== "continue") return { answer: this.#endEarly(headers), modifications: none };
    const body = await this.#body(content);
    if (body.kind !== "continue") return { answer: this.#endEarly(body), modifications: none };
    const modifications: Modification[] = [];
    await this.#sendMacros("eom", Command.endOfBody);
    await this.#send(packet(Command.endOfBody));
    const answer = await this.#reply(this.#client.settings.contentMs, modifications);
    this.#inMessage = false;
    return { answer, modifications };
  }

  /** The message ends without a decision of the filter (RSET, refused by another). */
  async abort(): Promise<MilterAnswer> {
    if (this.#inMessage && this.#link !== undefined) {
      this.#inMessage = false;
      await this.#send(packet(Command.abort));
    }
    return goOn;
  }

  /** The SMTP session ends. */
  async close(): Promise<void> {
    const link = this.#link;
    this.#link = undefined;
    if (link === undefined) return;
    try {
      if (this.#inMessage) await link.send(packet(Command.abort), this.#client.settings.commandMs);
      await this.#client.release(link);
    } catch {
      link.close(); // the filter has gone: nothing of the session is left to save
    }
  }

  #startClock(): void {
    this.#deadline = Date.now() + this.#client.budget.milterMessageMs;
  }

  get #idle(): boolean {
    return this.#link === undefined || this.#acceptedSession || this.#acceptedMessage;
  }

  async #headers(content: MilterContent): Promise<MilterAnswer> {
    const { steps } = this.negotiation;
    if ((steps & Step.noHeaders) === 0) {
      for (const field of content.fields) {
        const value = (steps & Step.headerLeadingSpace) !== 0 ? field.value : withoutLeadingBlank(field.value);
        await this.#send(packet(Command.header, field.name, nul, value, nul));
        if ((steps & Step.noReplyHeader) === 0) {
          const answer = await this.#reply(this.#client.settings.contentMs);
          if (answer.kind !== "continue") return answer;
        }
      }
    }
    return this.#messageCommand("eoh", Command.endOfHeaders, Step.noEoh, Step.noReplyEoh, () =>
      packet(Command.endOfHeaders),
    );
  }

  async #body(content: MilterContent): Promise<MilterAnswer> {
    const { steps } = this.negotiation;
    if ((steps & Step.noBody) !== 0) return goOn;
    for await (const chunk of rechunk(content.body())) {
      await this.#send(packet(Command.body, chunk));
      if ((steps & Step.noReplyBody) !== 0) continue;
      const verdict = await this.#replyOrSkip();
      if (verdict === "skip") break;
      if (verdict.kind !== "continue") return verdict;
    }
    return goOn;
  }

  async #messageCommand(
    stage: Stage,
    command: string,
    declined: number,
    noReply: number,
    make: () => Buffer,
  ): Promise<MilterAnswer> {
    const answer = await this.#command(stage, command, declined, noReply, make);
    this.#acceptedMessage ||= answer.kind === "accept";
    return answer;
  }

  async #command(
    stage: Stage,
    command: string,
    declined: number,
    noReply: number,
    make: () => Buffer,
  ): Promise<MilterAnswer> {
    if (this.#idle) return goOn;
    const { steps } = this.negotiation;
    if ((steps & declined) !== 0) return goOn;
    await this.#sendMacros(stage, command);
    await this.#send(make());
    return (steps & noReply) !== 0 ? goOn : this.#reply(this.#client.settings.commandMs);
  }

  /** What the filter asked for. Throws ScannerError when there is no connection. */
  get negotiation(): Negotiation {
    if (this.#link === undefined) throw new ScannerError("closed", "milter: no connection");
    return this.#link.negotiation;
  }

  async #sendMacros(stage: Stage, command: string): Promise<void> {
    const values = macrosOf(stage, this.negotiation, this.#macros);
    if (values.length > 0) await this.#send(macroPacket(command, values));
  }

  async #send(bytes: Buffer): Promise<void> {
    try {
      await this.#link?.send(bytes, this.#client.settings.contentMs);
    } catch (error) {
      throw this.#die(error);
    }
  }

  async #reply(timeoutMs: number, modifications?: Modification[]): Promise<MilterAnswer> {
    const answer = await this.#replyOrSkip(timeoutMs, modifications);
    if (answer === "skip") throw this.#die(new ScannerError("protocol", "milter: skip where no body is sent"));
    return answer;
  }

  /** Reads up to the next verdict. Modifications are an error unless there is a list to put them in. */
  async #replyOrSkip(
    timeoutMs = this.#client.settings.contentMs,
    modifications?: Modification[],
  ): Promise<MilterAnswer | "skip"> {
    const { budget } = this.#client;
    let octets = 0;
    try {
      for (;;) {
        const left = Math.min(timeoutMs, this.#deadline - Date.now());
        if (left <= 0) throw new ScannerError("timeout", "milter: progress without end");
        const { command, data } = await this.#link!.receive(left);
        const reply = decodeReply(command, data);
        if (reply.kind === "verdict") return reply.verdict === "skip" ? "skip" : this.#answerOf(reply.verdict);
        if (reply.kind === "replyCode") return replyAnswer(reply.text, this.#origin);
        if (reply.kind === "progress") continue;
        octets += data.length;
        if (modifications === undefined) throw new ScannerError("protocol", "milter: change before end of message");
        if (modifications.length >= budget.milterActions || octets > budget.scannerReply) {
          throw new ScannerError("limit", "milter: more changes than allowed");
        }
        modifications.push(reply.modification);
      }
    } catch (error) {
      throw this.#die(error);
    }
  }

  #answerOf(verdict: Verdict): MilterAnswer {
    const origin = this.#origin;
    switch (verdict) {
      case "reject":
        return {
          kind: "reply",
          outcome: outcome.reject({ code: 550, enhanced: "5.7.1", text: "Command rejected", origin }),
        };
      case "tempfail":
        return {
          kind: "reply",
          outcome: outcome.defer({
            code: 451,
            enhanced: "4.7.1",
            text: "Service unavailable - try again later",
            origin,
          }),
        };
      case "shutdown":
      case "connFail":
        return {
          kind: "shutdown",
          outcome: outcome.defer({ code: 421, enhanced: "4.7.0", text: "Service unavailable", origin }),
        };
      case "accept":
      case "discard":
        return { kind: verdict };
      default:
        return goOn;
    }
  }

  /** "accept" ends the message for this filter; the ABORT goes out before the next one begins. */
  #endEarly(answer: MilterAnswer): MilterAnswer {
    if (answer.kind === "accept") {
      this.#acceptedMessage = true;
      return goOn;
    }
    return answer;
  }

  #die(error: unknown): unknown {
    this.#link?.close();
    this.#link = undefined;
    this.#inMessage = false;
    return error;
  }
}

const nul = Buffer.of(0);

/** Without SMFIP_HDR_LEADSPC filters see values without the blanks after the colon. */
function withoutLeadingBlank(value: Buffer): Buffer {
  let at = 0;
  while (value[at] === 0x20 || value[at] === 0x09) at++;
  return value.subarray(at);
}

/** Chunks of the protocol's size, whatever the source's. */
async function* rechunk(source: AsyncIterable<Uint8Array> | Iterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  let held: Uint8Array[] = [];
  let size = 0;
  for await (let chunk of source) {
    while (size + chunk.length >= chunkSize) {
      const part = chunk.subarray(0, chunkSize - size);
      yield held.length === 0 ? part : Buffer.concat([...held, part]);
      chunk = chunk.subarray(part.length);
      held = [];
      size = 0;
    }
    if (chunk.length > 0) {
      held.push(Buffer.from(chunk));
      size += chunk.length;
    }
  }
  if (size > 0) yield held.length === 1 ? held[0]! : Buffer.concat(held);
}

/** SMFIR_REPLYCODE: "550 5.7.1 text", several lines as "550-5.7.1 text\r\n550 5.7.1 text". */
export function replyAnswer(text: string, origin: string): MilterAnswer {
  const lines = text.split(/\r?\n/).filter((line) => line !== "");
  const first = /^([45])(\d\d)[ -](?:([45]\.\d{1,3}\.\d{1,3}) ?)?/.exec(lines[0] ?? "");
  if (first === null || lines.length > 100) throw new ScannerError("protocol", "milter: malformed reply text");
  const body = lines.map((line) => line.replace(/^\d{3}[ -]?(?:[245]\.\d{1,3}\.\d{1,3} ?)?/, "").slice(0, 500));
  const parts = {
    code: Number(first[1]! + first[2]!),
    enhanced: first[3] ?? `${first[1]}.7.1`,
    text: body.join("\n"),
    origin,
  };
  return { kind: parts.code === 421 ? "shutdown" : "reply", outcome: outcome.of(parts) };
}
