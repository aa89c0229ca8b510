/**
 * A hash table of small numbers ("entries") outside the garbage collector's sight: the caller keeps what an entry means
 * and compares; this keeps which entries share a hash. It grows one bucket at a time (linear hashing), so that no single
 * insertion is slow however many entries there are.
 * Invariants: an entry is in one chain at most. Failure: none; unlinking what is not linked is the caller's error.
 */
export const none = -1;

const firstBuckets = 64;

export class HashChains {
  /** By bucket: first entry + 1. */
  #heads = new Uint32Array(firstBuckets * 2);
  /** By entry: the next entry + 1 of its chain, and its hash. */
  #next = new Uint32Array(firstBuckets);
  #hash = new Uint32Array(firstBuckets);
  #buckets = firstBuckets;
  /** Buckets when the current doubling began, minus one. */
  #mask = firstBuckets - 1;
  #count = 0;

  /** First entry in the chain of a hash (an unsigned 32-bit number), or `none`. */
  first(hash: number): number {
    return this.#heads[this.#bucket(hash)]! - 1;
  }

  /** The entry behind this one in its chain, or `none`. */
  after(entry: number): number {
    return this.#next[entry]! - 1;
  }

  hash(entry: number): number {
    return this.#hash[entry]!;
  }

  link(hash: number, entry: number): void {
    if (entry >= this.#next.length) {
      this.#next = enlarged(this.#next, entry + 1);
      this.#hash = enlarged(this.#hash, entry + 1);
    }
    const bucket = this.#bucket(hash);
    this.#hash[entry] = hash;
    this.#next[entry] = this.#heads[bucket]!;
    this.#heads[bucket] = entry + 1;
    if (++this.#count > this.#buckets) this.#split();
  }

  unlink(entry: number): void {
    const bucket = this.#bucket(this.#hash[entry]!);
    this.#count--;
    let at = this.#heads[bucket]! - 1;
    if (at === entry) {
      this.#heads[bucket] = this.#next[entry]!;
      return;
    }
    while (this.#next[at]! - 1 !== entry) at = this.#next[at]! - 1;
    this.#next[at] = this.#next[entry]!;
  }

  #bucket(hash: number): number {
    const wide = hash & (2 * this.#mask + 1);
    return wide < this.#buckets ? wide : hash & this.#mask;
  }

  /** Makes one bucket more and gives it its share of the entries of the one that had them. */
  #split(): void {
    const to = this.#buckets++;
    if (to >= this.#heads.length) this.#heads = enlarged(this.#heads, to + 1);
    const wideMask = 2 * this.#mask + 1;
    const from = to & this.#mask;
    let entry = this.#heads[from]! - 1;
    this.#heads[from] = 0;
    while (entry !== none) {
      const next = this.#next[entry]! - 1;
      const bucket = (this.#hash[entry]! & wideMask) === to ? to : from;
      this.#next[entry] = this.#heads[bucket]!;
      this.#heads[bucket] = entry + 1;
      entry = next;
    }
    if (this.#buckets > wideMask) this.#mask = wideMask;
  }
}

type Column = Float64Array | Uint32Array | Int32Array | Uint8Array;

/** A column of twice the length, or of `length` when that is more, with the same numbers at its start. */
export function enlarged<T extends Column>(column: T, length: number): T {
  const larger = new (column.constructor as new (length: number) => T)(Math.max(column.length * 2, length));
  larger.set(column);
  return larger;
}
