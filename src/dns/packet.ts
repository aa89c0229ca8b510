/**
 * DNS messages on the wire (RFC 1035 §4): queries out, answers in.
 * The decoder reads hostile bytes. Invariants: every read is bounds-checked; a compression pointer must point before
 * the name it stands in, so no chain can loop; a name has at most 255 octets; at most `maxRecords` records are read.
 * Failure: `DnsError` "malformed" for bytes that break the format, "limit" for more records than allowed.
 */
import { DnsError, type RecordData, type RecordType } from "./types.ts";

export const typeCode: Readonly<Record<RecordType, number>> = {
  A: 1,
  NS: 2,
  CNAME: 5,
  SOA: 6,
  PTR: 12,
  MX: 15,
  TXT: 16,
  AAAA: 28,
  SRV: 33,
  TLSA: 52,
  CAA: 257,
};

export const rcode = { noError: 0, formErr: 1, servFail: 2, nxDomain: 3, notImp: 4, refused: 5 } as const;

/** RFC 6891 §6.2.5; 1,232 octets pass every path without fragments (DNS Flag Day 2020). */
const ednsPayload = 1_232;
const optType = 41;
const classIn = 1;

export interface WireRecord {
  /** Owner name in lower case, without the final dot. */
  name: string;
  type: number;
  ttl: number;
  start: number;
  end: number;
}

export interface Response {
  bytes: Buffer;
  id: number;
  truncated: boolean;
  authenticated: boolean;
  rcode: number;
  /** Question name exactly as it came back, for the 0x20 comparison. */
  questionName: string;
  questionType: number;
  answers: WireRecord[];
  authorities: WireRecord[];
}

/** Wire form of a name, or undefined when it can't be one (RFC 1035 §2.3.4: labels 1–63 octets, 255 in all). */
export function encodeName(name: string): Buffer | undefined {
  const bare = name.endsWith(".") ? name.slice(0, -1) : name;
  if (bare === "") return Buffer.from([0]);
  if (bare.length > 253) return undefined;
  const out = Buffer.allocUnsafe(bare.length + 2);
  let at = 0;
  for (const label of bare.split(".")) {
    if (label.length === 0 || label.length > 63) return undefined;
    out[at] = label.length;
    out.write(label, at + 1, "latin1");
    at += label.length + 1;
  }
  out[at] = 0;
  return out;
}

/** A recursive query; AD asks a validating upstream for its verdict (RFC 6840 §5.7). */
export function encodeQuery(id: number, name: Buffer, type: RecordType, edns: boolean): Buffer {
  const out = Buffer.alloc(12 + name.length + 4 + (edns ? 11 : 0));
  out.writeUInt16BE(id, 0);
  out.writeUInt16BE(0x0120, 2); // RD, AD
  out.writeUInt16BE(1, 4);
  out.writeUInt16BE(edns ? 1 : 0, 10);
  name.copy(out, 12);
  let at = 12 + name.length;
  at = out.writeUInt16BE(typeCode[type], at);
  at = out.writeUInt16BE(classIn, at);
  if (edns) {
    // RFC 6891 §6.1.2: root name, OPT, payload size; extended flags and options empty.
    at = out.writeUInt8(0, at);
    at = out.writeUInt16BE(optType, at);
    out.writeUInt16BE(ednsPayload, at);
  }
  return out;
}

function malformed(what: string): DnsError {
  return new DnsError("malformed", `malformed answer: ${what}`);
}

/** Characters of a label that would be misread in a dotted name are written as \DDD (RFC 1035 §5.1). */
function labelText(bytes: Buffer, start: number, end: number): string {
  const text = bytes.toString("latin1", start, end);
  if (/^[\x21-\x2d\x2f-\x5b\x5d-\x7e]*$/.test(text)) return text;
  return text.replace(
    /[^\x21-\x2d\x2f-\x5b\x5d-\x7e]/g,
    (c: string) => `\\${String(c.charCodeAt(0)).padStart(3, "0")}`,
  );
}

/** Reads a possibly compressed name; answers it as it stands and the offset after it. */
function readName(bytes: Buffer, offset: number): { name: string; next: number } {
  let name = "";
  let at = offset;
  let next = -1;
  let floor = offset;
  let octets = 0;
  for (;;) {
    const length = bytes[at];
    if (length === undefined) throw malformed("name runs past the end");
    if (length === 0) return { name, next: next < 0 ? at + 1 : next };
    if (length >= 0xc0) {
      const low = bytes[at + 1];
      if (low === undefined) throw malformed("pointer runs past the end");
      const target = ((length & 0x3f) << 8) | low;
      // RFC 1035 §4.1.4: a pointer names a prior occurrence; strictly decreasing targets can't loop.
      if (target >= floor) throw malformed("compression pointer does not point backwards");
      if (next < 0) next = at + 2;
      floor = target;
      at = target;
      continue;
    }
    if (length > 63) throw malformed("reserved label type");
    octets += length + 1;
    if (octets > 254) throw malformed("name longer than 255 octets");
    if (at + 1 + length > bytes.length) throw malformed("label runs past the end");
    const label = labelText(bytes, at + 1, at + 1 + length);
    name = name === "" ? label : `${name}.${label}`;
    at += length + 1;
  }
}

/** Decodes header, question, answers and authorities; additional records are not used and not read. */
export function decodeResponse(bytes: Buffer, maxRecords: number): Response {
  if (bytes.length < 12) throw malformed("shorter than a header");
  const flags = bytes.readUInt16BE(2);
  if ((flags & 0x8000) === 0) throw malformed("not a response");
  if (bytes.readUInt16BE(4) !== 1) throw malformed("not exactly one question");
  const question = readName(bytes, 12);
  if (question.next + 4 > bytes.length) throw malformed("question runs past the end");
  if (bytes.readUInt16BE(question.next + 2) !== classIn) throw malformed("question of another class");
  const response: Response = {
    bytes,
    id: bytes.readUInt16BE(0),
    truncated: (flags & 0x0200) !== 0,
    authenticated: (flags & 0x0020) !== 0,
    rcode: flags & 0x000f,
    questionName: question.name,
    questionType: bytes.readUInt16BE(question.next),
    answers: [],
    authorities: [],
  };
  const answerCount = bytes.readUInt16BE(6);
  const authorityCount = bytes.readUInt16BE(8);
  if (response.truncated) return response; // RFC 2181 §9: a truncated answer is asked again over TCP, not used.
  if (answerCount + authorityCount > maxRecords) {
    throw new DnsError("limit", `answer of ${answerCount + authorityCount} records (limit ${maxRecords})`);
  }
  let at = question.next + 4;
  for (let i = 0; i < answerCount + authorityCount; i++) {
    const owner = readName(bytes, at);
    at = owner.next;
    if (at + 10 > bytes.length) throw malformed("record runs past the end");
    const ttl = bytes.readUInt32BE(at + 4);
    const start = at + 10;
    const end = start + bytes.readUInt16BE(at + 8);
    if (end > bytes.length) throw malformed("record data runs past the end");
    if (bytes.readUInt16BE(at + 2) === classIn) {
      const record = {
        name: owner.name.toLowerCase(),
        type: bytes.readUInt16BE(at),
        ttl: ttl > 0x7fffffff ? 0 : ttl, // RFC 2181 §8: a TTL with the top bit set counts as zero.
        start,
        end,
      };
      (i < answerCount ? response.answers : response.authorities).push(record);
    }
    at = end;
  }
  return response;
}

function nameAt(bytes: Buffer, start: number, end: number): string {
  const { name, next } = readName(bytes, start);
  if (next !== end) throw malformed("name does not fill its record");
  return name.toLowerCase();
}

function need(start: number, end: number, octets: number): void {
  if (end - start < octets) throw malformed("record data too short");
}

function textAt(bytes: Buffer, start: number, end: number): string {
  if (start === end) throw malformed("TXT without a string");
  let text = "";
  for (let at = start; at < end; ) {
    const length = bytes[at]!;
    if (at + 1 + length > end) throw malformed("character-string runs past its record");
    text += bytes.toString("latin1", at + 1, at + 1 + length);
    at += 1 + length;
  }
  return text;
}

/** RFC 5952 §4: lower case, the longest run of two or more zero groups shortened. */
function ipv6At(bytes: Buffer, start: number): string {
  const groups: string[] = [];
  for (let i = 0; i < 16; i += 2) groups.push(bytes.readUInt16BE(start + i).toString(16));
  const text = groups.join(":");
  let longest = "";
  for (const run of text.match(/\b0(?::0)+\b/g) ?? []) if (run.length > longest.length) longest = run;
  return longest === "" ? text : text.replace(new RegExp(`(^|:)${longest}(:|$)`), "::");
}

const readers: { [T in RecordType]: (bytes: Buffer, start: number, end: number) => RecordData[T] } = {
  A(bytes, start, end) {
    if (end - start !== 4) throw malformed("A record of wrong length");
    return `${bytes[start]}.${bytes[start + 1]}.${bytes[start + 2]}.${bytes[start + 3]}`;
  },
  AAAA(bytes, start, end) {
    if (end - start !== 16) throw malformed("AAAA record of wrong length");
    return ipv6At(bytes, start);
  },
  MX(bytes, start, end) {
    need(start, end, 3);
    return { preference: bytes.readUInt16BE(start), exchange: nameAt(bytes, start + 2, end) };
  },
  TXT: textAt,
  PTR: nameAt,
  CNAME: nameAt,
  NS: nameAt,
  TLSA(bytes, start, end) {
    need(start, end, 4); // RFC 6698 §2.1
    return {
      usage: bytes[start]!,
      selector: bytes[start + 1]!,
      matchingType: bytes[start + 2]!,
      data: Uint8Array.from(bytes.subarray(start + 3, end)),
    };
  },
  SRV(bytes, start, end) {
    need(start, end, 7); // RFC 2782
    return {
      priority: bytes.readUInt16BE(start),
      weight: bytes.readUInt16BE(start + 2),
      port: bytes.readUInt16BE(start + 4),
      target: nameAt(bytes, start + 6, end),
    };
  },
  CAA(bytes, start, end) {
    need(start, end, 2); // RFC 8659 §4.1
    const tagEnd = start + 2 + bytes[start + 1]!;
    if (tagEnd > end) throw malformed("CAA tag runs past its record");
    return {
      flags: bytes[start]!,
      tag: bytes.toString("latin1", start + 2, tagEnd).toLowerCase(),
      value: bytes.toString("latin1", tagEnd, end),
    };
  },
  SOA(bytes, start, end) {
    const primary = readName(bytes, start);
    const mailbox = readName(bytes, primary.next);
    if (end - mailbox.next !== 20) throw malformed("SOA record of wrong length");
    return { minimum: bytes.readUInt32BE(mailbox.next + 16) };
  },
};

/** Data of a record, decoded as `type`. */
export function recordData<T extends RecordType>(response: Response, record: WireRecord, type: T): RecordData[T] {
  return readers[type](response.bytes, record.start, record.end);
}
