/**
 * Shared facts in one SQLite file that all workers of a machine open; the queries run in a thread.
 * Invariants: survives a restart; expired facts are absent at once and swept once a minute.
 * Failure: methods reject with the database's error; opening rejects when the file can't be opened.
 */
import { mkdir } from "node:fs/promises";
import { dirname } from "node:path";
import type { Budget } from "../config/budget.ts";
import { DatabaseThread } from "../store/database-thread.ts";
import type { Logger } from "../telemetry/log.ts";
import type { SharedState } from "./types.ts";
import type { IncrementArgument, KeyArgument, SetArgument, StateData } from "./worker.ts";

export interface EmbeddedStateOptions {
  /** Path of the database file. */
  path: string;
  budget: Budget;
  log: Logger;
  now?: () => number;
}

/** Longest namespace plus key in UTF-16 units; longer keys are refused with RangeError. */
const keyLength = 4_096;
const sweepMs = 60_000;

export async function openEmbeddedState(options: EmbeddedStateOptions): Promise<EmbeddedState> {
  await mkdir(dirname(options.path), { recursive: true, mode: 0o700 });
  const data: StateData = { path: options.path, maxEntries: options.budget.stateEntries };
  return new EmbeddedState(await DatabaseThread.start(new URL("./worker.ts", import.meta.url), data), options);
}

export class EmbeddedState implements SharedState {
  readonly #thread: DatabaseThread;
  readonly #now: () => number;
  readonly #sweeper: NodeJS.Timeout;

  constructor(thread: DatabaseThread, options: EmbeddedStateOptions) {
    this.#thread = thread;
    this.#now = options.now ?? Date.now;
    this.#sweeper = setInterval(() => {
      this.sweep().catch((error: Error) => options.log.warn({ error: error.message }, "shared state can't be swept"));
    }, sweepMs);
    this.#sweeper.unref();
  }

  async get(namespace: string, key: string): Promise<string | undefined> {
    return this.#thread.request("get", this.#key(namespace, key));
  }

  async set(namespace: string, key: string, value: string, ttlMs: number): Promise<void> {
    return this.#thread.request("set", this.#value(namespace, key, value, ttlMs));
  }

  async add(namespace: string, key: string, value: string, ttlMs: number): Promise<boolean> {
    return this.#thread.request("add", this.#value(namespace, key, value, ttlMs));
  }

  async delete(namespace: string, key: string): Promise<void> {
    return this.#thread.request("delete", this.#key(namespace, key));
  }

  async increment(namespace: string, key: string, amount: number, windowMs: number): Promise<number> {
    const argument: IncrementArgument = { ...this.#key(namespace, key), amount, windowMs };
    return this.#thread.request("increment", argument);
  }

  /** Frees what has expired; answers how many entries. */
  sweep(): Promise<number> {
    return this.#thread.request("sweep", { now: this.#now() });
  }

  async close(): Promise<void> {
    clearInterval(this.#sweeper);
    await this.#thread.close();
  }

  #key(namespace: string, key: string): KeyArgument {
    const whole = `${namespace}\0${key}`;
    if (whole.length > keyLength) throw new RangeError(`key of ${whole.length} characters; ${keyLength} are allowed`);
    return { key: whole, now: this.#now() };
  }

  #value(namespace: string, key: string, value: string, ttlMs: number): SetArgument {
    const argument = this.#key(namespace, key);
    return { ...argument, value, expires: argument.now + ttlMs };
  }
}
