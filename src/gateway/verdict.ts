/**
 * From what a policy event said to the reply that goes out (smtpfilters.md §7), and the engine's own policy on
 * relaying that stands behind it (§5.3). Pure functions: `postern explain` and live sessions give the same answers.
 * Failure: none; a text that a reply can't carry is made printable.
 */
import { type Outcome, outcome } from "../message/outcome.ts";
import type { EventName, EventResult } from "../policy/types.ts";

interface Codes {
  reject: readonly [number, string];
  tmpreject: readonly [number, string];
  accept: readonly [number, string];
}

const commandCodes: Codes = { reject: [550, "5.7.1"], tmpreject: [450, "4.7.1"], accept: [250, "2.0.0"] };

/** smtpfilters.md §7.2, with enhanced status codes of RFC 3463. */
const codesByEvent: Partial<Record<EventName, Codes>> = {
  onConnect: { reject: [554, "5.7.1"], tmpreject: [421, "4.7.0"], accept: [220, "2.0.0"] },
  onMailFrom: { ...commandCodes, accept: [250, "2.1.0"] },
  onRcptTo: { ...commandCodes, accept: [250, "2.1.5"] },
  onDataReceived: { ...commandCodes, accept: [250, "2.6.0"] },
};

const defaultTexts = { reject: "Rejected by policy", tmpreject: "Temporarily rejected by policy", accept: "OK" };

/** "550 5.7.1 text" → its parts; a code counts only when it is of the wanted class. */
const explicitCode = /^([245]\d\d)[ \t]+(?:([245]\.\d{1,3}\.\d{1,3})[ \t]+)?/;

/** The reply an event asked for; undefined when it left the decision to the engine. `discard` is accepted here. */
export function replyOf(event: EventName, result: EventResult): Outcome | undefined {
  if (result.action === "") return undefined;
  const action = result.action === "discard" ? "accept" : result.action;
  // An accept without a text of its own is the engine's usual reply.
  if (action === "accept" && result.explanation === "") return undefined;
  let [code, enhanced] = (codesByEvent[event] ?? commandCodes)[action];
  let text = result.explanation || defaultTexts[action];
  const explicit = explicitCode.exec(text);
  if (explicit && Math.floor(Number(explicit[1]) / 100) === Math.floor(code / 100)) {
    code = Number(explicit[1]);
    enhanced = explicit[2] ?? enhanced;
    text = text.slice(explicit[0].length);
  }
  return outcome.of({ code, enhanced, text, origin: result.origin || event });
}

export type DeliveryRight = "all" | "auth" | "none";

export interface RelayQuestion {
  /** Recipient's domain is served here. */
  local: boolean;
  /** smtpfilters.md §5.3 localDelivery and remoteDelivery. */
  localDelivery: string;
  remoteDelivery: string;
  authenticated: boolean;
  /** Client is in relay.trustedNetworks. */
  trusted: boolean;
}

/** Who may send to whom: the engine's relay rule. undefined = allowed. */
export function relayRefusal(question: RelayQuestion): Outcome | undefined {
  const right = (question.local ? question.localDelivery : question.remoteDelivery).toLowerCase();
  if (right === "all") return undefined;
  if (right === "none") {
    return outcome.reject({
      code: 550,
      enhanced: "5.7.1",
      text: question.local ? "Local delivery denied" : "Relay denied",
      origin: "engine",
    });
  }
  if (question.authenticated || question.trusted) return undefined;
  return outcome.reject({
    code: question.local ? 530 : 550,
    enhanced: question.local ? "5.7.0" : "5.7.1",
    text: question.local ? "Authentication required" : "Relay denied",
    origin: "engine",
  });
}
