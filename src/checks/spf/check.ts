/**
 * SPF: check_host() of RFC 7208 for the HELO and MAIL FROM identities.
 * Limits: Budget `spfLookups` terms that ask DNS, `spfVoidLookups` answers without data, 10 MX and 10 PTR names a term
 * (§4.6.4). Failure: never throws for what the network did; DNS trouble is "temperror", a broken or too costly record
 * "permerror".
 */

import type { RecordType } from "../../dns/types.ts";
import { DnsError } from "../../dns/types.ts";
import { printable } from "../../message/outcome.ts";
import { type Address, inNetwork, parseAddress, reverseName, samePrefix } from "../address.ts";
import type { CheckContext } from "../types.ts";
import {
  expandDomain,
  expandMacro,
  type MacroString,
  type MacroValues,
  parseMacroString,
  SpfSyntaxError,
} from "./macro.ts";
import { isSpfRecord, type Mechanism, parseSpfRecord, type SpfRecord } from "./record.ts";

export type SpfResultToken = "pass" | "fail" | "softfail" | "neutral" | "none" | "temperror" | "permerror";

export interface SpfInput {
  /** Client address. */
  ip: string;
  /** EHLO/HELO argument. */
  helo: string;
  /** Reverse-path without brackets; "" is the null sender. Leave out to check the HELO identity. */
  mailFrom?: string;
}

export interface SpfResult {
  result: SpfResultToken;
  identity: "mailfrom" | "helo";
  /** Domain whose record was asked for. */
  domain: string;
  /** Sender the macros saw: local-part@domain. */
  sender: string;
  /** Mechanism that matched, or "default". */
  mechanism: string;
  /** Text of exp= on fail, "" when there is none. Printable ASCII. */
  explanation: string;
  /** Why temperror or permerror. */
  problem: string;
}

const maxNames = 10;
const maxExplanation = 512;

class TempError extends Error {}
class PermError extends Error {}

interface Evaluation {
  ctx: CheckContext;
  ip: Address;
  values: Omit<MacroValues, "domain" | "clientName">;
  lookups: number;
  voids: number;
  /** PTR names, asked once. */
  names: Promise<string[]> | undefined;
}

interface HostResult {
  result: SpfResultToken;
  mechanism: string;
  explain: { macro: MacroString; domain: string } | undefined;
  problem: string;
}

/** Runs check_host for MAIL FROM when `mailFrom` is given, else for HELO. */
export async function checkSpf(input: SpfInput, ctx: CheckContext): Promise<SpfResult> {
  const identity = input.mailFrom === undefined || input.mailFrom === "" ? "helo" : "mailfrom";
  // §2.4: the null reverse-path stands for postmaster at the HELO name.
  const sender = input.mailFrom || `postmaster@${input.helo}`;
  const at = sender.lastIndexOf("@");
  const domain = sender.slice(at + 1);
  const localPart = at > 0 ? sender.slice(0, at) : "postmaster"; // §4.3
  const shown = {
    identity: input.mailFrom === undefined ? "helo" : identity,
    domain,
    sender: `${localPart}@${domain}`,
  } as const;
  const none = { ...shown, mechanism: "", explanation: "" };
  const ip = parseAddress(input.ip);
  if (ip === undefined) return { ...none, result: "none", problem: "client address is not an IP address" };
  const evaluation: Evaluation = {
    ctx,
    ip,
    values: {
      sender: shown.sender,
      localPart,
      senderDomain: domain,
      ip,
      helo: input.helo,
      receiver: ctx.hostName || "unknown",
      timestamp: Math.floor(ctx.now() / 1000),
    },
    lookups: 0,
    voids: 0,
    names: undefined,
  };
  const host = await guarded(() => checkHost(evaluation, domain));
  const explanation =
    host.result === "fail" && host.explain !== undefined ? await explain(evaluation, host.explain) : "";
  return { ...shown, result: host.result, mechanism: host.mechanism, explanation, problem: host.problem };
}

async function guarded(run: () => Promise<HostResult>): Promise<HostResult> {
  const failed = (result: SpfResultToken, error: Error): HostResult => ({
    result,
    mechanism: "",
    explain: undefined,
    problem: printable(error.message),
  });
  try {
    return await run();
  } catch (error) {
    if (error instanceof TempError) return failed("temperror", error);
    if (error instanceof PermError || error instanceof SpfSyntaxError) return failed("permerror", error);
    throw error;
  }
}

/** §4.3: labels of 1–63 octets, at least two of them; an address literal is no domain. */
function isCheckable(domain: string): boolean {
  const labels = domain.replace(/\.$/, "").split(".");
  return (
    labels.length > 1 &&
    domain.length <= 254 &&
    labels.every((l) => l.length > 0 && l.length <= 63) &&
    !/[[\]]/.test(domain)
  );
}

async function checkHost(evaluation: Evaluation, domain: string): Promise<HostResult> {
  const nothing = (problem: string): HostResult => ({ result: "none", mechanism: "", explain: undefined, problem });
  if (!isCheckable(domain)) return nothing("not a domain name");
  const texts = await query(evaluation, domain, "TXT");
  const records = texts.filter(isSpfRecord);
  if (records.length === 0) return nothing("no SPF record");
  if (records.length > 1) throw new PermError(`${domain} has ${records.length} SPF records`); // §4.5
  const text = records[0]!;
  const limit = evaluation.ctx.budget.spfRecord;
  if (text.length > limit) throw new PermError(`SPF record of ${text.length} octets (limit ${limit})`);
  const record = parseSpfRecord(text);
  for (const mechanism of record.mechanisms) {
    if (!(await matches(evaluation, mechanism, domain))) continue;
    const explain = record.exp === undefined ? undefined : { macro: record.exp, domain };
    return { result: mechanism.qualifier, mechanism: mechanism.text, explain, problem: "" };
  }
  if (record.redirect !== undefined) return redirect(evaluation, record, domain);
  return { result: "neutral", mechanism: "default", explain: undefined, problem: "" }; // §4.7
}

/** §6.1: the redirected record decides, its exp= included; "none" there is a permerror. */
async function redirect(evaluation: Evaluation, record: SpfRecord, domain: string): Promise<HostResult> {
  countLookup(evaluation);
  const target = await expandDomain(record.redirect!, valuesFor(evaluation, domain));
  const result = await checkHost(evaluation, target);
  if (result.result === "none") throw new PermError(`redirect to ${target}, which has no SPF record`);
  return result;
}

/** §4.6.4: include, a, mx, ptr, exists and redirect count, all together. */
function countLookup(evaluation: Evaluation): void {
  const limit = evaluation.ctx.budget.spfLookups;
  if (++evaluation.lookups > limit) throw new PermError(`more than ${limit} terms that need DNS`);
}

async function matches(evaluation: Evaluation, mechanism: Mechanism, domain: string): Promise<boolean> {
  switch (mechanism.kind) {
    case "all":
      return true;
    case "ip4":
    case "ip6":
      return inNetwork(evaluation.ip, mechanism.network);
    default:
      countLookup(evaluation);
  }
  const target =
    mechanism.domain === undefined ? domain : await expandDomain(mechanism.domain, valuesFor(evaluation, domain));
  switch (mechanism.kind) {
    case "include": {
      const inner = await checkHost(evaluation, target);
      // §5.2: none is an error here, since the owner named that domain as its own.
      if (inner.result === "none") throw new PermError(`include of ${target}, which has no SPF record`);
      return inner.result === "pass";
    }
    case "exists": // §5.7: an A record, whatever the client's family
      return countVoid(evaluation, await query(evaluation, target, "A")).length > 0;
    case "a":
      return matchesHost(evaluation, mechanism, target);
    case "mx": {
      const hosts = countVoid(evaluation, await query(evaluation, target, "MX"));
      if (hosts.length > maxNames) throw new PermError(`${target} has more than ${maxNames} MX records`);
      for (const host of hosts) if (await matchesHost(evaluation, mechanism, host.exchange)) return true;
      return false;
    }
    case "ptr": {
      const names = await validatedNames(evaluation, target);
      return names.some((name) => isAtOrBelow(name, target));
    }
  }
}

function isAtOrBelow(name: string, domain: string): boolean {
  const parent = domain.toLowerCase();
  return name === parent || name.endsWith(`.${parent}`);
}

async function matchesHost(
  evaluation: Evaluation,
  mechanism: { prefix4: number; prefix6: number },
  name: string,
): Promise<boolean> {
  const { ip } = evaluation;
  const addresses = countVoid(evaluation, await query(evaluation, name, ip.family === 4 ? "A" : "AAAA"));
  const prefix = ip.family === 4 ? mechanism.prefix4 : mechanism.prefix6;
  return addresses.some((text) => {
    const address = parseAddress(text);
    return address !== undefined && address.family === ip.family && samePrefix(address, ip, prefix);
  });
}

/** §4.6.4: more than two answers without data are a permerror. */
function countVoid<V>(evaluation: Evaluation, records: readonly V[]): readonly V[] {
  const limit = evaluation.ctx.budget.spfVoidLookups;
  if (records.length === 0 && ++evaluation.voids > limit) throw new PermError(`more than ${limit} void look-ups`);
  return records;
}

async function query<T extends RecordType>(evaluation: Evaluation, name: string, type: T) {
  try {
    return (await evaluation.ctx.resolver.resolve(name, type)).records;
  } catch (error) {
    if (error instanceof DnsError) throw new TempError(`${type} of ${name}: ${error.message}`);
    throw error;
  }
}

/**
 * §5.5: names of the client that resolve back to it, of the first ten PTR names. Errors leave names out.
 * `preferred` is the domain that macro p likes best.
 */
async function validatedNames(evaluation: Evaluation, preferred: string): Promise<string[]> {
  evaluation.names ??= clientNames(evaluation);
  const names = await evaluation.names;
  const rank = (name: string) => (name === preferred.toLowerCase() ? 0 : isAtOrBelow(name, preferred) ? 1 : 2);
  return names.toSorted((a, b) => rank(a) - rank(b));
}

async function clientNames(evaluation: Evaluation): Promise<string[]> {
  const { ctx, ip } = evaluation;
  const type = ip.family === 4 ? "A" : "AAAA";
  const pointers = await orEmpty(ctx.resolver.resolve(reverseName(ip), "PTR"));
  const checked = await Promise.all(
    pointers.slice(0, maxNames).map(async (name) => {
      const addresses = await orEmpty(ctx.resolver.resolve(name, type));
      const back = addresses.some((text) => {
        const address = parseAddress(text);
        return address !== undefined && address.family === ip.family && samePrefix(address, ip, ip.octets.length * 8);
      });
      return back ? name.toLowerCase() : undefined;
    }),
  );
  return checked.filter((name) => name !== undefined);
}

/** §5.5: a DNS error while validating a name is no match, not a temperror. */
async function orEmpty(asked: Promise<{ records: readonly string[] }>): Promise<readonly string[]> {
  try {
    return (await asked).records;
  } catch (error) {
    if (error instanceof DnsError) return [];
    throw error;
  }
}

function valuesFor(evaluation: Evaluation, domain: string): MacroValues {
  return {
    ...evaluation.values,
    domain,
    clientName: async () => (await validatedNames(evaluation, domain))[0] ?? "unknown",
  };
}

/** §6.2: any trouble with the explanation means that there is none. */
async function explain(evaluation: Evaluation, exp: { macro: MacroString; domain: string }): Promise<string> {
  try {
    const values = valuesFor(evaluation, exp.domain);
    const texts = await query(evaluation, await expandDomain(exp.macro, values), "TXT");
    if (texts.length !== 1 || texts[0]!.length > evaluation.ctx.budget.spfRecord) return "";
    const text = await expandMacro(parseMacroString(texts[0]!, true), values);
    return printable(text)
      .replace(/[^\x20-\x7e]/g, "?")
      .slice(0, maxExplanation);
  } catch (error) {
    if (error instanceof TempError || error instanceof SpfSyntaxError) return "";
    throw error;
  }
}
