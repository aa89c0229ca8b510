/**
 * BIMI (draft-brand-indicators-for-message-identification): does the author's domain, whose DMARC policy is enforced,
 * publish an indicator? Only the record is looked at: neither the image nor the mark certificate is fetched.
 * Failure: never throws for what is in the message or in DNS; "temperror" then.
 */
import { DnsError } from "../dns/types.ts";
import type { Authentication } from "./authenticate.ts";
import { parseTags } from "./dkim/tags.ts";
import { TreeWalk } from "./dmarc/walk.ts";
import { fieldValue, type HeaderField } from "./message.ts";
import type { CheckContext } from "./types.ts";

export interface BimiResult {
  /** "none": no record, the domain declines, or the message is not eligible. */
  result: "pass" | "fail" | "none" | "temperror";
  /** https: URI of the indicator (l=), "" when there is none. */
  location: string;
  reason: string;
}

const selectorName = /^[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9])?$/;
const maxUri = 2_048;

/** `fields` may hold a BIMI-Selector; `all` is the authentication of the same message. */
export async function checkBimi(
  fields: readonly HeaderField[],
  { dmarc }: Authentication,
  ctx: CheckContext,
): Promise<BimiResult> {
  const answer = (result: BimiResult["result"], reason: string): BimiResult => ({ result, location: "", reason });
  if (dmarc.result === "temperror") return answer("temperror", "DMARC could not be checked");
  if (dmarc.result !== "pass" || dmarc.record === undefined) return answer("none", "DMARC does not pass");
  // An indicator is only for domains whose owner has others' mail refused or set aside, below the domain too.
  const { p, sp = p } = dmarc.record;
  if (dmarc.policy === "none" || p === "none" || sp === "none")
    return answer("none", "the DMARC policy is not enforced");
  const selector = selectorOf(fields);
  if (selector === undefined) return answer("fail", "BIMI-Selector is no selector");
  try {
    const organization = await new TreeWalk(ctx).organizationalDomain(dmarc.fromDomain);
    for (const domain of new Set([dmarc.fromDomain, organization])) {
      const { records } = await ctx.resolver.resolve(`${selector}._bimi.${domain}`, "TXT");
      const found = records.filter((text) => /^v[ \t]*=[ \t]*BIMI1[ \t]*(?:;|$)/i.test(text));
      if (found.length > 1) return answer("fail", `${domain} has ${found.length} BIMI records`);
      if (found.length === 1) return readRecord(found[0]!);
    }
    return answer("none", "no BIMI record");
  } catch (error) {
    if (error instanceof DnsError) return answer("temperror", error.message);
    throw error;
  }
}

/** Of the field BIMI-Selector, "default" without one; undefined when it can't be used, or stands more than once. */
function selectorOf(fields: readonly HeaderField[]): string | undefined {
  const [field, ...others] = fields.filter(({ name }) => name === "bimi-selector");
  if (field === undefined) return "default";
  const tags = parseTags(fieldValue(field));
  const selector = tags?.get("s")?.toLowerCase() ?? "";
  return others.length === 0 && tags?.get("v") === "BIMI1" && selectorName.test(selector) ? selector : undefined;
}

/** l= and a= are https: URIs or empty; both empty: the domain declines. */
function readRecord(text: string): BimiResult {
  const tags = parseTags(text);
  const [location, evidence] = [tags?.get("l") ?? "", tags?.get("a") ?? ""];
  if (tags === undefined || !tags.has("l")) return { result: "fail", location: "", reason: "not a usable BIMI record" };
  if (location === "" && evidence === "") return { result: "none", location: "", reason: "the domain declines" };
  if (!isHttps(location) || (evidence !== "" && !isHttps(evidence))) {
    return { result: "fail", location: "", reason: "l= or a= is no https: URI" };
  }
  return { result: "pass", location, reason: "" };
}

function isHttps(text: string): boolean {
  return text.length <= maxUri && /^https:\/\/[\x21-\x7e]+$/i.test(text) && URL.canParse(text);
}
