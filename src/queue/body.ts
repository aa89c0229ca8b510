/**
 * Bodies of messages: kept in memory up to a threshold (they go into the log with the envelope), written to a file of
 * their own above it, so that a message of any size needs the same memory.
 * Invariants: a file is fsync'd, and its name in the folder too, before `finishFile` resolves; nobody sees it before the
 * commit that names it. Memory goes back to the pool only when nobody was shown it (`content`). Failure: a failed write
 * shows at `finishFile`; `abort` deletes what was begun and never rejects.
 */
import { randomBytes } from "node:crypto";
import { join } from "node:path";
import type { BlockPool } from "./block-pool.ts";
import type { FileLayer } from "./files.ts";
import type { KeptBody } from "./message-cache.ts";
import type { BodySource, BodyWriter } from "./types.ts";

const blockBytes = 256 * 1024;
const readBytes = 128 * 1024;
const smallest = 8 * 1024;
const nothing = Buffer.alloc(0);

export class SpoolBody implements BodyWriter {
  readonly #files: FileLayer;
  readonly #folder: string;
  readonly #threshold: number;
  readonly #pool: BlockPool;
  #buffer: Buffer;
  /** A block that is on disk and can be filled again. */
  #spare: Buffer | undefined;
  #used = 0;
  #size = 0;
  #name: string | undefined;
  #fd: Promise<number> | undefined;
  #written = 0;
  /** The chain of writes; rejections are kept in `#error`. */
  #writing: Promise<void> | undefined;
  #error: Error | undefined;
  #closed = false;
  /** Somebody outside may still look at `#buffer`. */
  #shown = false;

  constructor(files: FileLayer, folder: string, threshold: number, pool: BlockPool, prefix: Uint8Array) {
    this.#files = files;
    this.#folder = folder;
    this.#threshold = threshold;
    this.#pool = pool;
    this.#buffer = pool.take(Math.max(smallest, Math.min(prefix.length, threshold)));
    void this.write(prefix);
  }

  get size(): number {
    return this.#size;
  }

  /** Takes a copy of `chunk`. A promise is back-pressure: more may be written when it resolves. */
  write(chunk: Uint8Array): Promise<void> | undefined {
    if (this.#closed) throw new Error("body already finished");
    this.#size += chunk.length;
    if (this.#fd === undefined && this.#size > this.#threshold) this.#beginFile();
    let wait: Promise<void> | undefined;
    let from = 0;
    while (from < chunk.length) {
      if (this.#fd === undefined) {
        const needed = this.#used + chunk.length;
        if (needed > this.#buffer.length) this.#replaceBuffer(this.#pool.take(needed));
      } else if (this.#used === this.#buffer.length) wait = this.#flushBlock();
      const to = Math.min(chunk.length, from + this.#buffer.length - this.#used);
      this.#buffer.set(chunk.subarray(from, to), this.#used);
      this.#used += to - from;
      from = to;
    }
    return wait;
  }

  async content(): Promise<BodySource> {
    if (this.#fd === undefined) {
      this.#shown = true;
      return memoryBody(this.#buffer.subarray(0, this.#used));
    }
    await this.#flushBlock();
    if (this.#error !== undefined) throw this.#error;
    return fileBody(this.#files, join(this.#folder, this.#name!), this.#size);
  }

  /**
   * Ends writing; the octets when the body is small enough to be in memory, else undefined: call `finishFile`. They are
   * good until `letGo` or `keep`.
   */
  finishBytes(): Buffer | undefined {
    this.#closed = true;
    return this.#fd === undefined ? this.#buffer.subarray(0, this.#used) : undefined;
  }

  /** The body is on disk: its memory may be used again. */
  letGo(): void {
    if (this.#fd === undefined) this.#recycle();
  }

  /** Instead of `letGo`: hands over the memory; undefined when the body has a file. */
  keep(): KeptBody | undefined {
    if (this.#fd !== undefined) return undefined;
    const kept = { bytes: this.#buffer.subarray(0, this.#used), block: this.#shown ? undefined : this.#buffer };
    this.#buffer = nothing;
    return kept;
  }

  /** Makes the body's file durable; answers its name in the bodies folder. */
  async finishFile(): Promise<string> {
    if (this.#fd === undefined || this.#name === undefined) throw new Error("body is in memory");
    const fd = await this.#fd;
    try {
      await this.#flushBlock();
      if (this.#error !== undefined) throw this.#error;
      await this.#files.sync(fd);
    } finally {
      await this.#files.close(fd);
      this.#recycle();
    }
    await this.#files.syncFolder(this.#folder);
    return this.#name;
  }

  abort(): void {
    const name = this.#name;
    if (name === undefined) {
      this.#recycle();
      return;
    }
    const wasOpen = !this.#closed;
    this.#closed = true;
    void (async () => {
      await this.#writing;
      const fd = await this.#fd;
      if (wasOpen && fd !== undefined) await this.#files.close(fd);
      await this.#files.unlink(join(this.#folder, name));
    })().catch(() => undefined); // a file that stays is removed at the next start: no message names it
  }

  #recycle(): void {
    if (!this.#shown) this.#pool.give(this.#buffer);
    if (this.#spare !== undefined) this.#pool.give(this.#spare);
    this.#buffer = nothing;
    this.#spare = undefined;
    this.#used = 0;
  }

  #replaceBuffer(larger: Buffer): void {
    this.#buffer.copy(larger, 0, 0, this.#used);
    if (!this.#shown) this.#pool.give(this.#buffer);
    this.#shown = false;
    this.#buffer = larger;
  }

  #beginFile(): void {
    this.#name = `b${randomBytes(9).toString("hex")}`;
    this.#fd = this.#files.open(join(this.#folder, this.#name), "create");
    this.#fd.catch((error: Error) => {
      this.#error = error;
    });
    this.#replaceBuffer(this.#pool.take(Math.max(blockBytes, this.#used)));
  }

  /** Hands the full block to the disk; two blocks are in memory at most when the caller heeds back-pressure. */
  #flushBlock(): Promise<void> {
    const full = this.#buffer;
    const block = full.subarray(0, this.#used);
    this.#buffer = this.#spare ?? this.#pool.take(blockBytes);
    this.#spare = undefined;
    this.#used = 0;
    const at = this.#written;
    this.#written += block.length;
    const before = this.#writing;
    this.#writing = (async () => {
      await before;
      if (this.#error !== undefined) return;
      try {
        await this.#files.write(await this.#fd!, block, at);
      } catch (error) {
        this.#error = error as Error; // reported by finishFile
      }
      this.#spare = full;
    })();
    return this.#writing;
  }
}

/** A body that is in memory. */
export function memoryBody(bytes: Uint8Array): BodySource {
  return {
    size: bytes.length,
    inMemory: () => bytes,
    async *stream() {
      yield bytes;
    },
  };
}

/** A body in a file of its own. Reading rejects when the file is shorter than `size`. */
export function fileBody(files: FileLayer, path: string, size: number): BodySource {
  return {
    size,
    inMemory: () => undefined,
    async *stream() {
      const fd = await files.open(path, "read");
      try {
        for (let at = 0; at < size; ) {
          const chunk = Buffer.allocUnsafeSlow(Math.min(readBytes, size - at));
          const got = await files.read(fd, chunk, at);
          if (got < chunk.length) throw new Error(`${path} ends at octet ${at + got} of ${size}`);
          yield chunk;
          at += got;
        }
      } finally {
        await files.close(fd);
      }
    },
  };
}
