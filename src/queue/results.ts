/**
 * Delivery results: what they say of a destination, and those the scheduler makes itself.
 * Invariants: `complete` gives one result for each recipient. Failure: none.
 */
import { type Outcome, outcome } from "../message/outcome.ts";
import type { DestinationEffect, Task } from "./destination.ts";
import { localTrouble } from "./processing.ts";
import type { DeliveryResult, QueuedRecipient } from "./types.ts";

/** RFC 3463: X.4.x is trouble of network and routing, so of the host; 421 asks for fewer connections. */
export function effectOf({ kind, outcome: { enhanced, code } }: DeliveryResult): DestinationEffect {
  if (kind !== "deferred") return "none";
  if (enhanced.startsWith("4.4.") && enhanced !== "4.4.7") return "down";
  return code === 421 || enhanced === "4.7.28" ? "slow down" : "none";
}

export const suspendedOutcome = outcome.defer({
  code: 451,
  enhanced: "4.3.2",
  text: "Deliveries to this destination are suspended",
  origin: "queue",
});

/** The same temporary outcome for several recipients. */
export function deferred(recipients: QueuedRecipient[], why: Outcome): DeliveryResult[] {
  return recipients.map((recipient) => ({
    recipient,
    outcome: why,
    destination: recipient.destination ?? "",
    kind: "deferred",
  }));
}

/** One result for each recipient of the task, whatever the deliverer answered. */
export function complete(task: Task, results: DeliveryResult[]): DeliveryResult[] {
  const missing = task.recipients.filter((recipient) => !results.some((result) => result.recipient === recipient));
  return missing.length === 0 ? results : [...results, ...deferred(missing, localTrouble("delivery"))];
}
