/**
 * Allow and deny rules by client address (smtpfilters.md §12.5): the best deny and the best allow rule that match, the
 * smaller priority number wins, a tie accepts, no match is allowed.
 * Invariants: the networks of all rules are parsed once; rules of the listener stand before those of the service, and
 * those before the global list: the first level with a match decides. Failure: a bad network throws RangeError at load.
 */
import { contiguous, parseIp, parseIpSet } from "../../language/ipset.ts";

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

interface Span {
  first: bigint;
  last: bigint;
}

/** A set of networks: for each address family spans in order, without overlap, found by halving. */
export class NetworkSet {
  private readonly ipv4: readonly Span[];
  private readonly ipv6: readonly Span[];

  constructor(networks: readonly string[]) {
    const read = networks.map(readNetwork);
    this.ipv4 = united(read.filter(({ bits }) => bits === 32));
    this.ipv6 = united(read.filter(({ bits }) => bits === 128));
  }

  has(ip: string): boolean {
    if (this.ipv4.length === 0 && this.ipv6.length === 0) return false;
    const address = parseIp(ip);
    if (address === undefined) return false;
    const spans = address.bits === 32 ? this.ipv4 : this.ipv6;
    let low = 0;
    let high = spans.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (spans[middle]!.last < address.value) low = middle + 1;
      else high = middle;
    }
    return low < spans.length && spans[low]!.first <= address.value;
  }
}

function readNetwork(network: string): Span & { bits: 32 | 128 } {
  const members = parseIpSet(network.trim().replace(/\s*-\s*/, "-"));
  const span = members?.length === 1 ? contiguous(members[0]!) : undefined;
  if (!span) throw new RangeError(`not an address, network or range: "${network}"`);
  return { bits: members![0]!.bits, first: span.first, last: span.last };
}

function united(spans: Span[]): Span[] {
  const out: Span[] = [];
  for (const span of spans.sort((a, b) => (a.first < b.first ? -1 : 1))) {
    const before = out.at(-1);
    if (before === undefined || before.last < span.first) out.push({ first: span.first, last: span.last });
    else if (before.last < span.last) before.last = span.last;
  }
  return out;
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
