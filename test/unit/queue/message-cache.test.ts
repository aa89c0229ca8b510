import assert from "node:assert/strict";
import { test } from "node:test";
import { BlockPool } from "../../../src/queue/block-pool.ts";
import { MessageCache } from "../../../src/queue/message-cache.ts";
import type { QueuedMessage } from "../../../src/queue/types.ts";

const message = { recipients: [] } as unknown as QueuedMessage;

function kept(pool: BlockPool) {
  const block = pool.take(8_000);
  return { bytes: block.subarray(0, 100), block };
}

/** True when the pool hands the block out again. */
const isFree = (pool: BlockPool, block: Buffer): boolean => pool.take(8_000) === block;

test("a block goes back when it is dropped and every borrower has released it, in either order", () => {
  for (const order of ["release first", "drop first"]) {
    const pool = new BlockPool(1_000_000);
    const cache = new MessageCache(1_000_000, pool);
    const body = kept(pool);
    cache.put(1, message, body);
    const [one, two] = [cache.body(1)!, cache.body(1)!];
    one.release!();
    one.release!(); // a second time means nothing
    if (order === "release first") two.release!();
    assert.ok(!isFree(pool, body.block), order);
    cache.delete(1);
    if (order === "drop first") {
      assert.ok(!isFree(pool, body.block), order);
      two.release!();
    }
    assert.ok(isFree(pool, body.block), order);
  }
});

test("a borrower who never releases keeps the block from being used again", () => {
  const pool = new BlockPool(1_000_000);
  const cache = new MessageCache(1_000_000, pool);
  const body = kept(pool);
  cache.put(1, message, body);
  cache.body(1);
  cache.body(1)!.release!();
  cache.delete(1);
  assert.ok(!isFree(pool, body.block));
});

test("a renewed message keeps its body; what is over the limit goes, oldest first", () => {
  const pool = new BlockPool(1_000_000);
  const cache = new MessageCache(20_000, pool);
  const bodies = [1, 2, 3].map((id) => {
    const body = kept(pool);
    cache.put(id, message, body);
    cache.renew(id, { ...message });
    return body;
  });
  assert.equal(cache.message(1), undefined);
  assert.ok(isFree(pool, bodies[0]!.block));
  assert.equal(cache.body(3)!.inMemory()!.length, 100);
});
