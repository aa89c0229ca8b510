/**
 * Numbers the messages in memory: each queue id has a slot, a small number under which columns keep what is known of it.
 * Invariants: slots of removed messages are used again. Failure: none; an unknown id has the slot `none`.
 */
import { enlarged, HashChains, none } from "./hash-chains.ts";

const noFree = -1;

export class SlotTable {
  readonly #chains = new HashChains();
  /** By slot: the id; for a free slot −2 − the next free one. */
  #ids = new Float64Array(1_024);
  #free = noFree;
  /** Slots in use or free: one more than the highest. */
  end = 0;
  /** Slots in use. */
  length = 0;

  find(id: number): number {
    let slot = this.#chains.first(hashOf(id));
    while (slot !== none && this.#ids[slot] !== id) slot = this.#chains.after(slot);
    return slot;
  }

  /** A slot for an id that has none. */
  add(id: number): number {
    let slot = this.#free;
    if (slot !== noFree) this.#free = -2 - this.#ids[slot]!;
    else {
      slot = this.end++;
      if (slot >= this.#ids.length) this.#ids = enlarged(this.#ids, slot + 1);
    }
    this.#ids[slot] = id;
    this.#chains.link(hashOf(id), slot);
    this.length++;
    return slot;
  }

  remove(slot: number): void {
    this.#chains.unlink(slot);
    this.#ids[slot] = -2 - this.#free;
    this.#free = slot;
    this.length--;
  }

  /** The id in a slot; negative for a free one. */
  id(slot: number): number {
    return this.#ids[slot]!;
  }
}

function hashOf(id: number): number {
  const mixed = Math.imul((id >>> 0) ^ Math.floor(id / 2 ** 32), 0x9e3779b1);
  return (mixed ^ (mixed >>> 15)) >>> 0;
}
