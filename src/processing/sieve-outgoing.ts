/**
 * What a Sieve script sends: redirected copies, vacation replies, notifications, reports, as messages for the chain to
 * send when it came to its end. Texts are made by src/sieve/replies.
 * Invariants: an automatic message asks for no reports (RFC 3834 §3); nothing here sends or remembers. Failure: undefined
 * for what must not be sent, with a reason in the log.
 */
import { createHash } from "node:crypto";
import type { Budget } from "../config/budget.ts";
import type { Envelope } from "../message/envelope.ts";
import { parseHeaders } from "../message/headers.ts";
import type { QueuedMessage } from "../queue/types.ts";
import type { SieveEnvelope } from "../sieve/host.ts";
import type { OutgoingMessage as SieveMail } from "../sieve/replies/compose.ts";
import { abuseReport, notification } from "../sieve/replies/notification.ts";
import { redirection } from "../sieve/replies/redirection.ts";
import { vacationReply } from "../sieve/replies/vacation.ts";
import type { Action, FileTarget, RedirectAction, VacationAction } from "../sieve/result.ts";
import type { SieveSettings } from "../sieve/settings.ts";
import type { Logger } from "../telemetry/log.ts";
import type { WorkingMessage } from "./content.ts";
import type { DeliveryMark, OutgoingMessage } from "./filter.ts";

/** The message that a script answers or passes on. */
export interface Sending {
  options: {
    settings: SieveSettings;
    budget: Budget;
    log: Logger;
    isLocal: (address: string) => boolean;
    accountOf: (address: string) => string;
  };
  message: QueuedMessage;
  content: WorkingMessage;
  /** Whose script it is, or seems to be. */
  recipient: string;
  envelope: SieveEnvelope;
  /** The folder of an RFC 8580 copy. */
  target: (fcc: FileTarget) => Omit<DeliveryMark, "recipient">;
}

const beyondAscii = /[^\x00-\x7f]/;

/** Undefined for actions that send nothing, and for what must not be sent. */
export function outgoingMessage(action: Action, around: Sending): OutgoingMessage | undefined {
  const { settings } = around.options;
  switch (action.action) {
    case "redirect":
      return redirected(action, around);
    case "vacation":
      return vacation(action, around);
    case "notify": {
      const mail = automatic(notification(action, around.envelope, settings));
      return mail && { ...mail, ...copyFor(action.fcc, around) };
    }
    case "report":
      return automatic(abuseReport(action, around.envelope, settings));
    default:
      return undefined;
  }
}

function vacation(action: VacationAction, around: Sending): OutgoingMessage | undefined {
  const { options, message, recipient, envelope } = around;
  const { send, reason, trackingKey } = vacationReply(action, envelope, options.settings);
  if (reason !== "") options.log.debug({ queueId: message.id, reason }, "no vacation reply");
  const outgoing = automatic(send);
  if (outgoing === undefined) return undefined;
  // RFC 5230 §4.2: once per sender and handle within the period, for each recipient.
  const key = digest("vacation", options.accountOf(recipient), trackingKey);
  return { ...outgoing, ...copyFor(action.fcc, around), once: { key, ttlMs: action.period * 1_000 } };
}

/** RFC 8580: the copy of a message of ours, for a recipient whose mailboxes are here. */
function copyFor(fcc: FileTarget | undefined, { options, recipient, target }: Sending): { copy?: DeliveryMark } {
  if (fcc === undefined || !options.isLocal(recipient)) return {};
  return { copy: { recipient, ...target(fcc) } };
}

/** RFC 5228 §4.2, §10: a copy that has been through this script before is a loop. */
function redirected(action: RedirectAction, around: Sending): OutgoingMessage | undefined {
  const { options, message, content } = around;
  const copy = redirection(action, around.envelope, options.settings);
  const hops = content.headers.all("received").length;
  if (copy === undefined || copy.to.length === 0 || hops >= options.budget.receivedHeaders) {
    const found = { queueId: message.id, to: action.address };
    options.log.warn(found, "Sieve redirect would loop, or reach nobody: kept");
    return undefined;
  }
  const notify = action.notify?.split(",") as Envelope["rcptTo"][number]["notify"];
  const { ret: asked, deliverBy: by, ...envelope } = message.envelope;
  const ret = (action.ret as Envelope["ret"]) ?? asked;
  // RFC 6009 §5 counts seconds, the queue milliseconds.
  const deliverBy = action.deliverBy ? { ...action.deliverBy, deadline: action.deliverBy.deadline * 1_000 } : by;
  return {
    envelope: {
      ...envelope,
      ...(ret === undefined ? {} : { ret }),
      ...(deliverBy === undefined ? {} : { deliverBy }),
      smtpUtf8: envelope.smtpUtf8 || copy.to.some((address) => beyondAscii.test(address)),
      mailFrom: copy.from,
      rcptTo: copy.to.map((address) => ({ address, ...(notify === undefined ? {} : { notify }) })),
    },
    header: copy.message.subarray(0, parseHeaders(copy.message, options.budget).bodyStart),
  };
}

/** A message of our own: no report is wanted about it (RFC 3834 §3). */
function automatic(mail: SieveMail | undefined): OutgoingMessage | undefined {
  if (mail === undefined || mail.to.length === 0) return undefined;
  return {
    envelope: {
      mailFrom: mail.from,
      rcptTo: mail.to.map((address) => ({ address, notify: ["NEVER"] })),
      declaredSize: 0,
      body: "8BITMIME",
      smtpUtf8: mail.to.some((address) => beyondAscii.test(address)),
      requireTls: false,
    },
    bytes: mail.message,
  };
}

/** A key of fixed length for shared state. */
export function digest(...parts: string[]): string {
  return createHash("sha256").update(JSON.stringify(parts)).digest("hex");
}
