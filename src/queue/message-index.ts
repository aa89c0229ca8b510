/**
 * What the spool keeps in memory of each message: some 200 octets, so that a backlog of a million fits. Numbers are in
 * typed columns, texts in shared strings; a heap orders the waiting messages by the time of their next attempt.
 * Invariants: a slot is in the heap exactly when its message is neither taken nor held. Everything here can be rebuilt
 * from the log. Failure: none; asking for an unknown id answers undefined.
 */
import type { Place } from "./log.ts";
import type { MessageState, QueuedMessage, QueueFilter } from "./types.ts";

const states: readonly MessageState[] = [
  "incoming",
  "received",
  "processing",
  "processed",
  "sending",
  "send failure",
  "sent",
  "raw received",
  "relay error",
  "local error",
  "filter reject",
  "filter discard",
  "cleanup error",
  "new mail",
  "removed",
  "io error",
  "held",
];
const stateNumber = new Map(states.map((state, number) => [state, number]));

/** The number behind a queue id, e.g. "0F12BE"; NaN when it is not one. */
export function idNumber(id: string): number {
  return /^[0-9a-f]{6,12}$/i.test(id) ? Number.parseInt(id, 16) : Number.NaN;
}

/** A queue id as people see it: at least six hex digits, the last two of which name the shard. */
export function idText(id: number): string {
  return id.toString(16).toUpperCase().padStart(6, "0");
}

/** Due times from here on mean "not by the clock", also after the clock was shifted. */
const noTime = Number.MAX_SAFE_INTEGER / 2;
/** How many different texts are shared between messages before the table starts anew. */
const sharedTexts = 20_000;
/** A filter looks at this many messages before it lets others run (about 2 ms). */
const sliceOfScan = 20_000;

export interface BodyPlace {
  segment: number;
  offset: number;
  bytes: number;
  /** Name of the body's own file; then `segment` and `offset` mean nothing. */
  file?: string;
}

export class MessageIndex {
  #capacity = 1024;
  #id = new Float64Array(this.#capacity);
  #due = new Float64Array(this.#capacity);
  #received = new Float64Array(this.#capacity);
  #size = new Float64Array(this.#capacity);
  #stateSegment = new Uint32Array(this.#capacity);
  #stateOffset = new Float64Array(this.#capacity);
  #stateBytes = new Uint32Array(this.#capacity);
  #bodySegment = new Uint32Array(this.#capacity);
  #bodyOffset = new Float64Array(this.#capacity);
  #state = new Uint8Array(this.#capacity);
  #taken = new Uint8Array(this.#capacity);
  #heapAt = new Int32Array(this.#capacity).fill(-1);
  #heap = new Uint32Array(this.#capacity);
  #heapLength = 0;
  readonly #sender: string[] = [];
  readonly #recipients: string[] = [];
  readonly #failure: string[] = [];
  readonly #destinations: string[] = [];
  readonly #file = new Map<number, string>();
  readonly #slot = new Map<number, number>();
  readonly #free: number[] = [];
  #used = 0;
  #shared = new Map<string, string>();
  /** Messages whose body or newest state is in a segment. */
  readonly #inSegment = new Map<number, number>();

  /** Octets of the log that the messages in it need. */
  liveBytes = 0;

  get length(): number {
    return this.#slot.size;
  }

  has(id: number): boolean {
    return this.#slot.has(id);
  }

  ids(): IterableIterator<number> {
    return this.#slot.keys();
  }

  isTaken(id: number): boolean {
    const slot = this.#slot.get(id);
    return slot !== undefined && this.#taken[slot] === 1;
  }

  /** Adds a message, or moves one whose whole record was written anew. */
  put(id: number, message: QueuedMessage, place: Place, body: BodyPlace): void {
    let slot = this.#slot.get(id);
    if (slot === undefined) {
      slot = this.#free.pop() ?? this.#used++;
      if (slot >= this.#capacity) this.#enlarge();
      this.#slot.set(id, slot);
      this.#id[slot] = id;
      this.#taken[slot] = 0;
      this.#heapAt[slot] = -1;
    } else {
      this.#vacate(slot);
    }
    this.#bodySegment[slot] = body.segment;
    this.#bodyOffset[slot] = body.offset;
    this.#size[slot] = body.bytes;
    this.#enter(body.segment);
    if (body.file === undefined) this.#file.delete(slot);
    else this.#file.set(slot, body.file);
    this.liveBytes += this.#inLog(slot);
    this.#place(slot, place);
    this.#describe(slot, message);
  }

  /**
   * Notes where a message's newer state record is. What it says was noted by `describe` when it was handed to the log:
   * by the time it is written the message may have been hastened or parked.
   */
  restate(id: number, place: Place): void {
    const slot = this.#slot.get(id);
    if (slot === undefined) return;
    this.#leave(this.#stateSegment[slot]!);
    this.liveBytes -= this.#stateBytes[slot]!;
    this.#place(slot, place);
  }

  /** Notes a message's newer state without a record. */
  describe(id: number, message: QueuedMessage): void {
    const slot = this.#slot.get(id);
    if (slot !== undefined) this.#describe(slot, message);
  }

  remove(id: number): void {
    const slot = this.#slot.get(id);
    if (slot === undefined) return;
    this.#unschedule(slot);
    this.#vacate(slot);
    this.#slot.delete(id);
    this.#file.delete(slot);
    this.#sender[slot] = "";
    this.#recipients[slot] = "";
    this.#failure[slot] = "";
    this.#destinations[slot] = "";
    this.#free.push(slot);
  }

  statePlace(id: number): Place | undefined {
    const slot = this.#slot.get(id);
    if (slot === undefined) return undefined;
    return {
      segment: this.#stateSegment[slot]!,
      offset: this.#stateOffset[slot]!,
      jsonBytes: this.#stateBytes[slot]!,
      bodyBytes: 0,
    };
  }

  bodyPlace(id: number): BodyPlace | undefined {
    const slot = this.#slot.get(id);
    if (slot === undefined) return undefined;
    const place = { segment: this.#bodySegment[slot]!, offset: this.#bodyOffset[slot]!, bytes: this.#size[slot]! };
    const file = this.#file.get(slot);
    return file === undefined ? place : { ...place, file };
  }

  /** Number of messages that need this segment. */
  needing(segment: number): number {
    return this.#inSegment.get(segment) ?? 0;
  }

  /** Ids of the messages that need this segment. */
  idsIn(segment: number): number[] {
    const found: number[] = [];
    for (const [id, slot] of this.#slot) {
      if (this.#bodySegment[slot] === segment || this.#stateSegment[slot] === segment) found.push(id);
    }
    return found;
  }

  take(id: number): boolean {
    const slot = this.#slot.get(id);
    if (slot === undefined || this.#taken[slot] === 1 || states[this.#state[slot]!] === "held") return false;
    this.#taken[slot] = 1;
    this.#unschedule(slot);
    return true;
  }

  /** Takes the message with the oldest next attempt when that is not after `now`. */
  takeFirst(now: number): number | undefined {
    const slot = this.#heap[0];
    if (this.#heapLength === 0 || slot === undefined || this.#due[slot]! > now) return undefined;
    this.#taken[slot] = 1;
    this.#unschedule(slot);
    return this.#id[slot];
  }

  untake(id: number, notBefore?: number): void {
    const slot = this.#slot.get(id);
    if (slot === undefined) return;
    this.#taken[slot] = 0;
    if (notBefore !== undefined) this.#due[slot] = notBefore;
    this.#schedule(slot);
  }

  nextDue(): number | undefined {
    return this.#heapLength === 0 ? undefined : this.#due[this.#heap[0]!];
  }

  hasten(destination: string, now: number): number {
    let count = 0;
    for (const slot of this.#slot.values()) {
      // What waits without a time is in its destination's hands, which would give it back a second time.
      if (this.#due[slot]! <= now || this.#due[slot]! >= noTime || this.#heapAt[slot] === -1) continue;
      const tried = this.#destinations[slot]!;
      if (tried !== destination && !tried.split("\n").includes(destination)) continue;
      this.#due[slot] = now;
      this.#schedule(slot);
      count++;
    }
    return count;
  }

  shift(ms: number): void {
    for (const slot of this.#slot.values()) this.#due[slot]! += ms; // the order in the heap stays the same
  }

  counts(): Record<string, number> {
    const counts: Record<string, number> = {};
    for (const slot of this.#slot.values()) {
      const state = states[this.#state[slot]!]!;
      counts[state] = (counts[state] ?? 0) + 1;
    }
    return counts;
  }

  /** Ids of the messages that match, mostly oldest first (moved ones later), at most `limit` after skipping `offset`. */
  async match(filter: QueueFilter, now: number, limit: number): Promise<number[]> {
    const wanted = this.#predicate(filter, now);
    const found: number[] = [];
    let skip = filter.offset ?? 0;
    let looked = 0;
    const candidates = filter.ids === undefined ? this.#slot.keys() : filter.ids.map(idNumber).values();
    for (const id of candidates) {
      if (++looked % sliceOfScan === 0) await new Promise((resolve) => setImmediate(resolve));
      const slot = this.#slot.get(id);
      if (slot === undefined || !wanted(slot)) continue;
      if (skip-- > 0) continue;
      found.push(id);
      if (found.length >= limit) break;
    }
    return found;
  }

  #predicate(filter: QueueFilter, now: number): (slot: number) => boolean {
    const tests: Array<(slot: number) => boolean> = [];
    const { status, sizeOver, sizeUnder, olderThanMs, youngerThanMs, nextBefore, nextAfter, failure } = filter;
    if (status !== undefined) tests.push((slot) => this.#state[slot] === stateNumber.get(status));
    if (sizeOver !== undefined) tests.push((slot) => this.#size[slot]! > sizeOver);
    if (sizeUnder !== undefined) tests.push((slot) => this.#size[slot]! < sizeUnder);
    if (olderThanMs !== undefined) tests.push((slot) => now - this.#received[slot]! > olderThanMs);
    if (youngerThanMs !== undefined) tests.push((slot) => now - this.#received[slot]! < youngerThanMs);
    if (nextBefore !== undefined) tests.push((slot) => this.#due[slot]! < nextBefore);
    if (nextAfter !== undefined) tests.push((slot) => this.#due[slot]! > nextAfter);
    if (filter.sender !== undefined) tests.push(textTest(this.#sender, filter.sender));
    if (filter.recipient !== undefined) tests.push(textTest(this.#recipients, filter.recipient));
    if (filter.destination !== undefined) tests.push(textTest(this.#destinations, filter.destination));
    if (failure !== undefined) {
      const words = failure.toLowerCase();
      tests.push((slot) => this.#failure[slot]!.toLowerCase().includes(words));
    }
    return (slot) => tests.every((test) => test(slot));
  }

  #inLog(slot: number): number {
    return this.#file.has(slot) ? 0 : this.#size[slot]!;
  }

  #vacate(slot: number): void {
    this.#leave(this.#bodySegment[slot]!);
    this.#leave(this.#stateSegment[slot]!);
    this.liveBytes -= this.#inLog(slot) + this.#stateBytes[slot]!;
  }

  #place(slot: number, place: Place): void {
    this.#stateSegment[slot] = place.segment;
    this.#stateOffset[slot] = place.offset;
    this.#stateBytes[slot] = place.jsonBytes;
    this.liveBytes += place.jsonBytes;
    this.#enter(place.segment);
  }

  #describe(slot: number, message: QueuedMessage): void {
    this.#received[slot] = message.receivedAt;
    this.#due[slot] = message.nextAttempt;
    this.#state[slot] = stateNumber.get(message.state) ?? 0;
    this.#sender[slot] = this.#share(message.envelope.mailFrom);
    const { recipients } = message;
    if (recipients.length === 1) {
      this.#recipients[slot] = recipients[0]!.address;
      this.#destinations[slot] = this.#share(recipients[0]!.destination ?? "");
    } else {
      const open = recipients.filter(({ state }) => state === "received" || state === "processed");
      this.#recipients[slot] = recipients.map(({ address }) => address).join("\n");
      this.#destinations[slot] = this.#share([...new Set(open.map((r) => r.destination ?? ""))].join("\n"));
    }
    this.#failure[slot] = this.#share(message.failure);
    this.#schedule(slot);
  }

  /** The same text from the table, so that equal texts of many messages take memory once. */
  #share(text: string): string {
    if (text === "") return "";
    const known = this.#shared.get(text);
    if (known !== undefined) return known;
    if (this.#shared.size >= sharedTexts) this.#shared = new Map();
    this.#shared.set(text, text);
    return text;
  }

  #enter(segment: number): void {
    this.#inSegment.set(segment, (this.#inSegment.get(segment) ?? 0) + 1);
  }

  #leave(segment: number): void {
    const left = (this.#inSegment.get(segment) ?? 1) - 1;
    if (left === 0) this.#inSegment.delete(segment);
    else this.#inSegment.set(segment, left);
  }

  /** Puts a slot where it belongs: into the heap, to its new place in it, or out of it. */
  #schedule(slot: number): void {
    if (this.#taken[slot] === 1 || states[this.#state[slot]!] === "held") {
      this.#unschedule(slot);
      return;
    }
    let at = this.#heapAt[slot]!;
    if (at === -1) at = this.#heapLength++;
    this.#down(this.#up(at, slot), slot);
  }

  #unschedule(slot: number): void {
    const at = this.#heapAt[slot]!;
    if (at === -1) return;
    this.#heapAt[slot] = -1;
    const last = this.#heap[--this.#heapLength]!;
    if (last !== slot) this.#down(this.#up(at, last), last);
  }

  #up(from: number, slot: number): number {
    let at = from;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      const above = this.#heap[parent]!;
      if (!this.#before(slot, above)) break;
      this.#set(at, above);
      at = parent;
    }
    this.#set(at, slot);
    return at;
  }

  #down(from: number, slot: number): void {
    let at = from;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= this.#heapLength) break;
      if (child + 1 < this.#heapLength && this.#before(this.#heap[child + 1]!, this.#heap[child]!)) child++;
      const below = this.#heap[child]!;
      if (!this.#before(below, slot)) break;
      this.#set(at, below);
      at = child;
    }
    this.#set(at, slot);
  }

  #before(a: number, b: number): boolean {
    const difference = this.#due[a]! - this.#due[b]!;
    return difference < 0 || (difference === 0 && this.#id[a]! < this.#id[b]!);
  }

  #set(at: number, slot: number): void {
    this.#heap[at] = slot;
    this.#heapAt[slot] = at;
  }

  #enlarge(): void {
    const capacity = this.#capacity * 2;
    this.#id = copied(this.#id, new Float64Array(capacity));
    this.#due = copied(this.#due, new Float64Array(capacity));
    this.#received = copied(this.#received, new Float64Array(capacity));
    this.#size = copied(this.#size, new Float64Array(capacity));
    this.#stateSegment = copied(this.#stateSegment, new Uint32Array(capacity));
    this.#stateOffset = copied(this.#stateOffset, new Float64Array(capacity));
    this.#stateBytes = copied(this.#stateBytes, new Uint32Array(capacity));
    this.#bodySegment = copied(this.#bodySegment, new Uint32Array(capacity));
    this.#bodyOffset = copied(this.#bodyOffset, new Float64Array(capacity));
    this.#state = copied(this.#state, new Uint8Array(capacity));
    this.#taken = copied(this.#taken, new Uint8Array(capacity));
    this.#heapAt = copied(this.#heapAt, new Int32Array(capacity).fill(-1));
    this.#heap = copied(this.#heap, new Uint32Array(capacity));
    this.#capacity = capacity;
  }
}

function copied<T extends Float64Array | Uint32Array | Int32Array | Uint8Array>(from: T, into: T): T {
  into.set(from);
  return into;
}

/** A test of a text column whose cells hold one value or several, one a line; "*" stands for any run of characters. */
function textTest(column: string[], wanted: string): (slot: number) => boolean {
  const pattern = wanted.toLowerCase();
  if (pattern === "") return (slot) => column[slot] === "";
  if (!pattern.includes("*")) {
    return (slot) => {
      const cell = column[slot]!;
      if (cell.length === pattern.length) return cell.toLowerCase() === pattern;
      if (cell.length < pattern.length || !cell.includes("\n")) return false;
      return cell.toLowerCase().split("\n").includes(pattern);
    };
  }
  const pieces = pattern.split("*");
  return (slot) =>
    column[slot]!.toLowerCase()
      .split("\n")
      .some((value) => globMatches(value, pieces));
}

/** Pieces between the stars, in order: linear, without backtracking. */
function globMatches(value: string, pieces: string[]): boolean {
  const first = pieces[0]!;
  const last = pieces[pieces.length - 1]!;
  if (value.length < first.length + last.length || !value.startsWith(first) || !value.endsWith(last)) return false;
  let at = first.length;
  const end = value.length - last.length;
  for (let i = 1; i < pieces.length - 1; i++) {
    const found = value.indexOf(pieces[i]!, at);
    if (found < 0 || found + pieces[i]!.length > end) return false;
    at = found + pieces[i]!.length;
  }
  return true;
}
