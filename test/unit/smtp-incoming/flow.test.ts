import assert from "node:assert/strict";
import { test } from "node:test";
import { budgetWith } from "../../../src/config/budget.ts";
import { AccessList, type AccessRule, NetworkSet } from "../../../src/smtp/incoming/access.ts";
import { LocalFlow, peerKey, unlimited } from "../../../src/smtp/incoming/flow.ts";
import { type LoadBounds, type LoadLevel, nextLevel } from "../../../src/smtp/incoming/load.ts";
import { withSite } from "./site.ts";

const rule = (action: "allow" | "deny", network: string, priority: number): AccessRule => ({
  action,
  networks: [network],
  priority,
});

test("peers are IPv4 addresses and IPv6 /64 networks", () => {
  assert.equal(peerKey("192.0.2.1"), "192.0.2.1");
  assert.equal(peerKey("2001:db8::1"), "2001:db8:0:0::/64");
  assert.equal(peerKey("2001:db8:0:0:ffff::2"), "2001:db8:0:0::/64");
  assert.equal(peerKey("2001:0DB8:1:2:3:4:5:6"), "2001:db8:1:2::/64");
  assert.equal(peerKey("::1"), "0:0:0:0::/64");
  assert.equal(peerKey("64:ff9b::192.0.2.1"), "64:ff9b:0:0::/64");
});

test("networks: address, CIDR, range, both families; rubbish throws", () => {
  const set = new NetworkSet(["192.0.2.0/24", "198.51.100.1-198.51.100.9", "2001:db8::/32", "203.0.113.7"]);
  for (const ip of ["192.0.2.255", "198.51.100.5", "2001:db8::9", "203.0.113.7"]) assert.equal(set.has(ip), true, ip);
  for (const ip of ["192.0.3.0", "198.51.100.10", "2001:db9::", "203.0.113.8", "junk"])
    assert.equal(set.has(ip), false, ip);
  for (const bad of ["300.0.0.1", "1.2.3.4/99", "a-b", ""]) assert.throws(() => new NetworkSet([bad]), RangeError, bad);
});

test("networks that overlap, touch or lie inside one another are one set, each family by itself", () => {
  const set = new NetworkSet([
    "10.0.0.0/8",
    "10.1.0.0/16",
    "9.255.255.0 - 10.0.0.3",
    "0.0.0.0",
    "255.255.255.255",
    "2001:db8::5-2001:db8::9",
    "192.0.2.0/255.255.255.0",
  ]);
  const within = [
    "10.200.0.1",
    "9.255.255.0",
    "10.255.255.255",
    "0.0.0.0",
    "255.255.255.255",
    "2001:db8::9",
    "192.0.2.7",
  ];
  for (const ip of within) assert.equal(set.has(ip), true, ip);
  for (const ip of ["9.255.254.255", "11.0.0.0", "0.0.0.1", "255.255.255.254", "2001:db8::a", "::", "::a00:1", ""]) {
    assert.equal(set.has(ip), false, ip);
  }
  assert.throws(() => new NetworkSet(["10.0.0.9-10.0.0.1"]), RangeError);
  assert.throws(() => new NetworkSet(["10.0.0.1,10.0.0.2"]), RangeError);
  assert.equal(new NetworkSet([]).has("10.0.0.1"), false);
});

test("decision order of §12.5: smaller number wins, a tie accepts, no match is allowed, upper levels first", () => {
  const ip = "192.0.2.1";
  const verdict = (...levels: AccessRule[][]): boolean => new AccessList({ levels }).check(ip).allowed;
  assert.equal(verdict([rule("deny", "192.0.2.0/24", 10)]), false);
  assert.equal(verdict([rule("allow", "192.0.2.0/24", 10)]), true);
  assert.equal(verdict([rule("deny", "192.0.2.0/24", 5), rule("allow", "192.0.2.1", 10)]), false);
  assert.equal(verdict([rule("deny", "192.0.2.0/24", 10), rule("allow", "192.0.2.1", 5)]), true);
  assert.equal(verdict([rule("deny", "192.0.2.0/24", 10), rule("allow", "192.0.2.1", 10)]), true);
  assert.equal(verdict([rule("deny", "198.51.100.0/24", 1)]), true);
  assert.equal(verdict([rule("allow", ip, 99)], [rule("deny", ip, 1)]), true);
  assert.equal(verdict([{ ...rule("deny", ip, 1), enabled: false }]), true);
});

test("connection limits: total, per peer, per interval; what leaves makes room", () => {
  let now = 1_000_000;
  const flow = new LocalFlow(budgetWith(), () => now);
  const scope = (limits: Partial<typeof unlimited>) => [
    { name: JSON.stringify(limits), limits: { ...unlimited, ...limits } },
  ];
  const total = scope({ maxConnections: 2 });
  assert.deepEqual(
    [flow.enter("192.0.2.1", total), flow.enter("192.0.2.2", total), flow.enter("192.0.2.3", total)],
    [undefined, undefined, "total"],
  );
  flow.leave("192.0.2.1", total);
  assert.equal(flow.enter("192.0.2.3", total), undefined);
  const peer = scope({ maxPerPeer: 1 });
  assert.equal(flow.enter("2001:db8::1", peer), undefined);
  assert.equal(flow.enter("2001:db8::2", peer), "peer");
  assert.equal(flow.enter("2001:db8:0:1::1", peer), undefined);
  const rate = scope({ maxPerPeerInterval: 3, peerIntervalMs: 1_000 });
  const tries = Array.from({ length: 4 }, () => flow.enter("192.0.2.9", rate));
  assert.deepEqual(tries, [undefined, undefined, undefined, "peerInterval"]);
  assert.equal(flow.enter("192.0.2.8", rate), undefined);
  now += 2_500;
  assert.equal(flow.enter("192.0.2.9", rate), undefined);
  const all = scope({ maxPerInterval: 1, intervalMs: 1_000 });
  assert.deepEqual([flow.enter("192.0.2.1", all), flow.enter("192.0.2.2", all)], [undefined, "interval"]);
});

test("bans end, successes clear the count, and memory for peers is bounded", () => {
  let now = 0;
  const flow = new LocalFlow(budgetWith({ authBanFailures: 3, authBanMs: 1_000, trackedPeers: 10 }), () => now);
  assert.deepEqual(
    [1, 2, 3].map(() => flow.authFailed("192.0.2.1")),
    [false, false, true],
  );
  assert.equal(flow.enter("192.0.2.1", []), "banned");
  now = 1_001;
  assert.equal(flow.enter("192.0.2.1", []), undefined);
  flow.authFailed("192.0.2.2");
  flow.authFailed("192.0.2.2");
  flow.authSucceeded("192.0.2.2");
  assert.equal(flow.authFailed("192.0.2.2"), false);
  const scopes = [{ name: "s", limits: { ...unlimited, maxPerPeerInterval: 1 } }];
  for (let i = 0; i < 50; i++) {
    const ip = `198.51.100.${i}`;
    if (flow.enter(ip, scopes) === undefined) flow.leave(ip, scopes);
  }
  assert.equal(flow.enter("198.51.100.49", scopes), "peerInterval");
  assert.equal(flow.enter("198.51.100.1", scopes), undefined); // forgotten long ago
});

test("over the wire: a peer's second connection, a denied network, a rule's own limits", async () => {
  await withSite({ budget: { connectionsPerPeer: 1, lingerMs: 50 } }, async (site) => {
    const first = await site.client();
    assert.match(await first.reply(), /^220/);
    const second = await site.client();
    assert.deepEqual(await second.rest(), ["421 4.7.0 Too many connections from your address"]);
    first.end();
  });
  await withSite({ access: { levels: [[rule("deny", "127.0.0.0/8", 1)]] }, budget: { lingerMs: 50 } }, async (site) => {
    assert.deepEqual(await (await site.client()).rest(), ["554 5.7.1 Access denied"]);
  });
  const trusted = { ...rule("allow", "127.0.0.1", 1), limits: {} };
  await withSite({ access: { levels: [[trusted]] }, budget: { connectionsPerPeer: 1 } }, async (site) => {
    for (let i = 0; i < 3; i++) {
      const client = await site.client();
      assert.match(await client.reply(), /^220/);
    }
  });
});

const bounds: LoadBounds = {
  queueFolder: "/",
  diskFree: [1_000, 500, 100],
  memory: [1_000, 2_000, 3_000],
  loopDelayMs: [100, 500, 2_000],
  intervalMs: 1_000,
};
const calm = { diskFree: 1e9, memory: 0, loopDelayMs: 0 };

test("load levels: each bound, and no flutter around it", () => {
  assert.equal(nextLevel(0, calm, bounds), 0);
  assert.equal(nextLevel(0, { ...calm, diskFree: 1_000 }, bounds), 1);
  assert.equal(nextLevel(0, { ...calm, diskFree: 100 }, bounds), 3);
  assert.equal(nextLevel(0, { ...calm, memory: 2_000 }, bounds), 2);
  assert.equal(nextLevel(0, { ...calm, loopDelayMs: 9_999 }, bounds), 2);
  assert.equal(nextLevel(2, { ...calm, memory: 1_900 }, bounds), 2);
  assert.equal(nextLevel(2, { ...calm, memory: 1_700 }, bounds), 1);
  assert.equal(nextLevel(3, calm, bounds), 0);
});

test("overload: no new mail at level 3, no new connections at level 2, short time-outs at level 1", async () => {
  let level: LoadLevel = 3;
  const budget = { connections: 2, idleMs: 3_000, lingerMs: 50 };
  await withSite({ load: { level: () => level }, budget }, async (site) => {
    const first = await site.client();
    await first.hello();
    assert.equal(await first.ask("MAIL FROM:<a@x.test>"), "452 4.3.1 Insufficient system storage");
    const second = await site.client();
    assert.match((await second.rest()).join(), /^421 4\.3\.2/);
    level = 1;
    assert.match(await first.ask("MAIL FROM:<a@x.test>"), /^250/);
    const started = Date.now();
    assert.match((await first.rest()).join(), /^421 4\.4\.2/);
    assert.ok(Date.now() - started < 2_500);
  });
});
