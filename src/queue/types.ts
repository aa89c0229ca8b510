/**
 * The durable queue's contract. A message is committed (fsync'd) before its 250; from then on it leaves the queue only
 * by delivery, a report, or an administrator's hand. Delivery is at least once.
 * Invariants: queue ids are unique for the life of the data folder; a message's body never changes after commit, except
 * by `replaceBody`, which is atomic. Failure: commit rejects with an Outcome-carrying QueueError (4xx) and leaves nothing.
 */
import type { ClientInfo, Envelope, Recipient } from "../message/envelope.ts";
import type { Outcome } from "../message/outcome.ts";

/** smtpfilters.md §12.3. */
export type MessageState =
  | "incoming"
  | "received"
  | "processing"
  | "processed"
  | "sending"
  | "send failure"
  | "sent"
  | "raw received"
  | "relay error"
  | "local error"
  | "filter reject"
  | "filter discard"
  | "cleanup error"
  | "new mail"
  | "removed"
  | "io error"
  | "held";

export type RecipientState = "received" | "processed" | "sent" | "failed" | "discarded";

export interface QueuedRecipient extends Recipient {
  index: number;
  state: RecipientState;
  /** Last outcome for this recipient. */
  lastOutcome?: Outcome;
  /** Attempts made for this recipient. */
  attempts: number;
  /** Where the last attempt went: the scheduler's destination key, e.g. "example.org". */
  destination?: string;
  /** A report on this recipient's failure has been sent, or is not due. */
  reported?: boolean;
}

/** A message as it is handed to `commit`. */
export interface NewMessage {
  envelope: Envelope;
  client: ClientInfo;
  /** Exported policy variables (smtpfilters.md §10), custom and predefined. */
  exports: Record<string, string>;
  /** Policy marks: tags, header edits not yet applied, decision id... */
  marks: Record<string, unknown>;
  /** Not before (ms since epoch). */
  notBefore?: number;
  held?: string;
  /** False for reports and other messages that must not run filters again. */
  runFilters: boolean;
}

export interface QueuedMessage extends NewMessage {
  id: string;
  state: MessageState;
  recipients: QueuedRecipient[];
  receivedAt: number;
  size: number;
  attempts: number;
  nextAttempt: number;
  failure: string;
  /** Delay DSN already sent. */
  delayNotified: boolean;
}

/** Where the bytes of a message being received go. */
export interface BodyWriter {
  write(chunk: Uint8Array): Promise<void> | undefined;
  readonly size: number;
  /** What was written so far, readable before the commit. */
  content(): Promise<BodySource>;
  abort(): void;
}

/** Reads a committed body; may be opened many times. */
export interface BodySource {
  readonly size: number;
  /** Whole body at once when it is small (below the file threshold), else undefined. */
  inMemory(): Uint8Array | undefined;
  stream(): AsyncIterable<Uint8Array>;
  /**
   * Says that nobody will look at octets of this source any more: their memory may be used again. Only for one who
   * knows that; never to call it is always right.
   */
  release?(): void;
}

/**
 * Which messages an operation means; all fields given must hold. `sender`, `recipient` and `destination` compare without
 * regard to case; "*" in them stands for any run of characters. `failure` is looked for anywhere in the failure text.
 * Sizes are octets. `limit` defaults to the budget's `queueListed`.
 */
export interface QueueFilter {
  ids?: readonly string[];
  sender?: string;
  recipient?: string;
  sizeOver?: number;
  sizeUnder?: number;
  olderThanMs?: number;
  youngerThanMs?: number;
  /** Next attempt before / after this time (ms since epoch). */
  nextBefore?: number;
  nextAfter?: number;
  status?: MessageState;
  failure?: string;
  destination?: string;
  limit?: number;
  offset?: number;
}

export interface Spool {
  /** Opens a body for writing. `prefix` (trace headers) comes first. */
  openBody(prefix: Uint8Array): BodyWriter;
  /** Durable when the promise resolves. */
  commit(body: BodyWriter, message: NewMessage): Promise<string>;
  get(id: string): Promise<QueuedMessage | undefined>;
  body(id: string): Promise<BodySource>;
  replaceBody(id: string, body: BodyWriter): Promise<void>;
  /** Messages due now, oldest next attempt first, marked in memory as taken until `update`/`remove`/`release`. */
  takeDue(now: number, limit: number): Promise<QueuedMessage[]>;
  /** Time of the earliest next attempt not taken, or undefined. */
  nextDue(): Promise<number | undefined>;
  /** Writes the message's envelope and states (lazily: within milliseconds, not fsync'd) and ends taking. */
  update(message: QueuedMessage): Promise<void>;
  remove(id: string): Promise<void>;
  /** Ends taking without a change; `notBefore` (ms since epoch) postpones the message, in memory only. */
  release(id: string, notBefore?: number): void;
  list(filter: QueueFilter): Promise<QueuedMessage[]>;
  count(): Promise<Record<string, number>>;
  /** Called after each commit with the new ids: wakes the scheduler. */
  onCommitted: ((ids: string[]) => void) | undefined;
  close(): Promise<void>;
}

/** The spool as scheduler and operations see it. */
export interface ScheduledSpool extends Spool {
  /** Takes one message out of the schedule, due or not; undefined when it is gone, held or taken already. */
  take(id: string): Promise<QueuedMessage | undefined>;
  /** As `update`, but the message stays taken. */
  progress(message: QueuedMessage): Promise<void>;
  /** Ends taking; the message waits, in memory only, until `unpark` and by no clock. */
  park(id: string): void;
  /** Takes a parked message; undefined when it is not parked any more. */
  takeParked(id: string): Promise<QueuedMessage | undefined>;
  /** Makes a parked message due at this time (ms since epoch); does nothing for any other. */
  unpark(id: string, due: number): void;
  /** Makes all waiting messages last tried at this destination due now; answers how many. In memory only. */
  hasten(destination: string, now: number): number;
  /** Moves every due time by this many ms, in memory only: the wall clock jumped. */
  shiftClock(ms: number): void;
  /** Ids only, without the limit: what an operation on "all that match" walks. */
  match(filter: QueueFilter): Promise<string[]>;
}

export class QueueError extends Error {
  readonly outcome: Outcome;
  constructor(outcome: Outcome) {
    super(outcome.text);
    this.name = "QueueError";
    this.outcome = outcome;
  }
}

/** One delivery attempt's result for one recipient. */
export interface DeliveryResult {
  recipient: QueuedRecipient;
  outcome: Outcome;
  /** "mx.example [192.0.2.1]:25" or "store". */
  destination: string;
  kind: "delivered" | "relayed" | "failed" | "deferred" | "discarded";
  /** The next hop took over the duty to report success (RFC 3461 §4.1). */
  dsnPassedOn?: boolean;
}

/** What the scheduler asks for each due message. Implemented by delivery/. */
export interface Deliverer {
  deliver(message: QueuedMessage, recipients: QueuedRecipient[], body: BodySource): Promise<DeliveryResult[]>;
}

/** What the scheduler asks before the first attempt. Implemented by processing/. */
export interface Processor {
  /** Runs filters and onProcessing; may change recipients, exports, marks; answers what to do with the message. */
  process(message: QueuedMessage, body: BodySource): Promise<ProcessingVerdict>;
}

export type ProcessingVerdict =
  | { kind: "continue"; replacedBody?: BodyWriter }
  | { kind: "reject"; outcome: Outcome }
  | { kind: "discard"; reason: string }
  | { kind: "hold"; reason: string }
  | { kind: "defer"; outcome: Outcome };

/** Policy's word on reports (smtpfilters.md §5.7). Implemented by policy/ through the gateway. */
export interface ReportPolicy {
  permanent(message: QueuedMessage, failed: DeliveryResult[]): Promise<ReportText | undefined>;
  temporary(message: QueuedMessage, failed: DeliveryResult[]): Promise<ReportText | undefined>;
  success(message: QueuedMessage, delivered: DeliveryResult[]): Promise<ReportText | undefined>;
}

export interface ReportText {
  sender: string;
  subject: string;
  /** Body text before, per recipient (already rendered, one entry a recipient), and after. */
  opening: string;
  perRecipient: string[];
  footer: string;
  attach: "none" | "header" | "mail";
}
