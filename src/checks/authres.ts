/**
 * Authentication-Results (RFC 8601): reading, writing, and taking out those that pretend to be ours.
 * Invariants: a written value has no character that could end the field, a comment or a quoted string. Failure:
 * `parseAuthenticationResults` answers undefined for a value outside the ABNF of §2.2; one leniency: a property
 * without ptype, as some write it, is skipped.
 */
import { printable } from "../message/outcome.ts";
import { fieldValue, type HeaderField } from "./message.ts";

export interface AuthProperty {
  /** smtp, header, body, policy… */
  type: string;
  name: string;
  value: string;
}

export interface AuthResult {
  method: string;
  /** Version of the method, when not 1. */
  version?: string;
  result: string;
  reason?: string;
  /** Written as a comment; not read back. */
  comment?: string;
  properties: AuthProperty[];
}

export interface AuthenticationResults {
  authservId: string;
  version?: string;
  results: AuthResult[];
}

/** §2.2 token of RFC 2045: no space, control or tspecial. */
const token = /[^\x00-\x20\x7f()<>@,;:\\"/[\]?=]+/y;
const keyword = /[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?/y;
/** A value, or [local-part] "@" domain-name; atext takes "/" and "=", which base64 in header.b needs. */
const propertyValue = /[A-Za-z0-9!#$%&'*+\-/=?^_`{|}~.@\x80-\uffff]+/y;
const maxCommentDepth = 20;

class Scanner {
  readonly #text: string;
  #at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  get rest(): string {
    return this.#text.slice(this.#at);
  }

  get ended(): boolean {
    return this.#at >= this.#text.length;
  }

  take(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.#at;
    const found = pattern.exec(this.#text)?.[0];
    if (found !== undefined) this.#at += found.length;
    return found;
  }

  literal(char: string): boolean {
    if (this.#text[this.#at] !== char) return false;
    this.#at += 1;
    return true;
  }

  /** Skips white space and nested comments; false when a comment doesn't end. */
  cfws(): boolean {
    for (;;) {
      this.take(/[ \t\r\n]+/y);
      if (this.#text[this.#at] !== "(") return true;
      let depth = 0;
      do {
        const char = this.#text[this.#at++];
        if (char === undefined || depth > maxCommentDepth) return false;
        if (char === "\\") this.#at += 1;
        else if (char === "(") depth += 1;
        else if (char === ")") depth -= 1;
      } while (depth > 0);
    }
  }

  quoted(): string | undefined {
    const found = this.take(/"(?:[^"\\]|\\.)*"/y);
    return found?.slice(1, -1).replace(/\\(.)/g, "$1");
  }

  value(pattern: RegExp): string | undefined {
    return this.quoted() ?? this.take(pattern);
  }
}

/** Reads a field value (without its name). */
export function parseAuthenticationResults(value: string): AuthenticationResults | undefined {
  const scanner = new Scanner(value);
  const head = readHead(scanner);
  if (head === undefined) return undefined;
  const results: AuthResult[] = [];
  let none = false;
  while (scanner.literal(";")) {
    if (!scanner.cfws() || none) return undefined;
    if (results.length === 0 && /^none[ \t\r\n(]*(?![\w=/-])/i.test(scanner.rest)) {
      scanner.take(/none/iy);
      none = true;
    } else {
      const result = readResult(scanner);
      if (result === undefined) return undefined;
      results.push(result);
    }
    if (!scanner.cfws()) return undefined;
  }
  return scanner.ended && (none || results.length > 0) ? { ...head, results } : undefined;
}

function readHead(scanner: Scanner): { authservId: string; version?: string } | undefined {
  if (!scanner.cfws()) return undefined;
  const authservId = scanner.value(token);
  if (authservId === undefined || !scanner.cfws()) return undefined;
  const version = scanner.take(/\d+/y);
  if (!scanner.cfws()) return undefined;
  return version === undefined ? { authservId } : { authservId, version };
}

/** methodspec [CFWS reasonspec] *(CFWS propspec) */
function readResult(scanner: Scanner): AuthResult | undefined {
  const method = scanner.take(keyword);
  if (method === undefined || !scanner.cfws()) return undefined;
  let version: string | undefined;
  if (scanner.literal("/")) {
    if (!scanner.cfws()) return undefined;
    version = scanner.take(/\d+/y);
    if (version === undefined || !scanner.cfws()) return undefined;
  }
  if (!scanner.literal("=") || !scanner.cfws()) return undefined;
  const result = scanner.take(keyword);
  if (result === undefined || !scanner.cfws()) return undefined;
  const found: AuthResult = { method: method.toLowerCase(), result: result.toLowerCase(), properties: [] };
  if (version !== undefined) found.version = version;
  for (let name = scanner.take(keyword); name !== undefined; name = scanner.take(keyword)) {
    if (!readSpec(scanner, name, found)) return undefined;
  }
  return found;
}

/** `reason=value`, `ptype.property=pvalue`, or (skipped) `name=pvalue`. */
function readSpec(scanner: Scanner, name: string, found: AuthResult): boolean {
  if (!scanner.cfws()) return false;
  const dotted = scanner.literal(".");
  if (dotted && !scanner.cfws()) return false;
  const property = dotted ? scanner.take(/[A-Za-z0-9_-]+/y) : "";
  if (property === undefined || !scanner.cfws() || !scanner.literal("=") || !scanner.cfws()) return false;
  const value = scanner.value(propertyValue);
  if (value === undefined || !scanner.cfws()) return false;
  if (dotted) found.properties.push({ type: name.toLowerCase(), name: property.toLowerCase(), value });
  else if (name.toLowerCase() === "reason") found.reason = value;
  return true;
}

/** Characters that survive in a header: printable ASCII, and UTF-8 of internationalised mail. */
function clean(text: string): string {
  return printable(text).replace(/[\x00-\x1f\x7f]/g, " ");
}

function quote(text: string): string {
  return `"${clean(text).replace(/["\\]/g, "\\$&")}"`;
}

const plainValue = /^[^\x00-\x20\x7f()<>@,;:\\"/[\]?=]*(?:@?[^\x00-\x20\x7f()<>@,;:\\"/[\]?=]+)$/;

function valueText(text: string): string {
  return plainValue.test(text) ? text : quote(text);
}

/** Writes the value of the field; `folded` puts each result on a line of its own. */
export function formatAuthenticationResults(all: AuthenticationResults, folded = true): string {
  const separator = folded ? ";\r\n\t" : "; ";
  const version = all.version === undefined ? "" : ` ${all.version}`;
  const results = all.results.map((result) => {
    const parts = [`${result.method}${result.version === undefined ? "" : `/${result.version}`}=${result.result}`];
    if (result.comment) parts.push(`(${clean(result.comment).replace(/[()\\]/g, "\\$&")})`);
    if (result.reason) parts.push(`reason=${quote(result.reason)}`);
    for (const { type, name, value } of result.properties) parts.push(`${type}.${name}=${valueText(value)}`);
    return parts.join(" ");
  });
  return [valueText(all.authservId) + version, ...(results.length === 0 ? ["none"] : results)].join(separator);
}

/** authserv-id that a field claims, in lower case; undefined when it can't be made out. */
function claimedId(field: HeaderField): string | undefined {
  return readHead(new Scanner(fieldValue(field)))?.authservId.toLowerCase();
}

/**
 * RFC 8601 §5: whether a field that came from outside must go, since it claims to be written by one of `ours`
 * (lower case). What can't be read might be read as ours by somebody else, so it goes too.
 */
export function isForgedAuthenticationResults(field: HeaderField, ours: ReadonlySet<string>): boolean {
  if (field.name !== "authentication-results") return false;
  const id = claimedId(field);
  return id === undefined || ours.has(id);
}

/** All results that `authservId` wrote above the message, as one value (the body of an ARC-Authentication-Results). */
export function authenticationResultsOf(fields: readonly HeaderField[], authservId: string): string {
  const own = fields.filter(
    (field) => field.name === "authentication-results" && claimedId(field) === authservId.toLowerCase(),
  );
  const results = own.map((field) => {
    const scanner = new Scanner(fieldValue(field));
    readHead(scanner);
    return scanner.rest
      .replace(/^\s*;\s*/, "")
      .replace(/\s+/g, " ")
      .trim();
  });
  return [authservId, ...(results.length === 0 ? ["none"] : results)].join("; ");
}
