import assert from "node:assert/strict";
import { test } from "node:test";
import { checkGreylist, greylistDefaults } from "../../../src/checks/greylist.ts";
import { overRate } from "../../../src/checks/rate.ts";
import { memoryState } from "./state.ts";

const input = { ip: "192.0.2.1", mailFrom: "A@example.com", rcptTo: "b@example.org", authUser: "" };

test("first sight waits, the second try in time passes, and is remembered", async () => {
  const state = memoryState();
  const options = { ...greylistDefaults, delayMs: 60_000, windowMs: 600_000, lifetimeMs: 1e9, autoWhitelist: 0 };
  const at = async (now: number, change = {}) => {
    state.now = now;
    const { result, reason } = await checkGreylist({ ...input, ...change }, options, state, now);
    return `${result}: ${reason}`;
  };
  assert.equal(await at(0), "defer: first seen");
  assert.equal(await at(59_999), "defer: too early");
  assert.equal(await at(60_000, { ip: "192.0.2.200", mailFrom: "a@EXAMPLE.com" }), "pass: came back");
  assert.equal(await at(70_000), "pass: known");
  assert.equal(await at(70_000, { rcptTo: "c@example.org" }), "defer: first seen");
  assert.equal(await at(670_001, { rcptTo: "c@example.org" }), "defer: first seen");
  assert.equal(await at(670_001, { ip: "192.0.3.1" }), "defer: first seen");
  assert.equal(await at(1e9 + 70_001), "defer: first seen");
});

test("IPv6 clients count by /64", async () => {
  const state = memoryState();
  const run = (ip: string, now: number) =>
    checkGreylist({ ...input, ip }, { ...greylistDefaults, autoWhitelist: 0 }, state, now);
  assert.equal((await run("2001:db8:0:1::1", 0)).result, "defer");
  assert.equal((await run("2001:db8:0:1:ffff::9", 2_000)).result, "pass");
  assert.equal((await run("2001:db8:0:2::1", 2_000)).result, "defer");
});

test("a client network that passed often enough passes at once", async () => {
  const state = memoryState();
  const options = { ...greylistDefaults, autoWhitelist: 2 };
  for (const rcptTo of ["1@example.org", "2@example.org"]) {
    assert.equal((await checkGreylist({ ...input, rcptTo }, options, state, 0)).result, "defer");
    assert.equal((await checkGreylist({ ...input, rcptTo }, options, state, 2_000)).result, "pass");
  }
  assert.equal(
    (await checkGreylist({ ...input, rcptTo: "3@example.org" }, options, state, 2_000)).reason,
    "trusted client",
  );
});

test("authenticated and exempt clients pass; so does everybody when the state is gone", async () => {
  const state = memoryState();
  assert.equal((await checkGreylist({ ...input, authUser: "x" }, greylistDefaults, state, 0)).reason, "authenticated");
  assert.equal((await checkGreylist({ ...input, exempt: true }, greylistDefaults, state, 0)).reason, "exempt");
  state.broken = true;
  assert.deepEqual(await checkGreylist(input, greylistDefaults, state, 0), {
    result: "pass",
    reason: "no state",
    waitMs: 0,
  });
});

test("a rate is over above its count, in its window, by its key", async () => {
  const state = memoryState();
  const limit = { count: 2, windowMs: 1_000 };
  const hit = (key: string) => overRate(state, key, limit);
  assert.deepEqual([await hit("a"), await hit("a"), await hit("a"), await hit("b")], [false, false, true, false]);
  state.now = 1_001;
  assert.equal(await hit("a"), false);
  assert.equal(await overRate(state, "c", limit, 3), true);
  state.broken = true;
  assert.equal(await hit("a"), false);
});
