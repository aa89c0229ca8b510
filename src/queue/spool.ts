/**
 * The durable queue of one worker (a shard): an append-only log of messages and states, an index of it in memory, and
 * files for large bodies. A message that is relayed within a second costs one durable append and a lazy "removed" mark.
 * Layout of the shard's folder: log/ (segments), bodies/ (one file a large body), lock (held while open).
 * Invariants: `commit` resolves after fsync; a body's file is durable before the record that names it and deleted after
 * the record that ends it; one process has a shard open at a time. A message object handed out is the only one of its
 * id while it is taken: whoever changes it calls `update` or `progress`. `envelope.rcptTo` is not kept apart from
 * `recipients`. Failure: `commit` rejects with QueueError 452 (full) or 451 (I/O); `openSpool` rejects with
 * DamagedQueueError, or with an Error that names the folder.
 */
import { join } from "node:path";
import type { DatabaseSync } from "node:sqlite";
import type { Budget } from "../config/budget.ts";
import { outcome } from "../message/outcome.ts";
import type { Logger } from "../telemetry/log.ts";
import { BlockPool } from "./block-pool.ts";
import { fileBody, memoryBody, SpoolBody } from "./body.ts";
import { diskFiles, type FileLayer } from "./files.ts";
import { lockFolder } from "./folder-lock.ts";
import { Log } from "./log.ts";
import { DamagedQueueError, type DamagedRange, type Place } from "./log-reader.ts";
import { MessageCache } from "./message-cache.ts";
import { type BodyPlace, idNumber, idText, MessageIndex } from "./message-index.ts";
import { headBytes, kind, type RecordHead } from "./record.ts";
import { revived, storedJson, storedSummary, summaryOf } from "./stored-message.ts";
import {
  type BodySource,
  type BodyWriter,
  type NewMessage,
  type QueuedMessage,
  QueueError,
  type QueueFilter,
  type ScheduledSpool,
} from "./types.ts";

export interface SpoolOptions {
  /** The queue's folder; the shard gets a folder in it. */
  dir: string;
  /** 0 to 255. */
  shard: number;
  budget: Budget;
  log: Logger;
  /** Bodies above this many octets get a file of their own; default `budget.queueBodyInLog`. */
  fileThreshold?: number;
  files?: FileLayer;
  /** Open a damaged log and keep what is whole. */
  salvage?: boolean;
  now?: () => number;
}

const shards = 256;
const ioRetryMs = 300_000;
const compactChunk = 32;
const readAtOnce = 50;
const tidyMs = 1_000;
/** The log is compacted when it is this many times larger than what is alive in it. */
const slackFactor = 2;
/** Offsets in a segment have 32 bits, and the last commit in it may go beyond. */
const largestSegment = 2 ** 31;

export async function openSpool(options: SpoolOptions): Promise<DiskSpool> {
  const spool = new DiskSpool(options);
  await spool.open();
  return spool;
}

export class DiskSpool implements ScheduledSpool {
  onCommitted: ((ids: string[]) => void) | undefined;
  /** Ids whose body was lost to damage, found while salvaging. */
  readonly lost = new Set<string>();

  readonly #folder: string;
  readonly #bodies: string;
  readonly #shard: number;
  readonly #budget: Budget;
  readonly #logger: Logger;
  readonly #files: FileLayer;
  readonly #threshold: number;
  readonly #salvage: boolean;
  readonly #now: () => number;
  readonly #index = new MessageIndex();
  #log!: Log;
  #lock: DatabaseSync | undefined;
  #sequence = 1;
  #committed: string[] = [];
  /** Messages taken, or with a state on its way to the log: one object an id. */
  readonly #live = new Map<number, QueuedMessage>();
  readonly #unwritten = new Map<number, number>();
  readonly #recent: MessageCache;
  readonly #blocks: BlockPool;
  #tidyTimer: NodeJS.Timeout | undefined;
  #tidying: Promise<void> | undefined;
  readonly #deletions = new Set<Promise<void>>();
  #closed = false;

  constructor(options: SpoolOptions) {
    if (!Number.isInteger(options.shard) || options.shard < 0 || options.shard >= shards) {
      throw new RangeError(`shard ${options.shard} is not within 0 to ${shards - 1}`);
    }
    this.#folder = join(options.dir, String(options.shard));
    this.#bodies = join(this.#folder, "bodies");
    this.#shard = options.shard;
    this.#budget = options.budget;
    this.#blocks = new BlockPool(options.budget.queueBlockBytes);
    this.#recent = new MessageCache(options.budget.queueCacheBytes, this.#blocks);
    this.#logger = options.log;
    this.#files = options.files ?? diskFiles;
    this.#threshold = options.fileThreshold ?? options.budget.queueBodyInLog;
    this.#salvage = options.salvage ?? false;
    this.#now = options.now ?? Date.now;
  }

  async open(): Promise<void> {
    await this.#files.makeFolder(this.#bodies);
    this.#lock = lockFolder(this.#folder);
    try {
      this.#log = await Log.open({
        folder: join(this.#folder, "log"),
        files: this.#files,
        segmentBytes: Math.min(this.#budget.queueSegmentBytes, largestSegment),
        commitBytes: this.#budget.queueCommitBytes,
        maxJson: this.#budget.queueRecordMeta,
        onRecord: (head, place, json) => this.#replayed(head, place, json),
        nextId: () => this.#sequence,
        salvage: this.#salvage,
      });
      await this.#matchBodyFiles();
    } catch (error) {
      this.#lock.close();
      throw error;
    }
    this.#tidyTimer = setInterval(() => this.#tidySoon(), tidyMs);
    this.#tidyTimer.unref();
  }

  /** Damaged ranges that were skipped while salvaging. */
  get damage(): DamagedRange[] {
    return this.#log.damage;
  }

  openBody(prefix: Uint8Array): BodyWriter {
    return new SpoolBody(this.#files, this.#bodies, this.#threshold, this.#blocks, prefix);
  }

  async commit(body: BodyWriter, message: NewMessage): Promise<string> {
    if (!(body instanceof SpoolBody)) throw new TypeError("body was not opened by this spool");
    if (this.#index.length >= this.#budget.queueMessages) {
      body.abort();
      throw new QueueError(this.#refusal("4.3.1", "queue is full"));
    }
    const bytes = body.finishBytes();
    const file = bytes === undefined ? await this.#finishFile(body) : undefined;
    const now = this.#now();
    const id = this.#sequence++ * shards + this.#shard;
    const queued: QueuedMessage = {
      ...message,
      id: idText(id),
      state: message.held === undefined ? "received" : "held",
      recipients: message.envelope.rcptTo.map((recipient, index) => ({
        ...recipient,
        index,
        state: "received",
        attempts: 0,
      })),
      receivedAt: now,
      size: body.size,
      attempts: 0,
      nextAttempt: message.notBefore ?? now,
      failure: "",
      delayNotified: false,
    };
    const json = storedJson(queued, file);
    if (json.length > this.#budget.queueRecordMeta) {
      body.abort();
      throw new QueueError(this.#refusal("4.3.1", "envelope is too large for the queue"));
    }
    await new Promise<void>((resolve, reject) => {
      const record = { kind: kind.message, id, json, body: bytes };
      const done = (place: Place) => {
        this.#index.put(id, summaryOf(queued), place, bodyPlaceOf(place, body.size, file));
        // What waits is read back from the disk when its time has come.
        const soon = queued.state === "received" && queued.nextAttempt <= now;
        if (soon) this.#recent.put(id, queued, body.keep());
        else body.letGo();
        this.#announce(queued.id);
        resolve();
      };
      this.#log.append(record, true, done, (error) => {
        body.abort();
        reject(this.#ioError(error));
      });
    });
    return queued.id;
  }

  async get(id: string): Promise<QueuedMessage | undefined> {
    const number = idNumber(id);
    return this.#held(number) ?? (this.#index.has(number) ? this.#load(number) : undefined);
  }

  async body(id: string): Promise<BodySource> {
    const number = idNumber(id);
    const cached = this.#recent.body(number);
    if (cached !== undefined) return cached;
    const place = this.#index.bodyPlace(number);
    if (place === undefined) throw new Error(`no message ${id} in the queue`);
    if (place.file !== undefined) return fileBody(this.#files, join(this.#bodies, place.file), place.bytes);
    return memoryBody(await this.#log.read(place.segment, place.offset, place.bytes));
  }

  async replaceBody(id: string, body: BodyWriter): Promise<void> {
    if (!(body instanceof SpoolBody)) throw new TypeError("body was not opened by this spool");
    const number = idNumber(id);
    const message = await this.get(id);
    const old = this.#index.bodyPlace(number);
    if (message === undefined || old === undefined) throw new Error(`no message ${id} in the queue`);
    const bytes = body.finishBytes();
    const file = bytes === undefined ? await this.#finishFile(body) : undefined;
    const before = message.size;
    message.size = body.size;
    try {
      await this.#rewrite(number, message, bytes, file, body.size, () =>
        this.#recent.put(number, message, body.keep()),
      );
      this.#index.describe(number, summaryOf(message));
    } catch (error) {
      message.size = before;
      body.abort();
      throw this.#ioError(error as Error);
    }
    if (old.file !== undefined) this.#deleteFile(old.file);
  }

  async take(id: string): Promise<QueuedMessage | undefined> {
    const number = idNumber(id);
    return this.#index.take(number) ? this.#loadTaken(number) : undefined;
  }

  async takeDue(now: number, limit: number): Promise<QueuedMessage[]> {
    const taken: QueuedMessage[] = [];
    // While the disk refuses writes, outcomes could not be recorded: sending on would only make duplicates.
    while (taken.length < limit && this.#log.failure === undefined) {
      const id = this.#index.takeFirst(now);
      if (id === undefined) break;
      const message = await this.#loadTaken(id);
      if (message !== undefined) taken.push(message);
    }
    return taken;
  }

  async nextDue(): Promise<number | undefined> {
    return this.#index.nextDue();
  }

  async update(message: QueuedMessage): Promise<void> {
    await this.progress(message);
    this.release(message.id);
  }

  async progress(message: QueuedMessage): Promise<void> {
    const id = idNumber(message.id);
    const place = this.#index.bodyPlace(id);
    if (place === undefined) return;
    this.#live.set(id, message);
    this.#unwritten.set(id, (this.#unwritten.get(id) ?? 0) + 1);
    this.#index.describe(id, summaryOf(message));
    const record = { kind: kind.state, id, json: storedJson(message, place.file), body: undefined };
    this.#log.append(record, false, (written) => {
      this.#index.restate(id, written);
      const left = this.#unwritten.get(id)! - 1;
      if (left > 0) this.#unwritten.set(id, left);
      else this.#unwritten.delete(id);
      this.#settle(id);
    });
  }

  async remove(id: string): Promise<void> {
    const number = idNumber(id);
    const place = this.#index.bodyPlace(number);
    if (place === undefined) return;
    this.#index.remove(number);
    this.#live.delete(number);
    this.#recent.delete(number);
    const record = { kind: kind.removed, id: number, json: "", body: undefined };
    // The mark must be on disk before the file goes, or a crash would leave a message without its body.
    if (place.file === undefined) this.#log.append(record, false, () => undefined);
    else this.#log.append(record, true, () => this.#deleteFile(place.file!), this.#removeLater(record));
  }

  release(id: string, notBefore?: number): void {
    const number = idNumber(id);
    this.#index.untake(number, notBefore);
    this.#settle(number);
  }

  park(id: string): void {
    const number = idNumber(id);
    this.#index.park(number);
    this.#settle(number);
  }

  async takeParked(id: string): Promise<QueuedMessage | undefined> {
    const number = idNumber(id);
    return this.#index.isParked(number) && this.#index.take(number) ? this.#loadTaken(number) : undefined;
  }

  unpark(id: string, due: number): void {
    this.#index.unpark(idNumber(id), due);
  }

  hasten(destination: string, now: number): number {
    return this.#index.hasten(destination, now);
  }

  shiftClock(ms: number): void {
    this.#index.shift(ms);
  }

  async list(filter: QueueFilter): Promise<QueuedMessage[]> {
    const limit = Math.min(filter.limit ?? this.#budget.queueListed, this.#budget.queueListed);
    const ids = await this.#index.match(filter, this.#now(), limit);
    const messages: QueuedMessage[] = [];
    for (let at = 0; at < ids.length; at += readAtOnce) {
      const some = ids.slice(at, at + readAtOnce).map((id) => this.#held(id) ?? this.#load(id));
      for (const message of await Promise.all(some)) if (message !== undefined) messages.push(message);
    }
    return messages;
  }

  async match(filter: QueueFilter): Promise<string[]> {
    const limit = filter.limit ?? Number.POSITIVE_INFINITY;
    return (await this.#index.match(filter, this.#now(), limit)).map(idText);
  }

  /** Messages in this spool, in whatever state; costs nothing to ask. */
  get messageCount(): number {
    return this.#index.length;
  }

  async count(): Promise<Record<string, number>> {
    return { total: this.#index.length, ...this.#index.counts() };
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    clearInterval(this.#tidyTimer);
    await this.#tidying;
    await this.#log.flush();
    await Promise.all(this.#deletions);
    await this.#log.close();
    this.#lock?.close();
  }

  /** Writes all messages anew and moves the old segments to `keepIn`: the second half of a repair. */
  async rewriteAll(keepIn: string): Promise<void> {
    await this.#files.makeFolder(keepIn);
    await this.#log.roll();
    for (const { segment } of this.#log.closedSegments()) {
      await this.#moveMessages(segment);
      await this.#log.drop(segment, keepIn);
    }
  }

  // --- reading the log ---------------------------------------------------------------------------------------------

  #replayed(head: RecordHead, place: Place, json: () => string): void {
    if (head.kind === kind.segment) {
      this.#sequence = Math.max(this.#sequence, (JSON.parse(json()) as { nextId: number }).nextId);
      return;
    }
    this.#sequence = Math.max(this.#sequence, Math.floor(head.id / shards) + 1);
    if (head.kind === kind.removed) {
      this.#index.remove(head.id);
      this.lost.delete(idText(head.id));
      return;
    }
    const summary = storedSummary(json());
    if (head.kind === kind.state) {
      const body = this.#index.bodyPlace(head.id);
      if (body === undefined) this.lost.add(idText(head.id));
      else {
        this.#index.describe(head.id, summary);
        this.#index.restate(head.id, place);
      }
      return;
    }
    const size = summary.bodySize ?? head.bodyBytes;
    this.#index.put(head.id, summary, place, bodyPlaceOf(place, size, summary.bodyFile));
    this.lost.delete(idText(head.id));
  }

  /** Deletes body files that no message names; a message whose file is missing is damage. */
  async #matchBodyFiles(): Promise<void> {
    const orphans = new Set(await this.#files.list(this.#bodies));
    for (const [id, file] of [...this.#index.bodyFiles()]) {
      if (orphans.delete(file)) continue;
      const range = { file: join("bodies", file), from: 0, to: 0 };
      if (!this.#salvage) throw new DamagedQueueError(this.#folder, [range]);
      this.#log.damage.push(range);
      this.lost.add(idText(id));
      this.#index.remove(id);
    }
    for (const file of orphans) await this.#files.unlink(join(this.#bodies, file));
  }

  async #load(id: number): Promise<QueuedMessage | undefined> {
    const place = this.#index.statePlace(id);
    const body = this.#index.bodyPlace(id);
    if (place === undefined || body === undefined) return undefined;
    const json = await this.#log.read(place.segment, place.offset + headBytes, place.jsonBytes);
    // It may have been loaded, changed or removed by another caller meanwhile.
    const known = this.#held(id);
    if (known !== undefined || !this.#index.has(id)) return known;
    const message = revived(idText(id), json.toString("utf8"), body.bytes);
    this.#recent.renew(id, message);
    return message;
  }

  /** Loads a message already taken; on failure it goes back to wait, and the rest of the queue goes on. */
  async #loadTaken(id: number): Promise<QueuedMessage | undefined> {
    try {
      const message = this.#held(id) ?? (await this.#load(id));
      if (message !== undefined) this.#live.set(id, message);
      return message;
    } catch (error) {
      this.#logger.error({ queueId: idText(id), error: (error as Error).message }, "message can't be read");
      this.#index.untake(id, this.#now() + ioRetryMs);
      return undefined;
    }
  }

  // --- memory ------------------------------------------------------------------------------------------------------

  #held(id: number): QueuedMessage | undefined {
    return this.#live.get(id) ?? this.#recent.message(id);
  }

  /** Lets a message go from `#live` when nobody has it and its state is written. */
  #settle(id: number): void {
    const message = this.#live.get(id);
    if (message === undefined || this.#unwritten.has(id) || this.#index.isTaken(id)) return;
    this.#live.delete(id);
    this.#recent.renew(id, message);
  }

  #announce(id: string): void {
    this.#committed.push(id);
    if (this.#committed.length > 1) return;
    queueMicrotask(() => {
      const ids = this.#committed;
      this.#committed = [];
      this.onCommitted?.(ids);
    });
  }

  // --- files and compaction ----------------------------------------------------------------------------------------

  async #finishFile(body: SpoolBody): Promise<string> {
    try {
      return await body.finishFile();
    } catch (error) {
      body.abort();
      throw this.#ioError(error as Error);
    }
  }

  #deleteFile(file: string): void {
    const deletion = this.#files
      .unlink(join(this.#bodies, file))
      .catch((error: Error) => this.#logger.warn({ file, error: error.message }, "body file can't be deleted"))
      .finally(() => this.#deletions.delete(deletion));
    this.#deletions.add(deletion);
  }

  /** A mark that could not be made durable is written when the disk allows; its file stays until the next start. */
  #removeLater(record: { kind: number; id: number; json: string; body: undefined }): () => void {
    return () => this.#log.append(record, false, () => undefined);
  }

  async #rewrite(
    id: number,
    message: QueuedMessage,
    bytes: Buffer | undefined,
    file: string | undefined,
    size: number,
    written: () => void,
  ): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      const record = { kind: kind.message, id, json: storedJson(message, file), body: bytes };
      const done = (place: Place) => {
        if (this.#index.has(id)) {
          this.#index.move(id, place, bodyPlaceOf(place, size, file));
          written();
        }
        resolve();
      };
      this.#log.append(record, true, done, reject);
    });
  }

  #tidySoon(): void {
    this.#tidying ??= this.#tidy()
      .catch((error: Error) => this.#logger.error({ error: error.message }, "queue log can't be compacted"))
      .finally(() => {
        this.#tidying = undefined;
      });
  }

  /** Drops old segments that no message needs; moves the messages out of the oldest when most of the log is dead. */
  async #tidy(): Promise<void> {
    if (this.#log.failure !== undefined) return;
    for (const { segment } of this.#log.closedSegments()) {
      if (this.#index.needing(segment) > 0) {
        const allowed = this.#index.liveBytes * slackFactor + 2 * this.#budget.queueSegmentBytes;
        if (this.#log.bytes <= allowed) return;
        await this.#moveMessages(segment);
      }
      if (this.#closed) return;
      await this.#log.drop(segment);
    }
  }

  /** Appends the messages that need a segment to the log's end; afterwards none needs it. */
  async #moveMessages(segment: number): Promise<void> {
    const ids = this.#index.idsIn(segment);
    for (let i = 0; i < ids.length; i += compactChunk) {
      await Promise.all(ids.slice(i, i + compactChunk).map((id) => this.#moveMessage(id, segment)));
    }
  }

  async #moveMessage(id: number, segment: number): Promise<void> {
    for (;;) {
      const place = this.#index.bodyPlace(id);
      const state = this.#index.statePlace(id);
      if (place === undefined || state === undefined) return;
      const message = this.#held(id) ?? (await this.#load(id));
      const bytes =
        place.file === undefined ? await this.#log.read(place.segment, place.offset, place.bytes) : undefined;
      if (!this.#index.has(id) || message === undefined) return;
      const now = this.#index.statePlace(id)!;
      const bodyNow = this.#index.bodyPlace(id)!;
      const moved = now.segment !== state.segment || now.offset !== state.offset || bodyNow.offset !== place.offset;
      if (moved && (now.segment === segment || bodyNow.segment === segment)) continue; // changed meanwhile: read again
      if (now.segment !== segment && bodyNow.segment !== segment) return;
      const latest = this.#live.get(id) ?? message;
      await this.#rewrite(id, latest, bytes, place.file, place.bytes, () => this.#recent.renew(id, latest));
      return;
    }
  }

  #refusal(enhanced: string, text: string) {
    return outcome.defer({ code: 452, enhanced, text: `Requested action not taken: ${text}`, origin: "queue" });
  }

  #ioError(error: Error): QueueError {
    this.#logger.error({ error: error.message }, "message can't be written to the queue");
    const full = (error as NodeJS.ErrnoException).code === "ENOSPC";
    if (full) return new QueueError(this.#refusal("4.3.1", "insufficient system storage"));
    const text = "Requested action aborted: local error in processing";
    return new QueueError(outcome.defer({ code: 451, enhanced: "4.3.0", text, origin: "queue" }));
  }
}

function bodyPlaceOf(place: Place, bytes: number, file: string | undefined): BodyPlace {
  const found = { segment: place.segment, offset: place.offset + headBytes + place.jsonBytes, bytes };
  return file === undefined ? found : { ...found, file };
}
