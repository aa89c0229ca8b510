/**
 * Answers kept for their TTL, positive and negative (RFC 2308), and failures for a moment (RFC 9520).
 * Invariants: at most `entries` answers and `octets` of wire size are held; the least recently used go first. An
 * entry past its time is never returned.
 */

interface Entry<V> {
  value: V;
  expires: number;
  octets: number;
  /** Count of insertions when this entry was last put at the young end. */
  placed: number;
}

export class DnsCache<V> {
  readonly #entries = new Map<string, Entry<V>>();
  readonly #maxEntries: number;
  readonly #maxOctets: number;
  readonly #now: () => number;
  #octets = 0;
  #insertions = 0;

  /** `now` answers milliseconds. */
  constructor(maxEntries: number, maxOctets: number, now: () => number) {
    this.#maxEntries = maxEntries;
    this.#maxOctets = maxOctets;
    this.#now = now;
  }

  get size(): number {
    return this.#entries.size;
  }

  /** The value and the whole seconds it is still good for. */
  get(key: string): { value: V; ttl: number } | undefined {
    const entry = this.#entries.get(key);
    if (entry === undefined) return undefined;
    const left = entry.expires - this.#now();
    if (left <= 0) {
      this.#drop(key);
      return undefined;
    }
    // Only an entry that has grown old in the order is moved: moving a hot one at each use would fill its hash chain
    // with the places it left, and make it the slowest.
    if (this.#insertions - entry.placed > this.#entries.size >> 2) {
      this.#entries.delete(key);
      this.#place(key, entry);
    }
    return { value: entry.value, ttl: Math.ceil(left / 1000) };
  }

  /** Keeps `value` for `ttl` seconds; `octets` is what it counts against the size limit. */
  set(key: string, value: V, ttl: number, octets: number): void {
    if (ttl <= 0 || octets > this.#maxOctets) return;
    this.#drop(key);
    this.#place(key, { value, expires: this.#now() + ttl * 1000, octets, placed: 0 });
    this.#octets += octets;
    for (const oldest of this.#entries.keys()) {
      if (this.#entries.size <= this.#maxEntries && this.#octets <= this.#maxOctets) break;
      this.#drop(oldest);
    }
  }

  #place(key: string, entry: Entry<V>): void {
    entry.placed = ++this.#insertions;
    this.#entries.set(key, entry);
  }

  #drop(key: string): void {
    const entry = this.#entries.get(key);
    if (entry === undefined) return;
    this.#octets -= entry.octets;
    this.#entries.delete(key);
  }
}
