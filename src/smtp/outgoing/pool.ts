/**
 * Open connections kept for reuse, by next hop (host, port, TLS demands, credentials, source address, protocol).
 * Invariants: at most `connectionsPerHost` connections to one hop and `messagesPerConnection` transactions on one
 * connection; users beyond that wait in order; an idle connection is closed after `idleMs`; a connection that died
 * while idle costs its next user nothing (`untouched` transactions are done over once on a new one).
 * Failure: `deliver` rejects with SmtpError when no connection can be made; waiting users get the same error.
 */
import { type ConnectOptions, SmtpConnection } from "./client.ts";
import { unwatch, type Watched, watch } from "./deadline.ts";
import { type Transaction, type TransactionResult, transact } from "./transaction.ts";

export interface PoolLimits {
  connectionsPerHost: number;
  messagesPerConnection: number;
  idleMs: number;
}

export const defaultPoolLimits: PoolLimits = { connectionsPerHost: 20, messagesPerConnection: 1_000, idleMs: 5_000 };

export interface PooledResult extends TransactionResult {
  origin: string;
  /** The host took on the duty of delivery reports (RFC 3461): we send no "relayed" report. */
  dsnPassedOn: boolean;
  tlsInfo: string;
}

type Opener = (options: ConnectOptions) => Promise<SmtpConnection>;

interface Waiter {
  resolve(connection: SmtpConnection): void;
  reject(error: unknown): void;
}

/** Connections of one next hop. */
class Hop implements Watched {
  deadline = 0;
  readonly idle: SmtpConnection[] = [];
  readonly #waiting: Waiter[] = [];
  readonly #pool: ConnectionPool;
  readonly #key: string;
  #open = 0;

  constructor(pool: ConnectionPool, key: string) {
    this.#pool = pool;
    this.#key = key;
    watch(this);
  }

  async acquire(options: ConnectOptions): Promise<{ connection: SmtpConnection; reused: boolean }> {
    const ready = this.idle.pop();
    if (ready) return { connection: ready, reused: true };
    if (this.#open >= this.#pool.limits.connectionsPerHost) {
      const connection = await new Promise<SmtpConnection>((resolve, reject) =>
        this.#waiting.push({ resolve, reject }),
      );
      return { connection, reused: true };
    }
    return { connection: await this.fresh(options), reused: false };
  }

  /** A new connection, whatever is idle. */
  async fresh(options: ConnectOptions): Promise<SmtpConnection> {
    this.#open++;
    try {
      const connection = await this.#pool.opener(options);
      connection.onClose = () => this.#closed(connection);
      if (!connection.usable) this.#closed(connection);
      return connection;
    } catch (error) {
      this.#open--;
      // The hop is unreachable for those who wait, too, unless other connections still serve them.
      if (this.#open === 0) for (const waiter of this.#waiting.splice(0)) waiter.reject(error);
      this.#retire();
      throw error;
    }
  }

  release(connection: SmtpConnection): void {
    if (!connection.usable || connection.transactions >= this.#pool.limits.messagesPerConnection) {
      connection.quit();
      return;
    }
    const waiter = this.#waiting.shift();
    if (waiter) {
      waiter.resolve(connection);
      return;
    }
    const now = Date.now();
    connection.idleSince = now;
    this.idle.push(connection);
    this.deadline ||= now + this.#pool.limits.idleMs;
  }

  /** Watched: closes what has been idle long enough; the list is in order of release. */
  expire(): void {
    const before = Date.now() - this.#pool.limits.idleMs;
    while (this.idle[0] && this.idle[0].idleSince <= before) this.idle.shift()!.quit();
    this.deadline = this.idle[0] ? this.idle[0].idleSince + this.#pool.limits.idleMs : 0;
  }

  closeIdle(): void {
    for (const connection of this.idle.splice(0)) connection.quit();
  }

  #closed(connection: SmtpConnection): void {
    connection.onClose = undefined;
    this.#open--;
    const at = this.idle.indexOf(connection);
    if (at >= 0) this.idle.splice(at, 1);
    const waiter = this.#waiting.shift();
    if (waiter) this.fresh(connection.options).then(waiter.resolve, waiter.reject);
    else this.#retire();
  }

  #retire(): void {
    if (this.#open > 0 || this.#waiting.length > 0) return;
    unwatch(this);
    this.#pool.forget(this.#key);
  }
}

export class ConnectionPool {
  readonly limits: PoolLimits;
  readonly opener: Opener;
  readonly #hops = new Map<string, Hop>();

  constructor(limits: Partial<PoolLimits> = {}, opener: Opener = SmtpConnection.open) {
    this.limits = { ...defaultPoolLimits, ...limits };
    this.opener = opener;
  }

  /**
   * Carries out a transaction with the hop that `key` stands for; `options` say how to connect if need be.
   * Two hops with different demands (TLS, credentials, source address) must have different keys.
   */
  async deliver(key: string, options: ConnectOptions, transaction: Transaction): Promise<PooledResult> {
    const hop = this.#hop(key);
    const { connection, reused } = await hop.acquire(options);
    const first = await this.#use(hop, connection, transaction);
    if (!first.untouched || !reused) return first;
    // The host closed the idle connection at the moment we took it.
    const again = this.#hop(key);
    return this.#use(again, await again.fresh(options), transaction);
  }

  forget(key: string): void {
    this.#hops.delete(key);
  }

  /** Closes all idle connections. */
  close(): void {
    for (const hop of [...this.#hops.values()]) hop.closeIdle();
  }

  #hop(key: string): Hop {
    let hop = this.#hops.get(key);
    if (!hop) {
      hop = new Hop(this, key);
      this.#hops.set(key, hop);
    }
    return hop;
  }

  async #use(hop: Hop, connection: SmtpConnection, transaction: Transaction): Promise<PooledResult> {
    const result = await transact(connection, transaction);
    const dsnPassedOn = connection.supports("DSN");
    const { origin, tlsInfo } = connection;
    hop.release(connection);
    return { ...result, origin, tlsInfo, dsnPassedOn };
  }
}
