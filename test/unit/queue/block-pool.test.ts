import assert from "node:assert/strict";
import { test } from "node:test";
import { BlockPool } from "../../../src/queue/block-pool.ts";

test("a block that was given back is handed out again; one that is in use never is", () => {
  const pool = new BlockPool(1024 * 1024);
  const first = pool.take(5_000);
  const second = pool.take(5_000);
  assert.notEqual(first, second);
  pool.give(first);
  assert.equal(pool.take(8_192), first);
  assert.notEqual(pool.take(1), first);
});

test("blocks are large enough, also beyond the largest size of the pool", () => {
  const pool = new BlockPool(1024 * 1024);
  for (const bytes of [0, 1, 8_192, 8_193, 100_000, 262_144, 262_145, 1_000_000]) {
    assert.ok(pool.take(bytes).length >= bytes);
  }
  const huge = pool.take(1_000_000);
  pool.give(huge);
  assert.notEqual(pool.take(1_000_000), huge);
});

test("idle blocks hold no more than they may", () => {
  const pool = new BlockPool(20_000);
  const blocks = [pool.take(8_000), pool.take(8_000), pool.take(8_000)];
  for (const block of blocks) pool.give(block);
  const again = [pool.take(8_000), pool.take(8_000), pool.take(8_000)];
  assert.equal(again.filter((block) => blocks.includes(block)).length, 2);
});
