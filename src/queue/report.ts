/**
 * Reports to a message's sender: failure (NDR), delay warning, success notice: multipart/report as RFC 3461, 3464, 6522
 * and 6533 have it, with the text of the policy (smtpfilters.md §5.7, §8.3).
 * Invariants: a report has the null reverse-path and runs no filters; lines end in CRLF; nothing from outside adds a line
 * to a header. When one is sent, report-rules.ts says. Failure: the writer can't fail on network input.
 */
import { randomBytes } from "node:crypto";
import { formatDate } from "../message/date.ts";
import type { Envelope } from "../message/envelope.ts";
import { type Outcome, printable } from "../message/outcome.ts";
import type { ReportKind } from "./report-rules.ts";
import type { DeliveryResult, NewMessage, QueuedMessage, ReportText } from "./types.ts";

/** RFC 3464 §2.3.3 */
const actions: Readonly<Record<DeliveryResult["kind"], string>> = {
  failed: "failed",
  deferred: "delayed",
  delivered: "delivered",
  relayed: "relayed",
  discarded: "delivered",
};

/** Octets of the original's header section that a report carries; what is longer is cut at a line's end. */
export const attachedHeader = 64 * 1024;
/** Octets of the original that a report carries whole; longer originals are attached as header only. */
const attachedMessage = 256 * 1024;

export interface ReportOptions {
  kind: ReportKind;
  message: QueuedMessage;
  results: DeliveryResult[];
  text: ReportText;
  hostName: string;
  /** Start of the original message, at least its header section when that is not above 64 KiB. */
  original: Uint8Array;
  /** The original is all of `original`. */
  complete: boolean;
  /** Next attempt, or the end of attempts for delays (ms since epoch). */
  willRetryUntil?: number;
  now: number;
}

/** The report as a message of its own, ready for the spool. */
export function writeReport(options: ReportOptions): { message: NewMessage; body: Buffer } {
  const { message, text, hostName, now } = options;
  const boundary = `=_${randomBytes(15).toString("hex")}`;
  const utf8 = needsUtf8(options);
  const head = [
    `From: ${headerText(text.sender, utf8)}`,
    `To: <${headerText(message.envelope.mailFrom, utf8)}>`,
    `Subject: ${headerText(text.subject, utf8)}`,
    `Date: ${formatDate(now)}`,
    `Message-ID: <${message.id}.${now.toString(36)}.${randomBytes(6).toString("hex")}@${hostName}>`,
    "Auto-Submitted: auto-replied", // RFC 3834 §5
    "MIME-Version: 1.0",
    `Content-Type: multipart/report; report-type=delivery-status; boundary="${boundary}"`, // RFC 6522 §3
  ];
  const parts = [textPart(text), statusPart(options, utf8), ...originalPart(options, utf8)];
  const pieces: Uint8Array[] = [Buffer.from(`${head.join("\r\n")}\r\n\r\n`)];
  for (const part of parts) pieces.push(Buffer.from(`--${boundary}\r\n`), part, Buffer.from("\r\n"));
  pieces.push(Buffer.from(`--${boundary}--\r\n`));
  const body = Buffer.concat(pieces);
  return { message: reportMessage(message, body, utf8), body };
}

function reportMessage(original: QueuedMessage, body: Buffer, utf8: boolean): NewMessage {
  const envelope: Envelope = {
    mailFrom: "", // RFC 5321 §6.1
    rcptTo: [{ address: original.envelope.mailFrom, notify: ["NEVER"] }],
    declaredSize: body.length,
    body: body.every((octet) => octet < 0x80) ? "7BIT" : "8BITMIME",
    smtpUtf8: utf8,
    requireTls: original.envelope.requireTls, // RFC 8689 §5: the report is protected like the message
  };
  return {
    envelope,
    client: { ...original.client, authUser: "", protocol: "LOCAL" },
    exports: {},
    marks: { report: true, reportOn: original.id },
    runFilters: false,
  };
}

function textPart(text: ReportText): Buffer {
  const body = text.opening + text.perRecipient.join("") + text.footer;
  return Buffer.from(
    `Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n${lines(body, 998)}\r\n`,
  );
}

function statusPart(options: ReportOptions, utf8: boolean): Buffer {
  const { message, results, hostName, kind, willRetryUntil } = options;
  const type = utf8 ? "message/global-delivery-status" : "message/delivery-status"; // RFC 6533 §3
  const addressType = utf8 ? "utf-8" : "rfc822";
  const out = [`Content-Type: ${type}`, ...(utf8 ? ["Content-Transfer-Encoding: 8bit"] : []), ""];
  if (message.envelope.envid !== undefined) {
    out.push(`Original-Envelope-Id: ${headerText(message.envelope.envid, utf8)}`); // RFC 3464 §2.2.1
  }
  out.push(`Reporting-MTA: dns; ${hostName}`);
  if (message.client.ehlo !== "") out.push(`Received-From-MTA: dns; ${headerText(message.client.ehlo, utf8)}`);
  out.push(`Arrival-Date: ${formatDate(message.receivedAt)}`);
  // RFC 3464 §2.4: extension fields begin with X-.
  if (message.client.decisionId !== undefined) out.push(`X-Postern-Decision: ${message.client.decisionId}`);
  for (const { recipient, outcome, destination, kind: resultKind } of results) {
    out.push("");
    if (recipient.orcpt !== undefined) out.push(`Original-Recipient: ${headerText(recipient.orcpt, utf8)}`);
    out.push(`Final-Recipient: ${addressType}; ${headerText(recipient.address, utf8)}`);
    out.push(`Action: ${actions[resultKind]}`);
    out.push(`Status: ${outcome.enhanced}`);
    const remote = remoteHost(destination, outcome);
    if (remote !== undefined) out.push(`Remote-MTA: dns; ${headerText(remote, utf8)}`);
    if (resultKind !== "delivered") {
      out.push(`Diagnostic-Code: smtp; ${headerText(`${outcome.code} ${outcome.enhanced} ${outcome.text}`, utf8)}`);
    }
    out.push(`Last-Attempt-Date: ${formatDate(options.now)}`);
    if (kind === "delay" && willRetryUntil !== undefined) out.push(`Will-Retry-Until: ${formatDate(willRetryUntil)}`);
  }
  return Buffer.from(`${out.join("\r\n")}\r\n`);
}

/** RFC 6522 §3: the message, its header section, or nothing. */
function originalPart(options: ReportOptions, utf8: boolean): Buffer[] {
  const { text, message, original, complete, kind } = options;
  if (text.attach === "none") return [];
  // Only failures return the content.
  const whole = returnsContent(text, message) && kind === "failure" && complete;
  const eightBit = original.some((octet) => octet >= 0x80);
  const encoding = eightBit ? "Content-Transfer-Encoding: 8bit\r\n" : "";
  if (whole && original.length <= attachedMessage) {
    const type = utf8 ? "message/global" : "message/rfc822";
    return [Buffer.concat([Buffer.from(`Content-Type: ${type}\r\n${encoding}\r\n`), original])];
  }
  const type = utf8 ? "message/global-headers" : "text/rfc822-headers";
  return [Buffer.concat([Buffer.from(`Content-Type: ${type}\r\n${encoding}\r\n`), headerSection(original)])];
}

/** RFC 3461 §4.3: the sender's RET comes before the policy's word, unless that is to attach nothing. */
function returnsContent({ attach }: ReportText, { envelope }: QueuedMessage): boolean {
  if (attach === "none" || envelope.ret === "HDRS") return false;
  return attach === "mail" || envelope.ret === "FULL";
}

/** How much of a message `writeReport` wants to see. */
export function originalNeeded(text: ReportText, message: QueuedMessage): number {
  return returnsContent(text, message) ? attachedMessage + 1 : text.attach === "header" ? attachedHeader : 0;
}

export function headerSection(original: Uint8Array): Uint8Array {
  const bytes = Buffer.from(original.buffer, original.byteOffset, original.length);
  const end = bytes.indexOf("\r\n\r\n");
  if (end >= 0 && end + 2 <= attachedHeader) return bytes.subarray(0, end + 2);
  const cut = bytes.lastIndexOf("\r\n", attachedHeader);
  return bytes.subarray(0, cut < 0 ? 0 : cut + 2);
}

/** "mx.example [192.0.2.1]:25" → "mx.example"; the store is no MTA. */
function remoteHost(destination: string, outcome: Outcome): string | undefined {
  const host = destination.split(" ")[0] ?? "";
  return outcome.origin.startsWith("remote") && host !== "" && host !== "store" ? host : undefined;
}

/** RFC 6533: the UTF-8 forms are used when an address needs them. */
function needsUtf8({ message, results }: ReportOptions): boolean {
  return [message.envelope.mailFrom, ...results.map(({ recipient }) => recipient.address)].some(beyondAscii);
}

function beyondAscii(text: string): boolean {
  return /[^\x00-\x7f]/.test(text);
}

/** One header value: no line ends, at most 900 characters, RFC 2047 encoded words where UTF-8 is not allowed. */
function headerText(value: string, utf8: boolean): string {
  const clean = printable(value).slice(0, 900);
  if (utf8 || !beyondAscii(clean)) return clean;
  const words: string[] = [];
  let chunk = "";
  for (const character of clean) {
    if (Buffer.byteLength(chunk + character) > 45) {
      words.push(chunk); // RFC 2047 §2: an encoded word has at most 75 characters
      chunk = "";
    }
    chunk += character;
  }
  words.push(chunk);
  return words.map((word) => `=?utf-8?B?${Buffer.from(word).toString("base64")}?=`).join("\r\n ");
}

/** Text with CRLF line ends, no other control characters, and no line above `limit` octets (RFC 5321 §4.5.3.1.6). */
function lines(text: string, limit: number): string {
  const out: string[] = [];
  for (const line of printable(text, true).split("\n")) {
    let rest = Buffer.from(line);
    while (rest.length > limit) {
      let cut = limit;
      while ((rest[cut]! & 0xc0) === 0x80) cut--; // not within a UTF-8 character
      out.push(rest.toString("utf8", 0, cut));
      rest = rest.subarray(cut);
    }
    out.push(rest.toString("utf8"));
  }
  return out.join("\r\n");
}

/** The text used when the policy says nothing (smtpfilters.md §5.7, defaults). */
export function defaultReportText(kind: ReportKind, results: DeliveryResult[], hostName: string): ReportText {
  const [subject, opening] = {
    failure: ["Undelivered mail", "Your message could not be delivered to:\n\n"],
    delay: ["Delayed mail", "Your message has not been delivered yet; delivery will be tried again, to:\n\n"],
    success: ["Delivered mail", "Your message was delivered to:\n\n"],
  }[kind] as [string, string];
  return {
    sender: `MAILER-DAEMON@${hostName}`,
    subject,
    opening: `This is the mail system at ${hostName}.\n\n${opening}`,
    perRecipient: results.map(({ recipient, outcome }) => `${recipient.address} : ${outcome.text}\n`),
    footer: "",
    attach: "header",
  };
}
