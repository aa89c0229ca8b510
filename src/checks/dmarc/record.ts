/**
 * DMARC Policy Records (RFC 9989 §4.7, §4.8): text → policy.
 * Invariant: what is unknown or malformed inside a record is left out, never guessed. Failure: undefined when the text
 * is no DMARC record, or one that can't be used.
 */
import { unfold } from "../dkim/tags.ts";

export type DmarcPolicy = "none" | "quarantine" | "reject";

export interface ReportAddress {
  /** Address of a mailto: URI. */
  address: string;
}

export interface DmarcRecord {
  /** The text as published. */
  text: string;
  tags: ReadonlyMap<string, string>;
  p: DmarcPolicy;
  sp: DmarcPolicy | undefined;
  np: DmarcPolicy | undefined;
  strictDkim: boolean;
  strictSpf: boolean;
  /** y: public suffix domain; n: organizational domain; u: not said. */
  psd: "y" | "n" | "u";
  /** t=y: apply a policy one step milder (§4.7). */
  testing: boolean;
  rua: ReportAddress[];
  ruf: ReportAddress[];
  fo: string;
}

/** §4.7: "v" comes first and is exactly DMARC1, in capitals; the tag's name may be of any case (RFC 5234 §2.3). */
export function isDmarcRecord(text: string): boolean {
  return /^[vV][ \t]*=[ \t]*DMARC1[ \t]*(?:;|$)/.test(text);
}

function policyOf(text: string | undefined): DmarcPolicy | undefined {
  const word = text?.toLowerCase();
  return word === "none" || word === "quarantine" || word === "reject" ? word : undefined;
}

const maxReportAddresses = 10;

function reportAddresses(value: string | undefined): ReportAddress[] {
  if (value === undefined) return [];
  return value
    .split(",")
    .flatMap((uri) => {
      // The size limit "!10m" of RFC 7489 is obsolete; it is taken off.
      const found = /^mailto:([^!?\s]+@[^!?\s@]+)/i.exec(unfold(uri));
      return found === null ? [] : [{ address: decodeUri(found[1]!) }];
    })
    .slice(0, maxReportAddresses);
}

function decodeUri(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // a stray "%" is taken as it is
  }
}

export function parseDmarcRecord(text: string): DmarcRecord | undefined {
  if (!isDmarcRecord(text)) return undefined;
  const tags = new Map<string, string>();
  for (const spec of text.split(";")) {
    const equals = spec.indexOf("=");
    const name = spec.slice(0, Math.max(equals, 0)).trim().toLowerCase();
    if (/^[a-z][a-z0-9_]*$/.test(name) && !tags.has(name)) tags.set(name, spec.slice(equals + 1).trim());
  }
  const rua = reportAddresses(tags.get("rua"));
  // §4.7 p=: without a usable policy, a record that asks for reports counts as p=none, any other not at all.
  const p = policyOf(tags.get("p")) ?? (rua.length > 0 ? "none" : undefined);
  const psd = tags.get("psd")?.toLowerCase();
  // A record of a public suffix needs no p=.
  if (p === undefined && psd !== "y") return undefined;
  return {
    text,
    tags,
    p: p ?? "none",
    sp: policyOf(tags.get("sp")),
    np: policyOf(tags.get("np")),
    strictDkim: tags.get("adkim")?.toLowerCase() === "s",
    strictSpf: tags.get("aspf")?.toLowerCase() === "s",
    psd: psd === "y" || psd === "n" ? psd : "u",
    testing: tags.get("t")?.toLowerCase() === "y",
    rua,
    ruf: reportAddresses(tags.get("ruf")),
    fo: tags.get("fo") ?? "0",
  };
}
