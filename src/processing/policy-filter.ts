/**
 * The policy's onProcessing event as a filter of the chain.
 * Invariant: effects become edits of the message and its recipients in the order the policy asked for them.
 * Failure: an error of the event defers the message like any other filter's.
 */
import { editOfEffect } from "../message/edit.ts";
import { outcome } from "../message/outcome.ts";
import type { ParsedMessage } from "../message/parse.ts";
import type { EventResult } from "../policy/types.ts";
import type { QueuedMessage } from "../queue/types.ts";
import type { WorkingMessage } from "./content.ts";
import { type Decision, type Filter, type FinalAction, rejected } from "./filter.ts";

/** What the event asked for; `filtered`: what the filters that it ran changed. */
export type Processed = EventResult & { filtered?: Decision };

/** `content` is the message as earlier filters left it; the event does not change it. */
export type OnProcessing = (
  message: QueuedMessage,
  parsed: ParsedMessage,
  content: WorkingMessage,
) => Processed | Promise<Processed>;

export function policyFilter(onProcessing: OnProcessing, priority = 200): Filter {
  return {
    name: "onProcessing",
    level: "server",
    priority,
    async run({ message, content }) {
      return decisionOf(await onProcessing(message, await content.parsed(), content));
    },
  };
}

function decisionOf(result: Processed): Decision {
  const { effects, filtered } = result;
  const text = (kind: "quarantine" | "hold") =>
    effects.findLast((effect) => effect.kind === kind) as { text: string } | undefined;
  const addresses = (...kinds: string[]) =>
    effects.flatMap((effect) => (kinds.includes(effect.kind) && "address" in effect ? [effect.address] : []));
  const quarantine = text("quarantine");
  const hold = text("hold");
  const action =
    actionOf(result) ??
    (hold && ({ kind: "hold", reason: hold.text } as const)) ??
    (quarantine && ({ kind: "quarantine", reason: quarantine.text } as const)) ??
    filtered?.action;
  return {
    ...filtered,
    headerEdits: effects.map(editOfEffect).filter((edit) => edit !== undefined),
    addRecipients: [...(filtered?.addRecipients ?? []), ...addresses("addRcpt", "addBcc")],
    removeRecipients: [...(filtered?.removeRecipients ?? []), ...addresses("discardRcpt")],
    signatures: effects.filter((effect) => effect.kind === "signDkim"),
    tags: effects.flatMap((effect) => (effect.kind === "tag" ? [effect.text] : [])),
    ...(action === undefined ? {} : { action }),
  };
}

function actionOf(result: EventResult): FinalAction | undefined {
  const origin = result.origin || "onProcessing";
  switch (result.action) {
    case "reject":
      return { kind: "reject", outcome: rejected(result.explanation || "rejected by policy", origin) };
    case "tmpreject": {
      const text = result.explanation || "Processing postponed by policy";
      return { kind: "defer", outcome: outcome.defer({ code: 450, enhanced: "4.7.1", text, origin }) };
    }
    case "discard":
      return { kind: "discard", reason: result.explanation || origin };
    default:
      return undefined;
  }
}
