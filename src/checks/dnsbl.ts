/**
 * DNS lists of addresses (RFC 5782): block lists and allow lists, one zone or many with weights.
 * Invariants: only answers in 127.0.0.0/8 count, and 127.255.255.0/24, where operators put errors, does not; addresses
 * of private networks and of the skip list are not asked for. Failure: a zone that fails counts as "not listed" and is
 * named in `failed`.
 */
import { DnsError } from "../dns/types.ts";
import { printable } from "../message/outcome.ts";
import {
  type Address,
  inNetwork,
  isSpecial,
  type Network,
  parseAddress,
  parseNetwork,
  reversedLabels,
} from "./address.ts";
import type { CheckContext } from "./types.ts";

export interface DnsListEntry {
  /** Address that the list answered, "" when not listed. */
  address: string;
  /** TXT that goes with it; printable. */
  explanation: string;
  failed: boolean;
}

export interface DnsList {
  zone: string;
  /** Added to the score when listed; negative for an allow list. */
  weight: number;
  /** Answers that count: addresses or networks, "127.0.0.2", "127.0.0.0/28". Empty: any. */
  codes: readonly string[];
}

export interface DnsListsResult {
  score: number;
  hits: Array<{ zone: string; weight: number; address: string; explanation: string }>;
  failed: string[];
}

const notListed: DnsListEntry = { address: "", explanation: "", failed: false };
const loopback = parseNetwork("127.0.0.0/8")!;
const operatorErrors = parseNetwork("127.255.255.0/24")!;
const maxExplanation = 255;

/** Asks one zone about a name made of `labels` (reversed address, or a domain for URI lists). */
export async function askList(
  labels: string,
  zone: string,
  ctx: CheckContext,
  codes: readonly Network[] = [],
): Promise<DnsListEntry> {
  const name = `${labels}.${zone.replace(/^\.|\.$/g, "")}`;
  try {
    const { records } = await ctx.resolver.resolve(name, "A");
    const listed = records.find((text) => isListing(parseAddress(text), codes));
    if (listed === undefined) return notListed;
    return { address: listed, explanation: await explanationOf(name, ctx), failed: false };
  } catch (error) {
    if (error instanceof DnsError) return { ...notListed, failed: true };
    throw error;
  }
}

function isListing(address: Address | undefined, codes: readonly Network[]): boolean {
  if (address === undefined || !inNetwork(address, loopback) || inNetwork(address, operatorErrors)) return false;
  return codes.length === 0 || codes.some((network) => inNetwork(address, network));
}

/** The text is an extra: without it the listing stands. */
async function explanationOf(name: string, ctx: CheckContext): Promise<string> {
  try {
    const { records } = await ctx.resolver.resolve(name, "TXT");
    return printable(records[0] ?? "")
      .replace(/[^\x20-\x7e]/g, "?")
      .slice(0, maxExplanation);
  } catch (error) {
    if (error instanceof DnsError) return "";
    throw error;
  }
}

/** One zone about a client. Private and loopback addresses are never listed. */
export async function checkDnsbl(ip: string, zone: string, ctx: CheckContext): Promise<DnsListEntry> {
  const address = parseAddress(ip);
  if (address === undefined || zone === "" || isSpecial(address)) return notListed;
  return askList(reversedLabels(address), zone, ctx);
}

/** All zones at once. `skip` holds networks that are not asked about. Throws TypeError for codes that are no address. */
export async function checkDnsLists(
  ip: string,
  lists: readonly DnsList[],
  skip: readonly Network[],
  ctx: CheckContext,
): Promise<DnsListsResult> {
  const result: DnsListsResult = { score: 0, hits: [], failed: [] };
  const address = parseAddress(ip);
  if (address === undefined || isSpecial(address) || skip.some((network) => inNetwork(address, network))) return result;
  const labels = reversedLabels(address);
  const answers = await Promise.all(lists.map(({ zone, codes }) => askList(labels, zone, ctx, codes.map(codeNetwork))));
  answers.forEach((answer, index) => {
    const { zone, weight } = lists[index]!;
    if (answer.failed) result.failed.push(zone);
    if (answer.address === "") return;
    result.score += weight;
    result.hits.push({ zone, weight, address: answer.address, explanation: answer.explanation });
  });
  return result;
}

function codeNetwork(code: string): Network {
  const network = parseNetwork(code);
  if (network === undefined) throw new TypeError(`not a return code of a DNS list: ${code}`);
  return network;
}
