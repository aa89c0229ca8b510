/**
 * Vacation replies (RFC 5230 §4, RFC 3834): who gets one, and its text. Whether this sender was answered lately is the
 * caller's to know, under `trackingKey`.
 * Invariants: never a reply to a null sender, to ourselves, to lists, robots or other automatic mail.
 * Failure: none; `send: undefined` comes with a reason for the log.
 */
import { createHash } from "node:crypto";
import { type Mailbox, mailboxesOf, parseAddresses } from "../../message/addresses.ts";
import { formatAddress, parseScriptAddress } from "../address.ts";
import type { SieveEnvelope } from "../host.ts";
import type { Mail } from "../mail.ts";
import type { VacationAction } from "../result.ts";
import type { SieveSettings } from "../settings.ts";
import { compose, type OutgoingMessage } from "./compose.ts";

export interface VacationReply {
  send: OutgoingMessage | undefined;
  /** Why there is no reply. */
  reason: string;
  /** Remembers (sender, handle) for `action.period` seconds (§4.2). */
  trackingKey: string;
}

// RFC 3834 §2; RFC 5230 §4.6
const robots = /^(?:mailer-daemon|listserv|majordomo|noreply|no-reply|owner-.*|.*-request|.*-owner)$/i;
const listFields = [
  "list-id",
  "list-owner",
  "list-subscribe",
  "list-post",
  "list-unsubscribe",
  "list-help",
  "list-archive",
];
/** Fields that name the recipients of a message (§4.5). */
const recipientFields = ["to", "cc", "bcc", "resent-to", "resent-cc", "resent-bcc"];

export function vacationReply(
  action: VacationAction,
  envelope: SieveEnvelope,
  settings: SieveSettings,
  now = new Date(),
): VacationReply {
  const { mail } = action;
  const trackingKey = createHash("sha256")
    .update(JSON.stringify([envelope.from.toLowerCase(), action.handle]))
    .digest("hex");
  const refuse = (reason: string): VacationReply => ({ send: undefined, reason, trackingKey });
  const own = ownAddresses(action, envelope, settings);
  const senderProblem = refusedSender(envelope, own, mail);
  if (senderProblem) return refuse(senderProblem);
  const named = recipientFields.flatMap((field) =>
    mail.all(field).flatMap((f) => mailboxesOf(parseAddresses(f.value))),
  );
  const mine = named.find((mailbox) => own.some((address) => sameAddress(address, mailbox.address)));
  // §4.5: our address must be among the recipients, so that Bcc'd and list mail isn't answered.
  if (mine === undefined && settings.vacation.checkRecipient) return refuse("message not addressed to the recipient");
  const message = replyMessage(action, envelope, settings, mine, now);
  return {
    send: { from: settings.vacation.sendFromRecipient ? envelope.to : "", to: [envelope.from], message },
    reason: "",
    trackingKey,
  };
}

function ownAddresses(action: VacationAction, envelope: SieveEnvelope, settings: SieveSettings): string[] {
  const addresses = action.addresses.flatMap((text) => {
    const parsed = parseScriptAddress(text, settings.utf8Addresses);
    return parsed.ok ? [formatAddress(parsed.address)] : [];
  });
  const envelopes = [envelope.to, settings.vacation.useOriginalRecipient ? envelope.originalTo : undefined];
  return [...envelopes, settings.userEmail, ...addresses].filter(
    (address) => address !== undefined && address !== "",
  ) as string[];
}

function refusedSender(envelope: SieveEnvelope, own: readonly string[], mail: Mail): string | undefined {
  const { from } = envelope;
  if (from === "") return "null sender";
  if (own.some((address) => sameAddress(address, from))) return "the sender is the recipient";
  if (robots.test(from.slice(0, from.lastIndexOf("@") < 0 ? undefined : from.lastIndexOf("@"))))
    return "the sender is a robot";
  if (listFields.some((field) => mail.all(field).length > 0)) return "the message comes from a mailing list";
  // RFC 3834 §5: any value but "no"
  if (mail.all("auto-submitted").some((field) => !/^no\b/i.test(field.value))) return "the message is automatic";
  if (
    mail
      .all("x-auto-response-suppress")
      .some((field) => /(?:^|[\s,])(?:all|oof|autoreply)(?:$|[\s,])/i.test(field.value))
  ) {
    return "the sender wants no automatic response";
  }
  if (mail.all("precedence").some((field) => /^(?:bulk|junk|list)$/i.test(field.value))) return "bulk mail";
  return undefined;
}

function replyMessage(
  action: VacationAction,
  envelope: SieveEnvelope,
  settings: SieveSettings,
  mine: Mailbox | undefined,
  now: Date,
): Buffer {
  const { mail } = action;
  const id = mail.first("message-id")?.value;
  const references = mail.first("references")?.value ?? mail.first("in-reply-to")?.value;
  const from =
    action.from ??
    (mine ? `<${mine.address}>` : envelope.to === "" ? `Postmaster <${settings.postmaster}>` : `<${envelope.to}>`);
  return compose(
    [
      ["From", from],
      ["To", replyTo(envelope, mail, settings)],
      ["Subject", subjectOf(action, settings)],
      ["In-Reply-To", id],
      // §5.8
      ["References", id === undefined ? references : references === undefined ? id : `${references} ${id}`],
      // RFC 3834 §5
      ["Auto-Submitted", "auto-replied (vacation)"],
      ["Precedence", "bulk"],
      ["X-Auto-Response-Suppress", "All"],
    ],
    action.reason,
    settings,
    now,
    action.mime,
  );
}

/** The sender as the message itself names it, else the bare envelope address. */
function replyTo(envelope: SieveEnvelope, mail: Mail, settings: SieveSettings): string {
  for (const field of ["sender", "resent-from", "reply-to", "from"]) {
    const boxes = mailboxesOf(parseAddresses(mail.first(field)?.value ?? ""));
    const same = boxes.find((box) =>
      settings.vacation.ignoreEnvelopeInTo ? box.address !== "" : sameAddress(box.address, envelope.from),
    );
    if (same)
      return same.name === "" ? `<${same.address}>` : `"${same.name.replace(/["\\]/g, "\\$&")}" <${same.address}>`;
  }
  return `<${envelope.from}>`;
}

/** §4.3: the script's subject, else one made from the message's. */
function subjectOf(action: VacationAction, settings: SieveSettings): string {
  if (action.subject !== undefined) return action.subject;
  const { defaultSubject, subjectTemplate } = settings.vacation;
  const original = action.mail.first("subject")?.decoded;
  if (original === undefined) return defaultSubject ?? "Automated reply";
  return subjectTemplate.replace(/%(?:\{subject\}|\$)/g, () => original);
}

function sameAddress(a: string, b: string): boolean {
  return a.toLowerCase() === b.toLowerCase();
}
