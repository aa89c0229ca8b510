/**
 * The text of an SPF record → its terms (RFC 7208 §4.5, §4.6, §12).
 * Invariant: the whole record is parsed before anything is evaluated (§4.6). Failure: `SpfSyntaxError`, which is a
 * permerror.
 */
import { type Network, parseNetwork } from "../address.ts";
import { type MacroString, parseDomainSpec, parseMacroString, SpfSyntaxError } from "./macro.ts";

export type Qualifier = "pass" | "fail" | "softfail" | "neutral";

export type Mechanism = { qualifier: Qualifier; text: string } & (
  | { kind: "all" }
  | { kind: "include" | "exists"; domain: MacroString }
  | { kind: "a" | "mx"; domain: MacroString | undefined; prefix4: number; prefix6: number }
  | { kind: "ptr"; domain: MacroString | undefined }
  | { kind: "ip4" | "ip6"; network: Network }
);

export interface SpfRecord {
  mechanisms: Mechanism[];
  redirect: MacroString | undefined;
  exp: MacroString | undefined;
}

const qualifiers: Readonly<Record<string, Qualifier>> = { "+": "pass", "-": "fail", "~": "softfail", "?": "neutral" };

/** §4.5: "v=spf1" and then a space or the end; any other record is of no concern to SPF. */
export function isSpfRecord(text: string): boolean {
  return /^v=spf1(?: |$)/i.test(text);
}

export function parseSpfRecord(text: string): SpfRecord {
  const record: SpfRecord = { mechanisms: [], redirect: undefined, exp: undefined };
  for (const term of text.slice("v=spf1".length).split(" ")) {
    if (term === "") continue;
    const modifier = /^([a-z][a-z0-9\-_.]*)=(.*)$/is.exec(term);
    if (modifier !== null) addModifier(record, modifier[1]!.toLowerCase(), modifier[2]!);
    else record.mechanisms.push(parseMechanism(term));
  }
  return record;
}

function addModifier(record: SpfRecord, name: string, value: string): void {
  if (name !== "redirect" && name !== "exp") {
    parseMacroString(value, false); // §6: unknown modifiers are ignored, yet must be well-formed (§12)
    return;
  }
  // §6: each of the two may appear once.
  if (record[name] !== undefined) throw new SpfSyntaxError(`second ${name}=`);
  record[name] = parseDomainSpec(value);
}

function parseMechanism(term: string): Mechanism {
  const found = /^([+\-~?]?)([a-z][a-z0-9\-_.]*)([:/].*)?$/is.exec(term);
  if (found === null) throw new SpfSyntaxError("term is neither mechanism nor modifier");
  const qualifier = qualifiers[found[1] || "+"]!;
  const rest = found[3] ?? "";
  const base = { qualifier, text: term };
  const kind = found[2]!.toLowerCase();
  switch (kind) {
    case "all":
      if (rest !== "") throw new SpfSyntaxError("all takes no argument");
      return { ...base, kind };
    case "include":
    case "exists":
      if (!rest.startsWith(":")) throw new SpfSyntaxError(`${kind} needs a domain`);
      return { ...base, kind, domain: parseDomainSpec(rest.slice(1)) };
    case "ptr":
      if (rest !== "" && !rest.startsWith(":")) throw new SpfSyntaxError("ptr takes no prefix length");
      return { ...base, kind, domain: rest === "" ? undefined : parseDomainSpec(rest.slice(1)) };
    case "a":
    case "mx":
      return { ...base, kind, ...parseDomainAndPrefixes(rest) };
    case "ip4":
    case "ip6":
      return { ...base, kind, network: parseIp(kind, rest) };
    default:
      throw new SpfSyntaxError("unknown mechanism");
  }
}

/** Prefix lengths have no leading zeros (§5.6, §12). */
function prefixLength(digits: string | undefined, bits: number): number {
  if (digits === undefined) return bits;
  if (!/^(?:0|[1-9]\d{0,2})$/.test(digits) || Number(digits) > bits) throw new SpfSyntaxError("bad prefix length");
  return Number(digits);
}

function parseDomainAndPrefixes(rest: string): { domain: MacroString | undefined; prefix4: number; prefix6: number } {
  // dual-cidr-length stands at the end; a "/" before it belongs to the macro-string.
  const found = /^(.*?)(?:\/(\d+))?(?:\/\/(\d+))?$/s.exec(rest)!;
  const name = found[1]!;
  if (name !== "" && !name.startsWith(":")) throw new SpfSyntaxError("bad prefix length");
  return {
    domain: name === "" ? undefined : parseDomainSpec(name.slice(1)),
    prefix4: prefixLength(found[2], 32),
    prefix6: prefixLength(found[3], 128),
  };
}

function parseIp(kind: "ip4" | "ip6", rest: string): Network {
  const found = /^:([^/]*)(?:\/(.*))?$/s.exec(rest);
  const address = found?.[1] ?? "";
  if (address.includes(":") !== (kind === "ip6")) throw new SpfSyntaxError(`bad address in ${kind}`);
  const prefix = prefixLength(found?.[2], kind === "ip4" ? 32 : 128);
  const network = parseNetwork(`${address}/${prefix}`);
  if (network === undefined) throw new SpfSyntaxError(`bad address in ${kind}`);
  return network;
}
