/**
 * Reads record files back. Invariants: memory is bounded by the chunk size and `maxLine`; lines without a right checksum
 * are counted and left out, what stands before and behind them is read.
 * Failure: a folder or file that can't be opened rejects with the system's error.
 */
import { createReadStream, statSync } from "node:fs";
import { crc32 } from "node:zlib";
import { recordFiles } from "./ring.ts";
import type { DecisionRecord } from "./types.ts";

const chunkBytes = 256 * 1024;
/** A header section of 256 KiB, escaped, and the rest. Longer lines are damage. */
const maxLine = 4 * 1024 * 1024;
const newline = 0x0a;
const crcLength = 8;

export interface ReadCount {
  /** Lines that were damaged. */
  damaged: number;
}

export interface ReadOptions {
  /** Leaves out what is older, ms since the epoch. */
  since?: number;
  /** Only lines that hold this text are parsed. */
  having?: string;
  count?: ReadCount;
}

/** All records of a folder, in batches, file by file. */
export async function* readRecords(dir: string, options: ReadOptions = {}): AsyncGenerator<DecisionRecord[]> {
  for (const file of recordFiles(dir)) yield* recordsOfFile(file, options);
}

async function* recordsOfFile(file: string, options: ReadOptions): AsyncGenerator<DecisionRecord[]> {
  let rest: Buffer = Buffer.alloc(0);
  for await (const chunk of createReadStream(file, { highWaterMark: chunkBytes }) as AsyncIterable<Buffer>) {
    const bytes = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    const end = bytes.lastIndexOf(newline) + 1;
    rest = bytes.subarray(end);
    if (end > 0) yield recordsOf(bytes.subarray(0, end), options);
    if (rest.length > maxLine) {
      if (options.count) options.count.damaged++;
      rest = Buffer.alloc(0);
    }
  }
  if (rest.length > 0 && options.count) options.count.damaged++;
}

/** The last `count` records of the files written last. */
export async function newestRecords(dir: string, count: number): Promise<DecisionRecord[]> {
  const newest: DecisionRecord[] = [];
  const writtenAt = (file: string): number => statSync(file).mtimeMs;
  for (const file of recordFiles(dir).sort((a, b) => writtenAt(b) - writtenAt(a))) {
    let some: DecisionRecord[] = [];
    for await (const batch of recordsOfFile(file, {})) {
      some.push(...batch);
      if (some.length > 2 * count) some = some.slice(-count);
    }
    newest.unshift(...some.slice(-(count - newest.length)));
    if (newest.length === count) break;
  }
  return newest;
}

function recordsOf(bytes: Buffer, options: ReadOptions): DecisionRecord[] {
  const records: DecisionRecord[] = [];
  for (let at = 0; at < bytes.length; ) {
    const end = bytes.indexOf(newline, at);
    const line = bytes.subarray(at, end);
    at = end + 1;
    if (options.having !== undefined && !line.includes(options.having)) continue;
    const record = recordOf(line);
    if (!record) {
      if (options.count) options.count.damaged++;
    } else if (options.since === undefined || record.time >= options.since) records.push(record);
  }
  return records;
}

/** The record of one line, or undefined when the line is not as it was written. */
function recordOf(line: Buffer): DecisionRecord | undefined {
  const json = line.subarray(crcLength + 1);
  if (line[crcLength] !== 0x20 || line.length > maxLine) return undefined;
  if (Number.parseInt(line.toString("latin1", 0, crcLength), 16) !== crc32(json)) return undefined;
  try {
    const record = JSON.parse(json.toString("utf8")) as DecisionRecord;
    // The checksum says that a recorder wrote it; another version of it may have had other fields.
    return Array.isArray(record.steps) && Array.isArray(record.facts) && record.decision ? record : undefined;
  } catch {
    return undefined; // counted as damaged by the caller
  }
}
