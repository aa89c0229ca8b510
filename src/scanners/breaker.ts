/**
 * Keeps a scanner from being flooded and the gateway from waiting for a dead one: a concurrency limit with a bounded
 * waiting line, and a circuit breaker that opens after consecutive failures and closes again by a ping.
 * Invariants: at most `concurrency` scans run; an open circuit costs no connection. Failure: ScannerError "closed" while
 * the circuit is open, "limit" when the line is full, "timeout" when the turn does not come in time.
 */
import { type ScanInput, type Scanner, ScannerError, type ScanVerdict } from "./types.ts";

export interface BreakerOptions {
  concurrency: number;
  /** Scans that may wait for a turn. */
  waiting: number;
  /** Longest wait for a turn, ms. */
  turnMs: number;
  /** Consecutive failures that open the circuit. */
  failures: number;
  /** Time before an open circuit is probed, ms. */
  openMs: number;
  now?: () => number;
}

export const breakerDefaults: BreakerOptions = {
  concurrency: 10,
  waiting: 1_000,
  turnMs: 30_000,
  failures: 5,
  openMs: 10_000,
};

export class GuardedScanner implements Scanner {
  readonly name: string;
  readonly #scanner: Scanner;
  readonly #options: BreakerOptions;
  readonly #line: Array<() => void> = [];
  #running = 0;
  #failures = 0;
  #openUntil = 0;
  #probe: Promise<void> | undefined;

  constructor(scanner: Scanner, options: Partial<BreakerOptions> = {}) {
    this.name = scanner.name;
    this.#scanner = scanner;
    this.#options = { ...breakerDefaults, ...options };
  }

  /** True while scans are refused without asking the server. */
  get open(): boolean {
    return this.#openUntil > 0;
  }

  async scan(input: ScanInput): Promise<ScanVerdict> {
    if (this.open) await this.#tryClose();
    await this.#turn();
    try {
      const verdict = await this.#scanner.scan(input);
      this.#failures = 0;
      return verdict;
    } catch (error) {
      // A limit is the message's doing, not a sign that the server is unwell.
      if (error instanceof ScannerError && error.kind !== "limit") this.#failed();
      throw error;
    } finally {
      this.#running--;
      this.#line.shift()?.();
    }
  }

  ping(): Promise<void> {
    return this.#scanner.ping();
  }

  close(): Promise<void> {
    return this.#scanner.close();
  }

  #now(): number {
    return (this.#options.now ?? Date.now)();
  }

  #failed(): void {
    this.#failures++;
    if (this.#failures >= this.#options.failures) this.#openUntil = this.#now() + this.#options.openMs;
  }

  /** One probe at a time decides for all who wait. */
  async #tryClose(): Promise<void> {
    if (this.#now() < this.#openUntil) throw new ScannerError("closed", `${this.name} is down; next probe soon`);
    this.#probe ??= this.#scanner
      .ping()
      .then(
        () => {
          this.#openUntil = 0;
          this.#failures = 0;
        },
        (error: unknown) => {
          this.#openUntil = this.#now() + this.#options.openMs;
          throw error;
        },
      )
      .finally(() => {
        this.#probe = undefined;
      });
    await this.#probe;
  }

  async #turn(): Promise<void> {
    if (this.#running < this.#options.concurrency) {
      this.#running++;
      return;
    }
    if (this.#line.length >= this.#options.waiting) {
      throw new ScannerError("limit", `${this.name}: too many messages wait`);
    }
    await new Promise<void>((resolve, reject) => {
      const next = () => {
        clearTimeout(timer);
        this.#running++;
        resolve();
      };
      const timer = setTimeout(() => {
        this.#line.splice(this.#line.indexOf(next), 1);
        reject(new ScannerError("timeout", `${this.name}: no turn within ${this.#options.turnMs} ms`));
      }, this.#options.turnMs);
      this.#line.push(next);
    });
  }
}
