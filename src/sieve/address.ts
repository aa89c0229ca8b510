/**
 * Addresses in scripts and envelopes, read strictly (RFC 5228 §2.4.2.3), and the parts that tests look at (§2.7.4,
 * RFC 5233). Addresses of messages are read leniently by src/message/addresses.ts.
 * Invariants: pure. Failure: a text that is no address gives a `problem`, never a throw.
 */

export interface Address {
  local: string;
  domain: string;
}

export type AddressResult = { ok: true; address: Address } | { ok: false; problem: string };

// RFC 5322 §3.2.3, RFC 6532 §3.2: letters beyond ASCII are the last range.
const atom = "[A-Za-z0-9!#$%&'*+/=?^_`{|}~\\u{a0}-\\u{10ffff}-]+";
const dotAtom = new RegExp(`^${atom}(?:\\.${atom})*`, "u");
/** Neighbouring dots are no RFC's, but in use. */
const localAtoms = new RegExp(`^${atom}(?:\\.+${atom})*`, "u");
const beyondAscii = /[^\x00-\x7f]/;
const quotedString = /^"(?:[^"\\\r\n]|\\[^\r\n])*"/;
const domainLiteral = /^\[[^[\]\\\r\n]*\]/;
const comment = /^\s*(?:\([^()]*\)\s*)*/;

/**
 * A single address: addr-spec, or phrase "<" addr-spec ">".
 * @param utf8 the address itself may have letters beyond ASCII (RFC 6532), as only SMTPUTF8 can carry it.
 */
export function parseScriptAddress(text: string, utf8 = false): AddressResult {
  let rest = skip(text);
  if (rest === "") return fail("empty address");
  const phrase = /^(?:"(?:[^"\\]|\\.)*"|[^"<>@,;:()[\]\\])*</.exec(rest);
  const bracketed = phrase !== null;
  if (bracketed) rest = skip(rest.slice(phrase[0].length));
  const spec = addrSpec(rest);
  if (!spec.ok) return spec;
  const { local, domain } = spec.address;
  if (!utf8 && beyondAscii.test(`${local}@${domain}`)) return fail("characters beyond ASCII");
  rest = skip(spec.rest);
  if (bracketed) {
    if (rest[0] !== ">") return fail("missing '>'");
    rest = skip(rest.slice(1));
  }
  if (rest[0] === ",") return fail("not a single address (found ',')");
  if (rest !== "") return fail("address ends in invalid characters");
  return { ok: true, address: spec.address };
}

/** An SMTP path (RFC 5321 §4.1.2), brackets optional; "" and "<>" are the null path. */
export function parsePath(text: string, options: { lonelyLocal: boolean }): AddressResult {
  const bare = text.startsWith("<") && text.endsWith(">") ? text.slice(1, -1) : text;
  if (bare === "") return { ok: true, address: { local: "", domain: "" } };
  const local = localPart(bare);
  if (local === undefined) return fail("invalid local part");
  if (options.lonelyLocal && local.rest === "") return { ok: true, address: { local: local.value, domain: "" } };
  const spec = addrSpec(bare);
  if (!spec.ok) return spec;
  return spec.rest === "" ? spec : fail("invalid characters after path");
}

function addrSpec(text: string): { ok: true; address: Address; rest: string } | { ok: false; problem: string } {
  const local = localPart(text);
  if (local === undefined) return fail("invalid local part");
  const afterLocal = skip(local.rest);
  if (afterLocal[0] !== "@") return fail(`invalid or lonely local part '${local.value}' (expecting '@')`);
  const rest = skip(afterLocal.slice(1));
  const domain = dotAtom.exec(rest)?.[0] ?? domainLiteral.exec(rest)?.[0];
  if (domain === undefined || rest[domain.length] === ".") return fail("invalid or missing domain");
  return { ok: true, address: { local: local.value, domain }, rest: rest.slice(domain.length) };
}

function localPart(text: string): { value: string; rest: string } | undefined {
  const quoted = quotedString.exec(text)?.[0];
  if (quoted !== undefined)
    return { value: quoted.slice(1, -1).replace(/\\(.)/g, "$1"), rest: text.slice(quoted.length) };
  const plain = localAtoms.exec(text)?.[0];
  return plain === undefined ? undefined : { value: plain, rest: text.slice(plain.length) };
}

function skip(text: string): string {
  return text.slice(comment.exec(text)![0].length);
}

function fail(problem: string): { ok: false; problem: string } {
  return { ok: false, problem };
}

/** "local@domain", the local part quoted where it must be; "" for the null path. */
export function formatAddress({ local, domain }: Address): string {
  if (local === "" && domain === "") return "";
  const whole = dotAtom.exec(local)?.[0] === local;
  const written = whole ? local : `"${local.replace(/["\\]/g, "\\$&")}"`;
  return domain === "" ? written : `${written}@${domain}`;
}

export type AddressPart = "all" | "localpart" | "domain" | "user" | "detail";

/**
 * The part of an address that a test compares, undefined when the address has no such part.
 * @param delimiter separators of user and detail; any of its characters serves (RFC 5233 §4).
 */
export function addressPart(address: Address, part: AddressPart, delimiter: string): string | undefined {
  if (part === "all") return formatAddress(address);
  if (part === "domain") return address.domain;
  if (part === "localpart") return address.local;
  const at = [...delimiter].map((c) => address.local.indexOf(c)).filter((index) => index >= 0);
  const split = at.length === 0 ? -1 : Math.min(...at);
  if (part === "user") return split < 0 ? address.local : address.local.slice(0, split);
  // RFC 5233 §4: without a separator there is no detail, and no test of it is true.
  return split < 0 ? undefined : address.local.slice(split + 1);
}
