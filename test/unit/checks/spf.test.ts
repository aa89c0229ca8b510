import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { checkSpf } from "../../../src/checks/spf/check.ts";
import { receivedSpf, spfExplanation } from "../../../src/checks/spf/received.ts";
import { contextFor, type TestZone } from "./zone.ts";

const txt = (text: string) => ({ TXT: [text] });
const sender = { ip: "192.0.2.1", helo: "mail.example.org", mailFrom: "alice@example.com" };

async function resultOf(zone: TestZone, input: Partial<typeof sender> = {}) {
  return checkSpf({ ...sender, ...input }, contextFor(zone));
}

test("results of simple records", async () => {
  const table: Array<[string, string, string?]> = [
    ["v=spf1 ip4:192.0.2.0/24 -all", "pass"],
    ["v=spf1 ip4:198.51.100.0/24 -all", "fail"],
    ["v=spf1 ~all", "softfail"],
    ["v=spf1 ?all", "neutral"],
    ["v=spf1", "neutral"],
    ["v=spf10 -all", "none"],
    ["V=SPF1 IP4:192.0.2.1 -ALL", "pass"],
    ["v=spf1 ip6:2001:db8::/32 -all", "pass", "2001:db8::1"],
    ["v=spf1 ip4:192.0.2.1 -all", "pass", "::ffff:192.0.2.1"],
    ["v=spf1 ip4:192.0.2.1/33 -all", "permerror"],
    ["v=spf1 ip4:192.0.2.1/024 -all", "permerror"],
    ["v=spf1 ip4:192.0.2 -all", "permerror"],
    ["v=spf1 all:example.com", "permerror"],
    ["v=spf1 unknown:x -all", "permerror"],
    ["v=spf1 x-mod=%{d} ip4:192.0.2.1 -all", "pass"],
    ["v=spf1 x-mod=%{bad ip4:192.0.2.1 -all", "permerror"],
    ["v=spf1 redirect=a.test redirect=b.test", "permerror"],
    ["v=spf1 a:%{d0}.test -all", "permerror"],
    ["v=spf1 a:exa%mple.test -all", "permerror"],
    ["v=spf1 exists:%{c}.test -all", "permerror"],
    ["v=spf1 a:caf\u00e9.test -all", "permerror"],
  ];
  for (const [record, expected, ip] of table) {
    const spf = await resultOf({ "example.com": txt(record) }, ip === undefined ? {} : { ip });
    assert.equal(spf.result, expected, `${record}: ${spf.problem}`);
  }
});

test("the null sender stands for postmaster at the HELO name", async () => {
  const spf = await resultOf(
    {
      "mail.example.org": txt("v=spf1 exists:%{l}.%{o}.test -all"),
      "postmaster.mail.example.org.test": { A: ["127.0.0.2"] },
    },
    { mailFrom: "" },
  );
  assert.deepEqual([spf.result, spf.identity, spf.sender], ["pass", "helo", "postmaster@mail.example.org"]);
});

test("DNS failure is a temperror, two records a permerror", async () => {
  assert.equal((await resultOf({ "example.com": "timeout" })).result, "temperror");
  assert.equal((await resultOf({ "example.com": { TXT: ["v=spf1 -all", "v=spf1 +all"] } })).result, "permerror");
  assert.equal(
    (await resultOf({ "example.com": txt("v=spf1 a:x.test -all"), "x.test": "servfail" })).result,
    "temperror",
  );
});

test("ten terms may ask DNS, the eleventh is a permerror", async () => {
  const zone: TestZone = {};
  for (let i = 0; i < 12; i++) zone[`i${i}.test`] = txt("v=spf1 ?all");
  const includes = (count: number) => Array.from({ length: count }, (_, i) => `include:i${i}.test`).join(" ");
  assert.equal((await resultOf({ ...zone, "example.com": txt(`v=spf1 ${includes(10)} -all`) })).result, "fail");
  const spf = await resultOf({ ...zone, "example.com": txt(`v=spf1 ${includes(11)} -all`) });
  assert.equal(spf.result, "permerror");
  assert.match(spf.problem, /10 terms/);
});

test("loops of include and redirect end at the limit", async () => {
  for (const [record, other] of [
    ["v=spf1 redirect=example.com", ""],
    ["v=spf1 redirect=b.test", "v=spf1 redirect=example.com"],
    ["v=spf1 include:example.com -all", ""],
    ["v=spf1 include:b.test -all", "v=spf1 include:example.com -all"],
  ] as const) {
    const spf = await resultOf({ "example.com": txt(record), "b.test": txt(other) });
    assert.deepEqual([spf.result, spf.problem], ["permerror", "more than 10 terms that need DNS"], record);
  }
});

test("include and redirect answer what the record there says, or are an error", async () => {
  const table: Array<[string, string, string]> = [
    ["v=spf1 include:b.test ?all", "v=spf1 +all", "pass"],
    ["v=spf1 include:b.test ?all", "v=spf1 -all", "neutral"],
    ["v=spf1 include:b.test ?all", "v=spf1 ~all", "neutral"],
    ["v=spf1 include:b.test ?all", "v=spf1 ?all", "neutral"],
    ["v=spf1 include:b.test ?all", "not spf", "permerror"],
    ["v=spf1 include:b.test ?all", "v=spf1 wrong", "permerror"],
    ["v=spf1 redirect=b.test", "v=spf1 ~all", "softfail"],
    ["v=spf1 redirect=b.test", "not spf", "permerror"],
    ["v=spf1 redirect=b.test ?all", "v=spf1 -all", "neutral"],
  ];
  for (const [record, other, expected] of table) {
    const spf = await resultOf({ "example.com": txt(record), "b.test": txt(other) });
    assert.equal(spf.result, expected, `${record} with ${other}`);
  }
  const down = await resultOf({ "example.com": txt("v=spf1 include:b.test ?all"), "b.test": "timeout" });
  assert.equal(down.result, "temperror");
});

test("every macro letter and transformer is expanded", async () => {
  const table: Array<[string, string]> = [
    ["%{s}", "alice.b-c@example.com"],
    ["%{l}", "alice.b-c"],
    ["%{l-}", "alice.b.c"],
    ["%{lr-}", "c.alice.b"],
    ["%{l1r-}", "alice.b"],
    ["%{o}", "example.com"],
    ["%{d}", "example.com"],
    ["%{d1}", "com"],
    ["%{dr}", "com.example"],
    ["%{d9}", "example.com"],
    ["%{i}", "192.0.2.1"],
    ["%{ir}", "1.2.0.192"],
    ["%{v}", "in-addr"],
    ["%{h}", "mail.example.org"],
    ["%{p}", "mail.example.com"],
    ["%%%_%-", "% %20"],
  ];
  for (const [macro, expanded] of table) {
    const spf = await resultOf(
      {
        "example.com": txt(`v=spf1 exists:${macro}.x.test -all`),
        [`${expanded}.x.test`]: { A: ["127.0.0.2"] },
        "1.2.0.192.in-addr.arpa": { PTR: ["other.test", "mail.example.com"] },
        "mail.example.com": { A: ["192.0.2.1"] },
        "other.test": { A: ["192.0.2.1"] },
      },
      { mailFrom: "alice.b-c@example.com" },
    );
    assert.equal(spf.result, "pass", `${macro} is not ${expanded}`);
  }
});

test("%{p} of a client without a confirmed name is unknown", async () => {
  const record = { "example.com": txt("v=spf1 exists:%{p}.x.test -all"), "unknown.x.test": { A: ["127.0.0.2"] } };
  assert.equal((await resultOf(record)).result, "pass");
  const liar = { "1.2.0.192.in-addr.arpa": { PTR: ["liar.test"] }, "liar.test": { A: ["203.0.113.1"] } };
  assert.equal((await resultOf({ ...record, ...liar })).result, "pass");
  const silent = { "1.2.0.192.in-addr.arpa": "timeout" as const };
  assert.equal((await resultOf({ ...record, ...silent })).result, "pass");
});

test("exp= is asked for where the failing record is, and left out when it can't be had", async () => {
  const explanationOf = async (zone: TestZone) => (await resultOf(zone)).explanation;
  const base = { "example.com": txt("v=spf1 -all exp=e.test"), "e.test": txt("%{i} is not one of %{d}'s, says %{r}") };
  assert.match(await explanationOf(base), /^192\.0\.2\.1 is not one of example\.com's, says /);
  for (const change of [
    { "e.test": { TXT: ["one", "two"] } },
    { "e.test": "timeout" as const },
    { "e.test": { TXT: [] } },
    { "e.test": txt("%{broken") },
  ]) {
    assert.equal(await explanationOf({ ...base, ...change }), "", JSON.stringify(change));
  }
  // §6.2: of the redirected record; never of an included one.
  const redirected = {
    "example.com": txt("v=spf1 redirect=b.test exp=e.test"),
    "b.test": txt("v=spf1 -all exp=f.test"),
  };
  assert.equal(await explanationOf({ ...base, ...redirected, "f.test": txt("of %{d}") }), "of b.test");
  const included = { "example.com": txt("v=spf1 include:b.test -all"), "b.test": txt("v=spf1 -all exp=f.test") };
  assert.equal(await explanationOf({ ...base, ...included, "f.test": txt("never") }), "");
});

test("an include bomb ends at the limit", async () => {
  const zone: TestZone = { "example.com": txt("v=spf1 include:example.com include:example.com -all") };
  const ctx = contextFor(zone);
  assert.equal((await checkSpf(sender, ctx)).result, "permerror");
  assert.ok(ctx.asked.length <= 12, `${ctx.asked.length} queries`);
});

test("a record beyond its limit is a permerror, an explanation is left out", async () => {
  const padded = (length: number) => txt(`v=spf1 -all exp=exp.test`.padEnd(length, " "));
  const exp = { "exp.test": txt("x".repeat(16_385)) };
  const allowed = await resultOf({ "example.com": padded(16_384), ...exp });
  assert.deepEqual([allowed.result, allowed.explanation], ["fail", ""]);
  assert.equal((await resultOf({ "example.com": padded(16_385) })).result, "permerror");
});

test("two void look-ups are allowed, the third is a permerror", async () => {
  assert.equal((await resultOf({ "example.com": txt("v=spf1 a:v1.test a:v2.test -all") })).result, "fail");
  assert.equal(
    (await resultOf({ "example.com": txt("v=spf1 a:v1.test a:v2.test mx:v3.test -all") })).result,
    "permerror",
  );
});

test("more than ten MX names are a permerror", async () => {
  const mx = (count: number) => Array.from({ length: count }, (_, i) => ({ preference: i, exchange: `m${i}.test` }));
  const hosts = Object.fromEntries(Array.from({ length: 11 }, (_, i) => [`m${i}.test`, { A: ["198.51.100.1"] }]));
  const run = async (count: number) =>
    (await resultOf({ ...hosts, "example.com": { TXT: ["v=spf1 mx -all"], MX: mx(count) } })).result;
  assert.equal(await run(10), "fail");
  assert.equal(await run(11), "permerror");
});

test("only the first ten PTR names count", async () => {
  const names = Array.from({ length: 11 }, (_, i) => `p${i}.example.com`);
  const zone: TestZone = {
    "example.com": txt("v=spf1 ptr -all"),
    "1.2.0.192.in-addr.arpa": { PTR: names },
    "p10.example.com": { A: ["192.0.2.1"] },
  };
  assert.equal((await resultOf(zone)).result, "fail");
  assert.equal((await resultOf({ ...zone, "p9.example.com": { A: ["192.0.2.1"] } })).result, "pass");
});

test("the explanation is expanded, and made harmless", async () => {
  const zone: TestZone = {
    "example.com": txt("v=spf1 -all exp=exp.test"),
    "exp.test": txt("%{i} is not one of %{d}'s; %{c} %{r}\r\n250 ok"),
  };
  assert.equal((await resultOf(zone)).explanation, "");
  zone["exp.test"] = txt("%{i} is not one of %{d}'s, %{l}, %{r}");
  assert.equal((await resultOf(zone)).explanation, "192.0.2.1 is not one of example.com's, alice, mx.example.net");
  const evil = await resultOf(zone, { mailFrom: 'a\r\n250 ok"@example.com' });
  assert.doesNotMatch(evil.explanation, /[\r\n]/);
});

test("without exp= the explanation is ours", async () => {
  const fail = await resultOf({ "example.com": txt("v=spf1 -all") });
  assert.equal(
    spfExplanation(fail, "192.0.2.1"),
    "domain of alice@example.com does not designate 192.0.2.1 as permitted sender",
  );
  assert.equal(spfExplanation({ ...fail, explanation: "go away" }, "192.0.2.1"), "go away");
  assert.equal(spfExplanation({ ...fail, result: "pass" }, "192.0.2.1"), "");
  assert.doesNotMatch(spfExplanation({ ...fail, sender: "a\r\nb@c" }, "192.0.2.1"), /[\r\n]/);
});

test("Received-SPF names what was checked and can't be broken out of", async () => {
  const input = { ip: "192.0.2.1", helo: 'evil"; x=(y)\r\nBcc: z', mailFrom: "alice@example.com" };
  const spf = await checkSpf(input, contextFor({ "example.com": txt("v=spf1 ip4:192.0.2.1 -all") }));
  const header = receivedSpf(spf, input, "mx.example.net");
  assert.doesNotMatch(header, /[\r\n]/);
  assert.match(
    header,
    /^pass \(mx\.example\.net: domain of alice@example\.com designates 192\.0\.2\.1 as permitted sender\) /,
  );
  assert.match(header, /client-ip=192\.0\.2\.1; envelope-from="alice@example\.com"; helo="evil\\"; x=\(y\)/);
  assert.match(header, /identity=mailfrom; receiver=mx\.example\.net;$/);
});

test("no record makes the check throw", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(
        fc.oneof(
          fc.constantFrom(
            "a",
            "mx",
            "-all",
            "include:",
            "exists:%{",
            "ip4:",
            "ip6:",
            "redirect=",
            "exp=",
            "%{i}",
            "/24",
            "//64",
            "ptr:",
          ),
          fc.string({ maxLength: 12 }),
        ),
        { maxLength: 12 },
      ),
      fc.string({ maxLength: 30 }),
      async (terms, local) => {
        const spf = await resultOf(
          { "example.com": txt(`v=spf1 ${terms.join(" ")}`) },
          { mailFrom: `${local}@example.com` },
        );
        assert.match(spf.result, /^(pass|fail|softfail|neutral|none|temperror|permerror)$/);
      },
    ),
    { numRuns: 300, seed: 1 },
  );
});
