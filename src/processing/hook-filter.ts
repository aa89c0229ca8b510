/**
 * An MTA Hook's answer as a decision about a message: its changes by the same rules as a milter's.
 * Failure: ScannerError; BudgetExceeded from the header editor.
 */
import type { Budget } from "../config/budget.ts";
import type { HookReply, MtaHook } from "../scanners/hook.ts";
import { everything } from "../scanners/milter/codec.ts";
import { MilterMessage } from "../scanners/milter/edits.ts";
import type { WorkingMessage } from "./content.ts";
import type { Decision } from "./filter.ts";
import type { Judge } from "./scanner-filter.ts";

type HookBudget = Pick<Budget, "headerSection" | "headerFields" | "headerEdits">;

/** Our Received field is the top one of every message that came in over SMTP. */
const ownFields = 1;

/** Messages over `maxBytes` are not shown; 0 = no limit. */
export function hookJudge(hook: MtaHook, maxBytes: number, budget: HookBudget): Judge {
  return async (input, content) => {
    if (maxBytes > 0 && content.size > maxBytes) return { decision: {} };
    return { decision: decisionOf(await hook.ask(input, content.header, ownFields), hook.name, content, budget) };
  };
}

function decisionOf(reply: HookReply, name: string, content: WorkingMessage, budget: HookBudget): Decision {
  const { action, outcome, modifications } = reply;
  if (outcome) return { action: { kind: outcome.temporary ? "defer" : "reject", outcome } };
  if (action === "discard") return { action: { kind: "discard", reason: name } };
  const message = new MilterMessage(content.header, ownFields, () => content.body(), budget);
  message.apply(modifications, everything);
  const { envelope, replacedBody } = message;
  return {
    ...(message.headerChanged ? { header: message.header } : {}),
    ...(replacedBody === undefined ? {} : { body: replacedBody }),
    ...(envelope.mailFrom === undefined ? {} : { mailFrom: envelope.mailFrom }),
    ...(action === "quarantine" ? { action: { kind: "quarantine", reason: name } } : {}),
    addRecipients: envelope.added.map((added) => added.address),
    removeRecipients: envelope.deleted,
  };
}
