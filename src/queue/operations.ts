/**
 * What an administrator can do with the queue: the one implementation behind `postern queue` and the web console.
 * Invariants: each operation that changes something is journaled with who and why before it is answered; a message that
 * is being delivered at this moment is left alone and counted as busy. Failure: rejects with the spool's error; a
 * request that makes no sense is answered with `error`, never thrown.
 */
import { appendFile } from "node:fs/promises";
import { outcome } from "../message/outcome.ts";
import type { Store } from "../store/types.ts";
import type { Logger } from "../telemetry/log.ts";
import { type DestinationStatus, suspendedStatus } from "./destination.ts";
import { releaseQuarantined } from "./quarantine.ts";
import { defaultRetry } from "./retry.ts";
import type { Scheduler } from "./scheduler.ts";
import { isPending, Settlement } from "./settlement.ts";
import type { Suspensions } from "./suspensions.ts";
import type { QueuedMessage, QueueFilter, ReportPolicy, ScheduledSpool } from "./types.ts";

export type QueueRequest =
  | { operation: "list"; filter: QueueFilter }
  | { operation: "count" | "destinations" }
  | ({ operation: "retry" | "hold" | "release" | "delete" | "bounce"; filter: QueueFilter } & Account)
  | ({ operation: "reroute"; filter: QueueFilter; host: string; port: number } & Account)
  /** Sends a quarantined message on to the recipients it was for. */
  | ({ operation: "release quarantined"; folder: string; uid: number } & Account)
  | DestinationRequest;

type DestinationRequest = { operation: "suspend" | "resume" | "flush"; destination: string } & Account;

/** Who asks for a change, and why. */
export interface Account {
  who: string;
  why: string;
}

export type QueueAnswer =
  | { messages: QueuedMessage[] }
  | { count: Record<string, number> }
  | { destinations: DestinationStatus[] }
  /** Ids that were changed, and those being delivered just now. */
  | { done: string[]; busy: string[] }
  /** Waiting messages that a change to a destination made due. */
  | { due: number }
  | { error: string };

export interface OperationsOptions {
  spool: ScheduledSpool;
  /** Absent while no gateway runs: then destinations have no status. */
  scheduler?: Scheduler;
  /** Without a scheduler: where suspensions are noted for the next start. */
  suspensions?: Suspensions;
  /** Absent: quarantined messages can't be released here. */
  store?: Store;
  reports?: ReportPolicy;
  hostName: string;
  log: Logger;
  /** Path of the journal: one JSON line an operation. */
  journal: string;
  now?: () => number;
}

export type QueueOperations = (request: QueueRequest) => Promise<QueueAnswer>;

export function createOperations(options: OperationsOptions): QueueOperations {
  const { spool, scheduler, suspensions, hostName, log, reports } = options;
  const now = options.now ?? Date.now;
  const settlement = new Settlement({ spool, reports, retry: defaultRetry, hostName, log, now });

  const changes: Record<string, (message: QueuedMessage, request: QueueRequest & Account) => Promise<void>> = {
    async retry(message) {
      if (scheduler !== undefined) {
        spool.release(message.id);
        await scheduler.retryNow([message.id]);
        return;
      }
      message.nextAttempt = now();
      await spool.update(message);
    },
    async hold(message, { who, why }) {
      message.held = why === "" ? `by ${who}` : why;
      message.state = "held";
      await spool.update(message);
    },
    async release(message) {
      delete message.held;
      // What was held before it was processed is processed now.
      message.state = message.recipients.some(({ state }) => state === "received") ? "received" : "processed";
      message.nextAttempt = now();
      await spool.update(message);
      // Whoever releases a message wants it tried, even where its destination is thought to be down.
      await scheduler?.retryNow([message.id]);
    },
    async delete(message) {
      await spool.remove(message.id);
    },
    async bounce(message, { why }) {
      const text = why === "" ? "Returned by the administrator" : why;
      await settlement.reject(message, outcome.reject({ code: 550, enhanced: "5.0.0", text, origin: "administrator" }));
    },
    async reroute(message, request) {
      if (request.operation !== "reroute") return;
      const route = { host: request.host, port: request.port };
      for (const recipient of message.recipients.filter(isPending)) recipient.route = route;
      message.nextAttempt = now();
      await spool.update(message);
      scheduler?.wake();
    },
  };

  /** Takes a message for a change; held ones are nobody's. */
  async function claim(id: string, operation: string): Promise<QueuedMessage | "busy" | "other"> {
    const message = await spool.get(id);
    if (message === undefined) return "other";
    const held = message.state === "held";
    if (operation === "release" || operation === "hold") {
      if (held !== (operation === "release")) return "other";
    }
    if (held) return operation === "retry" ? "other" : message;
    return (await spool.take(id)) ?? "busy";
  }

  async function change(request: QueueRequest & Account & { filter: QueueFilter }): Promise<QueueAnswer> {
    const apply = changes[request.operation]!;
    const done: string[] = [];
    const busy: string[] = [];
    for (const id of await spool.match(request.filter)) {
      const message = await claim(id, request.operation);
      if (message === "busy") busy.push(id);
      if (typeof message === "string") continue;
      await apply(message, request);
      done.push(id);
    }
    await journal(request, done);
    return { done, busy };
  }

  async function journal(request: QueueRequest & Account, done: string[]): Promise<void> {
    const line = JSON.stringify({ at: new Date(now()).toISOString(), ...request, done });
    await appendFile(options.journal, `${line}\n`, { mode: 0o600 });
    log.info({ operation: request.operation, who: request.who, why: request.why, messages: done.length }, "operation");
  }

  async function changeDestination(request: DestinationRequest): Promise<QueueAnswer> {
    const { operation, destination, who, why } = request;
    let due = 0;
    if (operation === "suspend") {
      const suspension = { destination, who, why, since: now() };
      await (scheduler ?? suspensions)?.suspend(suspension);
    } else if (operation === "resume") {
      await (scheduler ?? suspensions)?.resume(destination);
    } else {
      if (scheduler === undefined) return { error: "the gateway is not running" };
      due = scheduler.flush(destination);
    }
    await journal(request, []);
    return { due };
  }

  return async (request) => {
    switch (request.operation) {
      case "list":
        return { messages: await spool.list(request.filter) };
      case "count":
        return { count: await spool.count() };
      case "destinations":
        return { destinations: scheduler?.destinations() ?? [...(suspensions?.all() ?? [])].map(suspendedStatus) };
      case "retry":
      case "hold":
      case "release":
      case "delete":
      case "bounce":
      case "reroute":
        return change(request);
      case "release quarantined": {
        if (options.store === undefined) return { error: "no store here" };
        const id = await releaseQuarantined(spool, options.store, request.folder, request.uid);
        await journal(request, id === undefined ? [] : [id]);
        return { done: id === undefined ? [] : [id], busy: [] };
      }
      case "suspend":
      case "resume":
      case "flush":
        return changeDestination(request);
      default:
        return { error: `no operation ${String((request as { operation: unknown }).operation)}` };
    }
  };
}
