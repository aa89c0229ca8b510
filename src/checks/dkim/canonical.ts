/**
 * Canonicalisation (RFC 6376 §3.4): header fields, and bodies as a stream that is hashed on the way.
 * Invariants: the body is never held; the work per octet is constant; `feed` lets the event loop breathe.
 */
import { createHash, type Hash } from "node:crypto";
import { setImmediate } from "node:timers/promises";
import type { HeaderField, MessageSource } from "../message.ts";

export type Canonicalization = "simple" | "relaxed";
export type HashName = "sha256" | "sha1";

/** §3.4.2: name in lower case, folds undone, blanks collapsed, none around the colon or at the end. */
export function relaxedField(field: HeaderField): string {
  field.relaxed ??= relaxText(field.raw);
  return field.relaxed;
}

export function relaxText(raw: string): string {
  const colon = raw.indexOf(":");
  const value = raw
    .slice(colon + 1)
    .replace(/[\t\r\n ]+/g, " ")
    .trim();
  return `${raw.slice(0, colon).trimEnd().toLowerCase()}:${value}`;
}

const crlf = Buffer.from("\r\n");
/** Empty lines wait as a number; they are hashed in blocks of this many. */
const emptyLines = Buffer.from("\r\n".repeat(512));
const slice = 64 * 1024;
const piece = 4 * 1024;
/** Output of one piece; hashed before anybody else can want it. */
const scratch = Buffer.allocUnsafe(piece + 2);
/** Octets hashed, summed over all hashes, after which other work gets a turn. */
const turn = 512 * 1024;

/**
 * Whether relaxing leaves the octets as they are, whatever comes after: single blanks inside lines only. Looks at four
 * octets at once, and at each of them only where two neighbours are blanks or controls: at line ends, mostly.
 */
function isRelaxed(bytes: Buffer): boolean {
  const { length } = bytes;
  if (bytes[length - 1] === 32 || bytes[length - 1] === 13 || bytes.includes(9)) return false;
  const view = new DataView(bytes.buffer, bytes.byteOffset, length);
  let before = 0;
  let at = 0;
  for (; at + 4 <= length; at += 4) {
    const word = view.getInt32(at, true);
    // The high bit of each octet below 0x21; also of a 0x21 right after one, which the closer look forgives.
    const low = (word - 0x21212121) & ~word & 0x80808080;
    if ((low & ((low << 8) | (before >>> 24))) !== 0 && hasBlankRun(bytes, at - 1, at + 4)) return false;
    before = low;
  }
  return !hasBlankRun(bytes, at - 1, length);
}

/** At most `end`: a cut where nothing is left open, when there is one among the octets just before. */
function cutAfterText(bytes: Buffer, start: number, end: number): number {
  for (let cut = end; cut > start && cut > end - 16; cut--) {
    const octet = bytes[cut - 1]!;
    if (octet > 32 || octet === 10) return cut;
  }
  return end;
}

/** A space before another blank, or before a line's end, that starts at `from` or later and ends before `to`. */
function hasBlankRun(bytes: Buffer, from: number, to: number): boolean {
  for (let at = Math.max(from, 0); at + 1 < to; at++) if (bytes[at] === 32 && bytes[at + 1]! <= 32) return true;
  return false;
}

/** Hash of one canonicalised body, up to `limit` canonical octets (the l= tag). */
export class BodyHash {
  readonly #hash: Hash;
  readonly #limit: number;
  readonly #relaxed: boolean;
  #hashed = 0;
  /** Canonical octets seen, whether they count or not. */
  #length = 0;
  #pendingLines = 0;
  #pendingBlank = false;
  #pendingCr = false;
  #content = false;
  #digest: Buffer | undefined;

  constructor(canonicalization: Canonicalization, hash: HashName, limit = Number.POSITIVE_INFINITY) {
    this.#relaxed = canonicalization === "relaxed";
    this.#hash = createHash(hash);
    this.#limit = limit;
  }

  /** Canonical length; with l= a longer body has octets that nobody signed. */
  get length(): number {
    return this.#length;
  }

  update(chunk: Buffer): void {
    if (this.#relaxed) this.#updateRelaxed(chunk);
    else this.#updateSimple(chunk);
  }

  /** The hash; asked again, it is the same. */
  digest(): Buffer {
    this.#digest ??= this.#finish();
    return this.#digest;
  }

  #finish(): Buffer {
    if (this.#pendingCr) {
      // A bare CR at the very end is content like any other.
      this.#emitLines();
      this.#emit(Buffer.from(this.#pendingBlank ? " \r" : "\r"));
      this.#content = true;
    }
    // §3.4.3 an empty body is one CRLF; §3.4.4 it is nothing; a last line without CRLF gets one.
    if (this.#content || !this.#relaxed) this.#emit(crlf);
    return this.#hash.digest();
  }

  #emit(bytes: Buffer): void {
    const room = this.#limit - this.#hashed;
    const counted = bytes.length <= room ? bytes : bytes.subarray(0, Math.max(0, room));
    if (counted.length > 0) this.#hash.update(counted);
    this.#hashed += counted.length;
    this.#length += bytes.length;
  }

  #emitLines(): void {
    for (let lines = this.#pendingLines; lines > 0; lines -= 512)
      this.#emit(emptyLines.subarray(0, Math.min(lines, 512) * 2));
    this.#pendingLines = 0;
  }

  /** Passes whole stretches through; only CRLFs at the end are held back (§3.4.3). */
  #updateSimple(chunk: Buffer): void {
    let bytes = chunk;
    if (this.#pendingCr) {
      this.#pendingCr = false;
      bytes = Buffer.concat([crlf.subarray(0, 1), chunk]);
    }
    let end = bytes.length;
    if (end > 0 && bytes[end - 1] === 13) {
      this.#pendingCr = true;
      end -= 1;
    }
    this.#passThrough(bytes.subarray(0, end));
  }

  /**
   * §3.4.4: blanks at line ends go, other runs become one space; empty lines at the end go. Most pieces of
   * most bodies need no change and are hashed as they stand, which is several times faster than writing them anew.
   */
  #updateRelaxed(chunk: Buffer): void {
    for (let at = 0, end = 0; at < chunk.length; at = end) {
      end = cutAfterText(chunk, at, Math.min(at + piece, chunk.length));
      const part = chunk.subarray(at, end);
      if (this.#pendingCr || this.#pendingBlank || !isRelaxed(part)) this.#mapRelaxed(part);
      else this.#passThrough(part);
    }
  }

  /** Hashes octets that need no change; only CRLFs at the end are held back. */
  #passThrough(bytes: Buffer): void {
    let end = bytes.length;
    let trailing = 0;
    while (end >= 2 && bytes[end - 1] === 10 && bytes[end - 2] === 13) {
      trailing += 1;
      end -= 2;
    }
    if (end > 0) {
      this.#emitLines();
      this.#emit(bytes.subarray(0, end));
      this.#content = true;
    }
    this.#pendingLines += trailing;
  }

  /** Octet by octet. Each gives at most one octet, and what was held back before is hashed apart, so `out` suffices. */
  #mapRelaxed(bytes: Buffer): void {
    const out = scratch;
    const length = bytes.length;
    let to = 0;
    let held = this.#pendingLines > 0 || this.#pendingBlank || this.#pendingCr;
    for (let at = 0; at < length; at++) {
      const octet = bytes[at]!;
      if (!held && (octet > 32 || (octet === 32 && at + 1 < length && bytes[at + 1]! > 32))) {
        out[to++] = octet;
        continue;
      }
      to = this.#relaxedOctet(octet, out, to);
      held = this.#pendingLines > 0 || this.#pendingBlank || this.#pendingCr;
    }
    if (to === 0) return;
    this.#content = true;
    this.#emit(out.subarray(0, to));
  }

  /** One octet at a line end, in a run of blanks, or after something that was held back. */
  #relaxedOctet(octet: number, out: Buffer, start: number): number {
    let to = start;
    if (this.#pendingCr) {
      this.#pendingCr = false;
      if (octet === 10) {
        this.#pendingBlank = false;
        this.#pendingLines += 1;
        return to;
      }
      to = this.#contentOctet(13, out, to);
    }
    if (octet === 32 || octet === 9) this.#pendingBlank = true;
    else if (octet === 13) this.#pendingCr = true;
    else to = this.#contentOctet(octet, out, to);
    return to;
  }

  #contentOctet(octet: number, out: Buffer, start: number): number {
    let to = start;
    // Before the first octet of a chunk the lines of earlier chunks may be many: they don't go through `out`.
    if (to === 0) this.#emitLines();
    for (; this.#pendingLines > 0; this.#pendingLines--) {
      out[to++] = 13;
      out[to++] = 10;
    }
    if (this.#pendingBlank) out[to++] = 32;
    this.#pendingBlank = false;
    out[to++] = octet;
    return to;
  }
}

/** The hashes that the signatures of one message need, each kind once, fed in one pass over the body. */
export class BodyHashes {
  readonly #byKind = new Map<string, BodyHash>();

  get(canonicalization: Canonicalization, hash: HashName, limit = Number.POSITIVE_INFINITY): BodyHash {
    const kind = `${canonicalization} ${hash} ${limit}`;
    let found = this.#byKind.get(kind);
    if (found === undefined) {
      found = new BodyHash(canonicalization, hash, limit);
      this.#byKind.set(kind, found);
    }
    return found;
  }

  /** Reads the body to its end; other work gets a turn after `turn` octets times hashes. */
  async feed(body: MessageSource): Promise<void> {
    const hashes = [...this.#byKind.values()];
    if (hashes.length === 0) return;
    let done = 0;
    for await (const chunk of body instanceof Uint8Array ? [body] : body) {
      const bytes = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
      for (let at = 0; at < bytes.length; at += slice) {
        const part = bytes.subarray(at, at + slice);
        if (done > turn) await setImmediate();
        if (done > turn) done = 0;
        for (const hash of hashes) hash.update(part);
        done += part.length * hashes.length;
      }
    }
  }
}
