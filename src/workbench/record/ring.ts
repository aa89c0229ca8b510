/**
 * Records on disk: a ring of files a worker, one line a record: CRC-32 in hex, a blank, JSON. Lines are found again
 * behind any damage, and the checksum tells which are whole.
 * Invariants: `add` only puts a record into memory; serialising and writing happen in batches later, a limited number a
 * turn of the event loop; the oldest file goes when the ring is full. Failure: when the disk can't follow or refuses,
 * records are dropped and counted, mail never waits for them.
 */
import { mkdirSync, readdirSync, rmSync } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { join } from "node:path";
import { setImmediate as turn } from "node:timers/promises";
import { crc32 } from "node:zlib";
import type { Redactor } from "./redact.ts";
import type { DecisionRecord } from "./types.ts";

const flushMs = 250;
/** Records serialised without a break: some milliseconds. */
const recordsPerTurn = 200;
const filesPerRing = 8;
const fileName = /^(\d+)-(\d+)\.rec$/;

export interface RingOptions {
  dir: string;
  /** Each worker writes files of its own. */
  worker: number;
  /** Octets of this worker's files together. */
  maxBytes: number;
  /** Records in memory that the disk has not taken yet; more are dropped. */
  pending: number;
  redactor: Redactor;
  onError(error: Error): void;
}

export class RecordRing {
  /** Records that were lost because the disk didn't follow. */
  dropped = 0;
  readonly #options: RingOptions;
  #queue: DecisionRecord[] = [];
  #sequence: number;
  #file: FileHandle | undefined;
  #size = 0;
  #timer: NodeJS.Timeout | undefined;
  #writing: Promise<void> | undefined;
  #closed = false;

  /** Throws when the folder can't be made. */
  constructor(options: RingOptions) {
    this.#options = options;
    mkdirSync(options.dir, { recursive: true, mode: 0o750 });
    this.#sequence = Math.max(0, ...this.#own()) + 1;
  }

  add(record: DecisionRecord): void {
    if (this.#queue.length >= this.#options.pending) {
      this.dropped++;
      return;
    }
    this.#queue.push(record);
    this.#timer ??= setTimeout(() => void this.flush(), flushMs).unref();
  }

  /** Writes what is waiting. Never rejects. */
  async flush(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    while (this.#writing || this.#queue.length > 0) {
      this.#writing ??= this.#write().finally(() => {
        this.#writing = undefined;
      });
      await this.#writing;
    }
    if (this.#closed) await this.#closeFile();
  }

  /** Writes what is waiting; what sessions still add later is written too. Never rejects. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.flush();
  }

  async #closeFile(): Promise<void> {
    const file = this.#file;
    this.#file = undefined;
    await file?.close().catch((error: Error) => this.#options.onError(error));
  }

  async #write(): Promise<void> {
    while (this.#queue.length > 0) {
      const batch = this.#queue.splice(0, recordsPerTurn);
      try {
        const lines = batch.map((record) => lineOf(this.#options.redactor.text(record)));
        const bytes = Buffer.from(lines.join(""));
        const file = await this.#place(bytes.length);
        this.#size += bytes.length;
        await file.appendFile(bytes);
      } catch (error) {
        this.dropped += batch.length;
        this.#options.onError(error as Error);
      }
      await turn();
    }
  }

  /** The file to append to; a new one when so many octets more would not fit. */
  async #place(octets: number): Promise<FileHandle> {
    if (this.#file && this.#size + octets <= this.#options.maxBytes / filesPerRing) return this.#file;
    await this.#closeFile();
    const { dir, worker } = this.#options;
    this.#file = await open(join(dir, `${worker}-${String(this.#sequence++).padStart(8, "0")}.rec`), "a", 0o640);
    this.#size = 0;
    for (const old of this.#own().slice(0, -filesPerRing)) {
      rmSync(join(dir, `${worker}-${String(old).padStart(8, "0")}.rec`), { force: true });
    }
    return this.#file;
  }

  /** Numbers of this worker's files, oldest first. */
  #own(): number[] {
    const numbers = readdirSync(this.#options.dir).map((name) => fileName.exec(name));
    return numbers
      .filter((match) => match !== null && Number(match[1]) === this.#options.worker)
      .map((match) => Number(match![2]))
      .sort((a, b) => a - b);
  }
}

export const lineOf = (json: string): string => `${crc32(json).toString(16).padStart(8, "0")} ${json}\n`;

/** Record files of a folder. Throws when there is no such folder. */
export const recordFiles = (dir: string): string[] =>
  readdirSync(dir)
    .filter((name) => fileName.test(name))
    .sort()
    .map((name) => join(dir, name));
