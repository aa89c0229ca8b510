/**
 * PROXY protocol headers, versions 1 and 2 (HAProxy's proxy-protocol.txt §2.1 and §2.2), as a pure reader.
 * Invariants: at most 107 octets (v1) or 16 + 4,096 (v2) are looked at; TLVs are skipped. Failure: "bad" for a header
 * that is broken, "none" when the octets begin something else, "more" when they don't suffice to tell.
 */
import { isIPv4, isIPv6 } from "node:net";

export interface ProxyAddresses {
  remoteIp: string;
  remotePort: number;
  localIp: string;
  localPort: number;
}

/** `addresses` is empty for UNKNOWN and LOCAL: the connection keeps its own. `end` is one past the header. */
export type ProxyHeader = "more" | "none" | "bad" | { end: number; addresses: Partial<ProxyAddresses> };

const signature1 = Buffer.from("PROXY ");
const signature2 = Buffer.from([0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a]);
const line1Octets = 107;
const maxTail2 = 4_096;

function startsWith(input: Buffer, from: number, signature: Buffer): "yes" | "no" | "more" {
  const length = Math.min(signature.length, input.length - from);
  if (input.compare(signature, 0, length, from, from + length) !== 0) return "no";
  return length === signature.length ? "yes" : "more";
}

function port(text: string | undefined): number | undefined {
  if (!text || !/^(?:0|[1-9]\d{0,4})$/.test(text)) return undefined;
  const value = Number(text);
  return value <= 65_535 ? value : undefined;
}

function readVersion1(input: Buffer, from: number): ProxyHeader {
  const end = input.subarray(from, from + line1Octets).indexOf("\r\n");
  if (end < 0) return input.length - from >= line1Octets ? "bad" : "more";
  const [, family, source = "", target = "", ...ports] = input.toString("latin1", from, from + end).split(" ");
  const next = from + end + 2;
  if (family === "UNKNOWN") return { end: next, addresses: {} };
  const isAddress = family === "TCP4" ? isIPv4 : family === "TCP6" ? isIPv6 : () => false;
  const remotePort = port(ports[0]);
  const localPort = port(ports[1]);
  if (!isAddress(source) || !isAddress(target) || ports.length !== 2) return "bad";
  if (remotePort === undefined || localPort === undefined) return "bad";
  return { end: next, addresses: { remoteIp: source, remotePort, localIp: target, localPort } };
}

function ipv6(octets: Buffer): string {
  const groups: string[] = [];
  for (let i = 0; i < 16; i += 2) groups.push(octets.readUInt16BE(i).toString(16));
  return groups.join(":");
}

function readVersion2(input: Buffer, from: number): ProxyHeader {
  const header = input.subarray(from);
  if (header.length < 16) return "more";
  const command = header[12]!;
  if (command >> 4 !== 2 || (command & 15) > 1) return "bad";
  const tail = header.readUInt16BE(14);
  if (tail > maxTail2) return "bad";
  if (header.length < 16 + tail) return "more";
  const end = from + 16 + tail;
  if ((command & 15) === 0) return { end, addresses: {} }; // LOCAL: a health check of the proxy itself
  const body = header.subarray(16, 16 + tail);
  switch (header[13]) {
    case 0x11:
      if (tail < 12) return "bad";
      return {
        end,
        addresses: {
          remoteIp: body.subarray(0, 4).join("."),
          localIp: body.subarray(4, 8).join("."),
          remotePort: body.readUInt16BE(8),
          localPort: body.readUInt16BE(10),
        },
      };
    case 0x21:
      if (tail < 36) return "bad";
      return {
        end,
        addresses: {
          remoteIp: ipv6(body.subarray(0, 16)),
          localIp: ipv6(body.subarray(16, 32)),
          remotePort: body.readUInt16BE(32),
          localPort: body.readUInt16BE(34),
        },
      };
    default:
      return { end, addresses: {} }; // UNSPEC, UDP, unix sockets: §2.2 says to use the real addresses
  }
}

export function readProxyHeader(input: Buffer, from: number): ProxyHeader {
  const second = startsWith(input, from, signature2);
  if (second === "yes") return readVersion2(input, from);
  const first = startsWith(input, from, signature1);
  if (first === "yes") return readVersion1(input, from);
  return first === "more" || second === "more" ? "more" : "none";
}
