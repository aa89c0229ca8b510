import assert from "node:assert/strict";
import { test } from "node:test";
import { BudgetExceeded, budgetWith } from "../../../src/config/budget.ts";
import { type MxSettings, resolveHop } from "../../../src/delivery/mx.ts";
import { hopKey, mxHop, parseNextHop } from "../../../src/delivery/next-hop.ts";
import { Router, type RouteSettings } from "../../../src/delivery/route.ts";
import { orderSmartHosts } from "../../../src/delivery/smart-host.ts";
import { parseUserMap, UserMapError } from "../../../src/delivery/user-map.ts";
import type { Resolver } from "../../../src/dns/types.ts";
import type { RouteOverride } from "../../../src/message/envelope.ts";
import { delivererWith, messageTo, resolverOf } from "./fixtures.ts";

const budget = budgetWith();
const defaults = { domain: "y.example", tls: "opportunistic", localAddress: "" } as const;

test("next hop texts", () => {
  for (const [text, kind, host, port, implicitTls] of [
    ["mx.example.net", "smtp", "mx.example.net", 25, false],
    ["mx.example.net:2525", "smtp", "mx.example.net", 2525, false],
    ["[192.0.2.7]:26", "smtp", "[192.0.2.7]", 26, false],
    ["[2001:db8::7]", "smtp", "[2001:db8::7]", 25, false],
    ["lmtp:[127.0.0.1]", "lmtp", "[127.0.0.1]", 24, false],
    ["smtps:mail.example.net", "smtp", "mail.example.net", 465, true],
  ] as const) {
    const hop = parseNextHop(text, defaults, "test");
    assert.deepEqual([hop.kind, hop.host, hop.port, hop.implicitTls], [kind, host, port, implicitTls], text);
  }
  for (const bad of ["", "a b", "host:99999", "http://x", "[a b]"]) {
    assert.throws(() => parseNextHop(bad, defaults, "test"), RangeError, bad);
  }
});

test("hops that differ in what protects them do not share connections", () => {
  const hop = parseNextHop("[192.0.2.7]", defaults, "test");
  for (const change of [
    { tls: "none" },
    { authUser: "u" },
    { authPass: "p" },
    { localAddress: "192.0.2.1" },
    { tlsVersions: "tls13" },
  ] as const) {
    assert.notEqual(hopKey(hop), hopKey({ ...hop, ...change }));
  }
});

async function choose(settings: Partial<RouteSettings>, address = "bob@y.example", route?: RouteOverride) {
  const router = new Router({
    isLocal: () => false,
    hasBackEnd: () => false,
    relayPolicy: undefined,
    routes: {},
    userMaps: [],
    smartHosts: [],
    tls: "opportunistic",
    tlsByDomain: {},
    localAddress: () => "",
    ...settings,
  });
  const message = messageTo([{ address, ...(route ? { route } : {}) }]);
  return (await router.routeAll(message, message.recipients))[0]!;
}

const smart = { host: "smart.example", port: 587, tls: "required", user: "u", password: "p", weight: 1 } as const;
const map = parseUserMap("# accounts\n\n^bob@  [192.0.2.8]\nbob [192.0.2.9]\n", "accounts", budget);

test("order: recipient's route, onRelay, domains.routes, user maps, smart host, MX", async () => {
  const routes = { "y.example": "[192.0.2.7]:2525" };
  const all = { routes, userMaps: [map], smartHosts: [smart] };
  const own: RouteOverride = { host: "[192.0.2.5]", port: 26 };
  assert.deepEqual(hostOf(await choose(all, "bob@y.example", own)), ["[192.0.2.5]", 26, "recipient route"]);
  const relayPolicy: RouteSettings["relayPolicy"] = async (_message, _domain, preset) => ({
    route: { ...preset, host: preset.host ? "[192.0.2.6]" : "" },
    origin: "onRelay",
  });
  assert.deepEqual(hostOf(await choose({ ...all, relayPolicy }, "bob@y.example", own)), ["[192.0.2.6]", 26, "onRelay"]);
  assert.deepEqual(hostOf(await choose({ ...all, relayPolicy })), ["[192.0.2.7]", 2525, "domains.routes"]);
  assert.deepEqual(hostOf(await choose({ ...all, routes: {} })), ["[192.0.2.8]", 25, "user map accounts"]);
  assert.deepEqual(hostOf(await choose({ ...all, routes: {} }, "x-BOB@y.example")), [
    "[192.0.2.9]",
    25,
    "user map accounts",
  ]);
  const viaSmart = await choose({ ...all, routes: {} }, "ann@y.example");
  assert.deepEqual(hostOf(viaSmart), ["smart.example", 587, "smart host"]);
  assert.equal(viaSmart.authUser, "u");
  assert.deepEqual(hostOf(await choose({})), ["", 25, "mx"]);
  assert.equal((await choose({}, "nodomain")).outcome?.enhanced, "5.1.3");
});

function hostOf(hop: { host: string; port: number; origin: string }) {
  return [hop.host, hop.port, hop.origin];
}

test("STARTTLS and source address as policy and configuration say", async () => {
  assert.equal((await choose({}, "b@y.example", { host: "h", port: 25, startTls: false })).tls, "none");
  assert.equal(
    (await choose({ tls: "none" }, "b@y.example", { host: "h", port: 25, startTls: true })).tls,
    "opportunistic",
  );
  assert.equal(
    (await choose({ tls: "required" }, "b@y.example", { host: "h", port: 25, startTls: true })).tls,
    "required",
  );
  const byDomain = { tlsByDomain: { "y.example": "required" } } as const;
  assert.equal((await choose(byDomain, "b@y.example", { host: "h", port: 25, startTls: false })).tls, "required");
  const pool = { localAddress: (domain: string) => (domain === "y.example" ? "192.0.2.1" : "") };
  assert.equal((await choose(pool)).localAddress, "192.0.2.1");
  assert.equal(
    (await choose(pool, "b@y.example", { host: "", port: 25, localAddress: "192.0.2.2" })).localAddress,
    "192.0.2.2",
  );
});

test("user maps: unanchored, first match, errors with their line, a limit", () => {
  const text = "user1@example.tld  back1\n^user2@example\\.tld$ back2\n.*@example.tld [192.0.2.1]:2525\n";
  const users = parseUserMap(text, "m", budget);
  assert.equal(users.find("testuser1@example.tld"), "[back1]");
  assert.equal(users.find("user2@example.tld"), "[back2]");
  assert.equal(users.find("testuser2@example.tld"), "[192.0.2.1]:2525");
  assert.equal(users.find("user1@elsewhere.tld"), undefined);
  for (const [bad, line] of [
    ["one", 1],
    ["a b c", 1],
    ["# x\n( host", 2],
    ["a bad:host:name", 1],
    ["(a)\\1 host", 1],
  ] as const) {
    assert.throws(
      () => parseUserMap(bad, "m", budget),
      (error: Error) => {
        assert.ok(error instanceof UserMapError);
        assert.ok(error.message.startsWith(`m:${line}: `), error.message);
        return true;
      },
    );
  }
  assert.throws(() => parseUserMap("a b\nc d\n", "m", budgetWith({ userMapLines: 2 })), BudgetExceeded);
});

test("smart hosts: by weight, each once", () => {
  const two = [smart, { ...smart, host: "[192.0.2.2]:26", weight: 3 }];
  let first = 0;
  let state = 1;
  const random = () => (state = (state * 48_271) % 2_147_483_647) / 2_147_483_647;
  for (let i = 0; i < 1_000; i++) {
    const order = orderSmartHosts(two, { domain: "d", localAddress: "" }, random);
    assert.equal(new Set(order.map((hop) => hop.host)).size, 2);
    if (order[0]!.host === "[192.0.2.2]") first++;
  }
  assert.ok(first > 680 && first < 820, String(first));
  assert.equal(orderSmartHosts(two, { domain: "d", localAddress: "" }, () => 0.9)[0]!.port, 26);
});

function mxSettings(resolver: Resolver, more: Partial<MxSettings> = {}): MxSettings {
  return {
    resolver,
    budget,
    family: "prefer4",
    ownNames: new Set(["gw.test"]),
    ownAddresses: new Set(["192.0.2.99"]),
    allowSpecialAddresses: true,
    random: () => 0.5,
    ...more,
  };
}

const mx = (preference: number, exchange: string) => ({ preference, exchange });
const zone = resolverOf({
  "y.example": { MX: [mx(20, "b.mx.example"), mx(10, "a.mx.example."), mx(30, "c.mx.example")] },
  "a.mx.example": { A: ["192.0.2.1", "192.0.2.2"], AAAA: ["2001:db8::1"] },
  "b.mx.example": { AAAA: ["2001:db8::2"] },
  "c.mx.example": {},
  "implicit.example": { A: ["192.0.2.3"] },
  "null.example": { MX: [mx(0, ".")] },
  "loop.example": { MX: [mx(10, "gw.test")] },
  "gw.test": { A: ["192.0.2.4"] },
  "backup.example": { MX: [mx(10, "a.mx.example"), mx(20, "us.example"), mx(30, "b.mx.example")] },
  "us.example": { A: ["192.0.2.99"] },
  "broken.example": { fails: true },
  "half.example": { MX: [mx(10, "broken.example"), mx(20, "a.mx.example")] },
  "dead.example": { MX: [mx(10, "broken.example")] },
  "empty.example": { TXT: ["x"] },
  "private.example": { MX: [mx(10, "inside.example")] },
  "inside.example": { A: ["127.0.0.1", "10.0.0.1", "169.254.1.1"], AAAA: ["::1", "fe80::1", "::ffff:127.0.0.1"] },
  "many.example": { MX: Array.from({ length: 50 }, (_, index) => mx(index, `h${index}.many.example`)) },
  ...Object.fromEntries(Array.from({ length: 50 }, (_, index) => [`h${index}.many.example`, { A: ["192.0.2.5"] }])),
});

async function hostsOf(domain: string, more: Partial<MxSettings> = {}): Promise<unknown> {
  const answer = await resolveHop(mxHop({ domain, tls: "none", localAddress: "" }, "mx"), mxSettings(zone, more));
  if ("outcome" in answer) return `${answer.outcome.code} ${answer.outcome.enhanced}`;
  return answer.candidates.map((candidate) => `${candidate.host} ${candidate.addresses.join(" ")}`);
}

test("MX by RFC 5321 §5.1 and RFC 7505", async () => {
  assert.deepEqual(await hostsOf("y.example"), [
    "a.mx.example 192.0.2.1 192.0.2.2 2001:db8::1",
    "b.mx.example 2001:db8::2",
  ]);
  assert.deepEqual(await hostsOf("y.example", { family: "only4" }), ["a.mx.example 192.0.2.1 192.0.2.2"]);
  assert.deepEqual(await hostsOf("implicit.example"), ["implicit.example 192.0.2.3"]);
  assert.equal(await hostsOf("null.example"), "556 5.1.10");
  assert.equal(await hostsOf("nowhere.example"), "550 5.1.2");
  assert.equal(await hostsOf("empty.example"), "550 5.1.2");
  assert.equal(await hostsOf("loop.example"), "554 5.4.6");
  assert.deepEqual(await hostsOf("backup.example"), ["a.mx.example 192.0.2.1 192.0.2.2 2001:db8::1"], "cut at us");
  assert.equal(await hostsOf("broken.example"), "451 4.4.3");
  assert.equal(await hostsOf("dead.example"), "451 4.4.3");
  assert.deepEqual(await hostsOf("half.example"), ["a.mx.example 192.0.2.1 192.0.2.2 2001:db8::1"]);
});

test("an MX in special-purpose space is not used unless allowed", async () => {
  assert.equal(await hostsOf("private.example", { allowSpecialAddresses: false }), "550 5.4.4");
  assert.equal(((await hostsOf("private.example")) as string[]).length, 1);
});

test("the number of hosts and addresses is bounded", async () => {
  assert.equal(((await hostsOf("many.example")) as string[]).length, budget.mxHosts);
  const few = { budget: budgetWith({ addressesPerHost: 1 }) };
  assert.deepEqual(await hostsOf("y.example", few), ["a.mx.example 192.0.2.1", "b.mx.example 2001:db8::2"]);
});

test("equal preferences are shuffled", async () => {
  const resolver = resolverOf({
    "eq.example": { MX: [mx(10, "one.example"), mx(10, "two.example")] },
    "one.example": { A: ["192.0.2.1"] },
    "two.example": { A: ["192.0.2.2"] },
  });
  const seen = new Set<string>();
  for (let i = 0; i < 60; i++) {
    const settings = mxSettings(resolver);
    delete settings.random;
    const answer = await resolveHop(mxHop({ domain: "eq.example", tls: "none", localAddress: "" }, "mx"), settings);
    if ("candidates" in answer) seen.add(answer.candidates[0]!.host);
  }
  assert.equal(seen.size, 2);
});

test("domains with the same MX set wait in one queue", async () => {
  const resolver = resolverOf({
    "one.example": { MX: [mx(10, "a.mx.example"), mx(20, "b.mx.example")] },
    "two.example": { MX: [mx(5, "b.mx.example"), mx(50, "a.mx.example")] },
    "three.example": { MX: [mx(10, "a.mx.example")] },
    "a.mx.example": { A: ["192.0.2.1"] },
    "b.mx.example": { A: ["192.0.2.2"] },
  });
  const deliverer = delivererWith({
    resolver,
    allowSpecialAddresses: true,
    routes: { "fixed.example": "[192.0.2.3]" },
  });
  const message = messageTo([
    "a@one.example",
    "a@two.example",
    "a@three.example",
    "a@local.example",
    "a@fixed.example",
  ]);
  const sites = await Promise.all(message.recipients.map((recipient) => deliverer.destinationOf(message, recipient)));
  assert.equal(sites[0], sites[1]);
  assert.notEqual(sites[0], sites[2]);
  assert.equal(sites[3], "store");
  assert.equal(sites[4], "smtp:[192.0.2.3]:25");
});
