/**
 * Named lists of a policy (`inList (mailFrom, "file:blocked-senders.txt")`, Sieve extlists): opened once, held in
 * memory, reloaded when the file changes.
 *
 * Lists are read and built in a worker thread, so no session waits for one; the new content replaces the old in one
 * step. Invariants: a handle answers from one complete version of its file. Failure: while a list was never loaded,
 * `has` throws ListUnavailable (the policy's run fails, the client hears a temporary error) rather than answer "no"; a
 * failed reload keeps the last good content. Both are reported to `onEvent`.
 */
import { type StatsListener, unwatchFile, watchFile } from "node:fs";
import { resolve } from "node:path";
import { Worker } from "node:worker_threads";
import type { ListData, ListFault, ListKind, ListLimits } from "./build.ts";
import { entriesOf, type Membership, membership } from "./query.ts";

export class ListUnavailable extends Error {
  readonly list: string;
  constructor(list: string, reason: string) {
    super(`list ${list} is not available: ${reason}`);
    this.name = "ListUnavailable";
    this.list = list;
  }
}

export type ListEvent =
  | { readonly list: string; readonly entries: number; readonly kind: ListKind; readonly faults: readonly ListFault[] }
  | { readonly list: string; readonly error: Error };

export interface ListHandle {
  readonly path: string;
  /** Settles, without ever failing, when the first load ended either way. */
  readonly ready: Promise<void>;
  /** Entries in use; undefined before the first good load. */
  readonly entries: number | undefined;
  has(value: string): boolean;
  /** The first `limit` entries, in lower case; undefined when the list is of patterns, domains or networks. */
  members(limit: number): readonly string[] | undefined;
}

export interface ListRegistryOptions {
  readonly limits: ListLimits;
  /** Told of every load, good or bad. */
  readonly onEvent?: (event: ListEvent) => void;
  /** How often the files are looked at, in milliseconds. */
  readonly pollMs?: number;
}

export class ListRegistry {
  private readonly options: ListRegistryOptions;
  private readonly lists = new Map<string, FileList>();

  constructor(options: ListRegistryOptions) {
    this.options = options;
  }

  /**
   * The list that a policy names: `file:` and a path, taken from `baseDir` when relative. The same file is loaded once.
   * Throws ListUnavailable for any other form.
   */
  open(ref: string, baseDir: string): ListHandle {
    if (!ref.startsWith("file:")) throw new ListUnavailable(ref, "its name does not begin with file:");
    const path = resolve(baseDir, ref.slice("file:".length));
    let list = this.lists.get(path);
    if (!list) this.lists.set(path, (list = new FileList(path, this.options)));
    return list;
  }

  /** Stops watching; handles keep answering from what they have. */
  close(): void {
    for (const list of this.lists.values()) list.close();
    this.lists.clear();
  }
}

class FileList implements ListHandle {
  readonly path: string;
  readonly ready: Promise<void>;
  entries: number | undefined;
  private readonly options: ListRegistryOptions;
  private member: Membership | undefined;
  private data: ListData | undefined;
  private reason = "it is still being loaded";
  private loading: Promise<void> | undefined;
  private changedMeanwhile = false;
  private readonly onChange: StatsListener = (now, before) => {
    if (now.mtimeMs === before.mtimeMs && now.size === before.size && now.ino === before.ino) return;
    if (this.loading) this.changedMeanwhile = true;
    else void this.load();
  };

  constructor(path: string, options: ListRegistryOptions) {
    this.path = path;
    this.options = options;
    watchFile(path, { interval: options.pollMs ?? 1_000, persistent: false }, this.onChange);
    this.ready = this.load();
  }

  has(value: string): boolean {
    if (!this.member) throw new ListUnavailable(this.path, this.reason);
    return this.member(value);
  }

  members(limit: number): readonly string[] | undefined {
    if (!this.data) throw new ListUnavailable(this.path, this.reason);
    return entriesOf(this.data, limit);
  }

  close(): void {
    unwatchFile(this.path, this.onChange);
  }

  /** Never fails: a failure is an event. */
  private load(): Promise<void> {
    this.loading = this.loadOnce().finally(() => {
      this.loading = undefined;
      if (!this.changedMeanwhile) return;
      this.changedMeanwhile = false;
      void this.load();
    });
    return this.loading;
  }

  private async loadOnce(): Promise<void> {
    const { limits, onEvent } = this.options;
    try {
      const data = await buildInWorker(this.path, limits);
      this.member = membership(data, limits);
      this.data = data;
      this.entries = data.entries;
      onEvent?.({ list: this.path, entries: data.entries, kind: data.kind, faults: data.faults });
    } catch (error) {
      this.reason = (error as Error).message;
      onEvent?.({ list: this.path, error: error as Error });
    }
  }
}

function buildInWorker(path: string, limits: ListLimits): Promise<ListData> {
  return new Promise((done, failed) => {
    const worker = new Worker(new URL("./worker.ts", import.meta.url), { workerData: { path, limits } });
    worker.once("message", done);
    worker.once("error", failed);
    worker.once("exit", (code) => failed(new Error(`the loading thread ended with code ${code}`)));
  });
}
