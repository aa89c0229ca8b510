/**
 * Messages and small bodies used not long ago, so that mail which is relayed at once is never read back from the disk.
 * Invariants: holds at most so many octets, estimated; what was put in first goes first. A body's block goes back to the
 * pool only when the cache has dropped it and everyone it was lent to has released it; a borrower who never does so
 * leaves it to the garbage collector. Failure: none.
 */
import type { BlockPool } from "./block-pool.ts";
import { memoryBody } from "./body.ts";
import type { BodySource, QueuedMessage } from "./types.ts";

/** Octets of a body in memory, and the pool's block that they stand in; undefined when others may know the block. */
export interface KeptBody {
  bytes: Buffer;
  block: Buffer | undefined;
}

interface Entry {
  message: QueuedMessage;
  body: KeptBody | undefined;
  cost: number;
  borrowers: number;
  dropped: boolean;
}

const messageCost = 1_024;
const recipientCost = 200;

export class MessageCache {
  readonly #limit: number;
  readonly #pool: BlockPool;
  readonly #entries = new Map<number, Entry>();
  #bytes = 0;

  constructor(limit: number, pool: BlockPool) {
    this.#limit = limit;
    this.#pool = pool;
  }

  message(id: number): QueuedMessage | undefined {
    return this.#entries.get(id)?.message;
  }

  /** Lends the body; undefined when it is not here. */
  body(id: number): BodySource | undefined {
    const entry = this.#entries.get(id);
    if (entry?.body === undefined) return undefined;
    entry.borrowers++;
    let lent = true;
    const release = (): void => {
      if (!lent) return;
      lent = false;
      entry.borrowers--;
      this.#giveBack(entry);
    };
    return { ...memoryBody(entry.body.bytes), release };
  }

  put(id: number, message: QueuedMessage, body: KeptBody | undefined): void {
    this.delete(id);
    const bodyCost = body?.block?.length ?? body?.bytes.length ?? 0;
    const cost = messageCost + message.recipients.length * recipientCost + bodyCost;
    this.#entries.set(id, { message, body, cost, borrowers: 0, dropped: false });
    this.#bytes += cost;
    for (const oldest of this.#entries.keys()) {
      if (this.#bytes <= this.#limit) break;
      this.delete(oldest);
    }
  }

  /** Notes the message's newest form; its body, if it is here, stays. */
  renew(id: number, message: QueuedMessage): void {
    const entry = this.#entries.get(id);
    if (entry === undefined) this.put(id, message, undefined);
    else entry.message = message;
  }

  delete(id: number): void {
    const entry = this.#entries.get(id);
    if (entry === undefined) return;
    this.#entries.delete(id);
    this.#bytes -= entry.cost;
    entry.dropped = true;
    this.#giveBack(entry);
  }

  #giveBack({ body, borrowers, dropped }: Entry): void {
    if (dropped && borrowers === 0 && body?.block !== undefined) this.#pool.give(body.block);
  }
}
