/**
 * Recipients and causes from the prose of a bounce that has no status fields.
 * Heuristics as data: lines that begin the returned message, forms in which mailers name a recipient, in order of
 * trust. Invariants: addresses of the original sender and of the reporting host are not taken for recipients.
 */
import type { ParsedMessage } from "../../message/parse.ts";
import type { RecipientFields } from "./status-fields.ts";
import { statusIn } from "./statuses.ts";

export interface Notice {
  /** What the reporting host wrote. */
  report: string;
  /** What it returned of the original. */
  returned: string;
}

/** Lines after which the original message is shown. */
const returnedForms: readonly RegExp[] = [
  /^[ \t|>*=-]*(?:this is a copy of (?:the|your) message|below this line is a copy|original message(?: headers?)?(?: follows?)?|message headers? follow|message text follows|unsent message|returned message|the header of the original|included is a copy|the (?:original )?message (?:headers? )?follows|undelivered message|header of (?:the )?(?:message|original)|start of (?:the )?returned|mensaje original|message d'origine|begin (?:returned|original))\b.*$/im,
  /^(?:Received|Return-Path|DKIM-Signature|X-Received|Message-ID)[ \t]*:.*$/im,
];

export function splitNotice(text: string): Notice {
  let cut = text.length;
  for (const form of returnedForms) {
    const at = text.search(form);
    if (at >= 0 && at < cut) cut = at;
  }
  return { report: text.slice(0, cut), returned: text.slice(cut) };
}

const address = "[^\\s<>()\\[\\]\"',;:|]+@[^\\s<>()\\[\\]\"',;:|]+";

/** Forms in which a line names a failed recipient; the rest of the line, and the lines below, say why. */
const recipientForms: readonly RegExp[] = [
  new RegExp(`^[ \\t*]*["<]*(${address})[">]*[ \\t]*(?:<mailto:[^>]*>)?[ \\t]*:?[ \\t]*$`, "i"),
  new RegExp(`^[ \\t]*["<]*(${address})[">]*[ \\t]*(?::|\\.\\.\\.|\\(|\\[|-)`, "i"),
  new RegExp(`^[ \\t]*\\d{3}[ \\t]+["<]*(${address})[">]*[ \\t]*\\.\\.\\.`, "i"),
  new RegExp(
    `(?:recipient|address|addresses|user ?id|userid|failed|mailbox|invalid|rcpt|account)[^<>:@]{0,40}:[ \\t]*["<]*(${address})`,
    "i",
  ),
  new RegExp(
    `(?:deliver|send|sent|mail|message|recipient)\\w*(?: message| mail| your mail)?[^<>@]{0,40}\\bto:?[ \\t]+["<]*(${address})`,
    "i",
  ),
  new RegExp(`>>>[ \\t]*RCPT TO:[ \\t]*<(${address})>`, "i"),
  new RegExp(`^[ \\t]*["<]*(${address})[">]*[ \\t]+\\S`, "i"),
];

export function noticeRecipients(message: ParsedMessage, notice: Notice): RecipientFields[] {
  const json = serviceNotification(notice.report);
  if (json.length > 0) return json;
  const others = senders(message, notice);
  const lines = notice.report.split(/\r?\n/);
  for (const form of recipientForms) {
    const starts: Array<{ at: number; address: string }> = [];
    for (const [at, line] of lines.entries()) {
      const found = form.exec(line)?.[1]?.replace(/[.>]+$/, "");
      if (found && !others.has(found.toLowerCase())) starts.push({ at, address: found });
    }
    if (starts.length === 0) continue;
    return starts.map((start, index) => {
      const line = lines[start.at]!;
      const block = lines.slice(start.at, starts[index + 1]?.at ?? lines.length).join(" ");
      const texts = [line, block].filter(meaningful);
      return recipient(start.address, texts[0] ?? (starts.length > 1 ? block : notice.report));
    });
  }
  const failed = message.headers.first("x-failed-recipients")?.value ?? "";
  const named = failed.split(/[,\s]+/).filter((one) => one.includes("@"));
  if (named.length > 0) return named.map((one) => recipient(one, notice.report));
  return fromReturned(message, notice, others);
}

/** A block that is more than the address is worth judging on its own. */
function meaningful(text: string): boolean {
  return text.replace(new RegExp(address, "g"), "").replace(/[^\p{L}]/gu, "").length > 8;
}

function recipient(address: string, text: string): RecipientFields {
  const said = hostWords(text);
  const delayed = /has been delayed|warning message only|will be retried|will keep trying|still being retried/i.test(
    text,
  );
  return { address, action: delayed ? "delayed" : "failed", status: statusIn(said), diagnostic: said };
}

/** The refusing host's own words, from its reply code on, where the notice quotes them; else the notice itself. */
export function hostWords(text: string): string {
  const flat = text.replace(/\s+/g, " ").trim();
  const at = flat.search(/(?<=^|[ :'"(])(?:421|4[357]\d|5[0-7]\d|59\d)[ -](?=[\w<'":[(#])/);
  return (at < 0 ? flat : flat.slice(at)).slice(0, 4_096);
}

/** Addresses that are not the failed recipient: who sent the original, who sent the report. */
function senders(message: ParsedMessage, notice: Notice): Set<string> {
  const found = new Set<string>();
  const fields = ["to", "from", "delivered-to", "x-original-to"].flatMap((name) => message.headers.all(name));
  const texts = fields.map((field) => field.value);
  const original = /^(?:Return-Path|From|Sender)[ \t]*:(.*)$/gim;
  for (const match of notice.returned.slice(0, 16_384).matchAll(original)) texts.push(match[1]!);
  for (const text of texts) {
    for (const match of text.slice(0, 4_096).matchAll(new RegExp(address, "g"))) found.add(match[0].toLowerCase());
  }
  return found;
}

/** The last resort: whom the returned message was addressed to. */
function fromReturned(message: ParsedMessage, notice: Notice, others: ReadonlySet<string>): RecipientFields[] {
  const nested = message.parts().find((part) => part.mediaType === "message/rfc822")?.nested;
  const to = nested?.headers.first("to")?.value ?? /^To[ \t]*:(.*)$/im.exec(notice.report + notice.returned)?.[1] ?? "";
  const found = new RegExp(address).exec(to)?.[0];
  if (found && !others.has(found.toLowerCase())) return [recipient(found, notice.report)];
  const anyone = [...notice.report.matchAll(new RegExp(address, "g"))].map((match) => match[0].replace(/\.$/, ""));
  const first = anyone.find((one) => !others.has(one.toLowerCase())) ?? found ?? message.headers.first("from")?.value;
  return first ? [recipient(first, notice.report)] : [];
}

/** Bounces that mail services send as JSON (Amazon SES notifications). */
function serviceNotification(report: string): RecipientFields[] {
  const start = report.indexOf("{");
  const end = report.lastIndexOf("}");
  if (start < 0 || end < start || !report.includes('"notificationType"')) return [];
  let data: unknown;
  try {
    data = JSON.parse(report.slice(start, end + 1).replace(/[\r\n]+[ \t]?/g, ""));
  } catch {
    return []; // not the JSON it looked like: the prose rules get their turn
  }
  const note = data as {
    bounce?: { bouncedRecipients?: Array<{ emailAddress?: unknown; status?: unknown; diagnosticCode?: unknown }> };
    complaint?: { complainedRecipients?: Array<{ emailAddress?: unknown }> };
    delivery?: { recipients?: unknown[]; smtpResponse?: unknown };
  };
  const bounced = (note.bounce?.bouncedRecipients ?? []).map((one) => ({
    address: String(one.emailAddress ?? ""),
    action: "failed" as const,
    status: String(one.status ?? ""),
    diagnostic: String(one.diagnosticCode ?? "").replace(/^smtp;[ \t]*/, ""),
  }));
  const delivered = (note.delivery?.recipients ?? []).map((one) => ({
    address: String(one),
    action: "delivered" as const,
    status: statusIn(String(note.delivery?.smtpResponse ?? "")),
    diagnostic: String(note.delivery?.smtpResponse ?? ""),
  }));
  return [...bounced, ...delivered].filter((one) => one.address !== "");
}
