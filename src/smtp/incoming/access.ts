/**
 * Allow and deny rules by client address (smtpfilters.md §12.5): the best deny and the best allow rule that match, the
 * smaller priority number wins, a tie accepts, no match is allowed.
 * Invariants: the networks of all rules are parsed once; rules of the listener stand before those of the service, and
 * those before the global list: the first level with a match decides. Failure: a bad network throws RangeError at load.
 */
import { BlockList, isIPv4, isIPv6 } from "node:net";

/** 0 means unlimited. */
export interface ConnectionLimitSet {
  maxConnections: number;
  /** New connections in `intervalMs`, all peers together. */
  maxPerInterval: number;
  intervalMs: number;
  maxPerPeer: number;
  maxPerPeerInterval: number;
  peerIntervalMs: number;
}

export interface AccessRule {
  action: "allow" | "deny";
  /** Addresses, CIDR networks or ranges "a-b"; one that matches is enough. */
  networks: readonly string[];
  /** Lowest number is strongest. */
  priority: number;
  enabled?: boolean;
  limits?: Partial<ConnectionLimitSet>;
}

/** Rules by level, strongest level first: listener, service, global. */
export interface AccessRules {
  readonly levels: ReadonlyArray<readonly AccessRule[]>;
}

/** A set of networks that answers by address family. */
export class NetworkSet {
  private readonly list = new BlockList();

  constructor(networks: readonly string[]) {
    for (const network of networks) this.add(network.trim());
  }

  private add(network: string): void {
    const range = /^([^-]+)-(.+)$/.exec(network);
    const cidr = /^(.+)\/(\d{1,3})$/.exec(network);
    try {
      if (range) this.list.addRange(range[1]!.trim(), range[2]!.trim(), family(range[1]!.trim()));
      else if (cidr) this.list.addSubnet(cidr[1]!, Number(cidr[2]), family(cidr[1]!));
      else this.list.addAddress(network, family(network));
    } catch (error) {
      throw new RangeError(`not an address, network or range: "${network}"`, { cause: error });
    }
  }

  has(ip: string): boolean {
    return isIPv4(ip) ? this.list.check(ip, "ipv4") : isIPv6(ip) && this.list.check(ip, "ipv6");
  }
}

function family(ip: string): "ipv4" | "ipv6" {
  if (isIPv4(ip)) return "ipv4";
  if (isIPv6(ip)) return "ipv6";
  throw new RangeError(`not an IP address: "${ip}"`);
}

export interface AccessVerdict {
  allowed: boolean;
  /** Limits of the allow rule that decided; its name keys the counters. */
  limits?: Partial<ConnectionLimitSet>;
  /** "level.index"; level 0 is the listener's own list. */
  rule?: string;
}

interface CompiledRule {
  rule: AccessRule;
  networks: NetworkSet;
  name: string;
}

/** Rules made ready to be asked. */
export class AccessList {
  private readonly levels: CompiledRule[][];

  constructor(rules: AccessRules) {
    this.levels = rules.levels.map((level, depth) =>
      level
        .map((rule, index) => ({ rule, networks: new NetworkSet(rule.networks), name: `${depth}.${index}` }))
        .filter(({ rule }) => rule.enabled !== false)
        .sort((a, b) => a.rule.priority - b.rule.priority),
    );
  }

  check(ip: string): AccessVerdict {
    for (const level of this.levels) {
      const deny = level.find(({ rule, networks }) => rule.action === "deny" && networks.has(ip));
      const allow = level.find(({ rule, networks }) => rule.action === "allow" && networks.has(ip));
      if (deny && (!allow || deny.rule.priority < allow.rule.priority)) return { allowed: false, rule: deny.name };
      if (allow) return { allowed: true, limits: allow.rule.limits ?? {}, rule: allow.name };
    }
    return { allowed: true };
  }
}
