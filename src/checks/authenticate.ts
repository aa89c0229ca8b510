/**
 * The whole authentication of one message: SPF, DKIM, ARC and DMARC with a single pass over the body, and what is
 * said of it in Authentication-Results. Failure: BudgetExceeded for a header section beyond its limits; the error of
 * the message's source; nothing else.
 */
import { mailboxesOf, parseAddresses } from "../message/addresses.ts";
import { type ArcResult, beginArc } from "./arc.ts";
import type { AuthResult } from "./authres.ts";
import { BodyHashes } from "./dkim/canonical.ts";
import { beginVerification, type DkimResult } from "./dkim/verify.ts";
import { checkDmarc, type DmarcResult, dmarcAuthResult } from "./dmarc/check.ts";
import { fieldValue, type HeaderField, type MessageSource, readMessage } from "./message.ts";
import { checkSpf, type SpfInput, type SpfResult } from "./spf/check.ts";
import type { CheckContext } from "./types.ts";

export interface Authentication {
  spf: SpfResult;
  dkim: DkimResult[];
  arc: ArcResult;
  dmarc: DmarcResult;
}

/** `sender.mailFrom` may be "": SPF then looks at the HELO identity. `spf` spares asking again. */
export async function authenticate(
  source: MessageSource,
  sender: Required<SpfInput>,
  ctx: CheckContext,
  spf: Promise<SpfResult> = checkSpf(sender, ctx),
): Promise<Authentication> {
  const message = await readMessage(source, ctx.budget);
  const hashes = new BodyHashes();
  const [finishDkim, finishArc, spfResult] = await Promise.all([
    beginVerification(message.fields, hashes, ctx),
    beginArc(message.fields, hashes, ctx),
    spf,
  ]);
  await hashes.feed(message.body);
  const dkim = finishDkim.map((finish) => finish());
  const dmarc = await checkDmarc(
    {
      fromDomains: authorDomains(message.fields),
      dkim: dkim.filter(({ result }) => result === "pass"),
      spfDomain: spfResult.result === "pass" ? spfResult.domain : "",
    },
    ctx,
  );
  return { spf: spfResult, dkim, arc: finishArc(), dmarc };
}

/** Domains of the From field; none when there are several fields, since readers differ in which they show. */
export function authorDomains(fields: readonly HeaderField[]): string[] {
  const from = fields.filter(({ name }) => name === "from");
  if (from.length !== 1) return [];
  return mailboxesOf(parseAddresses(fieldValue(from[0]!))).map(({ domain }) => domain);
}

/** One result for a message with several signatures: the best, "none" without any (RFC 8601 §2.7.1 words). */
export function summariseDkim(results: readonly DkimResult[]): DkimResult["result"] {
  const order = ["pass", "temperror", "fail", "policy", "neutral", "permerror"] as const;
  return order.find((word) => results.some(({ result }) => result === word)) ?? "none";
}

/** Entries for Authentication-Results, in the order SPF, DKIM, ARC, DMARC. */
export function authenticationResults(all: Authentication): AuthResult[] {
  const { spf, dkim, arc, dmarc } = all;
  const results: AuthResult[] = [spfAuthResult(spf)];
  for (const signature of dkim) results.push(dkimAuthResult(signature));
  if (dkim.length === 0) results.push({ method: "dkim", result: "none", properties: [] });
  if (arc.instances > 0) results.push({ method: "arc", result: arc.result, comment: arc.reason, properties: [] });
  results.push(dmarcAuthResult(dmarc, arc.instances > 0 ? [`arc=${arc.result}`] : []));
  return results;
}

/** RFC 8601 §2.7.2: the identity that was checked. */
export function spfAuthResult(spf: SpfResult): AuthResult {
  const property =
    spf.identity === "helo"
      ? { type: "smtp", name: "helo", value: spf.domain }
      : { type: "smtp", name: "mailfrom", value: spf.sender };
  return { method: "spf", result: spf.result, properties: [property] };
}

function dkimAuthResult(signature: DkimResult): AuthResult {
  const { result, reason, domain, identity, selector, algorithm } = signature;
  const named: ReadonlyArray<readonly [string, string]> = [
    ["d", domain],
    ["i", identity],
    ["s", selector],
    ["a", algorithm],
    ["b", signature.signature], // RFC 6008
  ];
  const properties = named
    .filter(([, value]) => value !== "")
    .map(([name, value]) => ({ type: "header", name, value }));
  return { method: "dkim", result, ...(reason === "" ? {} : { reason }), properties };
}
