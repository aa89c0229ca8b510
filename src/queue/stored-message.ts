/**
 * The JSON part of a message's records in the log, two lines: a short one with what the index keeps, so that a large
 * queue is opened quickly, and one with the rest.
 * Invariants: what the record's head and the recipients say already is not said again: `revived(id, json, size)` gives
 * back the whole message. Failure: none of its own; JSON that is none throws SyntaxError.
 */
import { isPending } from "./settlement.ts";
import type { MessageState, QueuedMessage, QueuedRecipient } from "./types.ts";

/** What a filter can ask of a message, and when it is due. Several recipients or destinations stand one a line. */
export interface Summary {
  state: MessageState;
  receivedAt: number;
  nextAttempt: number;
  sender: string;
  recipients: string;
  /** Of the recipients that are still open. */
  destinations: string;
  failure: string;
  bodyFile?: string;
  bodySize?: number;
}

type Rest = Omit<QueuedMessage, "id" | "size" | "envelope" | "state" | "receivedAt" | "nextAttempt" | "failure"> & {
  envelope: Omit<QueuedMessage["envelope"], "rcptTo" | "mailFrom">;
};

export function summaryOf(message: QueuedMessage): Summary {
  const { state, receivedAt, nextAttempt, envelope, recipients, failure } = message;
  const [only] = recipients;
  const single = recipients.length === 1 && only !== undefined;
  return {
    state,
    receivedAt,
    nextAttempt,
    sender: envelope.mailFrom,
    recipients: single ? only.address : recipients.map(({ address }) => address).join("\n"),
    destinations: single ? (only.destination ?? "") : openDestinations(recipients),
    failure,
  };
}

function openDestinations(recipients: QueuedRecipient[]): string {
  return [...new Set(recipients.filter(isPending).map(({ destination }) => destination ?? ""))].join("\n");
}

/** Fields that are said elsewhere; JSON leaves out what is undefined. A copy with them is quicker made than one without. */
const elsewhere = {
  ...{ id: undefined, size: undefined, state: undefined, receivedAt: undefined, nextAttempt: undefined },
  failure: undefined,
};
const elsewhereInEnvelope = { rcptTo: undefined, mailFrom: undefined };

/** `bodyFile`: the name of the body's own file, when it has one. */
export function storedJson(message: QueuedMessage, bodyFile: string | undefined): string {
  const summary = summaryOf(message);
  if (bodyFile !== undefined) {
    summary.bodyFile = bodyFile;
    summary.bodySize = message.size;
  }
  const rest = { ...message, ...elsewhere, envelope: { ...message.envelope, ...elsewhereInEnvelope } };
  return `${JSON.stringify(summary)}\n${JSON.stringify(rest)}`;
}

export function storedSummary(json: string): Summary {
  return JSON.parse(json.slice(0, json.indexOf("\n"))) as Summary;
}

export function revived(id: string, json: string, size: number): QueuedMessage {
  const { state, receivedAt, nextAttempt, sender, failure } = storedSummary(json);
  const { envelope, ...rest } = JSON.parse(json.slice(json.indexOf("\n") + 1)) as Rest;
  const rcptTo = [...rest.recipients];
  return {
    ...rest,
    id,
    size,
    state,
    receivedAt,
    nextAttempt,
    failure,
    envelope: { ...envelope, mailFrom: sender, rcptTo },
  };
}
