/**
 * Address lists of header fields (RFC 5322 §3.4 with the obsolete forms of §4.4, groups, and RFC 6532 text).
 * Invariants: display names are decoded after the list was split, so that no encoded word can invent an address;
 * the result has at most `maxAddresses` entries. Failure: none; what is no address is kept as an entry whose
 * `address` is "" or the text itself, as mail readers show it.
 */
import { decodeWords } from "./encoded-word.ts";

export interface Mailbox {
  /** Display name, decoded; "" when none. Without one, a comment after the address serves (RFC 5322 §3.4 note). */
  name: string;
  /** "local@domain" without route and comments; "" when the entry holds none. */
  address: string;
  local: string;
  /** As written, without a trailing dot. */
  domain: string;
}

export interface Group {
  group: string;
  members: Mailbox[];
}

export type AddressEntry = Mailbox | Group;

export const maxAddresses = 10_000;
const maxCommentDepth = 64;
/** Octets of one address with its route and blanks; RFC 5321 §4.5.3.1 allows 320 and mail rarely more. */
const maxSpec = 2_000;

/** One address under construction. */
class Draft {
  phrase = "";
  comment = "";
  angle: string | undefined;
  /** A quoted string ended just now: a blank before the next word is kept, none is invented. */
  sawText = false;

  /** The phrase holds "@": kept as a flag, since looking into a string under construction costs its whole length. */
  hasAt = false;

  add(text: string): void {
    this.phrase += text;
    this.hasAt ||= text.includes("@");
  }

  get empty(): boolean {
    return !this.sawText && this.angle === undefined && this.phrase.trim() === "" && this.comment === "";
  }

  mailbox(): Mailbox {
    const phrase = this.phrase.trim();
    if (this.angle !== undefined) return mailbox(phrase === "" ? this.comment : phrase, this.angle);
    // A bare addr-spec; blanks around "@" and "." are obsolete syntax (RFC 5322 §4.4).
    if (phrase.includes("@")) return mailbox(this.comment, phrase);
    // Several words without "@" are a name whose address was forgotten; one word may be a local address.
    return /\s/.test(phrase) ? mailbox(phrase, "") : mailbox(this.comment, phrase);
  }
}

function mailbox(name: string, given: string): Mailbox {
  const spec = given.length > maxSpec ? "" : given;
  // RFC 5322 §4.4 obs-route: "@a,@b:" before the address is dropped.
  const routed = /^\s*@[^:]*:(.*)$/s.exec(spec);
  const compact = removeBlanks(routed === null ? spec : routed[1]!);
  const at = compact.lastIndexOf("@");
  const local = at < 0 ? compact : compact.slice(0, at);
  const domain = at < 0 ? "" : compact.slice(at + 1).replace(/\.$/, "");
  return {
    name: decodeWords(name.trim().replace(/[ \t]+/g, " ")),
    address: at < 0 ? compact : `${local}@${domain}`,
    local: local.startsWith('"') ? unquoteLocal(local) : local,
    domain,
  };
}

/** Removes blanks outside quoted strings. */
function removeBlanks(text: string): string {
  return text.includes('"')
    ? text.replace(/"(?:[^"\\]|\\.)*"|\s+/gs, (piece) => (piece.startsWith('"') ? piece : ""))
    : text.replace(/\s+/g, "");
}

function unquoteLocal(local: string): string {
  return local.replace(/^"|"$/g, "").replace(/\\(.)/gs, "$1");
}

/** Parses an unfolded field value into mailboxes and groups, in order. */
export function parseAddresses(text: string): AddressEntry[] {
  const entries: AddressEntry[] = [];
  let count = 0;
  let draft = new Draft();
  let group: Group | undefined;
  const finish = () => {
    if (!draft.empty && count < maxAddresses) {
      count++;
      (group?.members ?? entries).push(draft.mailbox());
    }
    draft = new Draft();
  };
  let i = 0;
  while (i < text.length) {
    const c = text[i]!;
    if (c === '"') {
      const end = quotedEnd(text, i);
      draft.add(quotedPiece(text, i, end));
      draft.sawText = true;
      i = end;
    } else if (c === "(") {
      const end = commentEnd(text, i);
      const comment = text.slice(i + 1, text[end - 1] === ")" ? end - 1 : end).replace(/\\(.)/gs, "$1");
      draft.comment ||= comment.trim();
      i = end;
    } else if (c === "<") {
      const end = angleEnd(text, i);
      draft.angle ??= stripComments(text.slice(i + 1, end));
      i = end + 1;
    } else if (c === ",") {
      finish();
      i++;
    } else if (c === ";") {
      finish();
      group = undefined;
      i++;
    } else if (c === ":" && group === undefined && !draft.hasAt && draft.angle === undefined) {
      group = { group: decodeWords(draft.phrase.trim()), members: [] };
      if (count++ < maxAddresses) entries.push(group);
      draft = new Draft();
      i++;
    } else {
      let end = i + 1;
      while (end < text.length && !'"(<,;:'.includes(text[end]!)) end++;
      draft.add(text.slice(i, end));
      i = end;
    }
  }
  finish();
  return entries;
}

/** All mailboxes of a list, members of groups included. */
export function mailboxesOf(entries: readonly AddressEntry[]): Mailbox[] {
  return entries.flatMap((entry) => ("group" in entry ? entry.members : [entry]));
}

/** Octet after the closing quote, or the end of the text. */
function quotedEnd(text: string, from: number): number {
  for (let i = from + 1; i < text.length; i++) {
    if (text[i] === "\\") i++;
    else if (text[i] === '"') return i + 1;
  }
  return text.length;
}

/** A quoted string in a phrase is shown bare; before "@" it is a local part and stays quoted. */
function quotedPiece(text: string, from: number, end: number): string {
  if (text[end] === "@") return text.slice(from, end);
  return text.slice(from + 1, text[end - 1] === '"' && end - 1 > from ? end - 1 : end).replace(/\\(.)/gs, "$1");
}

function commentEnd(text: string, from: number): number {
  let depth = 0;
  for (let i = from; i < text.length; i++) {
    const c = text[i];
    if (c === "\\") i++;
    else if (c === "(" && depth < maxCommentDepth) depth++;
    else if (c === ")" && --depth === 0) return i + 1;
  }
  return text.length;
}

/** Index of the ">" that closes the "<" at `from`, quoted strings skipped; the end of the text when none does. */
function angleEnd(text: string, from: number): number {
  let quotes = true;
  for (let i = from + 1; i < text.length; i++) {
    if (quotes && text[i] === '"') {
      const end = quotedEnd(text, i);
      if (end < text.length) i = end - 1;
      else quotes = false; // a quote that never closes: it is no quoted string, and neither are later ones
    } else if (text[i] === ">") return i;
  }
  return text.length;
}

function stripComments(text: string): string {
  if (!text.includes("(")) return text;
  let result = "";
  let i = 0;
  while (i < text.length) {
    const end = text[i] === '"' ? quotedEnd(text, i) : text[i] === "(" ? commentEnd(text, i) : i + 1;
    if (text[i] !== "(") result += text.slice(i, end);
    i = end;
  }
  return result;
}
