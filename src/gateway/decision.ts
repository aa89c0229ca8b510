/**
 * What became of a transaction: from the result of each event to one decision. Live sessions, shadow sessions and replay
 * judge by this, so that their answers can be compared. Pure but for its own state.
 * Failure: none.
 */
import { type Outcome, printable } from "../message/outcome.ts";
import type { EventName, EventResult, PolicyEffect, PolicySession } from "../policy/types.ts";
import type { Decision, Verdict } from "../workbench/record/types.ts";
import { relayRefusal, replyOf } from "./verdict.ts";

export const noResult: EventResult = Object.freeze({ action: "", explanation: "", origin: "", effects: [] });

/** Who asks, as the engine's relay rule needs it. */
export interface Asker {
  authenticated: boolean;
  trusted: boolean;
}

/** The reply to an event with the engine's relay rule behind the policy's word; undefined: the usual reply. */
export function answerOf(
  event: EventName,
  result: EventResult,
  session: PolicySession,
  asker: Asker,
): Outcome | undefined {
  const own = replyOf(event, result);
  if (event !== "onRcptTo" || (own && own.code >= 400)) return own;
  const refusal = relayRefusal({
    local: session.read("isLocalRcpt") === "yes",
    localDelivery: session.read("localDelivery") || "all",
    remoteDelivery: session.read("remoteDelivery") || "auth",
    ...asker,
  });
  return refusal ?? own;
}

/** What an event after reception chose beside its verdict; "" when it chose nothing. */
export function effectOf(event: EventName, session: PolicySession): string {
  if (event === "onRelay") {
    const route = session.route();
    return route ? printable(`route ${route.host || "by MX"} port ${route.port}`) : "no route of its own";
  }
  if (event === "onDeliverySuccess") return printable(`report "${session.read("dsnSubject")}"`);
  if (event !== "onDeliveryFailure" && event !== "onTemporaryDeliveryFailure") return "";
  return session.read("sendNdr") === "no" ? "no report" : printable(`report "${session.read("ndrSubject")}"`);
}

/** What one event means for the mail, in a word. */
export function verdictOf(result: EventResult, answer: Outcome | undefined): Verdict {
  if (answer && answer.code >= 400) return answer.temporary ? "tmpreject" : "reject";
  if (result.action === "discard") return "discard";
  return setAside(result.effects) ?? "accept";
}

const setAside = (effects: readonly PolicyEffect[]): "quarantine" | "hold" | undefined =>
  effects.some(({ kind }) => kind === "quarantine")
    ? "quarantine"
    : effects.some(({ kind }) => kind === "hold")
      ? "hold"
      : undefined;

const letters = { accept: "a", quarantine: "a", hold: "a", discard: "d", reject: "r", tmpreject: "t" } as const;

/** Takes the events of one transaction in order. */
export class Judge {
  readonly #recipients: Array<{ address: string; letter: string }> = [];
  #settled: Omit<Decision, "recipients"> | undefined;
  #refusedRecipient: Omit<Decision, "recipients"> | undefined;
  #droppedRecipient: Omit<Decision, "recipients"> | undefined;
  #kept: Omit<Decision, "recipients"> | undefined;
  #last: EventName = "onConnect";

  /** Answers false when the transaction ends here. `recipient`: at onRcptTo. */
  note(event: EventName, result: EventResult, answer: Outcome | undefined, recipient = ""): boolean {
    this.#last = event;
    const verdict = verdictOf(result, answer);
    const found = {
      verdict,
      at: event,
      code: answer?.code ?? 250,
      text: printable(answer?.text ?? ""),
      by: printable(answer && answer.code >= 400 ? answer.origin : result.origin || (answer?.origin ?? "engine")),
    };
    for (const effect of result.effects) if (effect.kind === "discardRcpt") this.#drop(effect.address);
    if (event === "onRcptTo") {
      this.#recipients.push({ address: recipient, letter: letters[verdict] });
      if (verdict === "reject" || verdict === "tmpreject") this.#refusedRecipient = found;
      else if (verdict === "discard") this.#droppedRecipient = found;
      else if (verdict !== "accept") this.#kept = found;
      return true;
    }
    if (verdict === "reject" || verdict === "tmpreject") this.#settled ??= found;
    else if (verdict !== "accept" && this.#kept?.verdict !== "discard") this.#kept = found;
    return this.#settled === undefined;
  }

  /** A recipient can still get the message. */
  get hasRecipient(): boolean {
    return this.#recipients.some(({ letter }) => letter === "a" || letter === "d");
  }

  /** `final`: the reply to the final dot, when there was one. */
  decision(final?: Outcome): Decision {
    const recipients = this.#recipients.map(({ letter }) => letter).join("");
    return { ...this.#verdict(final), recipients };
  }

  #verdict(final: Outcome | undefined): Omit<Decision, "recipients"> {
    if (this.#settled) return this.#settled;
    if (this.#refusedRecipient && !this.hasRecipient) return this.#refusedRecipient;
    if (final && final.code >= 400) {
      const { code, text, origin: by, temporary } = final;
      return { verdict: temporary ? "tmpreject" : "reject", at: "onDataReceived", code, text: printable(text), by };
    }
    const dropped = this.#recipients.length > 0 && this.#recipients.every(({ letter }) => letter !== "a");
    if (this.#kept && (!dropped || this.#kept.verdict === "discard")) return this.#kept;
    if (dropped && this.#droppedRecipient) return this.#droppedRecipient;
    return { verdict: dropped ? "discard" : "accept", at: this.#last, code: 250, text: "", by: "engine" };
  }

  #drop(address: string): void {
    for (const recipient of this.#recipients) {
      if (recipient.address === address && recipient.letter === "a") recipient.letter = "d";
    }
  }
}
