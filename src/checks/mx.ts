/**
 * Whether mail can go back to the sender's domain (smtpfilters.md §6 "sender MX check").
 * "pass": it has an MX, or the sender is null; "fail": none, or the null MX of RFC 7505; "error": DNS did not say.
 */
import { DnsError } from "../dns/types.ts";
import type { CheckContext } from "./types.ts";

export type SenderMxResult = "pass" | "fail" | "error";

export interface SenderMxOptions {
  /** Take an A or AAAA record in place of an MX (RFC 5321 §5.1). The reference says no. */
  implicit?: boolean;
}

/** `domain` is the domain of MAIL FROM, "" for the null sender. */
export async function checkSenderMx(
  domain: string,
  ctx: CheckContext,
  options: SenderMxOptions = {},
): Promise<SenderMxResult> {
  if (domain === "") return "pass";
  try {
    const { records, nxdomain } = await ctx.resolver.resolve(domain, "MX");
    if (records.length > 0)
      return records.some(({ exchange }) => exchange !== "" && exchange !== ".") ? "pass" : "fail";
    if (nxdomain || options.implicit !== true) return "fail";
    const addresses = await Promise.all([ctx.resolver.resolve(domain, "A"), ctx.resolver.resolve(domain, "AAAA")]);
    return addresses.some((answer) => answer.records.length > 0) ? "pass" : "fail";
  } catch (error) {
    if (error instanceof DnsError) return "error";
    throw error;
  }
}
