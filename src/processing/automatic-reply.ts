/**
 * Automatic messages: vacation replies (RFC 5230) and notifications (RFC 5436), with the care RFC 3834 asks for.
 * Invariants: the reverse-path is null and Auto-Submitted is set, so that no reply answers a reply; texts of the script
 * or the message reach headers only through the header folder. Failure: undefined when no reply may be sent.
 */
import { createHash, randomUUID } from "node:crypto";
import { mailboxesOf, parseAddresses } from "../message/addresses.ts";
import { formatDate } from "../message/date.ts";
import { foldField } from "../message/edit.ts";
import type { Envelope } from "../message/envelope.ts";
import type { HeaderSection } from "../message/headers.ts";
import type { NotifyAction, VacationAction } from "../sieve/result.ts";
import type { OutgoingMessage } from "./filter.ts";

export interface ReplyContext {
  headers: HeaderSection;
  mailFrom: string;
  /** The recipient whose script asks. */
  recipient: string;
  hostName: string;
  now: number;
}

/** Fields in which the recipient must be named (RFC 5230 §4.5). */
const addressed = ["to", "cc", "bcc", "resent-to", "resent-cc", "resent-bcc"];
const maxReferences = 20;

/** The reply that a vacation action asks for, or undefined when RFC 5230 or RFC 3834 forbid one. */
export function vacationReply(action: VacationAction, context: ReplyContext): OutgoingMessage | undefined {
  const { headers, mailFrom, recipient } = context;
  const own = new Set([recipient, ...action.addresses].map((address) => address.toLowerCase()));
  if (mailFrom === "" || own.has(mailFrom.toLowerCase()) || isMachine(mailFrom) || isAutomatic(headers))
    return undefined;
  const named = addressed.some((name) =>
    headers
      .all(name)
      .some((field) => mailboxesOf(parseAddresses(field.value)).some((m) => own.has(m.address.toLowerCase()))),
  );
  if (!named) return undefined;
  const subject = action.subject ?? `Auto: ${headers.first("subject")?.decoded ?? ""}`.trim();
  const from = action.from ?? recipient;
  const body = action.mime ? crlf(action.reason) : textBody(action.reason);
  const lines = [
    ...commonFields(from, mailFrom, subject, "auto-replied (vacation)", context),
    ...threadFields(headers),
  ];
  return {
    envelope: reportEnvelope(mailFrom),
    bytes: Buffer.from(`${lines.join("\r\n")}\r\n${action.mime ? "MIME-Version: 1.0\r\n" : ""}${body}`),
    // RFC 5230 §4.2: once per sender and handle within the period.
    once: { key: digest("vacation", recipient, action.handle, mailFrom.toLowerCase()), ttlMs: action.period * 1_000 },
  };
}

/** A mailto notification (RFC 5436 §2), or undefined when the URI names no address. */
export function mailtoNotification(action: NotifyAction, context: ReplyContext): OutgoingMessage | undefined {
  // RFC 5436 §2.7: a message that is itself automatic must not cause another.
  if (isAutomatic(context.headers)) return undefined;
  const match = /^mailto:([^?]+)/i.exec(action.method);
  const address = match === null ? "" : decodeUri(match[1]!);
  const to = mailboxesOf(parseAddresses(address))[0]?.address ?? "";
  if (!to.includes("@")) return undefined;
  const subject = context.headers.first("subject")?.decoded ?? "";
  const text = action.message || `New mail from ${context.mailFrom}: ${subject}`;
  const priority = { "1": "1 (High)", "3": "5 (Low)" }[action.importance];
  const lines = [
    ...commonFields(
      action.from ?? context.recipient,
      to,
      text.split(/\r?\n/)[0]!,
      `auto-notified; owner-email="${context.recipient.replace(/["\\]/g, "")}"`,
      context,
    ),
    ...(priority === undefined ? [] : [`X-Priority: ${priority}`]),
  ];
  return { envelope: reportEnvelope(to), bytes: Buffer.from(`${lines.join("\r\n")}\r\n${textBody(text)}`) };
}

function commonFields(from: string, to: string, subject: string, submitted: string, context: ReplyContext): string[] {
  return [
    foldField("From", from),
    foldField("To", to),
    foldField("Subject", subject),
    foldField("Date", formatDate(context.now)),
    foldField("Message-ID", `<${randomUUID()}@${context.hostName}>`),
    // RFC 3834 §5
    foldField("Auto-Submitted", submitted),
  ];
}

/** RFC 5230 §5.8, RFC 5322 §3.6.4. */
function threadFields(headers: HeaderSection): string[] {
  const id = headers.first("message-id")?.value;
  if (id === undefined || !/^<[^<>\s]+>$/.test(id)) return [];
  const before = (headers.first("references")?.value ?? "").match(/<[^<>\s]+>/g) ?? [];
  return [foldField("In-Reply-To", id), foldField("References", [...before.slice(-maxReferences), id].join(" "))];
}

/** Senders who are no people (RFC 5230 §4.6, RFC 3834 §2). */
function isMachine(address: string): boolean {
  return /^(mailer-daemon|listserv|majordomo|noreply|no-reply|owner-.*|.*-request)@/i.test(address);
}

/** Mail that no automatic reply may answer (RFC 3834 §2, RFC 5230 §4.6). */
function isAutomatic(headers: HeaderSection): boolean {
  const submitted = headers.first("auto-submitted")?.value.toLowerCase().split(/[;\s]/)[0] ?? "no";
  const precedence = headers.first("precedence")?.value.toLowerCase() ?? "";
  return (
    submitted !== "no" ||
    ["bulk", "list", "junk"].includes(precedence) ||
    headers.fields.some((field) => field.lower.startsWith("list-"))
  );
}

function textBody(text: string): string {
  const encoded = Buffer.from(crlf(text))
    .toString("base64")
    .replace(/(.{76})/g, "$1\r\n");
  return `MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n${encoded}\r\n`;
}

function crlf(text: string): string {
  return text.replace(/\r?\n/g, "\r\n");
}

function reportEnvelope(to: string): Envelope {
  return {
    mailFrom: "",
    rcptTo: [{ address: to, notify: ["NEVER"] }],
    declaredSize: 0,
    body: "8BITMIME",
    smtpUtf8: /[^\x00-\x7f]/.test(to),
    requireTls: false,
  };
}

/** A key of fixed length for shared state. */
export function digest(...parts: string[]): string {
  return createHash("sha256").update(JSON.stringify(parts)).digest("hex");
}

function decodeUri(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return ""; // malformed percent-encoding: no address
  }
}
