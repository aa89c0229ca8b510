/**
 * What a filter of the processing chain is (smtpfilters.md §12.1), and what it may decide.
 * Invariants: a filter does no I/O that outlives its answer: whatever is to happen is in the Decision, and happens only
 * when the whole chain came to its end. Failure: ScannerError, or any other error, makes the message wait and the whole
 * chain run again later.
 */
import type { HeaderEdit } from "../message/edit.ts";
import type { Envelope } from "../message/envelope.ts";
import { type Outcome, outcome } from "../message/outcome.ts";
import type { QueuedMessage, QueuedRecipient } from "../queue/types.ts";
import type { WorkingMessage } from "./content.ts";

export type FilterLevel = "server" | "domain" | "account";

export interface FilterContext {
  message: QueuedMessage;
  content: WorkingMessage;
  /** Those whom the filter concerns: all at server level, one domain's or one account's below. */
  recipients: readonly QueuedRecipient[];
}

export interface Filter {
  readonly name: string;
  readonly level: FilterLevel;
  /** Within the level, low first. */
  readonly priority: number;
  /** Domain and account level: whose mail it sees; absent at server level. */
  applies?(address: string): boolean;
  /** It is run for each recipient alone; otherwise once for all whom it concerns. */
  readonly perRecipient?: boolean;
  run(context: FilterContext): Promise<Decision>;
}

/** Where a stored copy goes; read by delivery from `marks.deliveries`. */
export interface DeliveryMark {
  recipient: string;
  folder: string;
  flags: readonly string[];
  /** RFC 6154 attribute that the folder gets when it is made. */
  specialUse?: string;
}

export type FinalAction =
  | { kind: "keep" }
  | { kind: "reject"; outcome: Outcome }
  | { kind: "defer"; outcome: Outcome }
  | { kind: "discard"; reason: string }
  | { kind: "hold"; reason: string }
  | { kind: "quarantine"; reason: string };

/** A message that the filter sends: a vacation reply, a notification, a redirected copy. */
export interface OutgoingMessage {
  envelope: Envelope;
  /** Whole message; absent for the message at hand. */
  bytes?: Buffer;
  /** Header section for the message at hand, with its blank line. */
  header?: Buffer;
  /** A copy for a mailbox here, made when the message is sent (RFC 8580). */
  copy?: DeliveryMark;
  /** Sent only when this key can be added to shared state for `ttlMs`. */
  once?: { key: string; ttlMs: number };
}

/** An empty decision is "pass". */
export interface Decision {
  /** The last filter with an action wins, per recipient. */
  action?: FinalAction;
  headerEdits?: readonly HeaderEdit[];
  header?: Buffer;
  body?: Buffer;
  mailFrom?: string;
  addRecipients?: readonly string[];
  removeRecipients?: readonly string[];
  /** Replaces what earlier filters said for the same recipients. */
  deliveries?: readonly DeliveryMark[];
  send?: readonly OutgoingMessage[];
  /** Keys to remember in shared state: Sieve's `duplicate`. */
  remember?: ReadonlyArray<{ key: string; ttlMs: number }>;
  tags?: readonly string[];
  /** DKIM signatures to make when the message leaves. */
  signatures?: ReadonlyArray<{ domain: string; selector: string; keyPath: string }>;
  exports?: Readonly<Record<string, string>>;
}

/** The reply to a message that a filter refuses (smtpfilters.md §7.3). */
export function rejected(reason: string, origin: string): Outcome {
  return outcome.reject({
    code: 552,
    enhanced: "5.7.1",
    text: `Mail rejected by the processing module: ${reason}`,
    origin,
  });
}
