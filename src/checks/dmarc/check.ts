/**
 * DMARC (RFC 9989): does what SPF and DKIM have shown belong to the domain in From, and what does its owner ask for?
 * Failure: never throws for DNS; "temperror" then. A message without one usable author domain is "permerror".
 */
import { domainToASCII } from "node:url";
import { DnsError } from "../../dns/types.ts";
import { printable } from "../../message/outcome.ts";
import type { AuthResult } from "../authres.ts";
import type { CheckContext } from "../types.ts";
import type { DmarcPolicy, DmarcRecord } from "./record.ts";
import { TreeWalk } from "./walk.ts";

export interface DmarcInput {
  /** Domains in the From field; one is the normal case. */
  fromDomains: readonly string[];
  /** d= of the signatures that passed. */
  dkim: ReadonlyArray<{ domain: string; unsignedOctets?: number }>;
  /** Domain that SPF passed for, MAIL FROM identity (or HELO with a null sender); "" when it did not pass. */
  spfDomain: string;
}

export interface Alignment {
  strict: boolean;
  /** The aligned domain; undefined when there is none. */
  domain: string | undefined;
  /** Octets that l= left unsigned in a signature of this organization; 0 when none. */
  unsignedOctets: number;
}

export interface DmarcResult {
  result: "none" | "pass" | "fail" | "temperror" | "permerror";
  /** Author domain. */
  fromDomain: string;
  /** Domain whose record applies; "" when there is none. */
  domain: string;
  /** What the owner asks to do with a message that fails, after sp=, np= and t=; undefined without a record. */
  policy?: DmarcPolicy;
  record?: DmarcRecord;
  dkim: Alignment;
  spf: Alignment;
  reason: string;
}

const severity: readonly DmarcResult["result"][] = ["pass", "none", "permerror", "temperror", "fail"];

/** Checks each author domain; several (RFC 9989 §5.3.1) give the worst of their results. */
export async function checkDmarc(input: DmarcInput, ctx: CheckContext): Promise<DmarcResult> {
  const domains = [...new Set(input.fromDomains.map(normalDomain))];
  if (domains.length === 0 || domains.includes("")) return without("permerror", "", "no usable domain in From");
  if (domains.length > ctx.budget.dmarcAuthors) return without("permerror", "", "too many author domains");
  const walk = new TreeWalk(ctx);
  const results = await Promise.all(domains.map((domain) => guarded(domain, input, walk, ctx)));
  return results.toSorted((a, b) => severity.indexOf(b.result) - severity.indexOf(a.result))[0]!;
}

/** Lower case, A-labels, no final dot; "" when it is no domain name. */
function normalDomain(domain: string): string {
  const ascii = domainToASCII(domain.replace(/\.$/, "")).toLowerCase();
  return /^(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?$/.test(ascii)
    ? ascii
    : "";
}

function without(result: DmarcResult["result"], fromDomain: string, reason: string): DmarcResult {
  const none = { strict: false, domain: undefined, unsignedOctets: 0 };
  return { result, fromDomain, domain: "", dkim: none, spf: none, reason: printable(reason) };
}

async function guarded(domain: string, input: DmarcInput, walk: TreeWalk, ctx: CheckContext): Promise<DmarcResult> {
  try {
    return await checkDomain(domain, input, walk, ctx);
  } catch (error) {
    if (error instanceof DnsError) return without("temperror", domain, `DNS ${error.kind}: ${error.message}`);
    throw error;
  }
}

async function checkDomain(
  fromDomain: string,
  input: DmarcInput,
  walk: TreeWalk,
  ctx: CheckContext,
): Promise<DmarcResult> {
  const found = await walk.policy(fromDomain);
  if (found === undefined) return without("none", fromDomain, "no DMARC record");
  const { record } = found;
  const dkim = await align(fromDomain, input.dkim, record.strictDkim, walk);
  const spfDomains = input.spfDomain === "" ? [] : [{ domain: input.spfDomain }];
  const spf = await align(fromDomain, spfDomains, record.strictSpf, walk);
  const passed = dkim.domain !== undefined || spf.domain !== undefined;
  return {
    result: passed ? "pass" : "fail",
    fromDomain,
    domain: found.domain,
    policy: await effectivePolicy(fromDomain, found.domain, record, ctx),
    record,
    dkim,
    spf,
    reason: passed ? "" : "neither DKIM nor SPF is aligned",
  };
}

/** §4.4: strict is equality, relaxed is the same organizational domain. */
async function align(
  fromDomain: string,
  candidates: DmarcInput["dkim"],
  strict: boolean,
  walk: TreeWalk,
): Promise<Alignment> {
  const alignment: Alignment = { strict, domain: undefined, unsignedOctets: 0 };
  for (const candidate of candidates) {
    const domain = normalDomain(candidate.domain);
    const same = domain === fromDomain;
    const related =
      same || ((!strict || candidate.unsignedOctets) && (await sameOrganization(domain, fromDomain, walk)));
    if (!related) continue;
    alignment.unsignedOctets = Math.max(alignment.unsignedOctets, candidate.unsignedOctets ?? 0);
    if (same || !strict) alignment.domain ??= domain;
  }
  return alignment;
}

async function sameOrganization(domain: string, fromDomain: string, walk: TreeWalk): Promise<boolean> {
  if (domain === "") return false;
  const organization = await walk.organizationalDomain(fromDomain);
  // What is not at or below the author's organization can't share it, and needs no walk of its own.
  if (domain !== organization && !domain.endsWith(`.${organization}`)) return false;
  return (await walk.organizationalDomain(domain)) === organization;
}

const milder: Readonly<Record<DmarcPolicy, DmarcPolicy>> = { reject: "quarantine", quarantine: "none", none: "none" };

/** §4.7: p= for the domain of the record; below it np= when the author domain does not exist, else sp=. */
async function effectivePolicy(
  fromDomain: string,
  recordDomain: string,
  record: DmarcRecord,
  ctx: CheckContext,
): Promise<DmarcPolicy> {
  let policy = record.p;
  if (fromDomain !== recordDomain) {
    policy = record.sp ?? record.p;
    if (record.np !== undefined && (await isMissing(fromDomain, ctx))) policy = record.np;
  }
  return record.testing ? milder[policy] : policy;
}

/** §3.2: a domain does not exist when DNS says NXDOMAIN (RFC 8020). */
async function isMissing(domain: string, ctx: CheckContext): Promise<boolean> {
  return (await ctx.resolver.resolve(domain, "A")).nxdomain;
}

/** The result as Authentication-Results carries it (RFC 9989 §8, RFC 8601 §2.7); `notes` join the comment. */
export function dmarcAuthResult(dmarc: DmarcResult, notes: readonly string[] = []): AuthResult {
  const comment = dmarc.policy === undefined ? notes : [`p=${dmarc.policy} d=${dmarc.domain}`, ...notes];
  const properties = dmarc.fromDomain === "" ? [] : [{ type: "header", name: "from", value: dmarc.fromDomain }];
  return { method: "dmarc", result: dmarc.result, comment: comment.join(" "), properties };
}
