/**
 * Classes of clients, senders and recipients: which addresses a policy tells apart. Candidates are made from the texts
 * it compares with, and those that all its tests answer alike count as one.
 */
import type { Budget } from "../../config/budget.ts";
import { type IpRange, parseIp, parseIpSet, rangeHas } from "../../language/ipset.ts";
import { ipWitnesses } from "../../language/prove/ip-witness.ts";
import { answers, dottedSeparator, type TextTest, witnessesOf } from "../../language/prove/witness.ts";
import { domainOf, localPartOf } from "../../message/envelope.ts";
import type { Dimension, Value } from "./cases.ts";
import type { Reading } from "./reading.ts";

export const localDomain = "example.org";
const baseSender = "sender@client.example";
const baseLocal = `user@${localDomain}`;
const baseForeign = "someone@far.example";
const baseClient = "192.0.2.1";

/** More recipients than this are not played. */
const mostRecipients = 20;
/** Combinations of local part and domain that are looked at for one envelope address. */
const mostAddresses = 1_000;

/** Whose networks are nobody's on the Internet (RFC 1918, 3927, 4193, 4291, 6598). */
const privateNetworks: readonly IpRange[] = parseIpSet(
  "10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 127.0.0.0/8 169.254.0.0/16 100.64.0.0/10 ::1 fc00::/7 fe80::/10",
)!;

export interface EnvelopeTerms {
  budget: Budget;
  /** Only clients from the Internet, outside of these networks. */
  strangers: boolean;
  trusted: readonly IpRange[];
  /** The last recipient is elsewhere, in a domain that the policy doesn't name. */
  foreign: boolean;
}

const testsOf = (reading: Reading, name: string): readonly TextTest[] => reading.tests.get(name) ?? [];

export function clientDimension(reading: Reading, terms: EnvelopeTerms): Dimension {
  const tests = testsOf(reading, "remoteSmtpIp");
  const networks = [...privateNetworks, ...terms.trusted];
  const known = (text: string): boolean => {
    const ip = parseIp(text);
    return ip !== undefined && networks.some((range) => rangeHas(range, ip));
  };
  const found = ipWitnesses(tests, baseClient, terms.budget, terms.strangers ? known : undefined);
  if (!found.exact) reading.gaps.push(found.gap);
  return {
    name: "client",
    values: distinct(found.texts, answers(tests, terms.budget)).map((ip) => ({
      label: `the client is ${ip}`,
      apply: ({ session }) => void (session.connect.remoteIp = ip),
    })),
  };
}

export function senderDimension(reading: Reading, terms: EnvelopeTerms): Dimension {
  const senders = addresses(reading, ["mailFrom", "mailFromDomain", "mailFromUser"], baseSender, terms.budget);
  return {
    name: "sender",
    values: [...senders, ""].map((address) => ({
      label: `the sender is <${address}>`,
      apply: ({ session }) => void (session.mailFrom = address),
    })),
  };
}

interface Recipient {
  address: string;
  local: boolean;
}

export function recipientDimension(reading: Reading, terms: EnvelopeTerms): Dimension {
  const names = ["rcptTo", "rcptToDomain", "rcptToUser"];
  const all = addresses(reading, names, baseLocal, terms.budget).flatMap((address): Recipient[] => [
    { address, local: true },
    { address: address === baseLocal ? baseForeign : address, local: false },
  ]);
  const named = namedDomains(reading, terms.budget);
  const last = terms.foreign ? all.filter(({ address, local }) => !local && !named(address)) : all;
  const lists = last.map((recipient) => [recipient]);
  if (reading.secondRecipient) {
    for (const first of all) for (const second of last) if (compatible(first, second)) lists.push([first, second]);
  }
  for (const count of counts(reading)) {
    const crowd = Array.from({ length: count }, () => ({ address: baseLocal, local: true }));
    lists.push(...last.map((recipient) => [...crowd, recipient]));
  }
  return { name: "recipients", values: lists.map(recipientValue) };
}

function recipientValue(list: readonly Recipient[]): Value {
  const words = list.map(({ address, local }) => `<${address}> (${local ? "local" : "elsewhere"})`);
  return {
    label: list.length > 3 ? `there are ${list.length} recipients` : `the recipient is ${words.join(", then ")}`,
    apply({ session }) {
      session.rcptTo = list.map(({ address }) => address);
      session.localDomains = [
        ...new Set([localDomain, ...list.filter(({ local }) => local).map(({ address }) => domainOf(address))]),
      ].filter((domain) => !list.some(({ address, local }) => !local && domainOf(address) === domain));
    },
  };
}

/** A domain is either local or not. */
const compatible = (a: Recipient, b: Recipient): boolean =>
  a.local === b.local ? a.address !== b.address : domainOf(a.address) !== domainOf(b.address);

/** Crowds that bring rcptCount below, to and over what it is compared with. */
function counts(reading: Reading): number[] {
  const limits = testsOf(reading, "rcptCount").map(({ key }) => Number(key));
  if (limits.some((limit) => limit >= mostRecipients)) {
    reading.gaps.push(`no more than ${mostRecipients} recipients are played`);
  }
  const wanted = limits.flatMap((limit) => [limit - 1, limit, limit + 1]);
  return [...new Set(wanted)].filter((count) => count > 0 && count <= mostRecipients);
}

/** Is the recipient's domain one that the policy names in full? Who relays for such a domain is no open relay. */
function namedDomains(reading: Reading, budget: Budget): (address: string) => boolean {
  const naming = (tests: readonly TextTest[]): TextTest[] =>
    tests.filter(({ how, key }) => {
      if (how === "is" || how === "domain" || how === "suffix") return /[a-z0-9]\.[a-z]{2,}$/i.test(key);
      return how === "regex" && /[a-z0-9]\\\.[a-z]{2,}\$$/i.test(key);
    });
  const whole = answers(naming(testsOf(reading, "rcptTo")), budget);
  const domain = answers(naming(testsOf(reading, "rcptToDomain")), budget);
  return (address) => whole(address).includes("1") || domain(domainOf(address)).includes("1");
}

/** Addresses that the tests on address, domain and local part tell apart; `base` first. */
function addresses(reading: Reading, names: readonly string[], base: string, budget: Budget): string[] {
  const [whole, domain, user] = names.map((name) => testsOf(reading, name)) as [TextTest[], TextTest[], TextTest[]];
  const domains = witnessesOf(domain, domainOf(base), budget, dottedSeparator);
  const users = witnessesOf(user, localPartOf(base), budget, dottedSeparator);
  const wholes = witnessesOf(whole, base, budget, dottedSeparator);
  for (const found of [domains, users, wholes]) if (!found.exact) reading.gaps.push(found.gap);
  const candidates = [base];
  for (const text of wholes.texts) candidates.push(...asAddresses(text, users.texts, domains.texts));
  for (const name of users.texts) for (const host of domains.texts) candidates.push(`${name}@${host}`);
  if (candidates.length > mostAddresses) reading.gaps.push("too many local parts and domains are tested together");
  const answer = [answers(whole, budget), answers(domain, budget), answers(user, budget)] as const;
  const possible = candidates.slice(0, mostAddresses).filter(isAddress);
  const kept = distinct(
    possible,
    (address) => `${answer[0](address)} ${answer[1](domainOf(address))} ${answer[2](localPartOf(address))}`,
  );
  for (const [i, { how, key }] of [...whole.entries()]) {
    if (how === "is") continue;
    const test = answers([whole[i]!], budget);
    if (!kept.some((address) => test(address) === "1")) reading.gaps.push(`no address was found that fits "${key}"`);
  }
  return kept;
}

/** A part of an address made whole in each way that may keep it, with every local part and domain that counts. */
function asAddresses(text: string, users: readonly string[], domains: readonly string[]): string[] {
  const at = text.includes("@") ? "" : "@";
  const whole = at === "" ? [text] : [];
  return [...whole, ...domains.map((host) => `${text}${at}${host}`), ...users.map((name) => `${name}${at}${text}`)];
}

/** What a client can write in MAIL FROM and RCPT TO without quotes (RFC 5321 §4.1.2), and not too long. */
const isAddress = (text: string): boolean => /^[^\s@<>"\\(),:;[\]\x00-\x1f\x7f]{1,64}@[a-z0-9._-]{1,255}$/i.test(text);

/** The first of each class of texts that `key` says are alike. */
export function distinct(texts: readonly string[], key: (text: string) => string): string[] {
  const kept = new Map<string, string>();
  for (const text of texts) {
    const id = key(text);
    if (!kept.has(id)) kept.set(id, text);
  }
  return [...kept.values()];
}
