/**
 * Forward-confirmed reverse DNS of the client (smtpfilters.md §6; "iprev" of RFC 8601 §2.7.3).
 * "fail": no name; "neutral": no name leads back to the client; "pass": one does; "error": DNS did not say.
 * Limit: the first ten names are tried.
 */
import { DnsError } from "../dns/types.ts";
import { addressText, parseAddress, reverseName } from "./address.ts";
import type { CheckContext } from "./types.ts";

export interface ReverseDnsResult {
  result: "pass" | "neutral" | "fail" | "error";
  /** The confirmed name, else the first name, else "". */
  name: string;
}

const maxNames = 10;

export async function checkReverseDns(ip: string, ctx: CheckContext): Promise<ReverseDnsResult> {
  const address = parseAddress(ip);
  if (address === undefined) return { result: "error", name: "" };
  try {
    const { records } = await ctx.resolver.resolve(reverseName(address), "PTR");
    if (records.length === 0) return { result: "fail", name: "" };
    const wanted = addressText(address);
    const names = records.slice(0, maxNames);
    const answers = await Promise.allSettled(
      names.map((name) => ctx.resolver.resolve(name, address.family === 4 ? "A" : "AAAA")),
    );
    const confirmed = answers.findIndex(
      (answer) => answer.status === "fulfilled" && answer.value.records.some((text) => sameAddress(text, wanted)),
    );
    if (confirmed >= 0) return { result: "pass", name: names[confirmed]! };
    const unknown = answers.some((answer) => answer.status === "rejected");
    return { result: unknown ? "error" : "neutral", name: names[0]! };
  } catch (error) {
    if (error instanceof DnsError) return { result: "error", name: "" };
    throw error;
  }
}

function sameAddress(text: string, wanted: string): boolean {
  const address = parseAddress(text);
  return address !== undefined && addressText(address) === wanted;
}
