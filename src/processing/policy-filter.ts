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
import { type Decision, type Filter, type FinalAction, rejected } from "./filter.ts";

export type OnProcessing = (message: QueuedMessage, parsed: ParsedMessage) => EventResult | Promise<EventResult>;

export function policyFilter(onProcessing: OnProcessing, priority = 200): Filter {
  return {
    name: "onProcessing",
    level: "server",
    priority,
    async run({ message, content }) {
      return decisionOf(await onProcessing(message, await content.parsed()));
    },
  };
}

function decisionOf(result: EventResult): Decision {
  const { effects } = result;
  const text = (kind: "quarantine" | "hold") =>
    effects.findLast((effect) => effect.kind === kind) as { text: string } | undefined;
  const addresses = (...kinds: string[]) =>
    effects.flatMap((effect) => (kinds.includes(effect.kind) && "address" in effect ? [effect.address] : []));
  const quarantine = text("quarantine");
  const hold = text("hold");
  const action =
    actionOf(result) ??
    (hold && ({ kind: "hold", reason: hold.text } as const)) ??
    (quarantine && ({ kind: "quarantine", reason: quarantine.text } as const));
  return {
    headerEdits: effects.map(editOfEffect).filter((edit) => edit !== undefined),
    addRecipients: addresses("addRcpt", "addBcc"),
    removeRecipients: addresses("discardRcpt"),
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
