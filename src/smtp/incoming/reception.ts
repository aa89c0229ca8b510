/**
 * Reception of one message's content: scanner → limits → sink (RFC 5321 §4.1.1.4, RFC 3030).
 * Invariants: content is streamed, never collected; the sink is ended once or aborted once; after the first violation
 * the sink is aborted at once and the rest is read only to find the end. Failure: a sink that throws is a 451.
 */
import type { Envelope } from "../../message/envelope.ts";
import type { Outcome } from "../../message/outcome.ts";
import { type ContentKind, type ContentLimits, ContentScanner, type Violation } from "./data.ts";
import type { MessageSink } from "./hooks.ts";
import { refusal } from "./protocol.ts";

/** What each violation is answered with. */
function violationReply(violation: Violation, limits: ContentLimits): Outcome {
  switch (violation) {
    case "tooBig":
      return refusal(552, "5.3.4", `Message size exceeds the limit of ${limits.messageBytes} octets`);
    case "lineTooLong":
      return refusal(554, "5.6.0", `Line longer than ${limits.budget.textLineRead} octets`);
    case "headerSection":
    case "headerFields":
      return refusal(554, "5.6.0", "Header section too large");
    case "receivedHeaders":
      return refusal(554, "5.4.6", "Too many Received fields: mail is looping"); // RFC 5321 §6.3
    case "bareLf":
    case "bareCr":
      return refusal(521, "5.5.2", "Lines must end in CRLF"); // RFC 5321 §2.3.8
    case "nul":
      return refusal(521, "5.6.0", "NUL in the message"); // RFC 5321 §4.5.2 leaves it to 8BITMIME's text lines
  }
}

const storageFailed = refusal(451, "4.3.0", "The message could not be stored, try again later");

export class Reception {
  readonly envelope: Envelope;
  /** Set when the message can't be accepted any more. */
  refused: Outcome | undefined;
  /** Resolves when the sink can take more; undefined when it can at once. */
  pressure: Promise<void> | undefined;
  private readonly scanner: ContentScanner;
  private readonly sink: MessageSink;
  private readonly limits: ContentLimits;
  private readonly onFailure: (error: unknown) => void;
  private over = false;

  /** `onFailure` is told what the sink threw; the message is then refused for now and read to its end. */
  constructor(
    kind: ContentKind,
    limits: ContentLimits,
    envelope: Envelope,
    sink: MessageSink,
    onFailure: (error: unknown) => void,
  ) {
    this.onFailure = onFailure;
    this.limits = limits;
    this.envelope = envelope;
    this.sink = sink;
    this.scanner = new ContentScanner(kind, limits, (piece) => this.write(piece));
  }

  get size(): number {
    return this.scanner.size;
  }

  /** True for a violation of line endings: the client and we may no longer agree where the message ends. */
  get framingBroken(): boolean {
    const violation = this.scanner.violation;
    return violation === "bareLf" || violation === "bareCr" || violation === "nul";
  }

  /** As ContentScanner.feed. */
  feed(chunk: Buffer, from: number, to: number): number {
    const end = this.scanner.feed(chunk, from, to);
    this.judge();
    return end;
  }

  private judge(): void {
    const { violation } = this.scanner;
    if (violation === undefined) return;
    // A broken line ending must be known as such, whatever else went wrong before.
    this.refused = violationReply(violation, this.limits);
    this.abort();
  }

  private write(piece: Buffer): void {
    if (this.over) return;
    try {
      const wait = this.sink.write(piece)?.catch((error: unknown) => this.fail(error));
      if (wait) this.pressure = this.pressure ? Promise.all([this.pressure, wait]).then(() => {}) : wait;
    } catch (error) {
      this.fail(error);
    }
  }

  private fail(error: unknown): void {
    this.refused ??= storageFailed;
    this.onFailure(error);
    this.abort();
  }

  /** All content came: the sink's verdicts, one for the message or (LMTP) one a recipient. */
  end(each: boolean): Outcome | Outcome[] | Promise<Outcome | Outcome[]> {
    this.scanner.finish();
    this.judge();
    if (this.refused) return this.refused;
    this.over = true;
    // RFC 6152 §3: content with octets above 127 is 8BITMIME, whatever the client said of it.
    if (this.scanner.eightBit && this.envelope.body === "7BIT") this.envelope.body = "8BITMIME";
    return each && this.sink.endEach ? this.sink.endEach() : this.sink.end();
  }

  /** The message is given up; idempotent. */
  abort(): void {
    if (this.over) return;
    this.over = true;
    this.sink.abort();
  }
}
