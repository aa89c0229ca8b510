/**
 * A waiting line that is fair: by priority first, then one item of each source in turn (a logged-in account, else a
 * client's address), and within a source one of each sender in turn, each sender's own in order of arrival. So neither a
 * mailing of 10,000 nor one with a reverse-path for each recipient keeps a single letter waiting.
 * Invariants: every operation takes constant time but for the few priorities. Failure: none.
 */
import type { QueuedMessage } from "./types.ts";

export interface Origin {
  source: string;
  sender: string;
  /** Higher goes first. */
  priority: number;
}

export function originOf({ client, envelope }: QueuedMessage): Origin {
  const source = client.authUser === "" ? client.remoteIp : client.authUser;
  return { source, sender: envelope.mailFrom, priority: envelope.priority ?? 0 };
}

/**
 * The same with few different sources and senders, for long lines: those that fall together share a turn, and memory
 * does not grow with a reverse-path for each message.
 */
export function coarse({ source, sender, priority }: Origin): Origin {
  return { source: bucket(source, 256), sender: bucket(sender, 64), priority };
}

function bucket(text: string, buckets: number): string {
  let hash = 0;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash, 31) + text.charCodeAt(i);
  return String(((hash ^ (hash >>> 16)) >>> 0) % buckets);
}

export class FairQueue<T> {
  readonly #levels = new Map<number, Turns<Turns<Line<T>>>>();
  /** Priorities seen, highest first. */
  #order: number[] = [];
  #length = 0;

  get length(): number {
    return this.#length;
  }

  push(item: T, { source, sender, priority }: Origin): void {
    let level = this.#levels.get(priority);
    if (level === undefined) {
      level = new Turns();
      this.#levels.set(priority, level);
      this.#order = [...this.#levels.keys()].sort((a, b) => b - a);
    }
    level
      .of(source, newTurns<T>)
      .of(sender, newLine<T>)
      .items.push(item);
    this.#length++;
  }

  shift(): T | undefined {
    for (const priority of this.#order) {
      const item = this.#levels.get(priority)!.next((senders) => senders.next(first));
      if (item === undefined) continue;
      this.#length--;
      return item;
    }
    return undefined;
  }
}

/** Parts that take turns: a Map's order of keys is the order of turns. Empty parts are forgotten. */
class Turns<P extends { readonly length: number }> {
  readonly #parts = new Map<string, P>();

  get length(): number {
    return this.#parts.size;
  }

  of(key: string, make: () => P): P {
    let part = this.#parts.get(key);
    if (part === undefined) {
      part = make();
      this.#parts.set(key, part);
    }
    return part;
  }

  /** What `take` gets from the part whose turn it is. */
  next<T>(take: (part: P) => T): T | undefined {
    const turn = this.#parts.entries().next();
    if (turn.done) return undefined;
    const [key, part] = turn.value;
    this.#parts.delete(key);
    const item = take(part);
    if (part.length > 0) this.#parts.set(key, part); // to the end of the turns
    return item;
  }
}

/** First in, first out, without moving what stays at each step. */
class Line<T> {
  items: T[] = [];
  #gone = 0;

  get length(): number {
    return this.items.length - this.#gone;
  }

  shift(): T {
    const item = this.items[this.#gone++]!;
    if (this.#gone >= longestTail && this.#gone * 2 >= this.items.length) {
      this.items = this.items.slice(this.#gone);
      this.#gone = 0;
    }
    return item;
  }
}

const longestTail = 64;

function first<T>(line: Line<T>): T {
  return line.shift();
}

function newTurns<T>(): Turns<Line<T>> {
  return new Turns();
}

function newLine<T>(): Line<T> {
  return new Line();
}
