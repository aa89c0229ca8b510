/**
 * Blocks of memory for bodies on their way to the disk, used again and again: a body that is allocated anew for each
 * message makes the garbage collector the largest cost of large messages.
 * Invariants: a block is given back at most once, by the only one who still knows it; blocks that lie idle hold at most
 * `idleBytes`. Failure: none of its own.
 */

/** Sizes of blocks, octets; a body moves on to a larger one when it grows. Up to 144 KiB a body is kept in the log. */
const sizes = [8 * 1024, 32 * 1024, 72 * 1024, 144 * 1024, 256 * 1024];

export class BlockPool {
  readonly #idle: Buffer[][] = sizes.map(() => []);
  readonly #idleBytes: number;
  #bytes = 0;

  constructor(idleBytes: number) {
    this.#idleBytes = idleBytes;
  }

  /** A block of at least `bytes` octets; what it holds is undefined. */
  take(bytes: number): Buffer {
    const at = sizes.findIndex((size) => size >= bytes);
    const block = this.#idle[at]?.pop();
    if (block === undefined) return Buffer.allocUnsafeSlow(sizes[at] ?? bytes);
    this.#bytes -= block.length;
    return block;
  }

  /** Nobody may touch the block after this. */
  give(block: Buffer): void {
    if (this.#bytes + block.length > this.#idleBytes) return;
    const idle = this.#idle[sizes.indexOf(block.length)];
    if (idle === undefined) return; // larger than any block of ours
    idle.push(block);
    this.#bytes += block.length;
  }
}
