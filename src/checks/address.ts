/**
 * IP addresses as octets: parsing, networks, and the reversed names of DNS lists and PTR records.
 * Invariant: an IPv4-mapped IPv6 address (::ffff:a.b.c.d) is the IPv4 address it carries.
 * Failure: text that is no address gives undefined.
 */
import net from "node:net";
import ipaddr from "ipaddr.js";

export interface Address {
  family: 4 | 6;
  /** 4 or 16 octets. */
  octets: readonly number[];
}

export interface Network {
  address: Address;
  /** Prefix length in bits. */
  prefix: number;
}

export function parseAddress(text: string): Address | undefined {
  if (net.isIPv4(text)) return { family: 4, octets: text.split(".").map(Number) };
  if (!net.isIPv6(text) || text.includes("%")) return undefined;
  const octets = ipv6Octets(text);
  return isMapped(octets) ? { family: 4, octets: octets.slice(12) } : { family: 6, octets };
}

/** Octets of text that `net.isIPv6` accepts (RFC 4291 §2.2). */
function ipv6Octets(text: string): number[] {
  const [head = "", tail] = text.split("::");
  const front = groupOctets(head);
  if (tail === undefined) return front;
  const back = groupOctets(tail);
  return [...front, ...new Array<number>(16 - front.length - back.length).fill(0), ...back];
}

function groupOctets(groups: string): number[] {
  if (groups === "") return [];
  return groups.split(":").flatMap((group) => {
    if (group.includes(".")) return group.split(".").map(Number);
    const value = Number.parseInt(group, 16);
    return [value >> 8, value & 0xff];
  });
}

function isMapped(octets: readonly number[]): boolean {
  return octets[10] === 0xff && octets[11] === 0xff && octets.slice(0, 10).every((octet) => octet === 0);
}

/** "192.0.2.0/24", "2001:db8::/32", or a bare address. */
export function parseNetwork(text: string): Network | undefined {
  const slash = text.indexOf("/");
  const host = slash < 0 ? text : text.slice(0, slash);
  const address = parseAddress(host);
  if (address === undefined) return undefined;
  if (slash < 0) return { address, prefix: address.octets.length * 8 };
  const digits = text.slice(slash + 1);
  if (!/^\d{1,3}$/.test(digits)) return undefined;
  const prefix = Number(digits);
  if (address.family === 4 && host.includes(":")) {
    // A mapped address counts its prefix from the 96 bits that were taken off; a shorter one is an IPv6 network.
    if (prefix < 96) return { address: { family: 6, octets: ipv6Octets(host) }, prefix };
    return prefix <= 128 ? { address, prefix: prefix - 96 } : undefined;
  }
  return prefix <= address.octets.length * 8 ? { address, prefix } : undefined;
}

export function inNetwork(address: Address, network: Network): boolean {
  return address.family === network.address.family && samePrefix(address, network.address, network.prefix);
}

/** Whether two addresses of one family agree in their first `prefix` bits. */
export function samePrefix(a: Address, b: Address, prefix: number): boolean {
  const whole = prefix >> 3;
  for (let i = 0; i < whole; i++) if (a.octets[i] !== b.octets[i]) return false;
  const rest = prefix & 7;
  if (rest === 0) return true;
  return (a.octets[whole]! ^ b.octets[whole]!) >> (8 - rest) === 0;
}

/** The network of `prefix` bits that holds the address, as text fit for a key: "192.0.2.0/24". */
export function networkKey(address: Address, prefix: number): string {
  const octets = address.octets.map((octet, i) => {
    const bits = Math.min(8, Math.max(0, prefix - i * 8));
    return octet & (0xff00 >> bits) & 0xff;
  });
  return `${addressText({ family: address.family, octets })}/${prefix}`;
}

export function addressText(address: Address): string {
  return address.family === 4 ? address.octets.join(".") : new ipaddr.IPv6([...address.octets]).toRFC5952String();
}

/** Octets in decimal or, for IPv6, nibbles in hexadecimal, most significant first (RFC 7208 §7.3 macro "i"). */
export function addressLabels(address: Address): string[] {
  if (address.family === 4) return address.octets.map(String);
  return address.octets.flatMap((octet) => [(octet >> 4).toString(16), (octet & 15).toString(16)]);
}

/** Reversed labels as DNS lists want them (RFC 5782 §2.1, §2.4): "1.2.0.192" or 32 nibbles. */
export function reversedLabels(address: Address): string {
  return addressLabels(address).reverse().join(".");
}

/** Name of the PTR record (RFC 1035 §3.5, RFC 3596 §2.5). */
export function reverseName(address: Address): string {
  return `${reversedLabels(address)}.${address.family === 4 ? "in-addr" : "ip6"}.arpa`;
}

/** Addresses that no public list or country can know: private, shared, loopback, link-local, unspecified. */
export function isSpecial(address: Address): boolean {
  const parsed = address.family === 4 ? new ipaddr.IPv4([...address.octets]) : new ipaddr.IPv6([...address.octets]);
  return ["private", "loopback", "linkLocal", "uniqueLocal", "unspecified", "carrierGradeNat"].includes(parsed.range());
}
