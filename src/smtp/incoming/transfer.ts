/**
 * The part of a session in which octets are message content: DATA (RFC 5321 §4.1.1.4) and BDAT (RFC 3030 §2).
 * Invariants: the octets of a BDAT chunk are read even when the chunk is refused, so the session stays in step; after
 * a refused chunk nothing is accepted until RSET or the last chunk. Failure: content that breaks line endings ends the
 * session (or, by setting, the message); content that never ends is cut off by size and by time.
 */
import type { Outcome } from "../../message/outcome.ts";
import type { ContentKind } from "./data.ts";
import type { Dialogue } from "./dialogue.ts";
import type { MessageSink } from "./hooks.ts";
import { refusal } from "./protocol.ts";
import { Reception } from "./reception.ts";
import { formatReply } from "./reply.ts";
import type { Session } from "./session.ts";

const dataPrompt = formatReply(354, "", "Ready to receive data; remember <CRLF>.<CRLF>");

export class Transfer {
  private readonly session: Session;
  private readonly dialogue: Dialogue;
  private reception: Reception | undefined;
  /** BDAT: undefined while DATA runs. */
  private chunk: { size: number; left: number; last: boolean; refused: Outcome | undefined } | undefined;
  /** Octets since the deadline was last moved: a client must send `dataBlockBytes` each `dataBlockMs`. */
  private blockOctets = 0;
  private readonly lastMoment: number;
  private discarded = 0;
  private aborted = false;

  constructor(session: Session, dialogue: Dialogue) {
    this.session = session;
    this.dialogue = dialogue;
    this.lastMoment = Date.now() + session.listener.budget.messageMs;
  }

  // DATA.

  startData(): void {
    this.openSink("dotted", (refused) => {
      if (refused) return this.dialogue.transferRefused(refused);
      if (this.dialogue.spokeTooEarly()) return;
      this.session.connection.reply(dataPrompt);
      this.begin();
    });
  }

  /** Asks the handler for a sink; `next` gets the refusal, or undefined when the reception stands ready. */
  private openSink(kind: ContentKind, next: (refused: Outcome | undefined) => void): void {
    const { session } = this;
    const envelope = this.dialogue.envelope!;
    session.settle(session.handler!.onData(envelope), (answer) => {
      if (!isSink(answer)) return next(answer);
      if (this.aborted) return answer.abort();
      const { settings } = session.handler!;
      const limits = {
        messageBytes: settings.maxMessageBytes,
        receivedHeaders: settings.maxReceivedHeaders,
        budget: session.listener.budget,
      };
      this.reception = new Reception(kind, limits, envelope, this.dialogue.wrapSink(answer, envelope), (error) =>
        session.logFailure(error),
      );
      next(undefined);
    });
  }

  private begin(): void {
    this.blockOctets = 0;
    this.session.expectContent(true);
    this.session.connection.deadline = Math.min(this.lastMoment, Date.now() + this.session.listener.budget.dataBlockMs);
  }

  // BDAT.

  startChunk(size: number, last: boolean, refused: Outcome | undefined): void {
    const { session } = this;
    const { settings } = session.handler!;
    const sum = (this.reception?.size ?? 0) + size;
    if (size > settings.maxMessageBytes + session.listener.budget.discardedBytes) {
      session.finish(refusal(552, "5.3.4", "Chunk too large"), "chunk size out of all bounds");
      return;
    }
    const tooBig =
      sum > settings.maxMessageBytes
        ? refusal(552, "5.3.4", `Message size exceeds the limit of ${settings.maxMessageBytes} octets`)
        : undefined;
    this.chunk = { size, left: size, last, refused: refused ?? tooBig };
    if (this.chunk.refused || this.reception) {
      this.beginChunk();
      return;
    }
    const kind = this.dialogue.envelope!.body === "BINARYMIME" ? "binary" : "lines";
    this.openSink(kind, (no) => {
      this.chunk!.refused = no;
      this.beginChunk();
    });
  }

  private beginChunk(): void {
    if (this.chunk!.left === 0) {
      this.endChunk();
      return;
    }
    this.begin();
  }

  private endChunk(): void {
    const { session } = this;
    const { refused, last, size } = this.chunk!;
    session.expectContent(false);
    if (refused) {
      this.reception?.abort();
      this.dialogue.chunkRefused(refused, last);
      return;
    }
    this.dialogue.state.transaction = "bdat";
    if (last) {
      this.end();
      return;
    }
    session.connection.reply(formatReply(250, "2.0.0", `${size} octets received`));
  }

  // Both.

  consume(input: Buffer, from: number): number {
    const { chunk, reception, session } = this;
    const to = chunk ? Math.min(input.length, from + chunk.left) : input.length;
    if (chunk) chunk.left -= to - from;
    let end = -1;
    if (reception && !chunk?.refused) {
      end = reception.feed(input, from, to);
      if (reception.framingBroken && session.closesOnBrokenLines) {
        session.finish(reception.refused!, "broken line ending in the message");
        return input.length;
      }
      if (chunk && reception.refused) chunk.refused = reception.refused;
    }
    this.moveDeadline(to - from);
    const ended = chunk ? chunk.left === 0 : end >= 0;
    const pressure = reception?.pressure;
    if (!ended) {
      if (!pressure && reception?.refused && this.endless(to - from)) return input.length;
      if (pressure) this.waitFor(pressure, () => {});
      return to;
    }
    if (pressure) this.waitFor(pressure, () => this.contentEnded());
    else this.contentEnded();
    return chunk ? to : end;
  }

  private waitFor(pressure: Promise<void>, next: () => void): void {
    this.reception!.pressure = undefined;
    this.session.settle(pressure, next);
  }

  private contentEnded(): void {
    if (this.chunk) {
      this.endChunk();
      return;
    }
    this.session.expectContent(false);
    this.end();
  }

  private end(): void {
    const reception = this.reception!;
    this.reception = undefined;
    this.dialogue.messageEnded(reception);
  }

  private moveDeadline(octets: number): void {
    this.blockOctets += octets;
    const { budget } = this.session.listener;
    if (this.blockOctets < budget.dataBlockBytes) return;
    this.blockOctets = 0;
    this.session.connection.deadline = Math.min(this.lastMoment, Date.now() + budget.dataBlockMs);
  }

  /** A refused message is read on to its end, but not for ever. */
  private endless(octets: number): boolean {
    this.discarded += octets;
    if (this.discarded <= this.session.listener.budget.discardedBytes) return false;
    this.session.finish(this.reception!.refused!, "refused message without end");
    return true;
  }

  /** The handler threw when asked for a sink. Answers true when a chunk's octets must still be read before the reply. */
  handlerFailed(refused: Outcome): boolean {
    if (!this.chunk || this.reception || this.chunk.left === 0) return false;
    this.chunk.refused = refused;
    this.beginChunk();
    return true;
  }

  /** The transaction is over without its message. */
  abort(): void {
    this.aborted = true;
    this.reception?.abort();
    this.reception = undefined;
  }
}

function isSink(answer: MessageSink | Outcome): answer is MessageSink {
  return "write" in answer;
}
