/**
 * The queue's append-only log: numbered segment files of records, written by group commit. All records that arrive while
 * one write is under way go out together in the next: one write and one fdatasync for all of them.
 * Invariants: a durable record is on disk before its `done`; a lazy one is written within `lazyMs` and synced within
 * `syncMs`; segments are dropped oldest first, so a "removed" record never outlives the message it speaks of. Each
 * segment's header states where the one before it ends: what stands behind that end was never acknowledged.
 * Failure: a write or sync that fails rejects its durable records, keeps the lazy ones for later, and leaves the segment
 * for a new one (after a failed fsync the page cache can't be trusted). A broken record followed by a later commit makes
 * `open` throw DamagedQueueError; a torn tail, which nobody was promised, is cut off.
 */
import { basename, join } from "node:path";
import type { FileLayer } from "./files.ts";
import {
  encode,
  encodedBound,
  headBytes,
  intact,
  kind,
  type NewRecord,
  nextMagic,
  parseHead,
  type RecordHead,
  recordBytes,
} from "./record.ts";

/** Where a record stands. */
export interface Place {
  segment: number;
  offset: number;
  jsonBytes: number;
  bodyBytes: number;
}

interface SegmentHeader {
  segment: number;
  /** The next free id when the segment was begun: ids stay unique when all messages are gone. */
  nextId: number;
  /** Valid length of the segment before this one. */
  previousEnd: number;
}

export interface DamagedRange {
  file: string;
  from: number;
  to: number;
}

export class DamagedQueueError extends Error {
  readonly ranges: DamagedRange[];
  constructor(folder: string, ranges: DamagedRange[]) {
    const first = ranges[0];
    super(
      `queue log in ${folder} is damaged (${first?.file} at octet ${first?.from}); ` +
        "stop the gateway and run `postern queue repair`",
    );
    this.name = "DamagedQueueError";
    this.ranges = ranges;
  }
}

export interface LogOptions {
  folder: string;
  files: FileLayer;
  segmentBytes: number;
  commitBytes: number;
  /** Largest JSON part believed when reading. */
  maxJson: number;
  /** Called for each record found, in order of writing. */
  onRecord: (head: RecordHead, place: Place, json: () => string) => void;
  /** Next free message id, written into new segments. */
  nextId: () => number;
  /** True: skip damaged ranges and report them in `damage` instead of throwing. */
  salvage: boolean;
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
const suffix = ".log";

export class Log {
  readonly #options: LogOptions;
  readonly #sizes = new Map<number, number>();
  readonly #readers = new Map<number, Promise<number>>();
  /** Ranges skipped while salvaging. */
  readonly damage: DamagedRange[] = [];
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
  /** While reading: the record before was the last of its commit. */
  #commitEnded = true;
  #buffer = Buffer.allocUnsafeSlow(256 * 1024);
  /** Why the last write failed; undefined while all is well. */
  failure: Error | undefined;

  private constructor(options: LogOptions) {
    this.#options = options;
  }

  static async open(options: LogOptions): Promise<Log> {
    const log = new Log(options);
    await options.files.makeFolder(options.folder);
    const stray = await log.#replay();
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
    return join(this.#options.folder, `${String(segment).padStart(10, "0")}${suffix}`);
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

  /** Reads all segments; answers whole records found behind a torn spot, which are appended again. */
  async #replay(): Promise<NewRecord[]> {
    const { files, folder } = this.#options;
    const names = (await files.list(folder)).filter((name) => /^\d{10}\.log$/.test(name)).sort();
    let stray: NewRecord[] = [];
    let current = await this.#load(names[0]);
    for (let i = 0; i < names.length; i++) {
      const name = names[i]!;
      const segment = Number.parseInt(name, 10);
      const next = await this.#load(names[i + 1]);
      const header = current.header;
      if (this.#segment !== 0 && segment !== this.#segment + 1) {
        this.#damaged({ file: `${String(this.#segment + 1).padStart(10, "0")}${suffix}`, from: 0, to: 0 });
      }
      if (header === undefined && next.name === undefined && !this.#holdsRecord(current.data)) {
        // The crash came while this segment was being begun: nothing was ever promised in it.
        await files.unlink(join(folder, name));
        break;
      }
      this.#segment = segment;
      const end = next.header?.previousEnd;
      stray = this.#scan(name, segment, current.data, end);
      this.#sizes.set(segment, this.#position);
      current = next;
    }
    return stray;
  }

  async #load(name: string | undefined): Promise<{ name?: string; data: Buffer; header?: SegmentHeader }> {
    const { files, folder } = this.#options;
    if (name === undefined) return { data: Buffer.alloc(0) };
    const fd = await files.open(join(folder, name), "read");
    try {
      const data = Buffer.allocUnsafeSlow(await files.size(fd));
      await files.read(fd, data, 0);
      const head = parseHead(data, 0);
      if (head?.kind !== kind.segment || !intact(data, 0, head)) return { name, data };
      const header = JSON.parse(data.toString("utf8", headBytes, headBytes + head.jsonBytes)) as SegmentHeader;
      return { name, data, header };
    } finally {
      await files.close(fd);
    }
  }

  #holdsRecord(data: Buffer): boolean {
    for (let at = nextMagic(data, 0); at >= 0; at = nextMagic(data, at + 1)) {
      const head = parseHead(data, at);
      if (head !== undefined && this.#whole(data, at, head)) return true;
    }
    return false;
  }

  #whole(data: Buffer, at: number, head: RecordHead): boolean {
    return head.jsonBytes <= this.#options.maxJson && intact(data, at, head);
  }

  /**
   * Goes over one segment. `end` is its length as the next segment's header states it; undefined for the last segment,
   * where a torn tail is lawful. Leaves `#position` at the end of what is valid.
   */
  #scan(file: string, segment: number, data: Buffer, end: number | undefined): NewRecord[] {
    const limit = Math.min(end ?? data.length, data.length);
    if (end !== undefined && data.length < end) this.#damaged({ file, from: data.length, to: end });
    const stray: NewRecord[] = [];
    let torn: number | undefined;
    let at = 0;
    while (at < limit) {
      const head = parseHead(data, at);
      if (head === undefined || !this.#whole(data, at, head)) {
        const resume = this.#resume(data, at, limit);
        const next = resume < limit ? parseHead(data, resume) : undefined;
        // A commit begins only after the one before it is on disk: what is followed by a later one was acknowledged.
        const tornCommit = this.#commitEnded ? this.#commit + 1 : this.#commit;
        const lawful = end === undefined && (next === undefined || next.commit <= tornCommit);
        if (lawful) torn ??= at;
        else this.#damaged({ file, from: at, to: resume });
        at = resume;
        continue;
      }
      const json = () => data.toString("utf8", at + headBytes, at + headBytes + head.jsonBytes);
      if (torn !== undefined) {
        const bodyAt = at + headBytes + head.jsonBytes;
        const body = head.bodyBytes > 0 ? Buffer.from(data.subarray(bodyAt, bodyAt + head.bodyBytes)) : undefined;
        stray.push({ kind: head.kind, id: head.id, json: json(), body });
      } else {
        this.#commit = head.commit;
        this.#commitEnded = head.last;
        const { jsonBytes, bodyBytes } = head;
        this.#options.onRecord(head, { segment, offset: at, jsonBytes, bodyBytes }, json);
      }
      at += recordBytes(head);
    }
    this.#position = end ?? torn ?? data.length;
    return stray;
  }

  /** Start of the next whole record behind a broken spot, or `limit`. */
  #resume(data: Buffer, from: number, limit: number): number {
    for (let at = nextMagic(data, from + 1); at >= 0 && at < limit; at = nextMagic(data, at + 1)) {
      const head = parseHead(data, at);
      if (head !== undefined && this.#whole(data, at, head)) return at;
    }
    return limit;
  }

  #damaged(range: DamagedRange): void {
    if (!this.#options.salvage) throw new DamagedQueueError(this.#options.folder, [range]);
    this.damage.push(range);
  }
}

function headOf(record: NewRecord, place: Place): RecordHead {
  const { jsonBytes, bodyBytes } = place;
  return { kind: record.kind, id: record.id, commit: 0, last: true, jsonBytes, bodyBytes };
}
