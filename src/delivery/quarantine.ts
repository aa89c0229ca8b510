/**
 * Delivery into the quarantine instead of to the recipients, for messages that policy or a filter set aside.
 * Invariants: one copy for all recipients, who are kept with it so that it can be released to them; recipients count
 * as delivered, so that no report tells a sender of it. Failure: a StoreError's outcome for each recipient.
 */
import { type Outcome, outcome } from "../message/outcome.ts";
import type { BodySource, DeliveryResult, QueuedMessage, QueuedRecipient } from "../queue/types.ts";
import { quarantineAccount, type Store, StoreError } from "../store/types.ts";
import { summary } from "./local.ts";

/** Why the message is set aside; undefined when it is not. */
export function quarantineReason(message: QueuedMessage): string | undefined {
  const mark = message.marks.quarantine as { reason?: unknown } | undefined;
  return mark === undefined ? undefined : String(mark.reason ?? "");
}

export async function deliverToQuarantine(
  store: Store,
  message: QueuedMessage,
  recipients: readonly QueuedRecipient[],
  body: BodySource,
): Promise<DeliveryResult[]> {
  const result = (said: Outcome, kind: DeliveryResult["kind"]): DeliveryResult[] =>
    recipients.map((recipient) => ({ recipient, outcome: said, destination: "quarantine", kind }));
  const { score } = message.marks.quarantine as { score?: unknown };
  try {
    const meta = {
      queueId: message.id,
      mailFrom: message.envelope.mailFrom,
      receivedAt: message.receivedAt,
      ...(await summary(body)),
      reason: quarantineReason(message) ?? "",
      ...(typeof score === "number" ? { score } : {}),
      rcptTo: recipients.map((recipient) => recipient.address),
    };
    const target = { account: quarantineAccount, folder: "INBOX", flags: [] };
    await store.deliver(body.inMemory() ?? body.stream(), meta, [target]);
    const parts = { code: 250, enhanced: "2.0.0", text: "set aside in the quarantine", origin: "quarantine" };
    return result(outcome.accept(parts), "discarded");
  } catch (error) {
    if (!(error instanceof StoreError)) throw error;
    return result(error.outcome, "deferred");
  }
}
