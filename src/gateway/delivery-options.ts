/**
 * What the configuration in force means for deliveries: routes, TLS, source addresses, limits of destinations.
 * Pure: made anew at each reload. Failure: none; the configuration was checked before.
 */
import { networkInterfaces } from "node:os";
import type { Config } from "../config/schema.ts";
import type { DelivererOptions } from "../delivery/deliverer.ts";
import type { TlsResults } from "../delivery/tls/report.ts";
import { matchGlob, parseGlob } from "../language/glob.ts";
import type { DestinationLimits } from "../queue/destination.ts";
import type { SharedState } from "../state/types.ts";
import type { Live } from "./live.ts";
import { splitAddress } from "./supervisor.ts";

export function deliveryOptions(
  live: Live,
  shared: { state: SharedState; tlsReports: TlsResults | undefined },
): Omit<DelivererOptions, "resolver" | "store" | "budget"> {
  const { config, directory, rewriting } = live;
  const { relay, domains } = config;
  return {
    hostName: config.server.name,
    isLocal: (domain) => directory.isLocal(domain),
    hasBackEnd: (address) => live.hasBackEnd(address),
    routes: domains.routes,
    userMaps: live.userMaps,
    smartHosts: smartHosts(config),
    tls: relay.startTls,
    tlsByDomain: relay.tls.byDomain,
    tlsSettings: {
      mtaSts: relay.tls.mtaSts,
      stsPort: relay.tls.mtaStsPort,
      dane: relay.tls.dane,
      state: shared.state,
      ...(rewriting.ca === undefined ? {} : { ca: [rewriting.ca] }),
      ...(shared.tlsReports === undefined ? {} : { reports: shared.tlsReports }),
    },
    localAddress: sourceAddresses(config),
    family: relay.ipv6 ? "prefer4" : "only4",
    ownAddresses: ownAddresses(config),
    allowSpecialAddresses: relay.allowSpecialAddresses,
    pool: { connectionsPerHost: config.queue.perDestination },
    subaddressDelimiter: domains.subaddress.delimiter,
    subaddressFolders: domains.subaddress.folders,
    overQuota: config.store.overQuota,
    ...(rewriting.srs === undefined ? {} : { srs: rewriting.srs }),
    ...(rewriting.sender === undefined ? {} : { rewriteSender: rewriting.sender }),
    ...(rewriting.recipient === undefined ? {} : { rewriteRecipient: rewriting.recipient }),
  };
}

function smartHosts({ relay }: Config): NonNullable<DelivererOptions["smartHosts"]> {
  const { smartHost, startTls } = relay;
  const hosts = smartHost === null ? [] : Array.isArray(smartHost) ? smartHost : [smartHost];
  return hosts.map((host) =>
    typeof host === "string" ? { host, port: 25, tls: startTls, user: "", password: "", weight: 1 } : host,
  );
}

/** The source address for a recipient domain; a pool is used in turn. */
function sourceAddresses({ relay }: Config): (domain: string) => string {
  const pools = new Map(Object.entries(relay.sourceAddresses).map(([domain, pool]) => [domain, [pool].flat()]));
  let turn = 0;
  return (domain) => {
    const pool = pools.get(domain);
    return pool === undefined ? relay.sourceAddress : pool[turn++ % pool.length]!;
  };
}

/** Where mail that an MX record leads to port 25 of would come back to us. */
function ownAddresses(config: Config): string[] {
  const listening = config.listeners.flatMap(({ address }) => {
    const { host, port } = splitAddress(address);
    if (port !== 25) return [];
    if (host !== undefined && host !== "0.0.0.0" && host !== "::") return [host];
    return Object.values(networkInterfaces()).flatMap((entries) => entries?.map((entry) => entry.address) ?? []);
  });
  return [...config.relay.ownAddresses, ...listening];
}

/** The limits of a destination: the first match of `queue.destinations`, else `queue.perDestination`. */
export function destinationLimits({ queue }: Config): (destination: string) => DestinationLimits {
  const rules = queue.destinations.map((rule) => ({ ...rule, glob: parseGlob(rule.match.toLowerCase()) }));
  return (destination) => {
    const rule = rules.find(({ glob }) => matchGlob(glob, destination.toLowerCase()) !== undefined);
    return { concurrency: rule?.concurrency ?? queue.perDestination, perSecond: rule?.perSecond };
  };
}
