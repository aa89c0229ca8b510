/**
 * URI lists: registrable domains and addresses that a message's text links to, asked for in lists of such names.
 * Limits: Budget `uriDomains` names a message, the first 256 KiB of text. Failure: as in dnsbl.ts.
 */
import { domainToASCII } from "node:url";
import { parseAddress, reversedLabels } from "./address.ts";
import { askList } from "./dnsbl.ts";
import { registrableDomain } from "./psl.ts";
import type { CheckContext } from "./types.ts";

export interface UriHit {
  zone: string;
  /** Domain or address that is listed. */
  name: string;
  address: string;
  explanation: string;
}

const maxText = 256 * 1024;
/** Scheme and authority of a URI; user info and port are cut off afterwards. */
const uri = /\b(?:https?|ftp):\/\/([^\s/?#<>"'\\)\]]{1,300})/gi;
const bareHost = /\bwww\.[a-z0-9-]{1,63}(?:\.[a-z0-9-]{1,63}){1,10}/gi;

/** Names to ask for: registrable domains, and addresses as they stand. At most `limit`, in order of appearance. */
export function linkedNames(text: string, limit: number): string[] {
  const names = new Set<string>();
  const part = text.slice(0, maxText);
  for (const pattern of [uri, bareHost]) {
    for (const found of part.matchAll(pattern)) {
      if (names.size >= limit) return [...names];
      const host = (found[1] ?? found[0]).replace(/^.*@/, "").replace(/:\d*$/, "").replace(/\.$/, "");
      const ascii = domainToASCII(host);
      if (ascii === "") continue;
      const name = parseAddress(ascii) === undefined ? registrableDomain(ascii) : ascii;
      if (name !== undefined) names.add(name);
    }
  }
  return [...names];
}

/** Asks every zone about every name that `text` links to. */
export async function checkUriLists(text: string, zones: readonly string[], ctx: CheckContext): Promise<UriHit[]> {
  const names = linkedNames(text, ctx.budget.uriDomains);
  const asked = zones.flatMap((zone) =>
    names.map(async (name): Promise<UriHit | undefined> => {
      const address = parseAddress(name);
      const entry = await askList(address === undefined ? name : reversedLabels(address), zone, ctx);
      return entry.address === "" ? undefined : { zone, name, address: entry.address, explanation: entry.explanation };
    }),
  );
  return (await Promise.all(asked)).filter((hit) => hit !== undefined);
}
