/**
 * Where mail for a recipient goes (smtpfilters.md §8.1): the route set for this recipient in onRcptTo, what
 * onRelay makes of it, `domains.routes`, user maps, smart hosts, and at last the MX of the domain.
 * Invariants: the first of these that answers decides; onRelay is asked once per message, domain and preset.
 * Failure: `route` never rejects for what policy or maps say: it answers a hop of kind "error" with the outcome.
 */
import { domainOf, type RouteOverride } from "../message/envelope.ts";
import { type Outcome, outcome } from "../message/outcome.ts";
import type { QueuedMessage, QueuedRecipient } from "../queue/types.ts";
import { type HopDefaults, mxHop, parseNextHop } from "./next-hop.ts";
import { orderSmartHosts, type SmartHost } from "./smart-host.ts";
import type { NextHop, SignatureRequest, TlsPolicy } from "./types.ts";
import type { UserMap } from "./user-map.ts";

/** What onRelay answered: the preset, changed or not. A host of "" leaves the choice to the routes below it. */
export interface RelayDecision {
  route: RouteOverride;
  /** Which rule said so, for logs and `explain`. */
  origin: string;
  /** Set when policy refuses to relay. */
  refused?: Outcome;
  signatures?: readonly SignatureRequest[];
}

export type RelayPolicy = (message: QueuedMessage, domain: string, preset: RouteOverride) => Promise<RelayDecision>;

export interface RouteSettings {
  /** Recipient domains delivered to the store. */
  isLocal(domain: string): boolean;
  /** Front-end node: a user map has the address, so it is not local, whatever its domain. */
  hasBackEnd(address: string): boolean | Promise<boolean>;
  relayPolicy: RelayPolicy | undefined;
  /** Recipient domain (lower case) → next hop text. */
  routes: Readonly<Record<string, string>>;
  userMaps: readonly UserMap[];
  smartHosts: readonly SmartHost[];
  /** TLS for hops whose route says nothing of it. */
  tls: TlsPolicy;
  /** TLS by recipient domain, over everything else. */
  tlsByDomain: Readonly<Record<string, TlsPolicy>>;
  /** Source address by recipient domain; "" = the system's choice. */
  localAddress(domain: string): string;
}

const nothing: RouteOverride = { host: "", port: 25 };

type Decisions = Map<string, Promise<RelayDecision | undefined>>;

export class Router {
  readonly #settings: RouteSettings;
  /** onRelay's answers for the attempt under way: the queue asks for the destination, then delivers. */
  readonly #asked = new WeakMap<QueuedMessage, { attempts: number; decisions: Decisions }>();

  constructor(settings: RouteSettings) {
    this.#settings = settings;
  }

  isLocal(recipient: QueuedRecipient): boolean | Promise<boolean> {
    const { isLocal, hasBackEnd } = this.#settings;
    const { address, route } = recipient;
    if (route !== undefined || !isLocal(domainOf(address))) return false;
    const served = hasBackEnd(address);
    return served instanceof Promise ? served.then((elsewhere) => !elsewhere) : !served;
  }

  /** The next hop of a recipient that is not local, when it can be told without asking policy; it may come later. */
  routeNow(recipient: QueuedRecipient): NextHop | Promise<NextHop> | undefined {
    if (this.#settings.relayPolicy) return undefined;
    return this.#choose(recipient.address, domainOf(recipient.address), undefined, recipient.route);
  }

  /** The next hops for recipients that are not local, in order, asking onRelay once per domain and preset. */
  async routeAll(message: QueuedMessage, recipients: readonly QueuedRecipient[]): Promise<NextHop[]> {
    const decisions = this.#decisions(message);
    return Promise.all(
      recipients.map(async (recipient) => {
        const domain = domainOf(recipient.address);
        const key = recipient.route ? `${domain} ${JSON.stringify(recipient.route)}` : domain;
        let decision = decisions.get(key);
        if (!decision) {
          decision = this.#ask(message, domain, recipient.route ?? nothing);
          decisions.set(key, decision);
        }
        const hop = await this.#choose(recipient.address, domain, await decision, recipient.route);
        const signatures = (await decision)?.signatures;
        return signatures === undefined ? hop : { ...hop, signatures };
      }),
    );
  }

  /** What user maps say of an address, and nothing else. */
  backEndOf(address: string): NextHop | undefined | Promise<NextHop | undefined> {
    return byUserMap(address, this.#settings.userMaps, this.#defaults(domainOf(address)));
  }

  #defaults(domain: string): HopDefaults {
    const { tlsByDomain, tls, localAddress } = this.#settings;
    return { domain, tls: tlsByDomain[domain] ?? tls, localAddress: localAddress(domain) };
  }

  #decisions(message: QueuedMessage): Decisions {
    const known = this.#asked.get(message);
    if (known?.attempts === message.attempts) return known.decisions;
    const decisions: Decisions = new Map();
    this.#asked.set(message, { attempts: message.attempts, decisions });
    return decisions;
  }

  async #ask(message: QueuedMessage, domain: string, preset: RouteOverride): Promise<RelayDecision | undefined> {
    return this.#settings.relayPolicy?.(message, domain, preset);
  }

  #choose(
    address: string,
    domain: string,
    decision: RelayDecision | undefined,
    override: RouteOverride | undefined,
  ): NextHop | Promise<NextHop> {
    if (domain === "") {
      const parts = { code: 550, enhanced: "5.1.3", text: "the recipient address has no domain", origin: "engine" };
      return errorHop(domain, outcome.reject(parts));
    }
    if (decision?.refused) return errorHop(domain, decision.refused);
    const { routes, userMaps, tlsByDomain } = this.#settings;
    const defaults = this.#defaults(domain);
    const set = decision?.route ?? override;
    if (set && set.host !== "") {
      return fromOverride(set, mxHop(defaults, decision?.origin ?? "recipient route"), tlsByDomain[domain]);
    }
    const route = routes[domain];
    if (route !== undefined) return withSource(parseNextHop(route, defaults, "domains.routes"), set);
    const backEnd = byUserMap(address, userMaps, defaults);
    if (backEnd instanceof Promise) return backEnd.then((hop) => this.#orBeyond(hop, defaults, set));
    return this.#orBeyond(backEnd, defaults, set);
  }

  /** The back end of a user map, or what comes after the maps. */
  #orBeyond(backEnd: NextHop | undefined, defaults: HopDefaults, set: RouteOverride | undefined): NextHop {
    const { smartHosts, tlsByDomain } = this.#settings;
    const { domain } = defaults;
    if (backEnd !== undefined) return withSource(backEnd, set);
    if (smartHosts.length > 0) {
      const [first, ...others] = orderSmartHosts(smartHosts, defaults);
      return withSource(others.length > 0 ? { ...first!, fallbacks: others } : first!, set);
    }
    // Policy may leave the host to MX and still choose TLS, port and source address.
    return set ? fromOverride(set, mxHop(defaults, "mx"), tlsByDomain[domain]) : mxHop(defaults, "mx");
  }
}

/** The first map that has the address decides. */
function byUserMap(
  address: string,
  maps: readonly UserMap[],
  defaults: HopDefaults,
): NextHop | undefined | Promise<NextHop | undefined> {
  for (const [index, map] of maps.entries()) {
    const hop = (host: string): NextHop => parseNextHop(host, defaults, `user map ${map.name}`);
    const host = map.find(address);
    if (host instanceof Promise) {
      return host.then((found) =>
        found === undefined ? byUserMap(address, maps.slice(index + 1), defaults) : hop(found),
      );
    }
    if (host !== undefined) return hop(host);
  }
  return undefined;
}

function fromOverride(set: RouteOverride, base: NextHop, byDomain: TlsPolicy | undefined): NextHop {
  return {
    ...base,
    host: set.host.trim().replace(/\.$/, ""),
    port: set.port,
    implicitTls: set.implicitTls ?? false,
    tls: byDomain ?? startTlsPolicy(set.startTls, base.tls),
    tlsVersions: set.tlsVersions ?? "",
    authUser: set.authUser ?? "",
    authPass: set.authPass ?? "",
    authTypes: set.authTypes ?? "",
    localAddress: set.localAddress || base.localAddress,
  };
}

/** `allowStartTLS` as policy set it: no = never, yes = when offered or better, unset = the configured policy. */
function startTlsPolicy(set: boolean | undefined, configured: TlsPolicy): TlsPolicy {
  if (set === undefined) return configured;
  if (!set) return "none";
  return configured === "none" ? "opportunistic" : configured;
}

/** Policy chose only the source address. */
function withSource(hop: NextHop, set: RouteOverride | undefined): NextHop {
  return set?.localAddress ? { ...hop, localAddress: set.localAddress } : hop;
}

function errorHop(domain: string, said: Outcome): NextHop {
  const base = mxHop({ domain, tls: "none", localAddress: "" }, said.origin);
  return { ...base, kind: "error", outcome: said };
}
