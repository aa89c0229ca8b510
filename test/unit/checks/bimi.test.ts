import assert from "node:assert/strict";
import { test } from "node:test";
import { authenticate } from "../../../src/checks/authenticate.ts";
import { checkBimi } from "../../../src/checks/bimi.ts";
import { readMessage } from "../../../src/checks/message.ts";
import { contextFor, type TestZone } from "./zone.ts";

const txt = (...texts: string[]) => ({ TXT: texts });
const base: TestZone = {
  "example.com": txt("v=spf1 ip4:192.0.2.1 -all"),
  "news.example.com": txt("v=spf1 ip4:192.0.2.1 -all"),
  "_dmarc.example.com": txt("v=DMARC1; p=quarantine"),
  "default._bimi.example.com": txt("v=BIMI1; l=https://example.com/logo.svg; a=https://example.com/mark.pem"),
};

async function bimiOf(change: TestZone, header = "", from = "a@example.com", ip = "192.0.2.1") {
  const ctx = contextFor({ ...base, ...change });
  const text = Buffer.from(`From: <${from}>\r\n${header}\r\nhello\r\n`);
  const { fields } = await readMessage(text, ctx.budget);
  const found = await authenticate(text, { ip, helo: "mx.example.com", mailFrom: from }, ctx);
  const { location, reason, result } = await checkBimi(fields, found, ctx);
  return { result, location, reason, asked: ctx.asked };
}

test("the record of the author's domain, or of the organization", async () => {
  const own = await bimiOf({});
  assert.deepEqual([own.result, own.location], ["pass", "https://example.com/logo.svg"]);
  const below = await bimiOf({}, "", "a@news.example.com");
  assert.deepEqual([below.result, below.location], ["pass", "https://example.com/logo.svg"]);
  const record = { "default._bimi.news.example.com": txt("v=BIMI1; l=https://news.example.com/n.svg") };
  assert.equal((await bimiOf(record, "", "a@news.example.com")).location, "https://news.example.com/n.svg");
});

test("a selector is taken from one good field", async () => {
  const record = { "brand._bimi.example.com": txt("v=BIMI1; l=https://example.com/brand.svg") };
  const chosen = await bimiOf(record, "BIMI-Selector: v=BIMI1; s=Brand;\r\n");
  assert.equal(chosen.location, "https://example.com/brand.svg");
  for (const field of [
    "BIMI-Selector: v=BIMI1; s=a.b\r\n",
    "BIMI-Selector: v=BIMI1\r\n",
    "BIMI-Selector: s=brand\r\n",
    "BIMI-Selector: v=BIMI1; s=brand\r\nBIMI-Selector: v=BIMI1; s=brand\r\n",
  ]) {
    assert.equal((await bimiOf(record, field)).result, "fail", field);
  }
});

test("without DMARC that passes and is enforced nothing is asked for", async () => {
  for (const [policy, ip] of [
    ["v=DMARC1; p=quarantine", "192.0.2.9"],
    ["v=DMARC1; p=none", "192.0.2.1"],
    ["v=DMARC1; p=reject; sp=none", "192.0.2.1"],
    ["v=DMARC1; p=quarantine; t=y", "192.0.2.1"],
    ["no record", "192.0.2.1"],
  ] as const) {
    const { asked, result } = await bimiOf({ "_dmarc.example.com": txt(policy) }, "", "a@example.com", ip);
    assert.equal(result, "none", policy);
    assert.ok(!asked.some((name) => name.includes("_bimi")), policy);
  }
  assert.equal((await bimiOf({ "_dmarc.example.com": "timeout" })).result, "temperror");
});

test("records that decline, are broken, or can't be had", async () => {
  const table: Array<[TestZone[string], string]> = [
    [txt(), "none"],
    [txt("v=BIMI2; l=https://example.com/x.svg"), "none"],
    [txt("v=BIMI1; l=; a=;"), "none"],
    [txt("v=BIMI1; l="), "none"],
    [txt("v=BIMI1"), "fail"],
    [txt("v=BIMI1; l=http://example.com/x.svg"), "fail"],
    [txt("v=BIMI1; l=https://exa mple.com/x.svg"), "fail"],
    [txt("v=BIMI1; l=https://example.com/x.svg; a=self"), "fail"],
    [txt("v=BIMI1; l=; a=https://example.com/m.pem"), "fail"],
    [txt(`v=BIMI1; l=https://example.com/${"x".repeat(3_000)}`), "fail"],
    [txt("v=BIMI1; l=https://a.test/", "v=BIMI1; l=https://b.test/"), "fail"],
    ["servfail", "temperror"],
  ];
  for (const [record, expected] of table) {
    const { location, result } = await bimiOf({ "default._bimi.example.com": record });
    assert.deepEqual([result, location], [expected, ""], JSON.stringify(record).slice(0, 100));
  }
});
