import assert from "node:assert/strict";
import { test } from "node:test";
import { parseNetwork } from "../../../src/checks/address.ts";
import { checkDnsbl, checkDnsLists } from "../../../src/checks/dnsbl.ts";
import { createFactSource } from "../../../src/checks/facts.ts";
import { checkSenderMx } from "../../../src/checks/mx.ts";
import { checkReverseDns } from "../../../src/checks/rdns.ts";
import { checkUriLists, linkedNames } from "../../../src/checks/uribl.ts";
import { memoryState } from "./state.ts";
import { contextFor, type TestZone } from "./zone.ts";

test("reverse DNS is confirmed forward", async () => {
  const name = "1.2.0.192.in-addr.arpa";
  const table: Array<[TestZone, string, string]> = [
    [{}, "fail", ""],
    [{ [name]: { PTR: ["mx.test"] } }, "neutral", "mx.test"],
    [{ [name]: { PTR: ["mx.test"] }, "mx.test": { A: ["192.0.2.2"] } }, "neutral", "mx.test"],
    [{ [name]: { PTR: ["x.test", "mx.test"] }, "mx.test": { A: ["192.0.2.1"] } }, "pass", "mx.test"],
    [{ [name]: { PTR: ["mx.test"] }, "mx.test": "timeout" }, "error", "mx.test"],
    [{ [name]: "servfail" }, "error", ""],
  ];
  for (const [zone, result, found] of table) {
    assert.deepEqual(await checkReverseDns("192.0.2.1", contextFor(zone)), { result, name: found });
  }
  const six = "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa";
  const zone = { [six]: { PTR: ["mx.test"] }, "mx.test": { AAAA: ["2001:db8:0::1"] } };
  assert.equal((await checkReverseDns("2001:db8::1", contextFor(zone))).result, "pass");
});

test("at most ten names of a client are tried", async () => {
  const names = Array.from({ length: 500 }, (_, i) => `n${i}.test`);
  const ctx = contextFor({ "1.2.0.192.in-addr.arpa": { PTR: names } });
  assert.equal((await checkReverseDns("192.0.2.1", ctx)).result, "neutral");
  assert.equal(ctx.asked.length, 11);
});

test("the sender's domain needs an MX", async () => {
  const zone: TestZone = {
    "mx.test": { MX: [{ preference: 1, exchange: "a.test" }] },
    "null.test": { MX: [{ preference: 0, exchange: "" }] },
    "a.test": { A: ["192.0.2.1"] },
    "slow.test": "timeout",
  };
  const run = (domain: string, implicit = false) => checkSenderMx(domain, contextFor(zone), { implicit });
  assert.equal(await run(""), "pass");
  assert.equal(await run("mx.test"), "pass");
  assert.equal(await run("null.test"), "fail");
  assert.equal(await run("a.test"), "fail");
  assert.equal(await run("a.test", true), "pass");
  assert.equal(await run("none.test", true), "fail");
  assert.equal(await run("slow.test"), "error");
});

test("a block list is asked with reversed labels and only 127/8 counts", async () => {
  const zone: TestZone = {
    "1.113.0.203.bl.test": { A: ["127.0.0.2"], TXT: ["listed\r\n250 see http://bl.test/"] },
    "2.113.0.203.bl.test": { A: ["127.255.255.254"] },
    "3.113.0.203.bl.test": { A: ["203.0.113.99"] },
    "4.113.0.203.bl.test": "servfail",
    "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.bl.test": { A: ["127.0.0.3"] },
  };
  const ctx = contextFor(zone);
  const hit = await checkDnsbl("203.0.113.1", "bl.test", ctx);
  assert.equal(hit.address, "127.0.0.2");
  assert.equal(hit.explanation, "listed 250 see http://bl.test/");
  assert.equal((await checkDnsbl("203.0.113.2", "bl.test", ctx)).address, "");
  assert.equal((await checkDnsbl("203.0.113.3", "bl.test", ctx)).address, "");
  assert.deepEqual(await checkDnsbl("203.0.113.4", "bl.test", ctx), { address: "", explanation: "", failed: true });
  assert.equal((await checkDnsbl("2001:db8::1", "bl.test", ctx)).address, "127.0.0.3");
  assert.equal((await checkDnsbl("::ffff:203.0.113.1", "bl.test", ctx)).address, "127.0.0.2");
});

test("private addresses are never asked for", async () => {
  const ctx = contextFor({});
  for (const ip of ["10.0.0.1", "127.0.0.1", "192.168.1.1", "::1", "fe80::1", "fd00::1", "nonsense"]) {
    assert.equal((await checkDnsbl(ip, "bl.test", ctx)).address, "");
  }
  assert.deepEqual(ctx.asked, []);
});

test("several lists have weights, return codes and a skip list", async () => {
  const zone: TestZone = {
    "1.113.0.203.a.test": { A: ["127.0.0.4"] },
    "1.113.0.203.b.test": { A: ["127.0.0.9"] },
    "1.113.0.203.white.test": { A: ["127.0.5.1"] },
    "1.113.0.203.down.test": "timeout",
  };
  const lists = [
    { zone: "a.test", weight: 3, codes: ["127.0.0.4"] },
    { zone: "b.test", weight: 5, codes: ["127.0.0.0/29"] },
    { zone: "white.test", weight: -2, codes: [] },
    { zone: "down.test", weight: 7, codes: [] },
  ];
  const result = await checkDnsLists("203.0.113.1", lists, [], contextFor(zone));
  assert.equal(result.score, 1);
  assert.deepEqual(
    result.hits.map(({ zone: name }) => name),
    ["a.test", "white.test"],
  );
  assert.deepEqual(result.failed, ["down.test"]);
  const skipped = await checkDnsLists("203.0.113.1", lists, [parseNetwork("203.0.113.0/24")!], contextFor(zone));
  assert.deepEqual(skipped, { score: 0, hits: [], failed: [] });
});

test("links are found, reduced to registrable domains, and limited", () => {
  const text =
    'see <a href="HTTP://user:pw@Sub.Shop.Example.co.uk:8080/x?y">, http://203.0.113.7/, www.other.example.org. ' +
    "mailto:a@b.test http://[::1]/ https://bücher.example/";
  assert.deepEqual(
    linkedNames(text, 20),
    ["example.co.uk", "203.0.113.7", "bücher.example", "example.org"].map((name) =>
      name === "bücher.example" ? "xn--bcher-kva.example" : name,
    ),
  );
  const many = Array.from({ length: 100 }, (_, i) => `http://d${i}.test/`).join(" ");
  assert.equal(linkedNames(many, 20).length, 20);
});

test("a URI list is asked about each name", async () => {
  const ctx = contextFor({
    "bad.test.uri.test": { A: ["127.0.0.2"], TXT: ["bad"] },
    "7.113.0.203.uri.test": { A: ["127.0.0.4"] },
  });
  const hits = await checkUriLists("http://www.bad.test/ http://good.test/ http://203.0.113.7/", ["uri.test"], ctx);
  assert.deepEqual(
    hits.map(({ name, address }) => [name, address]),
    [
      ["bad.test", "127.0.0.2"],
      ["203.0.113.7", "127.0.0.4"],
    ],
  );
});

test("scripts ask the configured lists: score, names, failures", async () => {
  const zone: TestZone = {
    "1.113.0.203.bl.test": { A: ["127.0.0.2"] },
    "1.113.0.203.wl.test": { A: ["127.0.0.1"] },
    "2.113.0.203.bl.test": "timeout",
    "2.113.0.203.wl.test": "servfail",
    "bad.test.uri.test": { A: ["127.0.0.2"] },
  };
  const ask = (settings: object) =>
    createFactSource({
      ctx: contextFor(zone),
      state: memoryState(),
      geoip: undefined,
      greylist: undefined,
      ...settings,
    });
  const client =
    (ip: string, user = "") =>
    (name: string) =>
      ({ remoteSmtpIp: ip, authUser: user })[name] ?? "";
  const zones = [
    { zone: "bl.test", weight: 5, codes: [] },
    { zone: "wl.test", weight: -2, codes: [] },
  ];
  const facts = ask({ dnsLists: { zones, skip: [parseNetwork("203.0.114.0/24")!], uriZones: ["uri.test"] } });
  const listed = { DNSListScore: "3", DNSListHits: "bl.test wl.test" };
  assert.deepEqual(await facts.call("checkDNSLists", client("203.0.113.1")), listed);
  const clear = { DNSListScore: "0", DNSListHits: "" };
  assert.deepEqual(await facts.call("checkDNSLists", client("203.0.113.1", "alice")), clear, "logged in");
  assert.deepEqual(await facts.call("checkDNSLists", client("203.0.114.1")), clear, "skipped");
  await assert.rejects(facts.call("checkDNSLists", client("203.0.113.2")), /no list answered/);
  assert.deepEqual(await ask({}).call("checkDNSLists", client("203.0.113.1")), clear, "none configured");

  await assert.rejects(facts.call("checkURILists", client("")), /no message/);
  const encoded = Buffer.from("see http://www.bad.test/ and http://good.test/").toString("base64");
  const message = (before: string) =>
    Buffer.from(`MIME-Version: 1.0\r\nContent-Transfer-Encoding: base64\r\n\r\n${before}${encoded}\r\n`);
  facts.setMessage(() => message(""));
  assert.deepEqual(await facts.call("checkURILists", client("")), { URIListHits: "bad.test" });
  facts.setMessage(() => message(`${"QUFB".repeat(19)}\r\n`.repeat(15_000)));
  assert.deepEqual(await facts.call("checkURILists", client("")), { URIListHits: "" }, "beyond the first MiB");
});
