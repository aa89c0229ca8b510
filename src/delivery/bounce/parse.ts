/**
 * Reads reports that come back to us: delivery status notifications (RFC 3464), the many forms of bounces from before
 * and beside it, abuse reports (RFC 5965) and automatic replies (RFC 3834).
 * Invariants: each recipient is listed once; text that is read is bounded by `bounceText`. Failure: undefined for a
 * message that is no report; BudgetExceeded from the MIME parser for one that is too deep.
 */
import type { Budget } from "../../config/budget.ts";
import type { MimePart } from "../../message/mime.ts";
import { type ParsedMessage, parseMessage } from "../../message/parse.ts";
import { feedbackRecipients } from "./feedback.ts";
import { hostWords, noticeRecipients, splitNotice } from "./notice.ts";
import { isHard, type Reason, reasonOfReply, reasonOfText } from "./reasons.ts";
import { deliveryStatus, type RecipientFields } from "./status-fields.ts";
import { isVague, replyCodeIn, statusIn } from "./statuses.ts";

export type BounceBudget = Pick<
  Budget,
  "headerSection" | "headerFields" | "mimeDepth" | "mimeParts" | "bounceText" | "bounceRecipients"
>;

export interface BouncedRecipient {
  address: string;
  action: "failed" | "delayed" | "delivered" | "relayed" | "expanded";
  /** Enhanced status code, "" when none was given. */
  status: string;
  /** SMTP reply code of the refusing host, 0 when none was given. */
  replyCode: number;
  reason: Reason;
  /** The address is dead and belongs off the list. */
  hard: boolean;
  /** What the refusing host said, one line. */
  diagnostic: string;
}

export interface Bounce {
  kind: "delivery" | "feedback" | "auto-reply";
  recipients: BouncedRecipient[];
}

/** @param bytes the whole report message, CRLF or LF */
export function parseBounce(bytes: Uint8Array, budget: BounceBudget): Bounce | undefined {
  const message = parseMessage(bytes, budget);
  const feedback = feedbackRecipients(message);
  if (feedback) {
    const recipients = feedback.slice(0, budget.bounceRecipients).map((address) => feedbackEntry(address));
    return { kind: "feedback", recipients };
  }
  const notice = splitNotice(noticeText(message, budget.bounceText));
  const fields = deliveryStatus(message, notice.report, budget.bounceText);
  const found = fields.length > 0 ? fields : noticeRecipients(message, notice);
  if (found.length > 0 && (fields.length > 0 || isReport(message, notice.report))) {
    const unique = new Map<string, RecipientFields>();
    for (const entry of found) {
      const key = entry.address.toLowerCase();
      if (unique.size < budget.bounceRecipients && !unique.has(key)) unique.set(key, entry);
    }
    const alone = unique.size === 1;
    return {
      kind: "delivery",
      recipients: [...unique.values()].map((entry) => judge(entry, alone ? notice.report : "", notice.report)),
    };
  }
  if (!isAutoReply(message)) return undefined;
  const from = message.headers.first("from")?.value ?? "";
  return { kind: "auto-reply", recipients: [{ ...feedbackEntry(from), action: "delivered" }] };
}

function feedbackEntry(address: string): BouncedRecipient {
  return { address, action: "delivered", status: "", replyCode: 0, reason: "undefined", hard: false, diagnostic: "" };
}

/**
 * Puts codes and text together: plain codes, then the host's own words, then the notice around them.
 * @param notice the prose about this recipient, "" when it is about several
 * @param transcript all prose, for the moment of the refusal
 */
function judge(entry: RecipientFields, notice: string, transcript: string): BouncedRecipient {
  const { action } = entry;
  const diagnostic = entry.diagnostic || hostWords(notice);
  const inner = statusIn(diagnostic);
  const status = isVague(entry.status) && inner !== "" ? inner : entry.status;
  const replyCode = replyCodeIn(diagnostic);
  const found: Reason =
    action === "failed" || action === "delayed"
      ? (reasonOfReply(diagnostic, status, replyCode) ?? reasonOfText(hostWords(notice)) ?? "undefined")
      : "delivered";
  const reason = found === "undefined" && (action === "delayed" || status.startsWith("4")) ? "expired" : found;
  const late = reason === "user-unknown" && afterData(transcript, status);
  const final = late ? "filtered" : reason;
  return { address: entry.address, action, status, replyCode, reason: final, hard: isHard(final, status), diagnostic };
}

/**
 * A host that takes the RCPT and says "user unknown" to the content has filtered the message: the address may be
 * alive. Only the plain 5.1.1 is believed at that point.
 */
function afterData(transcript: string, status: string): boolean {
  if (/^[45]\.1\.[013]$/.test(status) || /^[> ]*>>> RCPT|in reply to RCPT/im.test(transcript)) return false;
  return (
    /^[45]\.7\./.test(status) ||
    /in reply to end of DATA|after end of data|^[> ]*>>> DATA|response to data/im.test(transcript)
  );
}

/** The text a person would read: first text part that is not the returned message. */
function noticeText(message: ParsedMessage, limit: number): string {
  const texts: string[] = [];
  let size = 0;
  for (const part of readableParts(message)) {
    const text = part.text.slice(0, limit - size);
    texts.push(text);
    size += text.length;
    if (size >= limit) break;
  }
  return texts.join("\n");
}

function readableParts(message: ParsedMessage): MimePart[] {
  const parts = message.parts().filter((part) => !part.isMultipart);
  const plain = parts.filter((part) => part.mediaType === "text/plain");
  if (plain.length > 0) return plain;
  const texts = parts.filter((part) => part.type === "text");
  // A multipart whose boundary never comes is all preamble.
  return texts.length > 0 ? texts : [message.root];
}

const reportSubject =
  /undeliver|delivery|deliver|returned|return(?:ed)? mail|failure|failed|bounce|not (?:be )?delivered|mail (?:system )?error|nondeliver|non remis|unzustellbar|rejected|not member|could not|warning|notice|notification|problem/i;
const reportSender =
  /mailer-?daemon|postmaster|mail delivery|mdaemon|mail system|system administrator|delivery|bounce|no-?reply/i;
const failureWords =
  /(?:could not|cannot|can ?not|can't|couldn't|unable to|not|wasn't|n't able to|failed to) (?:be )?(?:deliver|sen[dt]|reach)|undeliver|delivery (?:has |have )?(?:fail|delay|to the following)|permanent (?:fatal )?error|rejected|returned to you|failure|errors? (?:occurred|while)|mailbox is full|invalid (?:final|recipient)|unknown user|user unknown|not (?:a )?member|incorrectly constructed|transcript of session|no valid recipients/i;

/** Whether a message without status fields is a bounce at all. */
function isReport(message: ParsedMessage, report: string): boolean {
  if (message.headers.first("x-failed-recipients")) return true;
  const subject = message.subject;
  const from = message.headers.first("from")?.decoded ?? "";
  const nullPath = message.headers.first("return-path")?.value === "<>";
  const signs = Number(reportSubject.test(subject)) + Number(reportSender.test(from)) + Number(nullPath);
  return (signs > 0 && failureWords.test(report)) || signs > 1;
}

/** RFC 3834 §5 and the usual words. */
function isAutoReply(message: ParsedMessage): boolean {
  const submitted = message.headers.first("auto-submitted")?.value.toLowerCase() ?? "no";
  if (submitted.startsWith("auto-replied")) return true;
  if (message.headers.first("x-autoreply") ?? message.headers.first("x-auto-response-suppress")) return true;
  if (
    /auto_?reply|junk|bulk/i.test(message.headers.first("precedence")?.value ?? "") &&
    /^auto|out of/i.test(message.subject)
  )
    return true;
  return /^(?:auto(?:matic)?[ -]?(?:reply|response)|out of (?:the )?office|vacation|away\b|i am (?:away|out))/i.test(
    message.subject,
  );
}
