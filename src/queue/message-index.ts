/**
 * What the spool keeps in memory of each message: some 130 octets outside the garbage collector's heap, so that a backlog
 * of a million fits and costs no pauses. Numbers are in typed columns, texts in a table of different texts, waiting
 * messages in a heap by the time of their next attempt.
 * Invariants: a message is in the heap exactly when it is neither taken nor held. Everything here can be rebuilt from
 * the log. Failure: none; asking for an unknown id answers undefined.
 */
import { DueHeap } from "./due-heap.ts";
import { enlarged, none } from "./hash-chains.ts";
import type { Place } from "./log-reader.ts";
import { SlotTable } from "./slot-table.ts";
import type { Summary } from "./stored-message.ts";
import { TextTable } from "./text-table.ts";
import type { MessageState, QueueFilter } from "./types.ts";

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
const held = stateNumber.get("held")!;

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
/** A filter looks at messages for so many ms before it lets others run; it looks at the clock after so many messages. */
const sliceMs = 5;
const slicePart = 2_000;
/** Characters of a failure text that filters see: remote hosts like to make each reply unlike all others. */
const failureKept = 120;

export interface BodyPlace {
  segment: number;
  offset: number;
  bytes: number;
  /** Name of the body's own file; then `segment` and `offset` mean nothing. */
  file?: string;
}

export class MessageIndex {
  readonly #slots = new SlotTable();
  readonly #heap = new DueHeap(this.#slots);
  readonly #texts = new TextTable();
  /** All columns below are by slot and of this length. */
  #capacity = 1_024;
  #received = new Float64Array(this.#capacity);
  #size = new Float64Array(this.#capacity);
  #stateSegment = new Uint32Array(this.#capacity);
  /** Offsets of 32 bits: a segment has less than 4 GiB. */
  #stateOffset = new Uint32Array(this.#capacity);
  #stateBytes = new Uint32Array(this.#capacity);
  #bodySegment = new Uint32Array(this.#capacity);
  #bodyOffset = new Uint32Array(this.#capacity);
  #state = new Uint8Array(this.#capacity);
  #taken = new Uint8Array(this.#capacity);
  #sender = new Uint32Array(this.#capacity);
  #recipients = new Uint32Array(this.#capacity);
  #destinations = new Uint32Array(this.#capacity);
  #failure = new Uint32Array(this.#capacity);
  readonly #file = new Map<number, string>();
  /** Messages whose body or newest state is in a segment. */
  readonly #inSegment = new Map<number, number>();

  /** Octets of the log that the messages in it need. */
  liveBytes = 0;

  get length(): number {
    return this.#slots.length;
  }

  has(id: number): boolean {
    return this.#slots.find(id) !== none;
  }

  /** Ids of the messages whose body has a file of its own, with its name. */
  *bodyFiles(): IterableIterator<[id: number, file: string]> {
    for (const [slot, file] of this.#file) yield [this.#slots.id(slot), file];
  }

  isTaken(id: number): boolean {
    const slot = this.#slots.find(id);
    return slot !== none && this.#taken[slot] === 1;
  }

  /** Adds a message, or replaces what is known of it. */
  put(id: number, summary: Summary, place: Place, body: BodyPlace): void {
    let slot = this.#slots.find(id);
    if (slot === none) slot = this.#add(id);
    this.#move(slot, place, body);
    this.#describe(slot, summary);
  }

  /** Notes where a message is whose whole record was written anew. Its due time may have changed meanwhile: it stays. */
  move(id: number, place: Place, body: BodyPlace): void {
    const slot = this.#slots.find(id);
    if (slot !== none) this.#move(slot, place, body);
  }

  /**
   * Notes where a message's newer state record is. What it says was noted by `describe` when it was handed to the log:
   * by the time it is written the message may have been hastened or parked.
   */
  restate(id: number, place: Place): void {
    const slot = this.#slots.find(id);
    if (slot === none) return;
    this.#leave(this.#stateSegment[slot]!);
    this.liveBytes -= this.#stateBytes[slot]!;
    this.#place(slot, place);
  }

  /** Notes a message's newer state without a record. */
  describe(id: number, summary: Summary): void {
    const slot = this.#slots.find(id);
    if (slot !== none) this.#describe(slot, summary);
  }

  remove(id: number): void {
    const slot = this.#slots.find(id);
    if (slot === none) return;
    this.#heap.remove(slot);
    this.#vacate(slot);
    if (this.#file.size > 0) this.#file.delete(slot);
    this.#write(this.#sender, slot, "");
    this.#write(this.#recipients, slot, "");
    this.#write(this.#destinations, slot, "");
    this.#write(this.#failure, slot, "");
    this.#slots.remove(slot);
  }

  statePlace(id: number): Place | undefined {
    const slot = this.#slots.find(id);
    if (slot === none) return undefined;
    return {
      segment: this.#stateSegment[slot]!,
      offset: this.#stateOffset[slot]!,
      jsonBytes: this.#stateBytes[slot]!,
      bodyBytes: 0,
    };
  }

  bodyPlace(id: number): BodyPlace | undefined {
    const slot = this.#slots.find(id);
    if (slot === none) return undefined;
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
    for (let slot = 0; slot < this.#slots.end; slot++) {
      if (this.#bodySegment[slot] !== segment && this.#stateSegment[slot] !== segment) continue;
      if (this.#slots.id(slot) >= 0) found.push(this.#slots.id(slot));
    }
    return found;
  }

  take(id: number): boolean {
    const slot = this.#slots.find(id);
    if (slot === none || this.#taken[slot] === 1 || this.#state[slot] === held) return false;
    this.#taken[slot] = 1;
    this.#heap.remove(slot);
    return true;
  }

  /** Takes the message with the oldest next attempt when that is not after `now`. */
  takeFirst(now: number): number | undefined {
    const slot = this.#heap.first();
    if (slot === undefined || this.#heap.due(slot) > now) return undefined;
    this.#taken[slot] = 1;
    this.#heap.remove(slot);
    return this.#slots.id(slot);
  }

  untake(id: number, notBefore?: number): void {
    const slot = this.#slots.find(id);
    if (slot === none) return;
    this.#taken[slot] = 0;
    this.#schedule(slot, notBefore ?? this.#heap.due(slot));
  }

  park(id: number): void {
    this.untake(id, Number.MAX_SAFE_INTEGER);
  }

  /** False when an operation has taken it in hand, or made it due, meanwhile. */
  isParked(id: number): boolean {
    const slot = this.#slots.find(id);
    return slot !== none && this.#taken[slot] === 0 && this.#heap.due(slot) >= noTime;
  }

  unpark(id: number, due: number): void {
    if (this.isParked(id)) this.untake(id, due);
  }

  nextDue(): number | undefined {
    const slot = this.#heap.first();
    return slot === undefined ? undefined : this.#heap.due(slot);
  }

  hasten(destination: string, now: number): number {
    const wanted = this.#texts.has(destination);
    let count = 0;
    for (let slot = 0; slot < this.#slots.end; slot++) {
      // What waits by no clock is in its destination's hands.
      const due = this.#heap.due(slot);
      if (due <= now || due >= noTime || !this.#heap.waits(slot) || !wanted(this.#destinations[slot]!)) continue;
      this.#heap.place(slot, now);
      count++;
    }
    return count;
  }

  shift(ms: number): void {
    this.#heap.shift(ms);
  }

  counts(): Record<string, number> {
    const numbers = new Array<number>(states.length).fill(0);
    for (let slot = 0; slot < this.#slots.end; slot++) if (this.#slots.id(slot) >= 0) numbers[this.#state[slot]!]!++;
    return Object.fromEntries(states.map((state, i) => [state, numbers[i]!] as const).filter(([, n]) => n > 0));
  }

  /** Ids of the messages that match, oldest first, at most `limit` after skipping `offset`. */
  async match(filter: QueueFilter, now: number, limit: number): Promise<number[]> {
    const skip = filter.offset ?? 0;
    const ids = filter.ids?.map(idNumber);
    const found = new Oldest(skip + limit);
    const end = ids?.length ?? this.#slots.end;
    let wanted = this.#predicate(filter, now);
    let began = performance.now();
    for (let at = 0; at < end; at++) {
      if (at % slicePart === 0 && performance.now() - began > sliceMs) {
        await new Promise((resolve) => setImmediate(resolve));
        wanted = this.#predicate(filter, now); // numbers of texts may have changed their meaning
        began = performance.now();
      }
      const slot = ids === undefined ? at : this.#slots.find(ids[at]!);
      if (slot !== none && this.#slots.id(slot) >= 0 && wanted(slot)) found.add(this.#slots.id(slot));
    }
    return found.sorted().slice(skip);
  }

  #predicate(filter: QueueFilter, now: number): (slot: number) => boolean {
    const tests: Array<(slot: number) => boolean> = [];
    const { status, sizeOver, sizeUnder, olderThanMs, youngerThanMs, nextBefore, nextAfter, failure } = filter;
    if (status !== undefined) {
      const number = stateNumber.get(status);
      tests.push((slot) => this.#state[slot] === number);
    }
    if (sizeOver !== undefined) tests.push((slot) => this.#size[slot]! > sizeOver);
    if (sizeUnder !== undefined) tests.push((slot) => this.#size[slot]! < sizeUnder);
    if (olderThanMs !== undefined) tests.push((slot) => now - this.#received[slot]! > olderThanMs);
    if (youngerThanMs !== undefined) tests.push((slot) => now - this.#received[slot]! < youngerThanMs);
    if (nextBefore !== undefined) tests.push((slot) => this.#heap.due(slot) < nextBefore);
    if (nextAfter !== undefined) tests.push((slot) => this.#heap.due(slot) > nextAfter);
    const text = (column: Uint32Array, test: (entry: number) => boolean): void => {
      tests.push((slot) => test(column[slot]!));
    };
    if (filter.sender !== undefined) text(this.#sender, this.#texts.like(filter.sender));
    if (filter.recipient !== undefined) text(this.#recipients, this.#texts.like(filter.recipient));
    if (filter.destination !== undefined) text(this.#destinations, this.#texts.like(filter.destination));
    if (failure !== undefined) text(this.#failure, this.#texts.contains(failure));
    if (tests.length === 1) return tests[0]!;
    return (slot) => tests.every((test) => test(slot));
  }

  #add(id: number): number {
    const slot = this.#slots.add(id);
    if (slot >= this.#capacity) this.#enlarge();
    this.#taken[slot] = 0;
    this.#size[slot] = 0;
    this.#stateBytes[slot] = 0;
    this.#bodySegment[slot] = 0;
    this.#stateSegment[slot] = 0;
    this.#heap.note(slot, 0);
    return slot;
  }

  #move(slot: number, place: Place, body: BodyPlace): void {
    this.#vacate(slot);
    this.#bodySegment[slot] = body.segment;
    this.#bodyOffset[slot] = body.offset;
    this.#size[slot] = body.bytes;
    this.#enter(body.segment);
    if (body.file !== undefined) this.#file.set(slot, body.file);
    else if (this.#file.size > 0) this.#file.delete(slot);
    this.liveBytes += this.#inLog(slot);
    this.#place(slot, place);
  }

  #describe(slot: number, summary: Summary): void {
    this.#received[slot] = summary.receivedAt;
    this.#state[slot] = stateNumber.get(summary.state) ?? 0;
    this.#write(this.#sender, slot, summary.sender);
    this.#write(this.#recipients, slot, summary.recipients);
    this.#write(this.#destinations, slot, summary.destinations);
    this.#write(this.#failure, slot, summary.failure.slice(0, failureKept));
    this.#schedule(slot, summary.nextAttempt);
  }

  #inLog(slot: number): number {
    return this.#file.size > 0 && this.#file.has(slot) ? 0 : this.#size[slot]!;
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

  #write(column: Uint32Array, slot: number, text: string): void {
    const before = column[slot]!;
    column[slot] = this.#texts.hold(text);
    this.#texts.release(before); // afterwards: the same text keeps its number
  }

  #enter(segment: number): void {
    this.#inSegment.set(segment, (this.#inSegment.get(segment) ?? 0) + 1);
  }

  /** Segment 0 is none: that of a message just added. */
  #leave(segment: number): void {
    if (segment === 0) return;
    const left = (this.#inSegment.get(segment) ?? 1) - 1;
    if (left === 0) this.#inSegment.delete(segment);
    else this.#inSegment.set(segment, left);
  }

  #schedule(slot: number, due: number): void {
    if (this.#taken[slot] === 1 || this.#state[slot] === held) this.#heap.note(slot, due);
    else this.#heap.place(slot, due);
  }

  #enlarge(): void {
    const capacity = this.#capacity * 2;
    this.#received = enlarged(this.#received, capacity);
    this.#size = enlarged(this.#size, capacity);
    this.#stateSegment = enlarged(this.#stateSegment, capacity);
    this.#stateOffset = enlarged(this.#stateOffset, capacity);
    this.#stateBytes = enlarged(this.#stateBytes, capacity);
    this.#bodySegment = enlarged(this.#bodySegment, capacity);
    this.#bodyOffset = enlarged(this.#bodyOffset, capacity);
    this.#state = enlarged(this.#state, capacity);
    this.#taken = enlarged(this.#taken, capacity);
    this.#sender = enlarged(this.#sender, capacity);
    this.#recipients = enlarged(this.#recipients, capacity);
    this.#destinations = enlarged(this.#destinations, capacity);
    this.#failure = enlarged(this.#failure, capacity);
    this.#capacity = capacity;
  }
}

/** The lowest ids of those added, so many. */
class Oldest {
  readonly #limit: number;
  #ids: number[] = [];
  /** With the limit reached: what is above this is not among them. */
  #highest = Number.POSITIVE_INFINITY;

  constructor(limit: number) {
    this.#limit = limit;
  }

  add(id: number): void {
    if (id > this.#highest) return;
    this.#ids.push(id);
    if (this.#ids.length < 2 * this.#limit + 1_000) return;
    this.#ids = this.sorted();
    this.#highest = this.#ids.at(-1) ?? -1;
  }

  sorted(): number[] {
    const ids = Float64Array.from(this.#ids).sort();
    return Array.from(this.#limit < ids.length ? ids.subarray(0, this.#limit) : ids);
  }
}
