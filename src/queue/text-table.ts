/**
 * Texts that many queued messages share (senders, recipients, destinations, failures), in lower case, for filters: each
 * different text is kept once, as octets outside the garbage collector's heap, and is known by a number. A text may hold
 * several values, one a line.
 * Invariants: 0 is the empty text; a number is valid as long as somebody holds it and may mean another text afterwards,
 * so a test made by `has`, `like` or `contains` must not be used after other code ran. Room of texts let go is used again for
 * texts of about the same length. Failure: none; letting go more often than holding is the caller's error.
 */
import { enlarged, HashChains, none } from "./hash-chains.ts";

/** A test of a text's number. */
export type TextTest = (entry: number) => boolean;

const pageBits = 20;
const pageBytes = 2 ** pageBits;
const lineEnd = 10;
const star = 42;

export class TextTable {
  readonly #chains = new HashChains();
  /** Address A is octet A mod 2^20 of page A div 2^20; a text longer than a page has one of its own. */
  readonly #pages: Uint8Array[] = [];
  #fill = 0;
  #room = 0;
  /** By entry. */
  #address = new Uint32Array(1_024);
  #length = new Uint32Array(1_024);
  #users = new Uint32Array(1_024);
  #several = new Uint8Array(1_024);
  #used = 1;
  /** By room in octets: first free entry with that much room; `#length` of a free entry is the next of them. */
  readonly #free = new Map<number, number>();
  #scratch = new Uint8Array(1_024);

  /** Different texts held. */
  count = 0;

  /** The number of a text, which stays valid until `release`. */
  hold(text: string): number {
    if (text === "") return 0;
    const length = this.#encode(text);
    const hash = this.#hash(length);
    let entry = this.#find(hash, length);
    if (entry === none) {
      entry = this.#add(length);
      this.#chains.link(hash, entry);
    }
    this.#users[entry]!++;
    return entry;
  }

  release(entry: number): void {
    if (entry === 0 || --this.#users[entry]! > 0) return;
    this.#chains.unlink(entry);
    const room = roomFor(this.#length[entry]!);
    this.#length[entry] = this.#free.get(room) ?? 0;
    this.#free.set(room, entry);
    this.count--;
  }

  /** True for texts with this value. */
  has(value: string): TextTest {
    if (value === "") return (entry) => entry === 0;
    const length = this.#encode(value);
    const octets = this.#scratch.slice(0, length);
    const same = this.#find(this.#hash(length), length);
    const among = this.#remembered((page, from, to) => anyValue(page, from, to, [octets]));
    return (entry) => entry === same || (this.#several[entry] === 1 && among(entry));
  }

  /** True for texts with a value like the pattern; "*" in it stands for any run of characters. */
  like(pattern: string): TextTest {
    if (!pattern.includes("*")) return this.has(pattern);
    const pieces = split(this.#scratch.slice(0, this.#encode(pattern)), star);
    return this.#remembered((page, from, to, several) =>
      several ? anyValue(page, from, to, pieces) : matches(page, from, to, pieces),
    );
  }

  /** True for texts with these words anywhere in them. */
  contains(words: string): TextTest {
    const length = this.#encode(words);
    const octets = this.#scratch.slice(0, length);
    if (length === 0) return () => true;
    return this.#remembered((page, from, to) => indexOf(page, octets, from, to) >= 0);
  }

  /** Tests each text once. The empty text fails. */
  #remembered(test: (page: Uint8Array, from: number, to: number, several: boolean) => boolean): TextTest {
    const known = new Uint8Array(this.#used); // 1 = false, 2 = true
    return (entry) => {
      if (entry === 0) return false;
      if (known[entry] === 0) {
        const address = this.#address[entry]!;
        const from = address & (pageBytes - 1);
        const page = this.#pages[address >>> pageBits]!;
        known[entry] = test(page, from, from + this.#length[entry]!, this.#several[entry] === 1) ? 2 : 1;
      }
      return known[entry] === 2;
    };
  }

  /** Writes the text's octets, in lower case, into the scratch; answers how many. */
  #encode(text: string): number {
    const lower = text.toLowerCase();
    if (this.#scratch.length < lower.length * 3) this.#scratch = new Uint8Array(lower.length * 3);
    for (let i = 0; i < lower.length; i++) {
      const code = lower.charCodeAt(i);
      if (code > 0x7f) return new TextEncoder().encodeInto(lower, this.#scratch).written;
      this.#scratch[i] = code;
    }
    return lower.length;
  }

  #hash(length: number): number {
    let hash = 0x811c9dc5;
    for (let i = 0; i < length; i++) hash = Math.imul(hash ^ this.#scratch[i]!, 0x01000193);
    return (hash ^ (hash >>> 15)) >>> 0;
  }

  #find(hash: number, length: number): number {
    let entry = this.#chains.first(hash);
    while (entry !== none && !(this.#chains.hash(entry) === hash && this.#isScratch(entry, length))) {
      entry = this.#chains.after(entry);
    }
    return entry;
  }

  #isScratch(entry: number, length: number): boolean {
    if (this.#length[entry] !== length) return false;
    const address = this.#address[entry]!;
    const page = this.#pages[address >>> pageBits]!;
    const from = address & (pageBytes - 1);
    for (let i = 0; i < length; i++) if (page[from + i] !== this.#scratch[i]) return false;
    return true;
  }

  #add(length: number): number {
    const room = roomFor(length);
    let entry = this.#free.get(room) ?? 0;
    if (entry !== 0) this.#free.set(room, this.#length[entry]!);
    else {
      entry = this.#used++;
      if (entry >= this.#address.length) this.#enlarge();
      this.#address[entry] = this.#allocate(room);
    }
    const address = this.#address[entry]!;
    const page = this.#pages[address >>> pageBits]!;
    const from = address & (pageBytes - 1);
    let several = 0;
    for (let i = 0; i < length; i++) {
      const octet = this.#scratch[i]!;
      page[from + i] = octet;
      if (octet === lineEnd) several = 1;
    }
    this.#length[entry] = length;
    this.#users[entry] = 0;
    this.#several[entry] = several;
    this.count++;
    return entry;
  }

  #allocate(room: number): number {
    if (room > this.#room) {
      // The pages behind the first of a long one are the same object: addresses stay simple.
      const count = Math.ceil(room / pageBytes);
      const page = new Uint8Array(count * pageBytes);
      this.#fill = this.#pages.length * pageBytes;
      this.#room = page.length;
      for (let i = 0; i < count; i++) this.#pages.push(page);
    }
    const address = this.#fill;
    this.#fill += room;
    this.#room -= room;
    return address;
  }

  #enlarge(): void {
    const length = this.#address.length * 2;
    this.#address = enlarged(this.#address, length);
    this.#length = enlarged(this.#length, length);
    this.#users = enlarged(this.#users, length);
    this.#several = enlarged(this.#several, length);
  }
}

/** Octets set apart for a text of this length: few different numbers, little waste. */
function roomFor(length: number): number {
  return length <= 256 ? (length + 7) & ~7 : 2 ** Math.ceil(Math.log2(length));
}

/** True when one of the lines within a page equals the pattern's pieces with anything between them. */
function anyValue(page: Uint8Array, from: number, to: number, pieces: Uint8Array[]): boolean {
  let start = from;
  for (let at = from; at <= to; at++) {
    if (at < to && page[at] !== lineEnd) continue;
    if (matches(page, start, at, pieces)) return true;
    start = at + 1;
  }
  return false;
}

/** Pieces between the stars, in order: without backtracking. */
function matches(page: Uint8Array, from: number, to: number, pieces: Uint8Array[]): boolean {
  const first = pieces[0]!;
  const last = pieces[pieces.length - 1]!;
  if (pieces.length === 1) return to - from === first.length && startsWith(page, first, from);
  if (to - from < first.length + last.length) return false;
  const end = to - last.length;
  if (!startsWith(page, last, end) || !startsWith(page, first, from)) return false;
  let at = from + first.length;
  for (let i = 1; i < pieces.length - 1; i++) {
    const found = indexOf(page, pieces[i]!, at, end);
    if (found < 0) return false;
    at = found + pieces[i]!.length;
  }
  return true;
}

function startsWith(page: Uint8Array, piece: Uint8Array, from: number): boolean {
  for (let i = 0; i < piece.length; i++) if (page[from + i] !== piece[i]) return false;
  return true;
}

function indexOf(page: Uint8Array, piece: Uint8Array, from: number, to: number): number {
  for (let at = from; at <= to - piece.length; at++) if (startsWith(page, piece, at)) return at;
  return -1;
}

function split(octets: Uint8Array, at: number): Uint8Array[] {
  const pieces: Uint8Array[] = [];
  let start = 0;
  for (let end = octets.indexOf(at); end >= 0; end = octets.indexOf(at, start)) {
    pieces.push(octets.subarray(start, end));
    start = end + 1;
  }
  pieces.push(octets.subarray(start));
  return pieces;
}
