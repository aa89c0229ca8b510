/**
 * The SMTP listeners of one worker: options made of the configuration, opened together, reloaded together; certificate
 * files are watched, so that certbot or lego need not tell us.
 * Invariants: a reload changes all listeners or none; addresses stay what they were when the worker started. Failure:
 * `openListeners` and `reload` throw on an unreadable file, a bad network or a moved listener; a changed certificate
 * that does not load is logged and the old one stays in force.
 */
import { readFileSync, unwatchFile, watchFile } from "node:fs";
import type { Budget } from "../config/budget.ts";
import type { Config, ListenerConfig } from "../config/schema.ts";
import type { AccessRule, ConnectionLimitSet } from "../smtp/incoming/access.ts";
import { type FlowControl, unlimited } from "../smtp/incoming/flow.ts";
import type { SessionHandlerFactory } from "../smtp/incoming/hooks.ts";
import type { LoadGauge } from "../smtp/incoming/load.ts";
import { createSmtpServer, type ListenerOptions, type SmtpServer } from "../smtp/incoming/server.ts";
import type { ListenerTls } from "../smtp/incoming/tls.ts";
import type { Logger } from "../telemetry/log.ts";
import type { Live } from "./live.ts";
import { splitAddress } from "./supervisor.ts";

export interface ListenerServices {
  factory: SessionHandlerFactory;
  /** Base64; the same for all workers. */
  tlsTicketKeys: string;
  load: LoadGauge;
  flow: FlowControl;
  log: Logger;
}

export interface Listeners {
  /** Addresses listened on, in the order of the configuration. */
  readonly addresses: readonly string[];
  readonly sessionCount: number;
  reload(live: Live): void;
  close(drainMs: number): Promise<void>;
}

/** Certificate and key are written one after the other: wait for both. */
const settleMs = 500;

export async function openListeners(live: Live, services: ListenerServices): Promise<Listeners> {
  let current = live;
  const opened = live.config.listeners.map(({ address }) => address);
  const addresses: string[] = [];
  const servers: SmtpServer[] = [];
  try {
    for (const listener of live.config.listeners) {
      const server = createSmtpServer(listenerOptions(listener, live, services), services.factory);
      const { address, port } = await server.listen();
      servers.push(server);
      addresses.push(`${address.includes(":") ? `[${address}]` : address}:${port}`);
    }
  } catch (error) {
    await Promise.all(servers.map((server) => server.close(0)));
    throw error;
  }

  const reload = (next: Live): void => {
    const wanted = next.config.listeners;
    if (wanted.length !== opened.length || wanted.some(({ address }, index) => address !== opened[index])) {
      throw new RangeError("listeners can't be added, removed or moved by a reload; restart the gateway");
    }
    const options = wanted.map((listener) => listenerOptions(listener, next, services));
    for (const [index, server] of servers.entries()) server.reload(options[index]!);
    current = next;
  };

  let settling: NodeJS.Timeout | undefined;
  const certificateChanged = (): void => {
    clearTimeout(settling);
    settling = setTimeout(() => {
      try {
        reload(current);
        services.log.info("changed certificates are in force");
      } catch (error) {
        services.log.error({ err: error }, "changed certificates do not load; the old ones stay in force");
      }
    }, settleMs);
    settling.unref();
  };
  const watched = new Set(live.config.listeners.flatMap(certificateFiles));
  for (const file of watched) {
    watchFile(file, { interval: live.config.smtp.certificateCheck, persistent: false }, certificateChanged);
  }

  return {
    addresses,
    get sessionCount() {
      return servers.reduce((sum, server) => sum + server.sessionCount, 0);
    },
    reload,
    async close(drainMs) {
      clearTimeout(settling);
      for (const file of watched) unwatchFile(file, certificateChanged);
      await Promise.all(servers.map((server) => server.close(drainMs)));
    },
  };
}

function certificateFiles({ tls }: ListenerConfig): string[] {
  if (!tls) return [];
  const files = [tls, ...tls.sni].flatMap(({ cert, key }) => [cert, key]);
  return tls.clientCa === undefined ? files : [...files, tls.clientCa];
}

function listenerOptions(listener: ListenerConfig, live: Live, services: ListenerServices): ListenerOptions {
  const { host, port } = splitAddress(listener.address);
  const { config, budget, directory } = live;
  const { proxy, proxyRequired, xclient } = listener;
  return {
    host: host ?? "::",
    port,
    reusePort: true,
    profile: listener.protocol === "smtp" ? "mx" : listener.protocol,
    ...(listener.tls ? { tls: readTls(listener.tls, services.tlsTicketKeys) } : {}),
    ...(proxy.length > 0 ? { proxy: { trusted: proxy, required: proxyRequired } } : {}),
    ...(xclient.length > 0 ? { xclientTrusted: xclient } : {}),
    bareNewline: config.smtp.bareNewline,
    greetDelayMs: config.smtp.earlyTalkerWait,
    ...(config.smtp.antiImpersonation
      ? { maySendAs: (user: string, address: string) => directory.maySendAs(user, address) }
      : {}),
    access: { levels: accessLevels(listener, config) },
    limits: ownLimits(listener, budget),
    ...(config.smtp.limits ? { serviceLimits: limitSet(config.smtp.limits) } : {}),
    flow: services.flow,
    load: services.load,
    budget,
    log: services.log,
  };
}

function readTls(tls: NonNullable<ListenerConfig["tls"]>, ticketKeys: string): ListenerTls {
  const pair = (files: { cert: string; key: string }) => ({
    cert: readFileSync(files.cert, "utf8"),
    key: readFileSync(files.key, "utf8"),
  });
  return {
    mode: tls.mode,
    certificates: [pair(tls), ...tls.sni.map((entry) => ({ ...pair(entry), host: entry.host }))],
    ...(tls.groups.length > 0 ? { groups: tls.groups } : {}),
    ...(tls.clientCa ? { clientCa: readFileSync(tls.clientCa, "utf8") } : {}),
    ticketKeys: Buffer.from(ticketKeys, "base64"),
  };
}

/** Listener, service, global; last of all, networks trusted to relay meet no per-peer limits. */
function accessLevels(listener: ListenerConfig, config: Config): AccessRule[][] {
  const levels = [listener.access, config.smtp.access, config.access].map((rules) => rules.map(accessRule));
  const { trustedNetworks } = config.relay;
  return trustedNetworks.length === 0
    ? levels
    : [...levels, [{ action: "allow", networks: trustedNetworks, priority: 0 }]];
}

type Limits = NonNullable<ListenerConfig["limits"]>;

/** Limits that are not given don't limit. */
function limitSet(limits: Limits): ConnectionLimitSet {
  return {
    ...unlimited,
    maxConnections: limits.connections ?? 0,
    maxPerInterval: limits.newConnectionsPerMinute ?? 0,
    maxPerPeer: limits.connectionsPerPeer ?? 0,
    maxPerPeerInterval: limits.newConnectionsPerPeerPerMinute ?? 0,
  };
}

/** A listener's limits: its own where given, else the budget's. */
function ownLimits({ limits }: ListenerConfig, budget: Budget): ConnectionLimitSet {
  const { connections, connectionsPerPeer, newConnectionsPerPeerPerMinute } = budget;
  return limitSet({
    connections: limits?.connections ?? connections,
    newConnectionsPerMinute: limits?.newConnectionsPerMinute,
    connectionsPerPeer: limits?.connectionsPerPeer ?? connectionsPerPeer,
    newConnectionsPerPeerPerMinute: limits?.newConnectionsPerPeerPerMinute ?? newConnectionsPerPeerPerMinute,
  });
}

function accessRule(rule: ListenerConfig["access"][number]): AccessRule {
  return {
    action: rule.action,
    networks: rule.networks,
    priority: rule.priority,
    ...(rule.limits ? { limits: limitSet(rule.limits) } : {}),
  };
}
