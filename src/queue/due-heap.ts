/**
 * The waiting messages by the time of their next attempt; of those with the same time, the one with the lowest id first.
 * Invariants: a slot is in the heap once at most; its time may only change through `place`, or for all by `shift`.
 * Failure: none.
 */
import { enlarged } from "./hash-chains.ts";
import type { SlotTable } from "./slot-table.ts";

const outside = -1;

export class DueHeap {
  readonly #slots: SlotTable;
  /** By slot: due time (ms since epoch), and where in the heap it is. */
  #due = new Float64Array(1_024);
  #at = new Int32Array(1_024).fill(outside);
  #heap = new Uint32Array(1_024);
  #length = 0;

  constructor(slots: SlotTable) {
    this.#slots = slots;
  }

  due(slot: number): number {
    return this.#due[slot]!;
  }

  /** Notes a time without waiting for it. */
  note(slot: number, due: number): void {
    this.remove(slot);
    this.#reach(slot);
    this.#due[slot] = due;
  }

  /** Lets a slot wait for its time, or moves it when it waits already. */
  place(slot: number, due: number): void {
    this.#reach(slot);
    this.#due[slot] = due;
    let at = this.#at[slot]!;
    if (at === outside) at = this.#length++;
    this.#down(this.#up(at, slot), slot);
  }

  remove(slot: number): void {
    const at = this.#at[slot] ?? outside;
    if (at === outside) return;
    this.#at[slot] = outside;
    const last = this.#heap[--this.#length]!;
    if (last !== slot) this.#down(this.#up(at, last), last);
  }

  waits(slot: number): boolean {
    return this.#at[slot] !== outside;
  }

  /** The slot with the earliest time; undefined when none waits. */
  first(): number | undefined {
    return this.#length === 0 ? undefined : this.#heap[0];
  }

  /** Moves every time by this many ms: the order stays the same. */
  shift(ms: number): void {
    for (let slot = 0; slot < this.#slots.end; slot++) this.#due[slot]! += ms;
  }

  #reach(slot: number): void {
    if (slot < this.#due.length) return;
    this.#due = enlarged(this.#due, slot + 1);
    const before = this.#at.length;
    this.#at = enlarged(this.#at, slot + 1).fill(outside, before);
    this.#heap = enlarged(this.#heap, slot + 1);
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
      if (child >= this.#length) break;
      if (child + 1 < this.#length && this.#before(this.#heap[child + 1]!, this.#heap[child]!)) child++;
      const below = this.#heap[child]!;
      if (!this.#before(below, slot)) break;
      this.#set(at, below);
      at = child;
    }
    this.#set(at, slot);
  }

  #before(a: number, b: number): boolean {
    const difference = this.#due[a]! - this.#due[b]!;
    return difference < 0 || (difference === 0 && this.#slots.id(a) < this.#slots.id(b));
  }

  #set(at: number, slot: number): void {
    this.#heap[at] = slot;
    this.#at[slot] = at;
  }
}
