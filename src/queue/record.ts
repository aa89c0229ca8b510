/**
 * The form of one record in the queue's log: a 32-octet head, a JSON part (envelope and states), the message's octets.
 *   0 magic | 4 CRC-32 of all that follows | 8 length of JSON | 12 length of body | 16 kind | 17 last of its commit |
 *   18 commit number | 24 id | 30 zero
 * Invariants: numbers are little-endian; commit number and id have 48 bits; commit numbers never fall.
 * Failure: `parseHead` and `intact` answer undefined or false on anything that is not a whole record; they never throw.
 */
import { crc32 } from "node:zlib";

export const headBytes = 32;
const magic = 0x4e545350; // "PSTN"

export const kind = {
  /** First record of a segment; the JSON is a `SegmentHeader`. */
  segment: 1,
  /** A whole message: state and body. */
  message: 2,
  /** A message's newer state; its body stays where it is. */
  state: 3,
  /** The message has left the queue. */
  removed: 4,
} as const;

export interface RecordHead {
  kind: number;
  id: number;
  /** Number of the fsync that made this record durable. */
  commit: number;
  /** True for the last record before that fsync. */
  last: boolean;
  jsonBytes: number;
  bodyBytes: number;
}

/** A record on its way into the log. */
export interface NewRecord {
  kind: number;
  id: number;
  json: string;
  body: Uint8Array | undefined;
}

/** Upper bound of the octets `encode` needs for a record. */
export function encodedBound(record: NewRecord): number {
  return headBytes + record.json.length * 3 + (record.body?.length ?? 0);
}

/** Writes a record into `into` at `at`; answers the octets used and the length of the JSON part. */
export function encode(
  into: Buffer,
  at: number,
  record: NewRecord,
  commit: number,
  last: boolean,
): { bytes: number; jsonBytes: number } {
  const jsonBytes = record.json.length === 0 ? 0 : into.write(record.json, at + headBytes, "utf8");
  const bodyBytes = record.body?.length ?? 0;
  if (record.body !== undefined) into.set(record.body, at + headBytes + jsonBytes);
  const bytes = headBytes + jsonBytes + bodyBytes;
  into.writeUInt32LE(magic, at);
  into.writeUInt32LE(jsonBytes, at + 8);
  into.writeUInt32LE(bodyBytes, at + 12);
  into[at + 16] = record.kind;
  into[at + 17] = last ? 1 : 0;
  into.writeUIntLE(commit, at + 18, 6);
  into.writeUIntLE(record.id, at + 24, 6);
  into.writeUInt16LE(0, at + 30);
  into.writeUInt32LE(crc32(into.subarray(at + 8, at + bytes)), at + 4);
  return { bytes, jsonBytes };
}

/** Reads the head at `at`; undefined when there is no room for one or the magic is not there. */
export function parseHead(from: Buffer, at: number): RecordHead | undefined {
  if (at + headBytes > from.length || from.readUInt32LE(at) !== magic) return undefined;
  return {
    jsonBytes: from.readUInt32LE(at + 8),
    bodyBytes: from.readUInt32LE(at + 12),
    kind: from[at + 16]!,
    last: from[at + 17] === 1,
    commit: from.readUIntLE(at + 18, 6),
    id: from.readUIntLE(at + 24, 6),
  };
}

export function recordBytes(head: RecordHead): number {
  return headBytes + head.jsonBytes + head.bodyBytes;
}

/** True when the whole record at `at` is in `from` and its checksum is right. */
export function intact(from: Buffer, at: number, head: RecordHead): boolean {
  const end = at + recordBytes(head);
  return end <= from.length && from.readUInt32LE(at + 4) === crc32(from.subarray(at + 8, end));
}

const magicBytes = Buffer.alloc(4);
magicBytes.writeUInt32LE(magic);

/** Offset of the next octets that look like a record's start, from `at` on; -1 when there are none. */
export function nextMagic(from: Buffer, at: number): number {
  return from.indexOf(magicBytes, at);
}
