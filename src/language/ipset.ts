/**
 * Sets of IP addresses as policy authors write them (smtpfilters.md §9.2): `addr`, `addr/bits`, `addr/netmask`, `a-b`,
 * each IPv4 or IPv6, IPv6 optionally in brackets, several separated by blanks or commas.
 *
 * Invariants: an IPv4-mapped IPv6 address is an IPv6 address here, never the IPv4 one. Failure: a malformed address or
 * set is in nothing and contains nothing (parseIp and parseIpSet answer undefined); nothing throws.
 */

/** An address as a number of `bits` bits; IPv4 and IPv6 never compare equal. */
export interface Ip {
  readonly bits: 32 | 128;
  readonly value: bigint;
}

/** One member of a set: all addresses with (value & mask) = base, or first..last. */
export type IpRange =
  | { readonly bits: 32 | 128; readonly first: bigint; readonly last: bigint }
  | { readonly bits: 32 | 128; readonly base: bigint; readonly mask: bigint };

/** Reads one address, with or without brackets. */
export function parseIp(text: string): Ip | undefined {
  const bare = text.startsWith("[") && text.endsWith("]") ? text.slice(1, -1).replace(/^IPv6:/i, "") : text;
  if (bare.length > 45) return undefined;
  return bare.includes(":") ? parseIpv6(bare) : parseIpv4(bare);
}

function parseIpv4(text: string): Ip | undefined {
  const value = ipv4Number(text);
  return value < 0 ? undefined : { bits: 32, value: BigInt(value) };
}

/** A dotted quad as an unsigned 32-bit number, or -1. Leading zeros are refused: readers disagree about octal. */
function ipv4Number(text: string): number {
  let value = 0;
  let octet = -1;
  let dots = 0;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code === 0x2e) {
      if (octet < 0 || ++dots > 3) return -1;
      value = value * 256 + octet;
      octet = -1;
    } else if (code >= 0x30 && code <= 0x39) {
      if (octet === 0) return -1;
      octet = (octet < 0 ? 0 : octet * 10) + code - 0x30;
      if (octet > 255) return -1;
    } else return -1;
  }
  return octet < 0 || dots !== 3 ? -1 : value * 256 + octet;
}

function parseIpv6(text: string): Ip | undefined {
  const halves = text.split("::");
  if (halves.length > 2) return undefined;
  const head = groups(halves[0]!, halves.length === 1);
  const tail = halves.length === 2 ? groups(halves[1]!, true) : [];
  if (!head || !tail) return undefined;
  const missing = 8 - head.length - tail.length;
  if (halves.length === 1 ? missing !== 0 : missing < 1) return undefined;
  let value = 0n;
  for (const group of [...head, ...new Array<number>(missing).fill(0), ...tail]) value = (value << 16n) | BigInt(group);
  return { bits: 128, value };
}

/** The 16-bit groups of one side of "::"; the last may be a dotted quad when `ipv4Tail`. */
function groups(side: string, ipv4Tail: boolean): number[] | undefined {
  if (side === "") return [];
  const out: number[] = [];
  const parts = side.split(":");
  for (let i = 0; i < parts.length; i++) {
    const part = parts[i]!;
    if (/^[0-9a-f]{1,4}$/i.test(part)) out.push(Number.parseInt(part, 16));
    else {
      const quad = ipv4Tail && i === parts.length - 1 ? ipv4Number(part) : -1;
      if (quad < 0) return undefined;
      out.push(Math.floor(quad / 65_536), quad % 65_536);
    }
  }
  return out;
}

/** Reads a set. One malformed member makes the whole set malformed. */
export function parseIpSet(text: string): IpRange[] | undefined {
  const members = /[\s,]/.test(text) ? text.split(/[\s,]+/).filter((member) => member !== "") : [text];
  const ranges: IpRange[] = [];
  for (const member of members) {
    const range = parseMember(member);
    if (!range) return undefined;
    ranges.push(range);
  }
  return ranges.length > 0 ? ranges : undefined;
}

function parseMember(member: string): IpRange | undefined {
  const slash = member.indexOf("/");
  if (slash >= 0) {
    const ip = parseIp(member.slice(0, slash));
    if (!ip) return undefined;
    const mask = parseMask(member.slice(slash + 1), ip.bits);
    return mask === undefined ? undefined : { bits: ip.bits, base: ip.value & mask, mask };
  }
  const dash = member.indexOf("-");
  const first = parseIp(dash < 0 ? member : member.slice(0, dash));
  const last = dash < 0 ? first : parseIp(member.slice(dash + 1));
  if (!first || !last || first.bits !== last.bits || first.value > last.value) return undefined;
  return { bits: first.bits, first: first.value, last: last.value };
}

function parseMask(text: string, bits: 32 | 128): bigint | undefined {
  if (/^[0-9]{1,3}$/.test(text)) {
    const length = Number(text);
    return length > bits ? undefined : prefixMask(length, bits);
  }
  const mask = parseIp(text);
  return mask?.bits === bits ? mask.value : undefined;
}

function prefixMask(length: number, bits: number): bigint {
  return ((1n << BigInt(length)) - 1n) << BigInt(bits - length);
}

export function rangeHas(range: IpRange, ip: Ip): boolean {
  if (range.bits !== ip.bits) return false;
  return "mask" in range ? (ip.value & range.mask) === range.base : ip.value >= range.first && ip.value <= range.last;
}

/** A prefix: the addresses whose first `length` bits are those of `base`. */
export interface Prefix {
  readonly bits: 32 | 128;
  readonly base: bigint;
  readonly length: number;
}

/** First and last address of a member, or undefined for a netmask with holes. */
export function contiguous(range: IpRange): { readonly first: bigint; readonly last: bigint } | undefined {
  if (!("mask" in range)) return range;
  const host = prefixMask(range.bits, range.bits) ^ range.mask;
  return (host & (host + 1n)) === 0n ? { first: range.base, last: range.base | host } : undefined;
}

/** The range as prefixes (at most 2 × bits of them), or undefined for a netmask with holes. */
export function prefixesOf(range: IpRange): Prefix[] | undefined {
  const { bits } = range;
  const ends = contiguous(range);
  if (!ends) return undefined;
  const out: Prefix[] = [];
  for (let at = ends.first; at <= ends.last; ) {
    let free = 0;
    while (free < bits && ((at >> BigInt(free)) & 1n) === 0n && at + (2n << BigInt(free)) - 1n <= ends.last) free++;
    out.push({ bits, base: at, length: bits - free });
    at += 1n << BigInt(free);
  }
  return out;
}
