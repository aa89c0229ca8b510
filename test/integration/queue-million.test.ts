/** A large backlog in small: what test/chaos/million.ts measures with a million messages. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { measureBacklog } from "../../bench/backlog.ts";
import { measureNeighbours } from "../chaos/million.ts";

test("a backlog in the running gateway: lists are quick, memory is bounded", { timeout: 120_000 }, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "postern-million-"));
  t.after(() => rmSync(folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 }));
  const figures = await measureBacklog(join(folder, "var"), 20_000);
  t.diagnostic(JSON.stringify(figures));
  for (const [filter, ms] of Object.entries(figures.lists)) assert.ok(ms < 300, `${filter}: ${ms} ms`);
  assert.ok(figures.gateway.peakMiB < 400, `${figures.gateway.peakMiB} MiB`);
});

test("a dead and a slow destination do not hold up a healthy one", { timeout: 120_000 }, async (t) => {
  const figures = await measureNeighbours(3_000, 5_000);
  t.diagnostic(JSON.stringify(figures));
  // One round of probes at most: the other messages share the outcome without a try.
  assert.ok(figures.deadAttempts <= 40, `${figures.deadAttempts} attempts`);
  // Room for a busy machine; `node test/chaos/million.ts` measures on a quiet one.
  assert.ok(figures.besideDead > figures.alone / 3, JSON.stringify(figures));
  assert.ok(figures.besideSlow > figures.alone / 3, JSON.stringify(figures));
});
