/**
 * The queue's append-only log: numbered segment files of records, written by group commit. All records that arrive while
 * one write is under way go out together in the next: one write and one fdatasync for all of them.
 * Invariants: a durable record is on disk before its `done`; a lazy one is written within `lazyMs` and synced within
 * `syncMs`; segments are dropped oldest first, so a "removed" record never outlives the message it speaks of. Each
 * segment's header states where the one before it ends: what stands behind that end was never acknowledged.
 * Failure: a write or sync that fails rejects its durable records, keeps the lazy ones for later, and leaves the segment
 * for a new one (after a failed fsync the page cache can't be trusted). `open` fails as `readLog` does.
 */
import { basename, join } from "node:path";
import {
  type DamagedRange,
  type Place,
  type ReadOptions,
  readLog,
  type SegmentHeader,
  segmentName,
} from "./log-reader.ts";
import { encode, encodedBound, headBytes, kind, type NewRecord, type RecordHead } from "./record.ts";

export interface LogOptions extends ReadOptions {
  segmentBytes: number;
  commitBytes: number;
  /** Next free message id, written into new segments. */
  nextId: () => number;
}

interface Pending {
  record: NewRecord;
  durable: boolean;
  done: (place: Place) => void;
  failed: ((error: Error) => void) | undefined;
}

const lazyMs = 1;
const syncMs = 1_000;
const retryMs = 1_000;

export class Log {
  readonly #options: LogOptions;
  #sizes = new Map<number, number>();
  readonly #readers = new Map<number, Promise<number>>();
  /** Ranges skipped while salvaging. */
  damage: DamagedRange[] = [];
  #pending: Pending[] = [];
  #running: Promise<void> | undefined;
  #timer: NodeJS.Timeout | undefined;
  #timerAt = 0;
  #unsynced = false;
  #fd = -1;
  #segment = 0;
  #position = 0;
  /** Number of the last finished fsync. */
  #commit = 0;
  #buffer = Buffer.allocUnsafeSlow(256 * 1024);
  /** Why the last write failed; undefined while all is well. */
  failure: Error | undefined;

  private constructor(options: LogOptions) {
    this.#options = options;
  }

  static async open(options: LogOptions): Promise<Log> {
    const log = new Log(options);
    await options.files.makeFolder(options.folder);
    const { sizes, segment, commit, damage, stray } = await readLog(options);
    log.#sizes = sizes;
    log.#segment = segment;
    log.#position = sizes.get(segment) ?? 0;
    log.#commit = commit;
    log.damage = damage;
    await log.#begin();
    for (const record of stray) {
      await new Promise<void>((resolve, reject) => {
        log.append(
          record,
          true,
          (place) => {
            options.onRecord(headOf(record, place), place, () => record.json);
            resolve();
          },
          reject,
        );
      });
    }
    return log;
  }

  /** Queues one record. `done` runs in order of appending, after fdatasync when `durable`. */
  append(record: NewRecord, durable: boolean, done: (place: Place) => void, failed?: (error: Error) => void): void {
    this.#pending.push({ record, durable, done, failed });
    if (this.#running !== undefined) return;
    if (durable) this.#start();
    else this.#startIn(this.failure === undefined ? lazyMs : retryMs);
  }

  /** Reads a part of a record: its JSON or its body. Rejects when the octets are not there. */
  async read(segment: number, offset: number, bytes: number): Promise<Buffer> {
    let reader = this.#readers.get(segment);
    if (reader === undefined) {
      reader = this.#options.files.open(this.#path(segment), "read");
      this.#readers.set(segment, reader);
      reader.catch(() => this.#readers.delete(segment)); // the next read tries again; this one rejects below
    }
    const into = Buffer.allocUnsafeSlow(bytes);
    const got = await this.#options.files.read(await reader, into, offset);
    if (got < bytes) throw new Error(`${this.#path(segment)} ends before octet ${offset + bytes}`);
    return into;
  }

  /** Closed segments, oldest first, with their sizes. */
  closedSegments(): Array<{ segment: number; bytes: number }> {
    const closed = [];
    for (const [segment, bytes] of this.#sizes) if (segment !== this.#segment) closed.push({ segment, bytes });
    return closed;
  }

  /** Octets in all segments. */
  get bytes(): number {
    let sum = this.#position;
    for (const [segment, bytes] of this.#sizes) if (segment !== this.#segment) sum += bytes;
    return sum;
  }

  /**
   * Deletes the oldest closed segment, or moves it to the folder `keepIn`. The caller has made sure that nothing in it
   * is needed.
   */
  async drop(segment: number, keepIn?: string): Promise<void> {
    this.#sizes.delete(segment);
    const reader = this.#readers.get(segment);
    this.#readers.delete(segment);
    if (reader !== undefined) await this.#options.files.close(await reader);
    const path = this.#path(segment);
    if (keepIn === undefined) await this.#options.files.unlink(path);
    else await this.#options.files.rename(path, join(keepIn, basename(path)));
  }

  /** Begins a new segment with the next write, so that the current one can be dropped when it is empty of messages. */
  async roll(): Promise<void> {
    await this.#idle();
    await this.#begin();
  }

  /** Resolves when all that was appended before is written and synced, or has failed. */
  async flush(): Promise<void> {
    await this.#idle();
    if (this.#unsynced && this.failure === undefined) {
      this.#unsynced = false;
      await this.#options.files.sync(this.#fd);
    }
  }

  async close(): Promise<void> {
    await this.flush();
    clearTimeout(this.#timer);
    for (const reader of this.#readers.values()) await this.#options.files.close(await reader);
    this.#readers.clear();
    await this.#options.files.close(this.#fd);
  }

  #path(segment: number): string {
    return join(this.#options.folder, segmentName(segment));
  }

  async #idle(): Promise<void> {
    while (this.#running !== undefined || (this.#pending.length > 0 && this.failure === undefined)) {
      if (this.#running === undefined) this.#start();
      await this.#running;
    }
  }

  #start(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#running = this.#run().finally(() => {
      this.#running = undefined;
      // What came after the last look: a durable record does not wait.
      if (this.failure === undefined && this.#pending.some(({ durable }) => durable)) this.#start();
      else if (this.#pending.length > 0) this.#startIn(this.failure === undefined ? lazyMs : retryMs);
      else if (this.#unsynced) this.#startIn(syncMs);
    });
  }

  #startIn(ms: number): void {
    const at = performance.now() + ms;
    if (this.#timer !== undefined && this.#timerAt <= at) return;
    clearTimeout(this.#timer);
    this.#timerAt = at;
    this.#timer = setTimeout(() => this.#start(), ms);
  }

  async #run(): Promise<void> {
    if (this.#pending.length === 0 && this.#unsynced) {
      this.#unsynced = false;
      try {
        await this.#options.files.sync(this.#fd);
      } catch (error) {
        this.#fail(error as Error, []); // only lazy records were at stake: at worst a message is sent twice
        return;
      }
    }
    while (this.#pending.length > 0) {
      const batch = this.#takeBatch();
      try {
        await this.#writeBatch(batch);
      } catch (error) {
        this.#fail(error as Error, batch);
        return;
      }
    }
  }

  /** As many pending records as one commit may hold; at least one. */
  #takeBatch(): Pending[] {
    let bytes = headBytes * 8; // the segment header, should the batch begin one
    let count = 0;
    for (const { record } of this.#pending) {
      const more = encodedBound(record);
      if (count > 0 && bytes + more > this.#options.commitBytes) break;
      bytes += more;
      count++;
    }
    if (this.#buffer.length < bytes) this.#buffer = Buffer.allocUnsafeSlow(bytes);
    if (count === this.#pending.length) {
      const all = this.#pending;
      this.#pending = [];
      return all;
    }
    return this.#pending.splice(0, count);
  }

  async #writeBatch(batch: Pending[]): Promise<void> {
    if (this.failure !== undefined || this.#position >= this.#options.segmentBytes) await this.#begin();
    const places: Place[] = new Array(batch.length);
    const durable = batch.some((pending) => pending.durable);
    let at = 0;
    for (let i = 0; i < batch.length; i++) {
      const pending = batch[i]!;
      const last = durable && i === batch.length - 1;
      const { bytes, jsonBytes } = encode(this.#buffer, at, pending.record, this.#commit + 1, last);
      const bodyBytes = pending.record.body?.length ?? 0;
      places[i] = { segment: this.#segment, offset: this.#position + at, jsonBytes, bodyBytes };
      at += bytes;
    }
    await this.#options.files.write(this.#fd, this.#buffer.subarray(0, at), this.#position);
    if (durable) await this.#options.files.sync(this.#fd);
    this.#unsynced = !durable;
    if (durable) this.#commit++;
    this.#position += at;
    this.#sizes.set(this.#segment, this.#position);
    this.failure = undefined;
    for (let i = 0; i < batch.length; i++) batch[i]!.done(places[i]!);
  }

  #fail(error: Error, batch: Pending[]): void {
    this.failure = error;
    const lazy = batch.filter((pending) => !pending.durable);
    for (const pending of batch) if (pending.durable) pending.failed?.(error);
    for (const pending of this.#pending) {
      if (pending.durable) pending.failed?.(error);
      else lazy.push(pending);
    }
    this.#pending = lazy;
  }

  /** Begins a new segment: its header is synced before any other record goes into it. */
  async #begin(): Promise<void> {
    const { files, folder, nextId } = this.#options;
    const segment = this.#segment + 1;
    const path = this.#path(segment);
    const header: SegmentHeader = { segment, nextId: nextId(), previousEnd: this.#segment === 0 ? 0 : this.#position };
    const head = Buffer.alloc(headBytes + 256);
    const record = { kind: kind.segment, id: 0, json: JSON.stringify(header), body: undefined };
    const { bytes } = encode(head, 0, record, this.#commit + 1, true);
    const fd = await files.open(path, "create");
    try {
      await files.write(fd, head.subarray(0, bytes), 0);
      await files.sync(fd);
      await files.syncFolder(folder);
    } catch (error) {
      await files.close(fd);
      await files.unlink(path);
      throw error;
    }
    if (this.#fd >= 0) await files.close(this.#fd);
    this.#sizes.set(this.#segment, this.#position);
    this.#sizes.delete(0);
    this.#fd = fd;
    this.#segment = segment;
    this.#position = bytes;
    this.#commit++;
    this.#sizes.set(segment, bytes);
  }
}

function headOf(record: NewRecord, place: Place): RecordHead {
  const { jsonBytes, bodyBytes } = place;
  return { kind: record.kind, id: record.id, commit: 0, last: true, jsonBytes, bodyBytes };
}
