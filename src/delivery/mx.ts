/**
 * From a next hop to the hosts to try, in order (RFC 5321 §5.1, RFC 7505, RFC 3974).
 * Invariants: lower preference first, equal ones shuffled; a host list never leads back to us; counts are bounded by
 * `mxHosts` and `addressesPerHost`. Failure: an Outcome instead of a list: 5xx when DNS says that the mail can't be
 * delivered, 4xx when DNS gives no answer.
 */
import { isIP } from "node:net";
import ipaddr from "ipaddr.js";
import type { Budget } from "../config/budget.ts";
import { DnsError, type Resolver } from "../dns/types.ts";
import { type Outcome, outcome } from "../message/outcome.ts";
import { bracketed } from "./next-hop.ts";
import type { Candidate, NextHop } from "./types.ts";

export interface MxSettings {
  resolver: Resolver;
  budget: Pick<Budget, "mxHosts" | "addressesPerHost">;
  /** "prefer4": IPv4 first, then IPv6 (smtpfilters.md §8.1); "only4": no IPv6; "prefer6": the other way round. */
  family: "prefer4" | "prefer6" | "only4";
  /** Our own names, lower case: an MX list is cut at the host that is us. */
  ownNames: ReadonlySet<string>;
  /** Our own addresses; a host with one of them is us, too. */
  ownAddresses: ReadonlySet<string>;
  /** Whether an MX may lead to loopback, private or other special-purpose addresses. */
  allowSpecialAddresses: boolean;
  random?: () => number;
}

type Answer = { candidates: Candidate[] } | { outcome: Outcome };

const origin = "engine";

/** The hosts for one next hop. Never an empty list. */
export async function resolveHop(hop: NextHop, settings: MxSettings): Promise<Answer> {
  const literal = bracketed(hop.host);
  try {
    if (literal !== undefined) return await direct(literal, hop.port, settings);
    return await byMx(hop, settings);
  } catch (error) {
    if (!(error instanceof DnsError)) throw error;
    // RFC 3463 X.4.3, directory server failure: nothing is known, so the mail waits.
    const text = `DNS look-up for ${hop.host || hop.domain} failed: ${error.message}`;
    return { outcome: outcome.defer({ code: 451, enhanced: "4.4.3", text, origin }) };
  }
}

/** RFC 5321 §4.1.3 literals and names in brackets: no MX look-up, and the administrator's word needs no guard. */
async function direct(host: string, port: number, settings: MxSettings): Promise<Answer> {
  if (isIP(host) > 0) return { candidates: [{ host, addresses: [host], port, authenticated: false }] };
  const found = await addressesOf(host, settings);
  if (found.addresses.length === 0) return noHost(host);
  return { candidates: [{ host, port, ...found }] };
}

async function byMx(hop: NextHop, settings: MxSettings): Promise<Answer> {
  const name = hop.host || hop.domain;
  const answer = await settings.resolver.resolve(name, "MX");
  if (answer.nxdomain) return noHost(name);
  const named = hop.host !== "";
  if (answer.records.length === 0) {
    // RFC 5321 §5.1: no MX, so the domain itself is the host ("implicit MX").
    const found = await addressesOf(name, settings);
    const guarded = guard(found.addresses, named, settings);
    if (found.addresses.length === 0) return noHost(name);
    if (guarded.length === 0) return special(name);
    if (isUs(name, found.addresses, settings)) return loop(name);
    const authenticated = found.authenticated && answer.authenticated;
    return { candidates: [{ host: name, addresses: guarded, port: hop.port, authenticated }] };
  }
  if (answer.records.length === 1 && isRoot(answer.records[0]!.exchange)) {
    const text = `${name} does not take mail (null MX)`;
    return { outcome: outcome.reject({ code: 556, enhanced: "5.1.10", text, origin }) }; // RFC 7505 §4.1
  }
  return fromRecords(name, hop.port, named, answer, settings);
}

async function fromRecords(
  name: string,
  port: number,
  named: boolean,
  answer: { records: ReadonlyArray<{ preference: number; exchange: string }>; authenticated: boolean },
  settings: MxSettings,
): Promise<Answer> {
  const random = settings.random ?? Math.random;
  const ordered = answer.records
    .filter((record) => !isRoot(record.exchange))
    .map((record) => ({ host: record.exchange.toLowerCase().replace(/\.$/, ""), rank: record.preference + random() }))
    .sort((one, other) => one.rank - other.rank)
    .slice(0, settings.budget.mxHosts);
  const looked = await Promise.allSettled(ordered.map((entry) => addressesOf(entry.host, settings)));
  const found: Array<{ candidate: Candidate; preference: number }> = [];
  let failure: unknown;
  let guardedAway = false;
  for (const [index, result] of looked.entries()) {
    const { host, rank } = ordered[index]!;
    if (result.status === "rejected") {
      failure ??= result.reason;
      continue;
    }
    const preference = Math.floor(rank);
    if (isUs(host, result.value.addresses, settings)) {
      // RFC 5321 §5.1: hosts of our own preference and those less preferred would send the mail back to us.
      const better = found.filter((entry) => entry.preference < preference && entry.candidate.addresses.length > 0);
      return better.length > 0 ? { candidates: better.map((entry) => entry.candidate) } : loop(name);
    }
    const addresses = guard(result.value.addresses, named, settings);
    guardedAway ||= addresses.length < result.value.addresses.length;
    const authenticated = answer.authenticated && result.value.authenticated;
    found.push({ candidate: { host, addresses, port, authenticated }, preference });
  }
  const reachable = found.map((entry) => entry.candidate).filter((candidate) => candidate.addresses.length > 0);
  if (reachable.length > 0) return { candidates: reachable };
  if (failure) throw failure;
  return guardedAway ? special(name) : noHost(name);
}

/** Addresses of a host in the order to try them. */
async function addressesOf(
  host: string,
  settings: MxSettings,
): Promise<{ addresses: string[]; authenticated: boolean }> {
  // RFC 6761 §6.3: localhost is never asked of DNS.
  if (host === "localhost") return { addresses: ["127.0.0.1"], authenticated: false };
  const { resolver, family } = settings;
  const [four, six] = await Promise.allSettled([
    resolver.resolve(host, "A"),
    family === "only4" ? Promise.resolve(undefined) : resolver.resolve(host, "AAAA"),
  ]);
  const v4 = four.status === "fulfilled" ? four.value : undefined;
  const v6 = six.status === "fulfilled" ? six.value : undefined;
  const found4 = v4?.records ?? [];
  const found6 = v6?.records ?? [];
  if (found4.length === 0 && found6.length === 0) {
    if (four.status === "rejected") throw four.reason;
    if (six.status === "rejected") throw six.reason;
  }
  const addresses = family === "prefer6" ? [...found6, ...found4] : [...found4, ...found6];
  const authenticated = (v4?.authenticated ?? true) && (v6?.authenticated ?? true) && (v4 ?? v6) !== undefined;
  return { addresses: addresses.slice(0, settings.budget.addressesPerHost), authenticated };
}

function isRoot(exchange: string): boolean {
  return exchange === "" || exchange === ".";
}

function isUs(host: string, addresses: readonly string[], settings: MxSettings): boolean {
  return settings.ownNames.has(host.toLowerCase()) || addresses.some((address) => settings.ownAddresses.has(address));
}

/** Addresses that mail from outside may be led to; a host the administrator named needs no guard. */
function guard(addresses: readonly string[], named: boolean, settings: MxSettings): string[] {
  if (named || settings.allowSpecialAddresses) return [...addresses];
  return addresses.filter((address) => ipaddr.isValid(address) && ipaddr.process(address).range() === "unicast");
}

function noHost(name: string): Answer {
  const text = `no mail host for ${name}: the name does not exist or has no address`;
  return { outcome: outcome.reject({ code: 550, enhanced: "5.1.2", text, origin }) };
}

function loop(name: string): Answer {
  const text = `mail for ${name} loops back to this host`;
  return { outcome: outcome.reject({ code: 554, enhanced: "5.4.6", text, origin }) };
}

function special(name: string): Answer {
  const text = `mail hosts of ${name} have only special-purpose addresses`;
  return { outcome: outcome.reject({ code: 550, enhanced: "5.4.4", text, origin }) };
}
