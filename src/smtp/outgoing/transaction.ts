/**
 * One mail transaction on an open connection (RFC 5321 §3.3; BDAT RFC 3030; pipelining RFC 2920; LMTP RFC 2033).
 * Invariants: answers one Outcome for each recipient, in order, and never rejects for what the host or network did; a
 * body is ended (final dot, LAST) only when all of it was read and written; after a loss of count the connection is
 * destroyed. A connection lost after the end of data leaves the recipients deferred and `ambiguous`: the host may have
 * taken the message, so it may arrive twice, as RFC 5321 §4.5.4.1 and RFC 1047 accept.
 */
import { isAscii } from "node:buffer";
import type { Recipient } from "../../message/envelope.ts";
import { type Outcome, outcome, printable } from "../../message/outcome.ts";
import type { BodySource } from "../../queue/types.ts";
import { protocolOutcome, type SmtpConnection } from "./client.ts";
import { ContentEncoder } from "./content.ts";
import { toSevenBit } from "./downgrade.ts";
import { SmtpError } from "./error.ts";
import { inMemoryBody } from "./memory-body.ts";
import { type MailParameters, mailCommand, rcptCommand } from "./parameters.ts";
import { type Reply, replyOutcome } from "./reply.ts";

export interface Transaction {
  mail: MailParameters;
  recipients: readonly Recipient[];
  body: BodySource;
  /** Signs what is about to be sent, after everything that changes it; answers the whole to send. */
  seal?: ((body: BodySource) => Promise<BodySource>) | undefined;
}

export interface TransactionResult {
  /** One for each recipient, in order. */
  outcomes: Outcome[];
  /** The connection broke before any reply came: safe to do over on another connection. */
  untouched: boolean;
  /** The connection broke after the end of data: the host may have taken the message. */
  ambiguous: boolean;
}

/** Bodies up to this size travel in the same write as their commands where BDAT allows it. */
const inlineLimit = 32 * 1024;
/** Size from which pieces of a streamed body are sent as one BDAT chunk. */
const chunkTarget = 64 * 1024;
const endOfData = Buffer.from(".\r\n");

export async function transact(connection: SmtpConnection, transaction: Transaction): Promise<TransactionResult> {
  const sender = new Sender(connection, transaction);
  return sender.run();
}

/** True when the body holds an octet above 127. */
async function hasEightBit(body: BodySource): Promise<boolean> {
  const memory = body.inMemory();
  if (memory) return !isAscii(memory);
  for await (const chunk of body.stream()) if (!isAscii(chunk)) return true;
  return false;
}

class Sender {
  readonly #connection: SmtpConnection;
  readonly #transaction: Transaction;
  readonly #outcomes: Array<Outcome | undefined>;
  /** Indexes of the recipients whose RCPT is sent, in order. */
  #asked: number[] = [];
  /** Indexes of the recipients the host took. */
  #accepted: number[] = [];
  /** What is sent: the transaction's body, or its 7-bit form. */
  #body: BodySource | undefined;
  /** Replies to the envelope's commands so far. */
  #envelope: readonly Reply[] = [];
  /** How many replies come before the first RCPT's. */
  #before = 1;
  #judged = false;
  /** Some reply came. */
  #answered = false;
  /** The end of data is written. */
  #ended = false;

  constructor(connection: SmtpConnection, transaction: Transaction) {
    this.#connection = connection;
    this.#transaction = transaction;
    this.#body = transaction.body;
    this.#outcomes = new Array<Outcome | undefined>(transaction.recipients.length).fill(undefined);
  }

  async run(): Promise<TransactionResult> {
    const connection = this.#connection;
    connection.transactions++;
    try {
      await this.#converse();
      return { outcomes: this.#outcomes as Outcome[], untouched: false, ambiguous: false };
    } catch (error) {
      if (!(error instanceof SmtpError)) connection.destroy();
      // What the host said before the connection broke still holds.
      if (!this.#judged) this.#judgeEnvelope([...this.#envelope, ...connection.partial]);
      else if (this.#ended && connection.options.lmtp) this.#finish(connection.partial);
      const open = this.#outcomes.includes(undefined);
      this.#rest(error instanceof SmtpError ? this.#lost(error) : localTrouble(error));
      const outcomes = this.#outcomes as Outcome[];
      return { outcomes, untouched: open && !this.#answered, ambiguous: open && this.#answered && this.#ended };
    }
  }

  async #converse(): Promise<void> {
    const connection = this.#connection;
    const { mail, recipients } = this.#transaction;
    const host = {
      extensions: connection.extensions,
      lmtp: connection.options.lmtp,
      tlsVerified: connection.tlsInfo !== "" && connection.tlsVerified,
    };
    const fitting = await this.#fitting();
    if (!fitting) return this.#rest(cannotConvert);
    const body = await this.#sealed(fitting);
    if (!body) return;
    const memory = body.inMemory();
    // 8BITMIME may be said of 7-bit content (RFC 6152 §2), so a streamed body need not be read twice.
    const eightBit = mail.body !== "7BIT" || !memory || !isAscii(memory);
    const from = mailCommand(mail, { size: body.size, eightBit }, host);
    if (typeof from !== "string") return this.#rest(from);
    const lines = connection.needsReset ? ["RSET", from] : [from];
    this.#before = lines.length;
    for (const [index, recipient] of recipients.entries()) {
      const command = rcptCommand(recipient, host);
      if (typeof command !== "string") this.#outcomes[index] = command;
      else {
        lines.push(command);
        this.#asked.push(index);
      }
    }
    if (this.#asked.length === 0) return;
    connection.needsReset = true;
    const chunking = connection.supports("CHUNKING") && !connection.options.lmtp;
    if (!connection.supports("PIPELINING")) return this.#stepwise(lines, chunking);
    if (chunking && memory && memory.length <= inlineLimit) return this.#oneWrite(lines, memory);
    if (!chunking) lines.push("DATA");
    const { command, dataInit } = connection.options.timeouts;
    const replies = await this.#exchange(`${lines.join("\r\n")}\r\n`, lines.length, Math.max(command, dataInit));
    this.#judgeEnvelope(replies);
    if (chunking) return this.#accepted.length > 0 ? this.#bdat() : undefined;
    return this.#data(replies[lines.length - 1]!);
  }

  /** The body as this host can take it; undefined when it can't be made so. */
  async #fitting(): Promise<BodySource | undefined> {
    const { mail, body } = this.#transaction;
    const eightBitHost = this.#connection.supports("8BITMIME");
    if (mail.body !== "BINARYMIME" && (eightBitHost || !(await hasEightBit(body)))) return body;
    const { budget } = this.#connection.options;
    if (body.size > budget.convertedBody) return undefined;
    const whole = body.inMemory() ?? Buffer.concat(await Array.fromAsync(body.stream()));
    const converted = toSevenBit(Buffer.from(whole.buffer, whole.byteOffset, whole.length), budget);
    this.#body = converted && inMemoryBody(converted);
    return this.#body;
  }

  /** The body with its signatures; undefined when it can't be signed, which defers all recipients. */
  async #sealed(body: BodySource): Promise<BodySource | undefined> {
    const { seal } = this.#transaction;
    if (seal === undefined) return body;
    try {
      this.#body = await seal(body);
      return this.#body;
    } catch (error) {
      const text = `message can't be signed: ${printable(error instanceof Error ? error.message : String(error))}`;
      this.#rest(outcome.defer({ code: 451, enhanced: "4.3.0", text, origin: "engine" }));
      return undefined;
    }
  }

  /** RFC 5321 §4.1.1.4 for a host without PIPELINING: a command, then its answer. */
  async #stepwise(lines: string[], chunking: boolean): Promise<void> {
    const { timeouts } = this.#connection.options;
    const replies: Reply[] = [];
    this.#envelope = replies;
    for (const line of lines) {
      replies.push((await this.#exchange(`${line}\r\n`, 1, timeouts.command))[0]!);
      // Without an accepted MAIL there is no use in asking for recipients.
      if (replies.length === this.#before && replies[this.#before - 1]!.code >= 300) break;
    }
    this.#judgeEnvelope(replies);
    if (this.#accepted.length === 0) return;
    if (chunking) return this.#bdat();
    const [answer] = await this.#exchange("DATA\r\n", 1, timeouts.dataInit);
    return this.#data(answer!);
  }

  /** Envelope and content in a single write: one round trip for the message. */
  async #oneWrite(lines: string[], memory: Uint8Array): Promise<void> {
    const encoder = this.#encoder(false);
    const content = encoder.push(memory);
    const tail = encoder.end();
    const head = Buffer.from(`${lines.join("\r\n")}\r\nBDAT ${content.length + tail.length} LAST\r\n`);
    const { timeouts } = this.#connection.options;
    this.#ended = true;
    const replies = await this.#exchange([head, content, tail], lines.length + 1, timeouts.dataEnd);
    this.#judgeEnvelope(replies);
    this.#finish([replies[lines.length]!]);
  }

  async #data(answer: Reply): Promise<void> {
    if (answer.code !== 354) {
      this.#rest(answer.code >= 400 ? this.#said(answer) : this.#confused(answer, "DATA"));
      return;
    }
    const connection = this.#connection;
    if (this.#accepted.length === 0) {
      // RFC 2920 §3.1: a host may say 354 although it took no recipient; an empty message ends the matter.
      await this.#exchange([endOfData], 1, connection.options.timeouts.dataEnd);
      return;
    }
    const encoder = this.#encoder(true);
    const count = connection.options.lmtp ? this.#accepted.length : 1;
    const memory = this.#body!.inMemory();
    if (memory) {
      const content = [encoder.push(memory), encoder.end(), endOfData];
      this.#ended = true;
      return this.#finish(await this.#exchange(content, count, connection.options.timeouts.dataEnd));
    }
    const done = this.#exchange("", count, connection.options.timeouts.dataBlock);
    // The rejection is met by `await done` below; while the body is being written it must not count as unhandled.
    done.catch(() => {});
    for await (const chunk of this.#body!.stream()) {
      if (connection.partial.length > 0) return this.#interrupted();
      const full = connection.write(encoder.push(chunk));
      if (full) await full;
    }
    if (connection.partial.length > 0) return this.#interrupted();
    this.#ended = true;
    const full = connection.write(Buffer.concat([encoder.end(), endOfData]));
    if (full) await full;
    connection.allow(connection.options.timeouts.dataEnd);
    this.#finish(await done);
  }

  /** RFC 3030 §2: the content in counted chunks, the last one marked. */
  async #bdat(): Promise<void> {
    const { timeouts } = this.#connection.options;
    const encoder = this.#encoder(false);
    const memory = this.#body!.inMemory();
    let pieces: Buffer[] = memory ? [encoder.push(memory)] : [];
    let size = pieces[0]?.length ?? 0;
    if (!memory) {
      for await (const part of this.#body!.stream()) {
        const piece = encoder.push(part);
        pieces.push(piece);
        size += piece.length;
        if (size < chunkTarget) continue;
        const chunk = [Buffer.from(`BDAT ${size}\r\n`), ...pieces];
        const [reply] = await this.#exchange(chunk, 1, timeouts.dataBlock);
        if (reply!.code >= 300) return this.#finish([reply!]);
        pieces = [];
        size = 0;
      }
    }
    const tail = encoder.end();
    const head = Buffer.from(`BDAT ${size + tail.length} LAST\r\n`);
    this.#ended = true;
    this.#finish(await this.#exchange([head, ...pieces, tail], 1, timeouts.dataEnd));
  }

  #encoder(dots: boolean): ContentEncoder {
    return new ContentEncoder({ dots, maxLine: this.#connection.options.budget.textLineWritten });
  }

  async #exchange(data: string | readonly Uint8Array[], count: number, timeoutMs: number): Promise<Reply[]> {
    try {
      const replies = await this.#connection.exchange(data, count, timeoutMs);
      this.#answered = true;
      return replies;
    } catch (error) {
      if (this.#connection.partial.length > 0) this.#answered = true;
      throw error;
    }
  }

  /** Reads the replies to RSET, MAIL and RCPTs, as many as there are. */
  #judgeEnvelope(replies: readonly Reply[]): void {
    this.#judged = true;
    const mail = replies[this.#before - 1];
    if (!mail) return;
    for (const [position, index] of this.#asked.entries()) {
      const reply = mail.code >= 300 ? mail : replies[this.#before + position];
      if (!reply) continue;
      if (reply.code >= 400) this.#outcomes[index] = this.#said(reply);
      else if (reply.code >= 300) this.#outcomes[index] = this.#confused(reply, "the envelope");
      else this.#accepted.push(index);
    }
  }

  /** The replies to the end of data: one for all, or one a recipient in LMTP (RFC 2033 §4.2). */
  #finish(replies: readonly Reply[]): void {
    const { lmtp } = this.#connection.options;
    // A host that answers before it was sent everything gets no more: the memory of the rest may soon hold other mail.
    if (this.#connection.unsent) this.#connection.destroy();
    for (const [position, index] of this.#accepted.entries()) {
      const reply = replies[lmtp ? position : 0];
      if (!reply) continue;
      const odd = reply.code >= 300 && reply.code < 400;
      this.#outcomes[index] = odd ? this.#confused(reply, "the end of data") : this.#said(reply);
    }
    // RFC 5321 §4.1.1.4: the host's buffers are empty after a message it took.
    if (replies.every((reply) => reply.code < 300)) this.#connection.needsReset = false;
  }

  /** The host answered before the end of data: it has stopped reading, and only closing is left. */
  #interrupted(): void {
    const early = this.#connection.partial[0]!;
    this.#connection.destroy();
    this.#rest(early.code >= 400 ? this.#said(early) : this.#confused(early, "unfinished data"));
  }

  #said(reply: Reply): Outcome {
    return replyOutcome(reply, this.#connection.origin);
  }

  #confused(reply: Reply, command: string): Outcome {
    this.#connection.destroy();
    return protocolOutcome(`unexpected reply ${reply.code} to ${command}`, this.#connection.origin);
  }

  #lost(error: SmtpError): Outcome {
    if (!this.#ended) return error.outcome;
    return outcome.defer({
      code: 451,
      enhanced: lostAfterData,
      text: `${error.outcome.text} after the end of data, so the message may arrive twice`,
      origin: this.#connection.origin,
    });
  }

  /** Gives `result` to each recipient that has none yet; recipients refused before keep what the host said. */
  #rest(result: Outcome): void {
    for (let index = 0; index < this.#outcomes.length; index++) this.#outcomes[index] ??= result;
  }
}

/** RFC 3463 X.4.2, bad connection; with an end of data sent it is what marks a doubtful delivery. */
const lostAfterData = "4.4.2";

/** RFC 6152 §3, RFC 3463 X.6.3. */
const cannotConvert = outcome.reject({
  code: 554,
  enhanced: "5.6.3",
  text: "the next hop takes only 7-bit content, and this message can't be converted",
  origin: "engine",
});

function localTrouble(error: unknown): Outcome {
  const text = `message body can't be read: ${printable(error instanceof Error ? error.message : String(error))}`;
  return outcome.defer({ code: 451, enhanced: "4.3.0", text, origin: "engine" });
}
