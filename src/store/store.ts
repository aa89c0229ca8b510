/**
 * The local store: SQLite in a thread for everything small, files for large bodies. Any number of processes may have
 * the same store open.
 * Layout: store.db, bodies/ (files), both in the store's folder.
 * Invariants: `deliver` resolves after fsync and is all or nothing over its targets; a body file is durable before the
 * row that names it and deleted after it. Failure: StoreError: 452 4.2.2 over quota, 452 4.3.1 disk full, 451 4.3.0 else.
 */
import { createHash, randomBytes } from "node:crypto";
import { copyFile, link, mkdir, open, readdir, stat, unlink } from "node:fs/promises";
import { join } from "node:path";
import type { Budget } from "../config/budget.ts";
import { outcome } from "../message/outcome.ts";
import type { Logger } from "../telemetry/log.ts";
import { DatabaseThread } from "./database-thread.ts";
import {
  type Mailbox,
  type ManagedStore,
  type MessageMeta,
  quarantineAccount,
  type StoreCheck,
  type StoreDelivery,
  type StoredMessage,
  StoreError,
} from "./types.ts";
import type { DeliverArgument, MessageRow, StoreData } from "./worker.ts";

export interface StoreOptions {
  dir: string;
  budget: Budget;
  log: Logger;
  /** Octets an account may hold; undefined = no limit. */
  defaultQuota?: number;
  /** How long a quarantined message is kept, ms. */
  quarantineMs?: number;
  now?: () => number;
}

const quarantineDefaultMs = 30 * 86_400_000;
const expireEveryMs = 3_600_000;
const readBytes = 128 * 1024;
/** A body file this young may belong to a delivery that is under way: `check` leaves it alone. */
const youngMs = 600_000;

export async function openStore(options: StoreOptions): Promise<DiskStore> {
  await mkdir(join(options.dir, "bodies"), { recursive: true, mode: 0o700 });
  const data: StoreData = { path: join(options.dir, "store.db"), defaultQuota: options.defaultQuota };
  try {
    const thread = await DatabaseThread.start(new URL("./worker.ts", import.meta.url), data);
    return new DiskStore(options, thread);
  } catch (error) {
    const reason = (error as Error).message;
    throw new Error(`store in ${options.dir} can't be opened: ${reason}; restore it from a backup`, { cause: error });
  }
}

export class DiskStore implements ManagedStore {
  readonly #options: StoreOptions;
  readonly #thread: DatabaseThread;
  readonly #bodies: string;
  readonly #now: () => number;
  readonly #expirer: NodeJS.Timeout;

  constructor(options: StoreOptions, thread: DatabaseThread) {
    this.#options = options;
    this.#thread = thread;
    this.#bodies = join(options.dir, "bodies");
    this.#now = options.now ?? Date.now;
    this.#expirer = setInterval(() => {
      this.expire().catch((error: Error) => options.log.warn({ error: error.message }, "quarantine can't be swept"));
    }, expireEveryMs);
    this.#expirer.unref();
  }

  async deliver(
    body: AsyncIterable<Uint8Array> | Uint8Array,
    meta: MessageMeta,
    targets: StoreDelivery[],
  ): Promise<void> {
    const hash = createHash("sha256");
    let kept: Uint8Array | string | undefined;
    try {
      let size: number;
      if (body instanceof Uint8Array && body.length <= this.#options.budget.storeBodyInDatabase) {
        hash.update(body);
        [kept, size] = [body, body.length];
      } else {
        const chunks = body instanceof Uint8Array ? slices(body) : body;
        ({ kept, size } = await this.#gather(chunks, (chunk) => hash.update(chunk)));
      }
      const quarantined = targets.some(({ account }) => account === quarantineAccount);
      const expires = quarantined ? this.#now() + (this.#options.quarantineMs ?? quarantineDefaultMs) : undefined;
      const argument: DeliverArgument = { hash: hash.digest("hex"), size, body: kept, meta, targets, expires };
      const { fileUsed } = await this.#thread.request<{ fileUsed: boolean }>("deliver", argument);
      if (typeof kept === "string" && !fileUsed) await this.#deleteFile(kept);
    } catch (error) {
      if (typeof kept === "string") await this.#deleteFile(kept);
      throw this.#storeError(error as Error & { code?: string });
    }
  }

  async list(account: string, folder?: string): Promise<StoredMessage[]> {
    const rows = await this.#thread.request<MessageRow[]>("list", { account, folder });
    return rows.map(storedMessage);
  }

  accounts(): Promise<Array<{ account: string; messages: number; octets: number }>> {
    return this.#thread.request("accounts", undefined);
  }

  async mailboxes(account: string): Promise<Mailbox[]> {
    type Row = { name: string; attribute: string | null };
    const rows = await this.#thread.request<Row[]>("mailboxes", account);
    const uses = Map.groupBy(rows, ({ name }) => name);
    return [...uses].map(([name, same]) => ({
      name,
      specialUse: same.flatMap(({ attribute }) => (attribute === null ? [] : [attribute])),
    }));
  }

  async read(account: string, folder: string, uid: number): Promise<AsyncIterable<Uint8Array> | undefined> {
    type Row = { data: Uint8Array | null; file: string | null; size: number };
    const row = await this.#thread.request<Row | undefined>("read", { account, folder, uid });
    if (row === undefined) return undefined;
    return row.file === null ? slices(row.data ?? new Uint8Array()) : fileChunks(join(this.#bodies, row.file));
  }

  async remove(account: string, folder: string, uid: number): Promise<boolean> {
    type Removed = { found: boolean; files: string[] };
    const { found, files } = await this.#thread.request<Removed>("remove", { account, folder, uid });
    for (const file of files) await this.#deleteFile(file);
    return found;
  }

  setQuota(account: string, octets: number | undefined): Promise<void> {
    return this.#thread.request("setQuota", { account, octets });
  }

  quota(account: string): Promise<{ octets: number; limit: number | undefined }> {
    return this.#thread.request("quota", account);
  }

  async expire(): Promise<number> {
    let total = 0;
    for (;;) {
      type Expired = { count: number; files: string[] };
      const { count, files } = await this.#thread.request<Expired>("expire", { now: this.#now() });
      for (const file of files) await this.#deleteFile(file);
      if (count === 0) return total;
      total += count;
    }
  }

  async check(repair: boolean): Promise<StoreCheck> {
    const present = await readdir(this.#bodies);
    const young: string[] = [];
    for (const file of present) {
      const { mtimeMs } = await stat(join(this.#bodies, file));
      if (this.#now() - mtimeMs < youngMs) young.push(file);
    }
    type Checked = StoreCheck & { files: string[] };
    const argument = { present, young, repair };
    const { problems, repaired, files } = await this.#thread.request<Checked>("check", argument);
    for (const file of files) await this.#deleteFile(file);
    return { problems, repaired };
  }

  async backup(to: string): Promise<{ messages: number; files: number }> {
    await mkdir(to, { mode: 0o700 });
    await mkdir(join(to, "bodies"), { mode: 0o700 });
    const files = await this.#snapshot(join(to, "store.db"));
    let copied = 0;
    for (const file of files) if (await this.#copyFile(file, to)) copied++;
    const { defaultQuota: _quota, ...options } = this.#options;
    const copy = await openStore({ ...options, dir: to });
    try {
      if (copied < files.length) await copy.check(true); // messages deleted while we copied leave the copy too
      const messages = (await copy.accounts()).reduce((sum, account) => sum + account.messages, 0);
      return { messages, files: copied };
    } finally {
      await copy.close();
    }
  }

  /** Copies the database in a thread of its own: deliveries go on meanwhile. */
  async #snapshot(path: string): Promise<string[]> {
    const data: StoreData = { path: join(this.#options.dir, "store.db"), defaultQuota: undefined };
    const thread = await DatabaseThread.start(new URL("./worker.ts", import.meta.url), data);
    try {
      return await thread.request<string[]>("snapshot", path);
    } finally {
      await thread.close();
    }
  }

  async close(): Promise<void> {
    clearInterval(this.#expirer);
    await this.#thread.close();
  }

  /** Collects a stream in memory, or in a file when it is larger than the budget says. */
  async #gather(
    chunks: AsyncIterable<Uint8Array>,
    see: (chunk: Uint8Array) => void,
  ): Promise<{ kept: Uint8Array | string; size: number }> {
    const held: Uint8Array[] = [];
    let size = 0;
    const iterator = chunks[Symbol.asyncIterator]();
    for (let next = await iterator.next(); !next.done; next = await iterator.next()) {
      see(next.value);
      held.push(next.value);
      size += next.value.length;
      if (size <= this.#options.budget.storeBodyInDatabase) continue;
      const name = `m${randomBytes(9).toString("hex")}`;
      const file = await open(join(this.#bodies, name), "wx", 0o600);
      try {
        for (const chunk of held.splice(0)) await file.appendFile(chunk);
        for (next = await iterator.next(); !next.done; next = await iterator.next()) {
          see(next.value);
          await file.appendFile(next.value);
          size += next.value.length;
        }
        await file.datasync();
      } catch (error) {
        await this.#deleteFile(name);
        throw error;
      } finally {
        await file.close();
      }
      await syncFolder(this.#bodies);
      return { kept: name, size };
    }
    return { kept: Buffer.concat(held), size };
  }

  async #copyFile(file: string, to: string): Promise<boolean> {
    const [source, target] = [join(this.#bodies, file), join(to, "bodies", file)];
    try {
      await link(source, target); // body files never change, so a second name is as good as a copy
      return true;
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === "ENOENT") return false;
      if (code !== "EXDEV" && code !== "EPERM") throw error;
      await copyFile(source, target);
      return true;
    }
  }

  async #deleteFile(file: string): Promise<void> {
    try {
      await unlink(join(this.#bodies, file));
    } catch (error) {
      // It costs space, not mail; `postern store check --repair` finds it.
      this.#options.log.warn({ file, error: (error as Error).message }, "body file can't be deleted");
    }
  }

  #storeError(error: Error & { code?: string }): StoreError {
    const refuse = (code: number, enhanced: string, text: string) =>
      new StoreError(outcome.defer({ code, enhanced, text, origin: "store" }));
    if (error.code === "OVERQUOTA") return refuse(452, "4.2.2", "Mailbox full");
    this.#options.log.error({ error: error.message }, "message can't be stored");
    if (error.code === "ENOSPC") return refuse(452, "4.3.1", "Insufficient system storage");
    return refuse(451, "4.3.0", "Local error in processing");
  }
}

function storedMessage(row: MessageRow): StoredMessage {
  const message: StoredMessage = {
    uid: row.uid,
    account: row.account,
    folder: row.folder,
    flags: row.flags === "" ? [] : row.flags.split(" "),
    size: row.size,
    receivedAt: row.received_at,
    queueId: row.queue_id,
    mailFrom: row.mail_from,
    subject: row.subject,
    from: row.sender,
  };
  if (row.reason !== null) message.reason = row.reason;
  if (row.score !== null) message.score = row.score;
  if (row.rcpt_to !== null) message.rcptTo = JSON.parse(row.rcpt_to) as string[];
  if (row.expires !== null) message.expires = row.expires;
  return message;
}

async function* slices(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += readBytes) yield bytes.subarray(at, at + readBytes);
}

async function* fileChunks(path: string): AsyncGenerator<Uint8Array> {
  const file = await open(path, "r");
  try {
    for (;;) {
      const chunk = Buffer.allocUnsafeSlow(readBytes);
      const { bytesRead } = await file.read(chunk, 0, readBytes);
      if (bytesRead === 0) return;
      yield chunk.subarray(0, bytesRead);
    }
  } finally {
    await file.close();
  }
}

async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
