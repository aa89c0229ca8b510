import assert from "node:assert/strict";
import { test } from "node:test";
import { DnsCache } from "../../../src/dns/cache.ts";

test("what is used stays, what is not goes first", () => {
  const cache = new DnsCache<number>(100, 1e6, () => 0);
  for (let i = 0; i < 100; i++) cache.set(`k${i}`, i, 60, 1);
  for (let i = 100; i < 1_000; i++) {
    assert.equal(cache.get("k0")?.value, 0);
    cache.set(`k${i}`, i, 60, 1);
  }
  assert.equal(cache.size, 100);
  assert.equal(cache.get("k0")?.value, 0);
  assert.equal(cache.get("k500"), undefined);
  assert.equal(cache.get("k999")?.value, 999);
});

test("an expired entry is gone and frees its room", () => {
  let now = 0;
  const cache = new DnsCache<string>(10, 100, () => now);
  cache.set("a", "a", 1, 100);
  now = 1_000;
  assert.equal(cache.get("a"), undefined);
  cache.set("b", "b", 1, 100);
  assert.deepEqual(cache.get("b"), { value: "b", ttl: 1 });
  cache.set("c", "c", 1, 101);
  assert.equal(cache.get("c"), undefined);
});

test("a hot entry of a large cache is as quick as any", () => {
  const cache = new DnsCache<number>(50_000, 1e9, () => 0);
  for (let i = 0; i < 20_000; i++) cache.set(`k${i}`, i, 60, 1);
  const started = performance.now();
  for (let i = 0; i < 100_000; i++) cache.get("k7");
  assert.ok(performance.now() - started < 1_000); // 63 µs a look-up, when it was moved each time
});
