/**
 * Flow control: how many connections are open and how many are new, in total and by peer; who is banned for guessing
 * passwords (smtpfilters.md §12.5). A peer is an IPv4 address or an IPv6 /64 network.
 * `FlowControl` is the border: `LocalFlow` counts in this process; a gateway with several workers puts one behind its
 * supervisor (gateway/shared-flow.ts), since every method may answer later. Invariants: at most `trackedPeers` peers are remembered, the
 * longest unseen go first; each admitted connection is left exactly once. Failure: methods don't throw.
 */
import { isIPv6 } from "node:net";
import type { Budget } from "../../config/budget.ts";
import type { ConnectionLimitSet } from "./access.ts";
import type { MaybePromise } from "./hooks.ts";

/** Which limit was met; undefined when the connection may come in. */
export type FlowRefusal = "banned" | "total" | "interval" | "peer" | "peerInterval" | undefined;

export interface FlowScope {
  /** Name of the counters: the listener, or an access rule. */
  name: string;
  limits: ConnectionLimitSet;
}

export interface FlowControl {
  /** Counts a new connection of `ip` in every scope, or says which limit refuses it and counts nothing open. */
  enter(ip: string, scopes: readonly FlowScope[]): MaybePromise<FlowRefusal>;
  leave(ip: string, scopes: readonly FlowScope[]): void;
  /** A failed AUTH; answers true when the peer is banned from now on. */
  authFailed(ip: string): MaybePromise<boolean>;
  authSucceeded(ip: string): void;
}

/** The key that one peer's connections share: IPv4 address, or the /64 of an IPv6 address. */
export function peerKey(ip: string): string {
  if (!ip.includes(":") || !isIPv6(ip)) return ip;
  const [head = "", tail] = (ip.split("%")[0] ?? "").split("::");
  const left = head === "" ? [] : head.split(":");
  if (tail !== undefined) {
    const right = tail === "" ? [] : tail.split(":");
    const dotted = right.at(-1)?.includes(".") ? 1 : 0;
    while (left.length + right.length + dotted < 8) left.push("0");
    left.push(...right);
  }
  const groups = left.slice(0, 4).map((group) => Number.parseInt(group, 16).toString(16));
  return `${groups.join(":")}::/64`;
}

interface Window {
  start: number;
  count: number;
  before: number;
}

/** Sliding window made of two fixed ones: the older counts by the part of it that still overlaps. */
function hit(window: Window, now: number, length: number): number {
  if (now - window.start >= length) {
    window.before = now - window.start < 2 * length ? window.count : 0;
    window.count = 0;
    window.start = now - ((now - window.start) % length);
  }
  window.count++;
  return window.count + window.before * (1 - (now - window.start) / length);
}

interface Counter {
  open: number;
  recent: Window;
}

interface Guesser {
  failures: number;
  last: number;
  bannedUntil: number;
}

function newCounter(now: number): Counter {
  return { open: 0, recent: { start: now, count: 0, before: 0 } };
}

/** An access rule limits what it names and nothing else. */
export const unlimited: ConnectionLimitSet = {
  maxConnections: 0,
  maxPerInterval: 0,
  intervalMs: 60_000,
  maxPerPeer: 0,
  maxPerPeerInterval: 0,
  peerIntervalMs: 60_000,
};

/** A listener's own limits, which hold for everybody. */
export function totalLimits(budget: Budget): ConnectionLimitSet {
  return { ...unlimited, maxConnections: budget.connections };
}

/** A listener's limits for peers that no access rule speaks of (the defaults of smtpfilters.md §12.5). */
export function peerLimits(budget: Budget): Pick<ConnectionLimitSet, "maxPerPeer" | "maxPerPeerInterval"> {
  return { maxPerPeer: budget.connectionsPerPeer, maxPerPeerInterval: budget.newConnectionsPerPeerPerMinute };
}

export class LocalFlow implements FlowControl {
  private readonly totals = new Map<string, Counter>();
  private readonly peers = new Map<string, Counter>();
  private readonly guessers = new Map<string, Guesser>();
  private readonly budget: Budget;
  private readonly now: () => number;

  constructor(budget: Budget, now: () => number = Date.now) {
    this.budget = budget;
    this.now = now;
  }

  enter(ip: string, scopes: readonly FlowScope[]): FlowRefusal {
    const now = this.now();
    const peer = peerKey(ip);
    const guesser = this.guessers.get(peer);
    if (guesser && guesser.bannedUntil > now) return "banned";
    for (const scope of scopes) {
      const refused = this.check(scope, peer, now);
      if (refused) return refused;
    }
    for (const scope of scopes) {
      this.total(scope, now).open++;
      this.peer(scope, peer, now).open++;
    }
    return undefined;
  }

  leave(ip: string, scopes: readonly FlowScope[]): void {
    const now = this.now();
    const peer = peerKey(ip);
    for (const scope of scopes) {
      this.total(scope, now).open--;
      this.peer(scope, peer, now).open--;
    }
  }

  private check(scope: FlowScope, peer: string, now: number): FlowRefusal {
    const { limits } = scope;
    const total = this.total(scope, now);
    const own = this.peer(scope, peer, now);
    // Every attempt counts as new, refused ones too: a peer that hammers stays out.
    const recent = hit(total.recent, now, limits.intervalMs);
    const ownRecent = hit(own.recent, now, limits.peerIntervalMs);
    if (over(total.open + 1, limits.maxConnections)) return "total";
    if (over(own.open + 1, limits.maxPerPeer)) return "peer";
    if (over(ownRecent, limits.maxPerPeerInterval)) return "peerInterval";
    return over(recent, limits.maxPerInterval) ? "interval" : undefined;
  }

  private total(scope: FlowScope, now: number): Counter {
    let counter = this.totals.get(scope.name);
    if (!counter) this.totals.set(scope.name, (counter = newCounter(now)));
    return counter;
  }

  private peer(scope: FlowScope, peer: string, now: number): Counter {
    const key = `${scope.name} ${peer}`;
    let counter = this.peers.get(key);
    if (counter)
      this.peers.delete(key); // set again below, as the one seen last
    else {
      counter = newCounter(now);
      this.forgetOldest(this.peers, (old) => old.open === 0);
    }
    this.peers.set(key, counter);
    return counter;
  }

  /** Makes room for one more: drops the entry longest in the map that may go. */
  private forgetOldest<T>(map: Map<string, T>, mayGo: (value: T) => boolean): void {
    if (map.size < this.budget.trackedPeers) return;
    for (const [key, value] of map) {
      if (!mayGo(value)) continue;
      map.delete(key);
      return;
    }
  }

  authFailed(ip: string): boolean {
    const now = this.now();
    const peer = peerKey(ip);
    const known = this.guessers.get(peer);
    const failures = known && now - known.last < this.budget.authBanMs ? known.failures + 1 : 1;
    const banned = failures >= this.budget.authBanFailures;
    this.guessers.delete(peer);
    this.forgetOldest(this.guessers, () => true);
    this.guessers.set(peer, { failures, last: now, bannedUntil: banned ? now + this.budget.authBanMs : 0 });
    return banned;
  }

  authSucceeded(ip: string): void {
    this.guessers.delete(peerKey(ip));
  }

  /** The end of a peer's ban, ms since the epoch; 0 when it has none. */
  bannedUntil(ip: string): number {
    return this.guessers.get(peerKey(ip))?.bannedUntil ?? 0;
  }

  /** Peers that are banned now, each with the end of its ban. */
  bans(): Array<[peer: string, until: number]> {
    const now = this.now();
    return [...this.guessers]
      .filter(([, guesser]) => guesser.bannedUntil > now)
      .map(([peer, guesser]) => [peer, guesser.bannedUntil]);
  }
}

function over(count: number, limit: number): boolean {
  return limit > 0 && count > limit;
}
