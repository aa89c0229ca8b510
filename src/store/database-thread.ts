/**
 * A SQLite database in a thread of its own, so that no query holds up the event loop. Requests that arrive while one
 * batch is at work go together in the next, in one transaction: group commit.
 * Invariants: replies come in order of requests; a request that fails undoes only its own changes.
 * Failure: `request` rejects with the handler's error (`code` kept), with an error when the thread has died, or when a
 * batch could not be committed; `start` rejects when the database can't be opened.
 */
import { once } from "node:events";
import type { DatabaseSync } from "node:sqlite";
import { parentPort, Worker, workerData } from "node:worker_threads";

interface Request {
  operation: string;
  argument: unknown;
}

type Reply = { value: unknown } | { error: string; code: string | undefined };

interface Waiting extends Request {
  resolve: (value: unknown) => void;
  reject: (error: Error) => void;
}

/** How many requests one transaction may hold. */
const batchSize = 256;

export class DatabaseThread {
  readonly #worker: Worker;
  #queue: Waiting[] = [];
  #atWork: Waiting[] = [];
  #dead: Error | undefined;

  private constructor(worker: Worker) {
    this.#worker = worker;
  }

  /** Starts the module at `url`, which calls `serveDatabase`, with `data` as its workerData. */
  static async start(url: URL, data: unknown): Promise<DatabaseThread> {
    const worker = new Worker(url, { workerData: data });
    const [first] = (await once(worker, "message")) as [Reply];
    if ("error" in first) {
      await worker.terminate();
      throw Object.assign(new Error(first.error), { code: first.code });
    }
    const thread = new DatabaseThread(worker);
    worker.on("message", (replies: Reply[]) => thread.#answered(replies));
    worker.on("error", (error) => thread.#died(error as Error));
    worker.on("exit", () => thread.#died(new Error("database thread has ended")));
    worker.unref();
    return thread;
  }

  request<T>(operation: string, argument: unknown): Promise<T> {
    if (this.#dead !== undefined) return Promise.reject(this.#dead);
    return new Promise<T>((resolve, reject) => {
      this.#queue.push({ operation, argument, resolve: resolve as (value: unknown) => void, reject });
      if (this.#atWork.length === 0 && this.#queue.length === 1) queueMicrotask(() => this.#send());
    });
  }

  async close(): Promise<void> {
    if (this.#dead !== undefined) return;
    await this.request("close", undefined);
    await this.#worker.terminate();
  }

  #send(): void {
    if (this.#atWork.length > 0 || this.#queue.length === 0) return;
    this.#worker.ref();
    this.#atWork = this.#queue.splice(0, batchSize);
    this.#worker.postMessage(this.#atWork.map(({ operation, argument }) => ({ operation, argument })));
  }

  #answered(replies: Reply[]): void {
    const batch = this.#atWork;
    this.#atWork = [];
    if (this.#queue.length > 0) this.#send();
    else this.#worker.unref();
    for (let i = 0; i < batch.length; i++) {
      const reply = replies[i]!;
      if ("error" in reply) batch[i]!.reject(Object.assign(new Error(reply.error), { code: reply.code }));
      else batch[i]!.resolve(reply.value);
    }
  }

  #died(error: Error): void {
    this.#dead ??= error;
    for (const waiting of [...this.#atWork, ...this.#queue]) waiting.reject(this.#dead);
    this.#atWork = [];
    this.#queue = [];
  }
}

export type Handlers = Record<string, (argument: never) => unknown>;

/**
 * The thread's side. `open` opens the database and answers its operations. Operations named in `alone` run outside a
 * transaction. A batch's changes are on disk (as far as the database's `synchronous` says) before its replies go.
 */
export function serveDatabase(
  open: (data: never) => { database: DatabaseSync; handlers: Handlers; alone: readonly string[] },
): void {
  const port = parentPort;
  if (port === null) throw new Error("not in a worker thread");
  let opened: ReturnType<typeof open>;
  try {
    opened = open(workerData as never);
  } catch (error) {
    port.postMessage(failure(error));
    return;
  }
  const { database, handlers, alone } = opened;
  port.postMessage({ value: "open" });
  port.on("message", (requests: Request[]) => {
    const replies: Reply[] = [];
    for (let i = 0; i < requests.length; ) {
      if (requests[i]!.operation === "close") {
        database.close();
        replies.push({ value: undefined });
        i++;
        continue;
      }
      let to = i + 1;
      const single = alone.includes(requests[i]!.operation);
      while (!single && to < requests.length && !alone.includes(requests[to]!.operation)) {
        if (requests[to]!.operation === "close") break;
        to++;
      }
      const batch = requests.slice(i, to);
      replies.push(...(single ? [answer(handlers, batch[0]!)] : transaction(database, handlers, batch)));
      i = to;
    }
    port.postMessage(replies);
  });
}

function transaction(database: DatabaseSync, handlers: Handlers, requests: Request[]): Reply[] {
  try {
    database.exec("BEGIN IMMEDIATE");
    const replies = requests.map((request) => {
      if (requests.length > 1) database.exec("SAVEPOINT request");
      const reply = answer(handlers, request);
      if (requests.length > 1) {
        if ("error" in reply) database.exec("ROLLBACK TO request");
        database.exec("RELEASE request");
      }
      return reply;
    });
    database.exec(requests.length === 1 && "error" in replies[0]! ? "ROLLBACK" : "COMMIT");
    return replies;
  } catch (error) {
    if (database.isTransaction) database.exec("ROLLBACK");
    return requests.map(() => failure(error));
  }
}

function answer(handlers: Handlers, request: Request): Reply {
  const handler = handlers[request.operation] as ((argument: unknown) => unknown) | undefined;
  if (handler === undefined) return { error: `no operation ${request.operation}`, code: undefined };
  try {
    return { value: handler(request.argument) };
  } catch (error) {
    return failure(error);
  }
}

function failure(error: unknown): Reply {
  const { message, code, errcode } = error as { message: string; code?: string; errcode?: number };
  // SQLITE_FULL is 13, SQLITE_IOERR 10 (with extended codes above the lowest octet).
  const primary = errcode === undefined ? undefined : errcode & 0xff;
  return { error: message, code: primary === 13 ? "ENOSPC" : primary === 10 ? "EIO" : code };
}
