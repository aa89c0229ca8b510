/**
 * A backlog of 20,000 messages: what test/chaos/million.ts measures with a million of them, in short.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { measureBacklog } from "../chaos/million.ts";

test("a backlog: lists are quick, a dead destination costs few attempts and does not hold up a healthy one", {
  timeout: 120_000,
}, async (t) => {
  const figures = await measureBacklog(20_000, 5_000);
  t.diagnostic(JSON.stringify(figures));
  for (const [filter, ms] of Object.entries(figures.lists)) assert.ok(ms < 300, `${filter}: ${ms} ms`);
  assert.ok(figures.rssMiB < 512, `${figures.rssMiB} MiB`);
  // One round of probes at most: the other messages share the outcome without a try.
  assert.ok(figures.deadAttempts <= 40, `${figures.deadAttempts} attempts`);
  // Room for a busy machine; `node test/chaos/million.ts` measures on a quiet one.
  assert.ok(figures.healthyBesideDead > figures.healthyAlone / 3, JSON.stringify(figures));
});
