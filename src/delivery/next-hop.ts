/**
 * Next hops as text: "mx.example.net", "mx.example.net:2525", "[192.0.2.7]:25", "lmtp:[127.0.0.1]:24",
 * "smtps:mail.example.net". A name without brackets is resolved by MX first, a bracketed one is connected to directly.
 * Failure: `parseNextHop` throws RangeError on anything else; configuration checks the form before.
 */
import { isIP } from "node:net";
import type { NextHop, TlsPolicy } from "./types.ts";

const form = /^(?:(lmtp|smtps):)?(\[[^\]\s]+\]|[^\s:[\]]+)(?::(\d{1,5}))?$/;
const defaultPorts = { lmtp: 24, smtps: 465, smtp: 25 } as const;

export interface HopDefaults {
  domain: string;
  tls: TlsPolicy;
  localAddress: string;
}

/** A hop with no credentials that leads to the MX of the domain. */
export function mxHop(defaults: HopDefaults, origin: string): NextHop {
  return {
    kind: "smtp",
    host: "",
    port: defaultPorts.smtp,
    domain: defaults.domain,
    implicitTls: false,
    tls: defaults.tls,
    tlsVersions: "",
    authUser: "",
    authPass: "",
    authTypes: "",
    localAddress: defaults.localAddress,
    origin,
  };
}

export function parseNextHop(text: string, defaults: HopDefaults, origin: string): NextHop {
  const parts = form.exec(text.trim());
  if (!parts) throw new RangeError(`not a next hop: ${text}`);
  const scheme = (parts[1] ?? "smtp") as keyof typeof defaultPorts;
  const port = parts[3] === undefined ? defaultPorts[scheme] : Number(parts[3]);
  if (port < 1 || port > 65_535) throw new RangeError(`not a port: ${parts[3]}`);
  return {
    ...mxHop(defaults, origin),
    kind: scheme === "lmtp" ? "lmtp" : "smtp",
    host: parts[2]!,
    port,
    implicitTls: scheme === "smtps",
  };
}

/** What stands in the brackets ("[IPv6:…]" included), or undefined for a plain name. */
export function bracketed(host: string): string | undefined {
  if (!host.startsWith("[") || !host.endsWith("]")) return isIP(host) > 0 ? host : undefined;
  return host.slice(1, -1).replace(/^IPv6:/i, "");
}

/** Two hops with the same key may share a connection and a transaction. */
export function hopKey(hop: NextHop): string {
  const target = hop.host || `mx ${hop.domain}`;
  const more = hop.fallbacks?.map((other) => `${other.host}:${other.port}`).join(",") ?? "";
  const secrets = `${hop.authUser}\0${hop.authPass}\0${hop.authTypes}`;
  return `${hop.kind} ${target.toLowerCase()}:${hop.port} ${hop.implicitTls} ${hop.tls} ${hop.tlsVersions} ${hop.localAddress} ${secrets} ${more}`;
}
