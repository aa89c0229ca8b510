import assert from "node:assert/strict";
import { test } from "node:test";
import { checkDmarc, type DmarcInput } from "../../../src/checks/dmarc/check.ts";
import { parseDmarcRecord } from "../../../src/checks/dmarc/record.ts";
import { walkNames } from "../../../src/checks/dmarc/walk.ts";
import { contextFor, type TestZone } from "./zone.ts";

const txt = (...texts: string[]) => ({ TXT: texts });

async function run(zone: TestZone, input: Partial<DmarcInput> & { from?: string }) {
  const { from = "example.com", ...rest } = input;
  return checkDmarc({ fromDomains: [from], dkim: [], spfDomain: "", ...rest }, contextFor(zone));
}

test("the walk takes at most eight names", () => {
  assert.deepEqual(walkNames("example.com"), ["example.com", "com"]);
  const names = walkNames("a.b.c.d.e.f.g.h.i.example.com");
  assert.equal(names.length, 8);
  assert.equal(names[1], "e.f.g.h.i.example.com".split(".").slice(-7).join("."));
  assert.equal(walkNames("b.c.d.e.f.g.h.com").length, 8);
});

test("alignment: relaxed by organization, strict by equality", async () => {
  const relaxed = { "_dmarc.example.com": txt("v=DMARC1; p=reject") };
  const strict = { "_dmarc.example.com": txt("v=DMARC1; p=reject; adkim=s; aspf=s") };
  const signed = (domain: string) => ({ dkim: [{ domain }] });
  assert.equal((await run(relaxed, { from: "mail.example.com", ...signed("example.com") })).result, "pass");
  assert.equal((await run(relaxed, { from: "mail.example.com", spfDomain: "bounce.example.com" })).result, "pass");
  assert.equal((await run(strict, { from: "mail.example.com", ...signed("example.com") })).result, "fail");
  assert.equal((await run(strict, signed("EXAMPLE.com"))).result, "pass");
  assert.equal((await run(relaxed, signed("example.org"))).result, "fail");
  assert.equal((await run(relaxed, signed("notexample.com"))).result, "fail");
  assert.equal((await run(relaxed, {})).result, "fail");
});

test("psd=y makes the name below it the organization; siblings are strangers", async () => {
  const zone = {
    "_dmarc.co.test": txt("v=DMARC1; p=quarantine; psd=y; np=reject; sp=none"),
    "a.co.test": { A: ["192.0.2.1"] },
  };
  const stranger = await run(zone, { from: "a.co.test", dkim: [{ domain: "b.co.test" }] });
  assert.deepEqual([stranger.result, stranger.domain, stranger.policy], ["fail", "co.test", "none"]);
  assert.equal((await run(zone, { from: "x.a.co.test", dkim: [{ domain: "y.a.co.test" }] })).result, "pass");
  assert.equal((await run(zone, { from: "absent.co.test" })).policy, "reject");
});

test("psd=n ends the walk below the organization above", async () => {
  const zone = {
    "_dmarc.unit.example.com": txt("v=DMARC1; p=reject; psd=n"),
    "_dmarc.example.com": txt("v=DMARC1; p=none"),
  };
  const result = await run(zone, { from: "a.unit.example.com", dkim: [{ domain: "example.com" }] });
  assert.deepEqual([result.result, result.domain, result.policy], ["fail", "unit.example.com", "reject"]);
});

test("which policy applies", async () => {
  const record = "v=DMARC1; p=reject; sp=quarantine; np=none";
  const zone = {
    "_dmarc.example.com": txt(record),
    "sub.example.com": { MX: [] },
    "below.sub.example.com": { A: ["192.0.2.1"] },
  };
  assert.equal((await run(zone, {})).policy, "reject");
  assert.equal((await run(zone, { from: "sub.example.com" })).policy, "quarantine");
  assert.equal((await run(zone, { from: "absent.example.com" })).policy, "none");
  const testing = { "_dmarc.example.com": txt("v=DMARC1; p=reject; t=y") };
  assert.equal((await run(testing, {})).policy, "quarantine");
});

test("records that are none", async () => {
  for (const text of [
    "v=DMARC2; p=reject",
    "p=reject; v=DMARC1",
    "v=DMARC1",
    "v=DMARC1; p=maybe",
    "v=dmarc1; p=none",
  ]) {
    assert.equal(parseDmarcRecord(text), undefined, text);
  }
  const lenient = parseDmarcRecord(
    "v=DMARC1;p=Reject;sp=junk;;x=y;rua=mailto:a@b.test!10m,https://c.test,mailto:d%40e@f.test",
  )!;
  assert.deepEqual(
    [lenient.p, lenient.sp, lenient.rua.map(({ address }) => address)],
    ["reject", undefined, ["a@b.test", "d@e@f.test"]],
  );
  assert.equal(parseDmarcRecord("V=DMARC1; P=reject")!.p, "reject");
  assert.equal(parseDmarcRecord("v=DMARC1; rua=mailto:a@b.test")!.p, "none");
  assert.equal((await run({ "_dmarc.example.com": txt("v=DMARC1; p=none", "v=DMARC1; p=reject") }, {})).result, "none");
});

test("report addresses are limited", () => {
  const many = Array.from({ length: 50 }, (_, i) => `mailto:a${i}@b.test`).join(",");
  assert.equal(parseDmarcRecord(`v=DMARC1; p=none; rua=${many}`)!.rua.length, 10);
});

test("no author, a broken one, or too many of them", async () => {
  const ctx = contextFor({});
  const check = (fromDomains: string[]) => checkDmarc({ fromDomains, dkim: [], spfDomain: "" }, ctx);
  assert.equal((await check([])).result, "permerror");
  assert.equal((await check(["exa mple.com"])).result, "permerror");
  assert.equal((await check(["a.test", "b.test", "c.test", "d.test", "e.test"])).result, "permerror");
  assert.equal((await check(["a.test", "b.test"])).result, "none");
  assert.equal((await run({ "_dmarc.example.com": "timeout" }, {})).result, "temperror");
});

test("of several authors the worst counts", async () => {
  const zone = { "_dmarc.a.test": txt("v=DMARC1; p=none"), "_dmarc.b.test": txt("v=DMARC1; p=reject") };
  const result = await checkDmarc(
    { fromDomains: ["a.test", "b.test"], dkim: [{ domain: "a.test" }], spfDomain: "" },
    contextFor(zone),
  );
  assert.deepEqual([result.result, result.fromDomain], ["fail", "b.test"]);
});

test("a name with many labels costs few queries", async () => {
  const ctx = contextFor({});
  await checkDmarc({ fromDomains: [`${"a.".repeat(100)}example.com`], dkim: [], spfDomain: "" }, ctx);
  assert.equal(ctx.asked.length, 8);
});
