import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { pino } from "pino";
import { budgetWith } from "../../../src/config/budget.ts";
import { openEmbeddedState } from "../../../src/state/embedded.ts";

const log = pino({ level: "silent" });

function scratch(t: TestContext): string {
  const dir = mkdtempSync(join(tmpdir(), "postern-state-"));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  return join(dir, "state.db");
}

test("values expire, are added once, and survive a restart", async (t) => {
  const path = scratch(t);
  let now = 1_000;
  const state = await openEmbeddedState({ path, budget: budgetWith(), log, now: () => now });
  await state.set("greylist", "a", "1", 100);
  assert.equal(await state.get("greylist", "a"), "1");
  assert.equal(await state.get("other", "a"), undefined);
  assert.equal(await state.add("greylist", "a", "2", 100), false);
  assert.equal(await state.add("greylist", "b", "3", 1_000), true);
  await state.close();
  const again = await openEmbeddedState({ path, budget: budgetWith(), log, now: () => now });
  assert.equal(await again.get("greylist", "a"), "1");
  now = 1_100;
  assert.equal(await again.get("greylist", "a"), undefined, "expired");
  assert.equal(await again.add("greylist", "a", "4", 100), true, "may be added anew");
  await again.delete("greylist", "b");
  assert.equal(await again.get("greylist", "b"), undefined);
  await again.close();
});

test("counters slide and are shared by all who have the file open", async (t) => {
  const path = scratch(t);
  let now = 10_000;
  const options = { path, budget: budgetWith(), log, now: () => now };
  const [one, two] = [await openEmbeddedState(options), await openEmbeddedState(options)];
  const counts = await Promise.all(
    Array.from({ length: 40 }, (_, i) => (i % 2 ? one : two).increment("rate", "192.0.2.1", 1, 1_000)),
  );
  assert.equal(Math.max(...counts), 40);
  assert.equal(new Set(counts).size, 40, "no two callers saw the same count");
  now = 11_500;
  assert.equal(await one.increment("rate", "192.0.2.1", 1, 1_000), 21, "half of the window before still counts");
  now = 13_000;
  assert.equal(await two.increment("rate", "192.0.2.1", 1, 1_000), 1);
  await one.close();
  await two.close();
});

test("the sweep frees what expired, and the soonest to expire above the limit", async (t) => {
  let now = 0;
  const options = { path: scratch(t), budget: budgetWith({ stateEntries: 3 }), log, now: () => now };
  const state = await openEmbeddedState(options);
  for (let i = 1; i <= 6; i++) await state.set("n", `k${i}`, "v", i * 10);
  now = 10;
  assert.equal(await state.sweep(), 3, "one expired, two above the limit of three");
  assert.equal(await state.get("n", "k3"), undefined);
  assert.equal(await state.get("n", "k4"), "v");
  await state.close();
});

test("a key beyond its limit is refused, a file that is no database is an error", async (t) => {
  const path = scratch(t);
  const state = await openEmbeddedState({ path, budget: budgetWith(), log });
  await assert.rejects(state.get("n", "k".repeat(5_000)), RangeError);
  await state.close();
  writeFileSync(`${path}.bad`, "this is not a database, it is a longer text");
  await assert.rejects(openEmbeddedState({ path: `${path}.bad`, budget: budgetWith(), log }), /database/);
});
