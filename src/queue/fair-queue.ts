/**
 * A waiting line that is fair between senders: by priority first, then one item of each sender in turn, each sender's
 * own in order of arrival. So a mailing of 10,000 does not keep a single letter waiting.
 * Invariants: every operation takes constant time but for the few priorities. Failure: none.
 */
export class FairQueue<T> {
  /** Priority → sender → items; a Map's order of keys is the order of turns. */
  readonly #levels = new Map<number, Map<string, T[]>>();
  #order: number[] = [];
  #length = 0;

  get length(): number {
    return this.#length;
  }

  /** Higher `priority` goes first. */
  push(item: T, sender: string, priority: number): void {
    let level = this.#levels.get(priority);
    if (level === undefined) {
      level = new Map();
      this.#levels.set(priority, level);
      this.#order = [...this.#levels.keys()].sort((a, b) => b - a);
    }
    const line = level.get(sender);
    if (line === undefined) level.set(sender, [item]);
    else line.push(item);
    this.#length++;
  }

  shift(): T | undefined {
    for (const priority of this.#order) {
      const level = this.#levels.get(priority)!;
      const turn = level.entries().next();
      if (turn.done) continue;
      const [sender, line] = turn.value;
      level.delete(sender);
      const item = line.shift()!;
      if (line.length > 0) level.set(sender, line); // to the end of the turns
      this.#length--;
      return item;
    }
    return undefined;
  }
}
