/**
 * What a refusal means for sending: try again, give up, or slow down, and why. The rules are data (bounce/reasons.ts);
 * this file holds what each reason leads to.
 * The answer is advice beside the Outcome: RFC 5321 §4.2.1 makes a 5yz reply permanent for this message, while a
 * refusal of our address ("blacklist") says nothing of the recipient and may pass from another source address.
 */
import { type Reason, reasonOfReply } from "./bounce/reasons.ts";
import { replyCodeIn, statusIn } from "./bounce/statuses.ts";

export type Action = "reject" | "defer" | "slowdown";
export type Category =
  | "recipient"
  | "blacklist"
  | "greylist"
  | "spam"
  | "virus"
  | "capacity"
  | "policy"
  | "network"
  | "protocol"
  | "other";

export interface Advice {
  action: Action;
  category: Category;
  reason: Reason;
}

/** `action` "reply" = as the reply's code says. */
const consequences: Readonly<Record<Reason, { action: Action | "reply"; category: Category }>> = {
  "user-unknown": { action: "reply", category: "recipient" },
  "has-moved": { action: "reject", category: "recipient" },
  "host-unknown": { action: "defer", category: "network" },
  "no-mail-accepted": { action: "reply", category: "recipient" },
  "mailbox-full": { action: "reply", category: "capacity" },
  suspended: { action: "reply", category: "recipient" },
  filtered: { action: "reply", category: "policy" },
  "rejected-sender": { action: "reply", category: "policy" },
  blocked: { action: "defer", category: "blacklist" },
  greylisted: { action: "defer", category: "greylist" },
  spam: { action: "reply", category: "spam" },
  virus: { action: "reject", category: "virus" },
  authentication: { action: "reply", category: "policy" },
  "reverse-dns": { action: "defer", category: "blacklist" },
  relaying: { action: "reply", category: "recipient" },
  "too-big": { action: "reply", category: "policy" },
  "too-many-connections": { action: "defer", category: "capacity" },
  "rate-limited": { action: "slowdown", category: "capacity" },
  policy: { action: "reply", category: "policy" },
  security: { action: "reply", category: "policy" },
  content: { action: "reply", category: "policy" },
  syntax: { action: "reply", category: "protocol" },
  system: { action: "reply", category: "other" },
  mailer: { action: "reply", category: "other" },
  network: { action: "defer", category: "network" },
  expired: { action: "defer", category: "network" },
  delivered: { action: "reply", category: "other" },
  undefined: { action: "reply", category: "other" },
};

/** @param response a whole reply on one line: "550 5.1.1 no such user" */
export function classifyReply(response: string): Advice {
  const code = replyCodeIn(response);
  const status = statusIn(response);
  const reason = reasonOfReply(response, status, code) ?? "undefined";
  const { action, category } = consequences[reason];
  return { action: action === "reply" ? (code >= 500 ? "reject" : "defer") : action, category, reason };
}
