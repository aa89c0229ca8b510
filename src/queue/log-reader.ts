/**
 * Reads the queue's log at the start, segment after segment through a small window, and judges what is broken in it.
 * Invariants: each whole record goes to `onRecord` once, in order of writing; a torn tail, which nobody was promised, is
 * lawful, and whole records behind it are handed back to be appended again; anything else that is broken is damage.
 * Failure: damage makes `readLog` throw DamagedQueueError, or, while salvaging, is skipped and reported.
 */
import { join } from "node:path";
import type { FileLayer } from "./files.ts";
import {
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

export interface SegmentHeader {
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

export interface ReadOptions {
  folder: string;
  files: FileLayer;
  /** Largest JSON part believed when reading. */
  maxJson: number;
  /** Called for each record found, in order of writing. */
  onRecord: (head: RecordHead, place: Place, json: () => string) => void;
  /** True: skip damaged ranges and report them in `damage` instead of throwing. */
  salvage: boolean;
}

/** What was found; `segment` is 0 when there was nothing. */
export interface LogContent {
  /** Valid octets by segment, oldest first. */
  sizes: Map<number, number>;
  segment: number;
  /** Number of the last finished fsync. */
  commit: number;
  /** Whole records found behind a torn spot. */
  stray: NewRecord[];
  damage: DamagedRange[];
}

const suffix = ".log";
const windowBytes = 1024 * 1024;
/** More than a segment's header needs. */
const headerBytes = 4_096;

export function segmentName(segment: number): string {
  return `${String(segment).padStart(10, "0")}${suffix}`;
}

export function readLog(options: ReadOptions): Promise<LogContent> {
  return new LogReader(options).read();
}

class LogReader {
  readonly #options: ReadOptions;
  readonly #found: LogContent = { sizes: new Map(), segment: 0, commit: 0, stray: [], damage: [] };
  /** The record before was the last of its commit. */
  #commitEnded = true;
  #window = Buffer.allocUnsafeSlow(windowBytes);

  constructor(options: ReadOptions) {
    this.#options = options;
  }

  async read(): Promise<LogContent> {
    const { files, folder } = this.#options;
    const found = this.#found;
    const names = (await files.list(folder)).filter((name) => /^\d{10}\.log$/.test(name)).sort();
    let header = await this.#header(names[0]);
    for (const [i, name] of names.entries()) {
      const segment = Number.parseInt(name, 10);
      const nextHeader = await this.#header(names[i + 1]);
      if (found.segment !== 0 && segment !== found.segment + 1) {
        this.#damaged({ file: segmentName(found.segment + 1), from: 0, to: 0 });
      }
      if (header === undefined && i === names.length - 1 && !(await this.#holdsRecord(name))) {
        // The crash came while this segment was being begun: nothing was ever promised in it.
        await files.unlink(join(folder, name));
        break;
      }
      found.segment = segment;
      found.stray = [];
      found.sizes.set(segment, await this.#segment(name, segment, nextHeader?.previousEnd));
      header = nextHeader;
    }
    return found;
  }

  async #header(name: string | undefined): Promise<SegmentHeader | undefined> {
    if (name === undefined) return undefined;
    const data = await this.#octets(name, 0, headerBytes);
    const head = parseHead(data, 0);
    if (head?.kind !== kind.segment || !intact(data, 0, head)) return undefined;
    return JSON.parse(data.toString("utf8", headBytes, headBytes + head.jsonBytes)) as SegmentHeader;
  }

  async #holdsRecord(name: string): Promise<boolean> {
    const data = await this.#octets(name, 0);
    return this.#resume(data, -1, data.length) < data.length;
  }

  /** Octets of a file from `from` on, at most `limit`. */
  async #octets(name: string, from: number, limit = Number.POSITIVE_INFINITY): Promise<Buffer> {
    const { files, folder } = this.#options;
    const fd = await files.open(join(folder, name), "read");
    try {
      const data = Buffer.allocUnsafeSlow(Math.min(limit, Math.max(0, (await files.size(fd)) - from)));
      return data.subarray(0, await files.read(fd, data, from));
    } finally {
      await files.close(fd);
    }
  }

  /**
   * Goes over one segment; answers the end of what is valid in it. `end` is its length as the next segment's header
   * states it; undefined for the last segment, where a torn tail is lawful.
   */
  async #segment(name: string, segment: number, end: number | undefined): Promise<number> {
    const { files, folder } = this.#options;
    const fd = await files.open(join(folder, name), "read");
    let size = 0;
    let at = 0;
    try {
      size = await files.size(fd);
      if (end !== undefined && size < end) this.#damaged({ file: name, from: size, to: end });
      const limit = Math.min(end ?? size, size);
      while (at < limit) {
        const wanted = Math.min(this.#window.length, size - at);
        const data = this.#window.subarray(0, await files.read(fd, this.#window.subarray(0, wanted), at));
        const used = this.#wholeRecords(segment, data, at, limit);
        at += used;
        if (used > 0) continue;
        const head = parseHead(data, 0);
        const bytes = head === undefined || head.jsonBytes > this.#options.maxJson ? 0 : recordBytes(head);
        if (bytes <= data.length || at + bytes > size) break; // broken
        this.#window = Buffer.allocUnsafeSlow(bytes); // a record larger than the window
      }
      if (at >= limit) return end ?? size;
    } finally {
      await files.close(fd);
    }
    return this.#broken(name, segment, at, end);
  }

  /** Hands on the whole records at the start of `data`, which stands at `base` in its file; answers their octets. */
  #wholeRecords(segment: number, data: Buffer, base: number, limit: number): number {
    let at = 0;
    while (base + at < limit) {
      const head = parseHead(data, at);
      if (head === undefined || !this.#whole(data, at, head)) break;
      this.#record(segment, data, at, base, head);
      at += recordBytes(head);
    }
    return at;
  }

  #record(segment: number, data: Buffer, at: number, base: number, head: RecordHead): void {
    this.#found.commit = head.commit;
    this.#commitEnded = head.last;
    const { jsonBytes, bodyBytes } = head;
    const place = { segment, offset: base + at, jsonBytes, bodyBytes };
    this.#options.onRecord(head, place, () => data.toString("utf8", at + headBytes, at + headBytes + jsonBytes));
  }

  #whole(data: Buffer, at: number, head: RecordHead): boolean {
    return head.jsonBytes <= this.#options.maxJson && intact(data, at, head);
  }

  /** As `#segment`, from a broken spot on. */
  async #broken(file: string, segment: number, base: number, end: number | undefined): Promise<number> {
    const data = await this.#octets(file, base);
    const limit = Math.min(end === undefined ? data.length : end - base, data.length);
    let torn: number | undefined;
    let at = 0;
    while (at < limit) {
      const head = parseHead(data, at);
      if (head === undefined || !this.#whole(data, at, head)) {
        const resume = this.#resume(data, at, limit);
        const next = resume < limit ? parseHead(data, resume) : undefined;
        // A commit begins only after the one before it is on disk: what is followed by a later one was acknowledged.
        const tornCommit = this.#commitEnded ? this.#found.commit + 1 : this.#found.commit;
        const lawful = end === undefined && (next === undefined || next.commit <= tornCommit);
        if (lawful) torn ??= at;
        else this.#damaged({ file, from: base + at, to: base + resume });
        at = resume;
        continue;
      }
      if (torn === undefined) this.#record(segment, data, at, base, head);
      else this.#found.stray.push(copyOf(data, at, head));
      at += recordBytes(head);
    }
    return end ?? base + (torn ?? data.length);
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
    this.#found.damage.push(range);
  }
}

function copyOf(data: Buffer, at: number, head: RecordHead): NewRecord {
  const bodyAt = at + headBytes + head.jsonBytes;
  const body = head.bodyBytes > 0 ? Buffer.from(data.subarray(bodyAt, bodyAt + head.bodyBytes)) : undefined;
  return { kind: head.kind, id: head.id, json: data.toString("utf8", at + headBytes, bodyAt), body };
}
