/**
 * What all sessions of one listener share: options made ready, services, the set of open sessions and the sweep that
 * ends those past their deadline. One timer serves all sessions; a session only writes down when its time is up.
 * Invariants: `sessions` holds exactly the connections that are open; each entry is left once.
 */
import type { Budget } from "../../config/budget.ts";
import type { Outcome } from "../../message/outcome.ts";
import type { Logger } from "../../telemetry/log.ts";
import { AccessList, type AccessVerdict, type ConnectionLimitSet, NetworkSet } from "./access.ts";
import {
  type FlowControl,
  type FlowRefusal,
  type FlowScope,
  LocalFlow,
  peerLimits,
  totalLimits,
  unlimited,
} from "./flow.ts";
import type { MaybePromise, SessionHandlerFactory } from "./hooks.ts";
import type { LoadLevel } from "./load.ts";
import { budgetOf, type ListenerOptions } from "./options.ts";
import { type Profile, refusal } from "./protocol.ts";
import type { Session } from "./session.ts";
import { TlsContexts } from "./tls.ts";

/** A connection's place in the counters, or why it has none. */
export interface FlowEntry {
  ip: string;
  scopes: readonly FlowScope[];
  refusal?: Outcome;
}

/** Replies to connections that flow control turns away. */
const flowReplies: Record<Exclude<FlowRefusal, undefined>, Outcome> = {
  banned: refusal(554, "5.7.1", "Access denied for now: too many failed authentications"),
  total: refusal(421, "4.3.2", "Too many connections, try again later"),
  interval: refusal(421, "4.3.2", "Too many new connections, try again later"),
  peer: refusal(421, "4.7.0", "Too many connections from your address"),
  peerInterval: refusal(421, "4.7.0", "Too many new connections from your address, slow down"),
};
const denied = refusal(554, "5.7.1", "Access denied");

/** Under load (level 1 and up) time-outs shrink to this part. */
const hurried = 0.1;

let sessionCount = 0;

export class Listener {
  readonly factory: SessionHandlerFactory;
  readonly sessions = new Set<Session>();
  options: ListenerOptions;
  budget: Budget;
  profile: Profile = "mx";
  flow: FlowControl;
  tls: TlsContexts | undefined;
  log: Logger | undefined;
  private access: AccessList | undefined;
  private proxyNetworks: NetworkSet | undefined;
  private xclientNetworks: NetworkSet | undefined;
  private onEmpty: (() => void) | undefined;
  private sweeper: NodeJS.Timeout | undefined;

  constructor(options: ListenerOptions, factory: SessionHandlerFactory) {
    this.factory = factory;
    this.options = options;
    this.budget = budgetOf(options);
    this.flow = options.flow ?? new LocalFlow(this.budget);
    this.configure(options);
  }

  /** Takes new options whole, or throws and leaves the old ones in force. */
  configure(options: ListenerOptions): void {
    const tls = options.tls ? new TlsContexts(options.tls) : undefined;
    const access = options.access ? new AccessList(options.access) : undefined;
    const proxyNetworks = options.proxy ? new NetworkSet(options.proxy.trusted) : undefined;
    const xclientNetworks = options.xclientTrusted ? new NetworkSet(options.xclientTrusted) : undefined;
    this.options = options;
    this.budget = budgetOf(options);
    this.profile = options.profile ?? "mx";
    this.flow = options.flow ?? this.flow;
    this.log = options.log;
    this.tls = tls;
    this.access = access;
    this.proxyNetworks = proxyNetworks;
    this.xclientNetworks = xclientNetworks;
  }

  nextSessionId(): string {
    sessionCount = (sessionCount + 1) >>> 0;
    return `${process.pid.toString(36)}-${sessionCount.toString(16).padStart(8, "0")}`;
  }

  expectsProxy(ip: string): boolean {
    return this.proxyNetworks?.has(ip) ?? false;
  }

  /** Asked of the address of the socket itself, which XCLIENT can't change. */
  trustsXclient(address: string | undefined): boolean {
    return this.xclientNetworks?.has((address ?? "").replace(/^::ffff:/i, "")) ?? false;
  }

  loadLevel(): LoadLevel {
    return this.options.load?.level() ?? 0;
  }

  idleMs(): number {
    return this.loadLevel() >= 1 ? this.budget.idleMs * hurried : this.budget.idleMs;
  }

  /** Access rules, then connection limits (smtpfilters.md §12.5): the rule's own, then the listener's. */
  enter(ip: string): MaybePromise<FlowEntry> {
    const verdict = this.access?.check(ip);
    if (verdict && !verdict.allowed) return { ip, scopes: [], refusal: denied };
    const scopes = this.scopesFor(verdict);
    const answer = this.flow.enter(ip, scopes);
    const entry = (refused: FlowRefusal): FlowEntry =>
      refused ? { ip, scopes: [], refusal: flowReplies[refused] } : { ip, scopes };
    return answer instanceof Promise ? answer.then(entry) : entry(answer);
  }

  /** The counters a connection goes into: the rule's that named it, the listener's, the service's. */
  private scopesFor(verdict: AccessVerdict | undefined): FlowScope[] {
    const name = `${this.options.host}:${this.options.port}`;
    const own = this.options.limits ?? { ...totalLimits(this.budget), ...peerLimits(this.budget) };
    const scopes: FlowScope[] = [];
    if (verdict?.rule) {
      // A rule of the service or of the global list counts its peers over all listeners.
      const owner = verdict.rule.startsWith("0.") ? name : "service";
      scopes.push({ name: `${owner} rule ${verdict.rule}`, limits: { ...unlimited, ...verdict.limits } });
      scopes.push({ name, limits: this.underLoad({ ...unlimited, maxConnections: own.maxConnections }) });
    } else scopes.push({ name, limits: this.underLoad(own) });
    if (this.options.serviceLimits) {
      scopes.push({ name: "service", limits: this.underLoad(this.options.serviceLimits) });
    }
    return scopes;
  }

  /** Level 2: half the connections, so that those which are open come to an end. */
  private underLoad(limits: ConnectionLimitSet): ConnectionLimitSet {
    if (this.loadLevel() < 2 || limits.maxConnections === 0) return limits;
    return { ...limits, maxConnections: Math.max(1, Math.floor(limits.maxConnections / 2)) };
  }

  leave(entry: FlowEntry): void {
    if (entry.scopes.length > 0) this.flow.leave(entry.ip, entry.scopes);
  }

  forget(session: Session): void {
    this.sessions.delete(session);
    if (this.sessions.size === 0) this.onEmpty?.();
  }

  /** Calls `done` once no session is open, which may be now. */
  whenEmpty(done: () => void): void {
    if (this.sessions.size === 0) done();
    else this.onEmpty = done;
  }

  startSweep(): void {
    const { idleMs, dataBlockMs, tlsHandshakeMs, proxyHeaderMs, lingerMs } = this.budget;
    const shortest = Math.min(idleMs * hurried, dataBlockMs, tlsHandshakeMs, proxyHeaderMs, lingerMs);
    const interval = Math.max(10, Math.min(1_000, shortest / 4));
    this.sweeper = setInterval(() => this.sweep(Date.now()), interval);
    this.sweeper.unref();
  }

  stopSweep(): void {
    clearInterval(this.sweeper);
  }

  private sweep(now: number): void {
    for (const session of this.sessions) if (session.connection.deadline <= now) session.timedOut();
  }
}
