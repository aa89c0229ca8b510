/**
 * Puts a request to one shard of the queue: to the worker that has it, or, when no gateway runs, to the shard itself,
 * opened for this one request. Failure: rejects when the shard is damaged or in use without a control socket.
 */
import { join } from "node:path";
import { pino } from "pino";
import type { Budget } from "../config/budget.ts";
import type { Store } from "../store/types.ts";
import { askOperations, controlPath } from "./control.ts";
import { createOperations, type QueueAnswer, type QueueRequest } from "./operations.ts";
import { openSpool } from "./spool.ts";
import { Suspensions } from "./suspensions.ts";

export interface AskOptions {
  /** The queue's folder. */
  dir: string;
  shard: number;
  budget: Budget;
  hostName: string;
  /** Opens the store, for requests that need it while no gateway runs. */
  store?: () => Promise<Store>;
}

export async function askShard(options: AskOptions, request: QueueRequest): Promise<QueueAnswer> {
  const { dir, shard, budget, hostName } = options;
  try {
    return await askOperations(controlPath(dir, shard), request, budget);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== "ENOENT" && code !== "ECONNREFUSED") throw error;
  }
  const log = pino({ level: "silent" });
  const spool = await openSpool({ dir, shard, budget, log });
  const store = await options.store?.();
  try {
    const suspensions = await Suspensions.open(dir);
    const base = { spool, suspensions, hostName, log, journal: join(dir, "journal.log") };
    return await createOperations(store === undefined ? base : { ...base, store })(request);
  } finally {
    await store?.close();
    await spool.close();
  }
}
