/** Every diagnostic has a script that shows it, at its place, and a near miss that doesn't. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { budgetWith } from "../../../src/config/budget.ts";
import { type Code, codes } from "../../../src/policy/codes.ts";
import { compilePolicy } from "../../../src/policy/compile.ts";

interface Case {
  /** ⟦…⟧ stands around what the diagnostic points at. */
  shows: string;
  /** A script that is close and clean of this code. */
  clean?: string;
  strict?: true;
  hint?: RegExp;
}

const mail = (body: string): string => `event onMailFrom { ${body} }`;

const cases: Record<Code, Case> = {
  P001: {
    shows: "event onConnect { set (a ⟦}⟧ }",
    clean: 'event onConnect { set (a, "b"); }',
  },
  P002: { shows: "event onConnect { ⟦'⟧x' }", hint: /double quotes/ },
  P003: { shows: 'event onConnect { set (a, ⟦"⟧b); }' },
  P004: { shows: "event onConnect { } ⟦/*⟧ open", clean: "event onConnect { } # closed" },
  P005: { shows: `event onConnect { if (${"anyOf (".repeat(61)}anyOf (is ⟦(⟧a, "b")` },
  P006: { shows: `${" ".repeat(1024 * 1024)} ` },
  P007: { shows: 'event onConnect { ⟦lgo⟧ ("x"); }', clean: 'event onConnect { log ("x"); }', hint: /log/ },
  P008: { shows: "" },
  P009: { shows: "" },
  P010: { shows: "event ⟦onConect⟧ { }", clean: "event ONCONNECT { }", hint: /onConnect/ },
  P011: { shows: "event onConnect { } event ⟦onconnect⟧ { }" },
  P012: { shows: "method a { } method ⟦A⟧ { }", clean: "method a { } method b { }" },
  P013: { shows: "method ⟦CheckSPF⟧ { }", clean: "method checkSPF2 { }" },
  P014: { shows: mail("call (⟦chekSPF⟧);"), clean: mail("call (checkSPF);"), hint: /checkSPF/ },
  P015: { shows: "event onConnect { call (a); } method a { call (b); } method b { call (⟦a⟧); }" },
  P016: { shows: mail('set (x, "⟦%y%⟧");'), clean: mail('set (y, "1"); set (x, "%y%");') },
  P017: { shows: mail('set (⟦smtpActoin⟧, "reject");'), clean: mail('set (SPFResult_0, "x");'), hint: /smtpAction/ },
  P018: {
    shows: mail('if (⟦equals⟧ (mailFrom, "a")) { export (mailFrom); }'),
    clean: mail('if (is (mailFrom, "a")) { }'),
  },
  P019: {
    shows: mail("if (is (mailFrom, ⟦ehloHost⟧)) { }"),
    clean: mail('if (is (mailFrom, "%ehloHost%")) { }'),
    hint: /%ehloHost%/,
  },
  P020: {
    shows: 'event onConnect { set (⟦maxDataSize⟧, "1"); }',
    clean: 'event onEhlo { set (maxDataSize, "1"); }',
    hint: /onEhlo/,
  },
  P021: { shows: mail('set (⟦mailFrom⟧, "x");') },
  P022: {
    shows: 'event onConnect { set (x, "⟦%mailFrom%⟧"); }',
    clean: mail('set (x, "%mailFrom%");'),
    hint: /onMailFrom/,
  },
  P023: { shows: "event onConnect { call (⟦addHeader⟧); }", clean: "event onDataReceived { call (addHeader); }" },
  P024: {
    shows: mail('if (⟦is (SPFResult, "fail")⟧) { log ("x"); }'),
    clean: `event onEhlo { call (checkSPF); } ${mail('if (is (SPFResult, "fail")) { log ("x"); }')}`,
  },
  P025: { shows: "event onRelay { call (⟦signDomainKey⟧); }", clean: "event onRelay { call (signDKIM); }" },
  P026: {
    shows: `event onConnect { set (x, "1"); } ${mail('log ("⟦%x%⟧");')}`,
    clean: `event onConnect { set (x, "1"); export (x); } ${mail('log ("%x%");')}`,
  },
  P030: {
    shows: 'event onEhlo { set (maxRcptCount, ⟦"1001"⟧); }',
    clean: 'event onEhlo { set (maxRcptCount, "1000"); }',
  },
  P031: { shows: mail('set (smtpAction, ⟦"rejct"⟧);'), clean: mail('set (smtpAction, "TempReject");'), hint: /reject/ },
  P032: { shows: mail('set (smtpExplanation, ⟦"nö"⟧);'), clean: mail('set (smtpExplanation, "no");') },
  P033: { shows: mail('if (match (mailFrom, ⟦"(a"⟧)) { }'), clean: mail('if (match (mailFrom, "(a)")) { }') },
  P034: {
    shows: mail('if (ipRange (remoteSmtpIp, ⟦"10.0.0.0/33"⟧)) { }'),
    clean: mail('if (ipRange (remoteSmtpIp, "10.0.0.0/255.0.0.0")) { }'),
  },
  P035: {
    shows: mail('if (greaterThan (mailSize, ⟦"1k"⟧)) { }'),
    clean: mail('if (greaterThan (mailSize, "-1")) { }'),
  },
  P036: { shows: mail(`log (⟦"${"%ehloHost%".repeat(257)}"⟧);`), clean: mail(`log ("${"%ehloHost%".repeat(256)}");`) },
  P037: { shows: mail('if (match (mailFrom, ⟦"^%ehloHost%"⟧)) { }') },
  P038: { shows: mail('set (smtpExplanation, ⟦"354 go on"⟧);'), clean: mail('set (smtpExplanation, "554 go on");') },
  P039: { shows: mail('if (rate ("k", ⟦"100 per hour"⟧)) { }'), clean: mail('if (rate ("k", "100/1h")) { }') },
  P040: {
    shows: mail('if (⟦allOf (is (mailFrom, "a"), is (mailFrom, "b"))⟧) { log ("x"); }'),
    clean: mail('if (anyOf (is (mailFrom, "a"), is (mailFrom, "b"))) { log ("x"); }'),
  },
  P042: {
    shows: mail('if (is (mailFrom, "a")) { log ("x"); } else if (⟦is (mailFrom, "a")⟧) { log ("y"); }'),
    clean: mail('if (is (mailFrom, "a")) { log ("x"); } else if (isCase (mailFrom, "a")) { log ("y"); }'),
  },
  P043: {
    shows: mail('if (is (mailFrom, "a")) { ⟦set (smtpAction, "reject");⟧ } set (smtpAction, "accept");'),
    clean: mail('set (smtpAction, "accept"); if (is (mailFrom, "a")) { set (smtpAction, "reject"); }'),
  },
  P044: { shows: "method ⟦a⟧ { }", clean: "event onConnect { call (a); } method a { }" },
  P045: { shows: mail('⟦if⟧ (is (mailFrom, "a")) { }'), clean: mail('if (is (mailFrom, "a")) { log ("x"); }') },
  P046: { shows: mail("⟦call (checkSPF);⟧"), clean: mail("call (checkSPF) onError ignore;") },
  P050: { shows: mail('⟦log⟧ ("x");'), clean: mail('set (x, "y");'), strict: true },
  P051: { shows: "⟦/*⟧ c */ event onConnect { }", clean: "# c\nevent onConnect { }" },
  P052: {
    shows: mail('if (is (⟦mailFrom⟧, "a")) { export (mailFromDomain); }'),
    clean: mail('if (is (mailFromDomain, "a")) { export (mailFromDomain); }'),
    strict: true,
  },
  P060: {
    shows: "# assert never ⟦acept⟧",
    clean: '# assert never accept when ehloHost is "a"',
  },
};

const diagnose = (source: string, strict = false) => compilePolicy(source, { file: "t.script", strict }).diagnostics;

for (const [code, { shows, clean, strict, hint }] of Object.entries(cases)) {
  if (shows === "") continue;
  test(`${code} ${codes[code as Code].title}`, () => {
    const marked = shows.indexOf("⟦");
    const source = shows.replace(/[⟦⟧]/g, "");
    const found = diagnose(source, strict).filter((diagnostic) => diagnostic.code === code);
    assert.ok(found.length > 0, `not shown by ${source.slice(0, 200)}`);
    if (marked >= 0) {
      assert.equal(found[0]!.span.start.offset, marked);
      if (shows.includes("⟧")) assert.equal(found[0]!.span.end.offset, shows.indexOf("⟧") - 1);
    }
    if (hint) assert.match(found[0]!.hint ?? "", hint);
    assert.equal(found[0]!.severity, codes[code as Code].severity);
    if (clean !== undefined) {
      assert.deepEqual(
        diagnose(clean, strict).filter((diagnostic) => diagnostic.code === code),
        [],
      );
    }
  });
}

test("P008 the expanded program is limited", () => {
  const budget = budgetWith({ rules: 10 });
  const source = `event onConnect { call (a); call (a); } method a { ${'log ("x");'.repeat(5)} }`;
  const result = compilePolicy(source, { file: "t", budget });
  assert.deepEqual(
    result.diagnostics.map((d) => d.code),
    ["P008"],
  );
  assert.ok(compilePolicy(source, { file: "t", budget: budgetWith({ rules: 12 }) }).ok);
});

test("P009 chains of calls are limited, and doubling methods don't take exponential time", () => {
  const chain = (length: number): string =>
    Array.from(
      { length },
      (_, i) => `method m${i} { ${i + 1 < length ? `call (m${i + 1}); call (m${i + 1});` : ""} }`,
    ).join("\n");
  const result = compilePolicy(`event onConnect { call (m0); } ${chain(66)}`, { file: "t" });
  assert.ok(result.diagnostics.some((d) => d.code === "P009"));
  const started = performance.now();
  const doubling = compilePolicy(`event onConnect { call (m0); } ${chain(40)}`, { file: "t" });
  assert.ok(doubling.diagnostics.some((d) => d.code === "P008"));
  assert.ok(performance.now() - started < 4_000);
});

test("P005 too many branches in one if", () => {
  const chain = (branches: number): string =>
    mail(Array.from({ length: branches }, (_, i) => `if (is (mailFrom, "${i}")) { log ("x"); }`).join(" else "));
  assert.deepEqual(diagnose(chain(1_000)), []);
  assert.ok(diagnose(chain(1_001)).some((d) => d.code === "P005"));
});

test("P021 is an error under --strict", () => {
  assert.equal(compilePolicy(mail('set (mailFrom, "x");'), { file: "t" }).ok, true);
  assert.equal(compilePolicy(mail('set (mailFrom, "x");'), { file: "t", strict: true }).ok, false);
});

test("constants in methods that nobody calls are checked too", () => {
  const found = diagnose('method off { if (match (ehloHost, "(")) { } set (maxRcptCount, "5000"); }').map(
    (d) => d.code,
  );
  assert.ok(found.includes("P033") && found.includes("P030"), found.join());
});

test("no more than a few hundred diagnostics, errors among them", () => {
  const many = mail(`${'log ("%nope%"); '.repeat(1_000)} call (nope);`);
  const found = diagnose(many);
  assert.ok(found.length <= 400);
  assert.ok(found.some((d) => d.code === "P014"));
});
