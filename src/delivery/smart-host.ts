/**
 * Smart hosts: one, or several that share the load by weight and stand in for each other.
 * Invariants: over many calls a host comes first in proportion to its weight; every host appears once in each order.
 */
import { parseNextHop } from "./next-hop.ts";
import type { NextHop, TlsPolicy } from "./types.ts";

export interface SmartHost {
  /** Next hop text ("smtp.example.net", "[192.0.2.7]:25"); `port` is used when the text has none. */
  host: string;
  port: number;
  tls: "none" | "opportunistic" | "required" | "implicit";
  user: string;
  password: string;
  weight: number;
}

/** All smart hosts as next hops, the first one drawn by weight, then the next among the rest, and so on. */
export function orderSmartHosts(
  hosts: readonly SmartHost[],
  defaults: { domain: string; localAddress: string },
  random: () => number = Math.random,
): NextHop[] {
  const left = [...hosts];
  const order: NextHop[] = [];
  while (left.length > 0) {
    let point = random() * left.reduce((sum, host) => sum + host.weight, 0);
    let at = 0;
    while (at < left.length - 1 && (point -= left[at]!.weight) >= 0) at++;
    order.push(asHop(left.splice(at, 1)[0]!, defaults));
  }
  return order;
}

function asHop(smart: SmartHost, defaults: { domain: string; localAddress: string }): NextHop {
  const tls: TlsPolicy = smart.tls === "implicit" ? "required" : smart.tls;
  const hop = parseNextHop(smart.host, { ...defaults, tls }, "smart host");
  const ownPort = /:\d+$|^(?:lmtp|smtps):/.test(smart.host);
  return {
    ...hop,
    port: ownPort ? hop.port : smart.port,
    implicitTls: hop.implicitTls || smart.tls === "implicit",
    authUser: smart.user,
    authPass: smart.password,
  };
}
