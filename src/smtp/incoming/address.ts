/**
 * Mailboxes and paths of the SMTP envelope by RFC 5321 §4.1.2 and §4.1.3, with the UTF-8 forms of RFC 6531 §3.3.
 * This is the grammar of commands, not of header fields: no comments, no folding white space, no obsolete forms.
 * Invariants: every function is pure, linear in its input and never throws; what it answers holds no CR, LF or other
 * control byte. Failure: a refused address is a short English reason.
 */
import { isIPv6 } from "node:net";
import { domainToASCII } from "node:url";

/** RFC 5321 §4.5.3.1.1 to §4.5.3.1.3, octets. */
const localPartOctets = 64;
const domainOctets = 255;
const pathOctets = 256;

export interface Path {
  /** Mailbox without brackets and source route; "" is the null path. */
  address: string;
  /** True when the address needs SMTPUTF8. */
  utf8: boolean;
}

export type PathResult = { ok: true; path: Path; end: number } | { ok: false; reason: string };
export type MailboxResult = { ok: true } | { ok: false; reason: string };

const atomText = /^[A-Za-z0-9!#$%&'*+\-/=?^_`{|}~\u0080-\u{10FFFF}]+$/u;
/** RFC 5321 §4.1.2 Let-dig and Ldh-str; the underscore is not in it, but is too common in real host names to refuse. */
const asciiLabel = /^[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?$/;
const generalLiteral = /^[A-Za-z0-9-]*[A-Za-z0-9]:[\x21-\x5a\x5e-\x7e]+$/;
/** RFC 5321 §4.1.3 Snum: up to three digits, leading zeros and all, decimal. */
const snum = "(?:25[0-5]|2[0-4][0-9]|[01]?[0-9]?[0-9])";
const snums = new RegExp(`^${snum}(?:\\.${snum}){3}$`);
const nonAscii = /[^\x00-\x7f]/;

function refuse(reason: string): { ok: false; reason: string } {
  return { ok: false, reason };
}

/** Octets of the UTF-8 form; lengths of RFC 5321 are in octets. */
function octets(text: string): number {
  return nonAscii.test(text) ? Buffer.byteLength(text) : text.length;
}

/** RFC 5321 §4.1.3: the text between "[" and "]". */
export function isAddressLiteral(inner: string): boolean {
  if (/^IPv6:/i.test(inner)) return isIPv6(inner.slice(5)) && !inner.includes("%");
  return snums.test(inner) || generalLiteral.test(inner);
}

/** RFC 5321 §2.3.5 domain or §4.1.3 address literal; U-labels (RFC 5890) count as well-formed. */
export function isDomain(domain: string): boolean {
  if (domain.startsWith("[")) return domain.endsWith("]") && isAddressLiteral(domain.slice(1, -1));
  if (domain.length === 0 || octets(domain) > domainOctets) return false;
  const labels = domain.split(".");
  for (const label of labels) {
    if (nonAscii.test(label)) continue;
    if (label.length > 63 || !asciiLabel.test(label)) return false;
  }
  // An A-label or U-label must convert (RFC 5891 §4); domainToASCII answers "" when it doesn't.
  if (nonAscii.test(domain) || /(?:^|\.)xn--/i.test(domain)) {
    return labels.every((label) => !needsConversion(label) || domainToASCII(label) !== "");
  }
  return true;
}

function needsConversion(label: string): boolean {
  return nonAscii.test(label) || /^xn--/i.test(label);
}

/** End of the quoted string that begins at `start`, one past the closing quote, or -1. RFC 5321 §4.1.2 Quoted-string. */
function quotedEnd(text: string, start: number): number {
  for (let i = start + 1; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code === 0x22) return i + 1;
    if (code === 0x5c && ++i >= text.length) return -1;
    if (text.charCodeAt(i) < 0x20 || text.charCodeAt(i) === 0x7f) return -1;
  }
  return -1;
}

function isLocalPart(local: string): boolean {
  if (local.startsWith('"')) return local.length > 2 && quotedEnd(local, 0) === local.length;
  return local.split(".").every((atom) => atomText.test(atom));
}

/** Checks "local@domain" (no brackets). */
export function checkMailbox(address: string): MailboxResult {
  const at = address.startsWith('"') ? quotedEnd(address, 0) : address.indexOf("@");
  if (at < 0 || address[at] !== "@") return refuse("no domain");
  const local = address.slice(0, at);
  if (octets(local) > localPartOctets) return refuse("local part too long");
  if (!isLocalPart(local)) return refuse("bad local part");
  const domain = address.slice(at + 1);
  if (octets(domain) > domainOctets) return refuse("domain too long");
  if (!isDomain(domain)) return refuse("bad domain");
  if (octets(address) > pathOctets - 2) return refuse("address too long");
  return { ok: true };
}

/**
 * Index of the ">" that closes the path begun at `start` ("<" there), skipping quoted strings and address literals,
 * which may hold one (RFC 5321 §4.1.3 dcontent); -1 when there is none.
 */
function closingBracket(text: string, start: number): number {
  for (let i = start + 1; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code === 0x3e) return i;
    if (code === 0x22) {
      i = quotedEnd(text, i) - 1;
      if (i < 0) return -1;
    }
    if (code === 0x5b) {
      i = text.indexOf("]", i);
      if (i < 0) return -1;
    }
  }
  return -1;
}

/** RFC 5321 §4.1.2 A-d-l: `@one,@two:` before the mailbox; accepted and dropped (§4.1.1.3, appendix C). */
function withoutSourceRoute(inner: string): string | undefined {
  if (!inner.startsWith("@")) return inner;
  const colon = inner.indexOf(":", inner.lastIndexOf("@", inner.indexOf(":")));
  if (colon < 0) return undefined;
  const hops = inner.slice(0, colon).split(",");
  return hops.every((hop) => hop.startsWith("@") && isDomain(hop.slice(1))) ? inner.slice(colon + 1) : undefined;
}

/**
 * Reads a path at `start` of `text`: in brackets, or bare up to the next blank (sent by old clients, harmless).
 * `end` is the index after it. `<>` and `< >` are the null path; "postmaster" alone is well-formed (RFC 5321 §4.5.1).
 */
export function readPath(text: string, start: number): PathResult {
  let end: number;
  let inner: string;
  if (text[start] === "<") {
    const close = closingBracket(text, start);
    if (close < 0) return refuse("unclosed path");
    end = close + 1;
    inner = text.slice(start + 1, close);
    if (inner.trim() === "") return { ok: true, path: { address: "", utf8: false }, end };
  } else {
    const space = text.indexOf(" ", start);
    end = space < 0 ? text.length : space;
    inner = text.slice(start, end);
    if (inner === "") return refuse("no path");
  }
  if (end < text.length && text[end] !== " ") return refuse("text after the path");
  if (octets(inner) > pathOctets - 2) return refuse("path too long"); // source route included
  const address = withoutSourceRoute(inner);
  if (address === undefined) return refuse("bad source route");
  if (address.toLowerCase() !== "postmaster") {
    const verdict = checkMailbox(address);
    if (!verdict.ok) return verdict;
  }
  return { ok: true, path: { address, utf8: nonAscii.test(address) }, end };
}
