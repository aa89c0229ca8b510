/**
 * Membership in a built list, on its tables as they are: no object per entry.
 *
 * exact: the value is an entry. domain: the value, or the part after its last "@", is an entry or below one. cidr: the
 * address lies in an entry. regex: a pattern matches in the value; patterns are sifted by one literal scan and compiled
 * when they are first needed. ASCII case never matters.
 * Invariants: work is bounded by the longest possible entry, not by the value. Failure: none.
 */
import { foldAscii, foldCoarse } from "../fold.ts";
import { parseIp } from "../ipset.ts";
import { LiteralScan } from "../literals.ts";
import { compileRegex, type Regex } from "../regex.ts";
import { mostSelective, requiredLiterals } from "../regex-literals.ts";
import { hashBytes, type ListData, type ListLimits, type RangeTable, type TextTable } from "./build.ts";

export type Membership = (value: string) => boolean;

/** RFC 1035 §2.3.4: no longer name is a domain. */
const longestDomain = 255;

export function membership(data: ListData, limits: ListLimits): Membership {
  if (data.ranges) return inRanges(data.ranges);
  if (data.patterns) return matchesPattern(data.patterns, limits);
  const texts = data.texts!;
  return data.kind === "domain" ? inDomains(texts) : isEntry(texts, limits);
}

/** The first `limit` entries of an exact list, in lower case; undefined for other kinds. */
export function entriesOf({ kind, texts }: ListData, limit: number): string[] | undefined {
  if (kind !== "exact" || texts === undefined) return undefined;
  const { bytes, offsets } = texts;
  const count = Math.min(limit, offsets.length - 1);
  const pool = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const entry = (i: number) => pool.toString("utf8", offsets[i], offsets[i + 1]);
  // Entries are kept folded, which for ASCII letters means upper case.
  return Array.from({ length: count }, (_, i) => entry(i).replace(/[A-Z]+/g, (letters) => letters.toLowerCase()));
}

function isEntry(texts: TextTable, limits: ListLimits): Membership {
  return (value) => {
    if (value.length > limits.listLineBytes) return false;
    const bytes = Buffer.from(foldAscii(value.trim()));
    return hasBytes(texts, bytes, 0);
  };
}

function inDomains(texts: TextTable): Membership {
  return (value) => {
    const domain = value.slice(value.lastIndexOf("@") + 1).trim();
    if (domain === "" || domain.length > longestDomain) return false;
    const bytes = Buffer.from(foldAscii(domain));
    for (let start = 0; start >= 0 && start < bytes.length; ) {
      if (hasBytes(texts, bytes, start)) return true;
      const dot = bytes.indexOf(0x2e, start);
      start = dot < 0 ? -1 : dot + 1;
    }
    return false;
  };
}

/** Whether `bytes` from `start` on are an entry. */
function hasBytes({ bytes: pool, offsets, table, seed }: TextTable, bytes: Uint8Array, start: number): boolean {
  const length = bytes.length - start;
  let place = hashBytes(bytes, start, bytes.length, seed) & (table.length - 1);
  for (let entry = table[place]!; entry !== 0; entry = table[place]!) {
    const from = offsets[entry - 1]!;
    if (offsets[entry]! - from === length) {
      let i = 0;
      while (i < length && pool[from + i] === bytes[start + i]) i++;
      if (i === length) return true;
    }
    place = (place + 1) & (table.length - 1);
  }
  return false;
}

function inRanges({ v4, v6 }: RangeTable): Membership {
  const v6At = (i: number, part: number): bigint => (v6[i * 4 + part]! << 64n) | v6[i * 4 + part + 1]!;
  return (value) => {
    const ip = parseIp(value.trim());
    if (!ip) return false;
    if (ip.bits === 32) {
      const address = Number(ip.value);
      const i = lastNotAbove(v4.length / 2, (at) => v4[at * 2]! <= address);
      return i >= 0 && address <= v4[i * 2 + 1]!;
    }
    const i = lastNotAbove(v6.length / 4, (at) => v6At(at, 0) <= ip.value);
    return i >= 0 && ip.value <= v6At(i, 2);
  };
}

/** The last of `count` ascending items that is not above the value, or -1. */
function lastNotAbove(count: number, notAbove: (at: number) => boolean): number {
  let [low, high] = [0, count];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (notAbove(middle)) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

function matchesPattern(patterns: readonly string[], limits: ListLimits): Membership {
  const compiled: Array<Regex | undefined> = [];
  const matches = (i: number, value: string): boolean =>
    (compiled[i] ??= compileRegex(patterns[i]!, "ascii", limits)).test(value);
  const always: number[] = [];
  const literals: string[] = [];
  const owners: number[] = [];
  for (const [i, pattern] of patterns.entries()) {
    const needed = mostSelective(requiredLiterals(pattern));
    if (!needed) always.push(i);
    for (const literal of needed ?? []) {
      literals.push(foldCoarse(literal));
      owners.push(i);
    }
  }
  const scan = new LiteralScan(literals, owners);
  return (value) => {
    const hits: number[] = [];
    scan.find(foldCoarse(value), hits);
    return new Set(hits).values().some((i) => matches(i, value)) || always.some((i) => matches(i, value));
  };
}
