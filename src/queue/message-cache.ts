/**
 * Messages and small bodies used not long ago, so that mail which is relayed at once is never read back from the disk.
 * Invariants: holds at most so many octets, estimated; what was put in first goes first. Failure: none.
 */
import type { QueuedMessage } from "./types.ts";

interface Entry {
  message: QueuedMessage;
  body: Buffer | undefined;
  cost: number;
}

const messageCost = 1_024;
const recipientCost = 200;

export class MessageCache {
  readonly #limit: number;
  readonly #entries = new Map<number, Entry>();
  #bytes = 0;

  constructor(limit: number) {
    this.#limit = limit;
  }

  get(id: number): Entry | undefined {
    return this.#entries.get(id);
  }

  put(id: number, message: QueuedMessage, body: Buffer | undefined): void {
    this.delete(id);
    const cost = messageCost + message.recipients.length * recipientCost + (body?.length ?? 0);
    this.#entries.set(id, { message, body, cost });
    this.#bytes += cost;
    for (const oldest of this.#entries.keys()) {
      if (this.#bytes <= this.#limit) break;
      this.delete(oldest);
    }
  }

  delete(id: number): void {
    const entry = this.#entries.get(id);
    if (entry === undefined) return;
    this.#entries.delete(id);
    this.#bytes -= entry.cost;
  }
}
