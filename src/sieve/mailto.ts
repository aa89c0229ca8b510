/**
 * mailto URIs of notifications (RFC 6068 as RFC 5436 §2.3 uses it): recipients, header fields and a body.
 * Invariants: at most 8 recipients and 16 fields; no value holds CR, LF or NUL except the body. Failure: a `problem`.
 */
import { type Address, formatAddress, parseScriptAddress } from "./address.ts";

export interface Mailto {
  to: string[];
  cc: string[];
  subject: string | undefined;
  body: string | undefined;
  /** Other fields that a URI may set. */
  fields: Array<{ name: string; value: string }>;
}

export type MailtoResult = { ok: true; mailto: Mailto } | { ok: false; problem: string };

export const maxRecipients = 8;
const maxFields = 16;

// RFC 5436 §2.3: fields that a URI must not set; they are ignored.
const reserved = new Set(
  "auto-submitted bcc content-disposition content-transfer-encoding content-type date from in-reply-to message-id mime-version received references resent-bcc resent-cc resent-date resent-from resent-message-id resent-sender resent-to return-path sender x-sieve".split(
    " ",
  ),
);

export function parseMailto(uri: string): MailtoResult {
  const text = uri.slice(uri.indexOf(":") + 1);
  // RFC 6068 §2: a URI has no fragment that a message could be made of.
  if (text.includes("#")) return { ok: false, problem: "invalid character '#'" };
  const question = text.indexOf("?");
  const mailto: Mailto = { to: [], cc: [], subject: undefined, body: undefined, fields: [] };
  const problem =
    addRecipients(mailto, "to", question < 0 ? text : text.slice(0, question)) ??
    (question < 0 ? undefined : addFields(mailto, text.slice(question + 1)));
  if (problem) return { ok: false, problem };
  return { ok: true, mailto };
}

function addFields(mailto: Mailto, query: string): string | undefined {
  const pairs = query.split("&");
  if (pairs.length > maxFields) return `number of header fields exceeds the limit of ${maxFields}`;
  for (const pair of pairs) {
    const equals = pair.indexOf("=");
    const name = decode(equals < 0 ? pair : pair.slice(0, equals));
    const value = decode(equals < 0 ? "" : pair.slice(equals + 1));
    if (name === undefined || value === undefined) return `invalid header field '${pair.slice(0, 80)}'`;
    if (!/^[\x21-\x39\x3b-\x7e]+$/.test(name)) return `invalid header field name '${name.slice(0, 80)}'`;
    const lower = name.toLowerCase();
    if (lower === "to" || lower === "cc") {
      const problem = addRecipients(mailto, lower, pair.slice(equals + 1));
      if (problem) return problem;
    } else if (lower === "body") mailto.body = value;
    else if (/[\r\n\0]/.test(value)) return `invalid header field body for '${name}'`;
    else if (lower === "subject") mailto.subject = value;
    else if (!reserved.has(lower)) mailto.fields.push({ name, value });
  }
  return undefined;
}

function addRecipients(mailto: Mailto, field: "to" | "cc", list: string): string | undefined {
  if (list === "") return undefined;
  for (const item of list.split(",")) {
    const text = decode(item);
    if (text === undefined) return "invalid % encoding";
    const parsed = parseScriptAddress(text);
    if (!parsed.ok) return `invalid recipient '${text.slice(0, 80)}': ${parsed.problem}`;
    const address = formatAddress(parsed.address satisfies Address);
    if ([...mailto.to, ...mailto.cc].includes(address)) continue;
    if (mailto.to.length + mailto.cc.length >= maxRecipients)
      return `number of recipients exceeds the limit of ${maxRecipients}`;
    mailto[field].push(address);
  }
  return undefined;
}

function decode(text: string): string | undefined {
  if (!text.includes("%")) return text;
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined; // URIError: not % HEXDIG HEXDIG, or not UTF-8
  }
}
