/**
 * The DKIM-Signature field (RFC 6376 §3.5) and its ARC cousin, the ARC-Message-Signature (RFC 8617 §4.1.2): parsed and
 * checked for everything that needs neither key nor body. Failure: a reason in words (permerror).
 */
import { fieldValue, type HeaderField } from "../message.ts";
import type { Canonicalization, HashName } from "./canonical.ts";
import { relaxedField, relaxText } from "./canonical.ts";
import { base64, colonList, parseTags, type Tags, unfold } from "./tags.ts";

export interface Signature {
  field: HeaderField;
  tags: Tags;
  /** "rsa-sha256", "rsa-sha1" or "ed25519-sha256". */
  algorithm: string;
  keyType: "rsa" | "ed25519";
  hash: HashName;
  signature: Buffer;
  bodyHash: Buffer;
  headerCanonicalization: Canonicalization;
  bodyCanonicalization: Canonicalization;
  domain: string;
  selector: string;
  /** i= decoded; "@domain" when absent. Empty for ARC, whose i= is the instance. */
  identity: string;
  /** h= in lower case, in order. */
  headers: string[];
  /** Written by a draft before the RFC (v= missing or 0.x, q=dns): verified to the end, and never valid. */
  draft: boolean;
  /** l=, or infinity. */
  length: number;
  /** x= in seconds, or undefined. */
  expires: number | undefined;
}

const algorithms: Readonly<Record<string, readonly ["rsa" | "ed25519", HashName]>> = {
  "rsa-sha256": ["rsa", "sha256"],
  "rsa-sha1": ["rsa", "sha1"],
  "ed25519-sha256": ["ed25519", "sha256"],
};

const domainName = /^(?=.{1,253}$)[^\s.;:=@]{1,63}(?:\.[^\s.;:=@]{1,63})*$/;
const number = /^\d{1,12}$/;

/** `kind` "arc" reads an ARC-Message-Signature: no v=, i= is a number. */
export function parseSignature(field: HeaderField, kind: "dkim" | "arc"): Signature | string {
  const tags = parseTags(fieldValue(field));
  if (tags === undefined) return "not a tag list";
  for (const name of ["a", "b", "bh", "d", "s"]) if (!tags.get(name)) return `tag ${name}= is missing`; // §6.1.1
  const signed = tags.get("h");
  if (signed === undefined) return "tag h= is missing";
  const version = tags.get("v");
  const draftVersion = version === undefined || /^0\.\d$/.test(version);
  if (kind === "dkim" && !draftVersion && version !== "1") return "unknown version"; // §3.5 v=
  const algorithm = algorithms[tags.get("a")!.toLowerCase()];
  if (algorithm === undefined) return "unknown algorithm";
  const signature = base64(tags.get("b")!);
  const bodyHash = base64(tags.get("bh")!);
  if (signature === undefined || bodyHash === undefined) return "b= or bh= is not base64";
  const canonicalization = /^(simple|relaxed)(?:\/(simple|relaxed))?$/.exec((tags.get("c") ?? "simple").toLowerCase());
  if (canonicalization === null) return "unknown canonicalization";
  // §3.5 q=: unknown methods are ignored; one must be left that we know. The drafts wrote "dns".
  const queries = colonList(tags.get("q") ?? "dns/txt");
  const draftQuery = !queries.includes("dns/txt");
  if (draftQuery && !queries.includes("dns")) return "no known query method";
  const domain = unfold(tags.get("d")!).toLowerCase();
  const selector = unfold(tags.get("s")!).toLowerCase();
  if (!domainName.test(domain) || !domainName.test(selector)) return "d= or s= is no domain name";
  const headers = colonList(signed);
  if (headers.some((name) => !/^[\x21-\x39\x3b-\x7e]*$/.test(name))) return "h= is no list of field names";
  if (kind === "dkim" && !headers.includes("from")) return "h= does not sign From"; // §5.4
  // RFC 8617 §4.1.2: an ARC signature never covers ARC sets' seals.
  if (kind === "arc" && headers.includes("arc-seal")) return "h= signs ARC-Seal";
  const times = readTimes(tags);
  if (typeof times === "string") return times;
  const identity = kind === "dkim" ? readIdentity(tags.get("i"), domain) : "";
  if (identity === undefined) return "i= is not at d= or below it";
  const length = tags.get("l");
  if (length !== undefined && !/^\d{1,76}$/.test(length)) return "l= is no number";
  return {
    field,
    tags,
    algorithm: tags.get("a")!.toLowerCase(),
    keyType: algorithm[0],
    hash: algorithm[1],
    signature,
    bodyHash,
    headerCanonicalization: canonicalization[1] as Canonicalization,
    bodyCanonicalization: (canonicalization[2] ?? "simple") as Canonicalization,
    domain,
    selector,
    identity,
    headers,
    draft: kind === "dkim" && (draftVersion || draftQuery),
    length: length === undefined ? Number.POSITIVE_INFINITY : Number(length),
    expires: times.expires,
  };
}

function readTimes(tags: Tags): { expires: number | undefined } | string {
  const [t, x] = [tags.get("t"), tags.get("x")];
  if ((t !== undefined && !number.test(t)) || (x !== undefined && !number.test(x))) return "t= or x= is no number";
  if (t !== undefined && x !== undefined && Number(x) <= Number(t)) return "x= is not after t="; // §3.5 x=
  return { expires: x === undefined ? undefined : Number(x) };
}

/** §3.5 i=: dkim-quoted-printable; its domain is d= or below. */
function readIdentity(value: string | undefined, domain: string): string | undefined {
  if (value === undefined) return `@${domain}`;
  const decoded = unfold(value).replace(/=([0-9A-F]{2})/g, (_, hex: string) =>
    String.fromCharCode(Number.parseInt(hex, 16)),
  );
  const at = decoded.lastIndexOf("@");
  if (at < 0) return undefined;
  const host = decoded.slice(at + 1).toLowerCase();
  return host === domain || host.endsWith(`.${domain}`) ? decoded : undefined;
}

/** The field with the value of b= taken out, blanks around it included (§3.7). */
export function withoutSignature(raw: string): string {
  const colon = raw.indexOf(":") + 1;
  return raw.slice(0, colon) + raw.slice(colon).replace(/((?:^|;)[ \t\r\n]*b[ \t\r\n]*=)[^;]*/, "$1");
}

/**
 * What the signature covers: the fields of h=, each name from the bottom upwards (§5.4.2), then the signature's own
 * field without b= and without a final CRLF (§3.7).
 */
export function signedHeaders(
  fields: readonly HeaderField[],
  headers: readonly string[],
  canonicalization: Canonicalization,
  own: string,
): Buffer {
  const byName = new Map<string, HeaderField[]>();
  for (const field of fields) {
    const same = byName.get(field.name);
    if (same === undefined) byName.set(field.name, [field]);
    else same.push(field);
  }
  let text = "";
  for (const name of headers) {
    const field = byName.get(name)?.pop();
    if (field === undefined) continue; // §3.5 h=: a field that is not there counts as the null string
    text += `${canonicalization === "relaxed" ? relaxedField(field) : field.raw}\r\n`;
  }
  const last = withoutSignature(own);
  return Buffer.from(text + (canonicalization === "relaxed" ? relaxText(last) : last), "latin1");
}
