/** Sessions: how long values live, what is expanded when, look-ups that fail or are late, budgets, routes, effects. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { budgetWith } from "../../../src/config/budget.ts";
import type { EventResult } from "../../../src/policy/types.ts";
import { compiled, incoming, noFacts } from "./session.ts";

const none: EventResult = { action: "", explanation: "", origin: "", effects: [] };

test("an event without statements is empty and costs nothing", () => {
  const policy = compiled('event onConnect { } event onEhlo { set (maxDataSize, "5"); }');
  assert.equal(policy.isEmpty("onConnect"), true);
  assert.equal(policy.isEmpty("onRelay"), true);
  assert.equal(policy.isEmpty("onEhlo"), false);
  assert.deepEqual(policy.session("smtpIn", noFacts).run("onConnect"), none);
});

test("the hash is the text's", () => {
  const one = compiled('event onConnect { set (a, "1"); }');
  assert.equal(one.hash, compiled('event onConnect { set (a, "1"); }').hash);
  assert.notEqual(one.hash, compiled('event onConnect { set (a, "2"); }').hash);
});

test("smtpAction: the last one wins, its place is kept, both are cleared for the next command", () => {
  const session = incoming(
    `event onMailFrom {
  if (is (mailFrom, "bad")) { set (smtpAction, "reject"); set (smtpExplanation, "first"); }
  call (Second);
}
method Second {
  if (is (mailFromDomain, "d")) { set (smtpAction, "TempReject"); }
}`,
    {},
    { mailFrom: "bad", mailFromDomain: "d" },
  );
  const expected: EventResult = { action: "tmpreject", explanation: "first", origin: "Second:6", effects: [] };
  assert.deepEqual(session.run("onMailFrom"), expected);
  session.input("mailFrom", "good");
  session.input("mailFromDomain", "e");
  assert.deepEqual(session.run("onMailFrom"), none);
});

test("settings live for the session, ignored values leave the old one and are told", async () => {
  const ignored: string[] = [];
  const session = incoming(
    'event onEhlo { set (maxRcptCount, " 7 "); set (maxDataSize, "%ehloHost%"); set (localDelivery, "%ehloHost%"); }',
    { ignored: (variable, value) => ignored.push(`${variable}=${value}`) },
    { ehloHost: "AUTH" },
  );
  await session.run("onEhlo");
  session.resetMessage();
  assert.equal(session.read("maxrcptcount"), "7");
  assert.equal(session.read("maxDataSize"), "10240");
  assert.equal(session.read("localDelivery"), "auth");
  assert.equal(session.read("remoteDelivery"), "auth");
  assert.deepEqual(ignored, ["maxDataSize=AUTH"]);
});

test("own variables: a method sees its caller's, changes them, and its own end with it", () => {
  const session = incoming(`event onConnect {
    set (a, "1");
    call (m);
    set (smtpExplanation, "a=%a% b=%b%");
  }
  event onEhlo { set (smtpExplanation, "a=%a%"); }
  method m { set (a, "%a%2"); set (b, "x"); set (smtpGreeting, "%b%"); }`);
  assert.equal((session.run("onConnect") as EventResult).explanation, "a=12 b=");
  assert.equal(session.read("smtpGreeting"), "x");
  assert.equal((session.run("onEhlo") as EventResult).explanation, "a=");
});

test("a variable of a method starts empty at each call and each event", () => {
  const session = incoming(
    'event onMailFrom { call (m); } method m { if (is (mailFrom, "x")) { set (v, "set"); } set (smtpExplanation, "[%v%]"); }',
  );
  session.input("mailFrom", "x");
  assert.equal((session.run("onMailFrom") as EventResult).explanation, "[set]");
  session.input("mailFrom", "y");
  assert.equal((session.run("onMailFrom") as EventResult).explanation, "[]");
});

test("exports: session-level ones outlive the message, message-level ones don't, a later set changes the copy", async () => {
  const policy = compiled(`event onConnect { set (s, "session"); export (s); }
  event onMailFrom { set (m, "one"); export (m); set (m, "two"); export (mailFromDomain); }
  event onRcptTo { set (smtpExplanation, "%s% %m%"); set (m, "local"); }
  event onRelay { set (remoteSmtpHost, "%s%.%m%.%mailFromDomain%.%mailFrom%"); }`);
  const session = policy.session("smtpIn", noFacts);
  await session.run("onConnect");
  session.input("mailFromDomain", "d.example");
  session.input("mailFrom", "a@d.example");
  await session.run("onMailFrom");
  assert.equal((session.run("onRcptTo") as EventResult).explanation, "session two");
  const exports = session.exports();
  assert.deepEqual(exports, { s: "session", m: "two", mailFromDomain: "d.example" });
  const out = policy.session("smtpOut", noFacts, JSON.parse(JSON.stringify(exports)));
  await out.run("onRelay");
  assert.equal(out.route()?.host, "session.two.d.example.");
  session.resetMessage();
  assert.deepEqual(session.exports(), { s: "session" });
  assert.equal((session.run("onRcptTo") as EventResult).explanation, "session ");
});

test("an export not reached exports nothing", async () => {
  const session = incoming('event onMailFrom { set (m, "1"); if (is (mailFrom, "x")) { export (m); } set (m, "2"); }');
  await session.run("onMailFrom");
  assert.deepEqual(session.exports(), {});
  session.input("mailFrom", "x");
  await session.run("onMailFrom");
  assert.deepEqual(session.exports(), { m: "2" });
});

test("expansion is once, and values from outside hold no control characters", () => {
  const session = incoming(
    'event onEhlo { set (smtpExplanation, "%ehloHost% 100% %nope%|%%"); }',
    {},
    { ehloHost: "%smtpIp%\r\n250 \x00ok" },
  );
  assert.equal((session.run("onEhlo") as EventResult).explanation, "%smtpIp% 250  ok 100% |%");
});

test("a look-up that answers at once keeps the event synchronous; a promise makes it asynchronous", async () => {
  const source =
    'event onMailFrom { call (checkSPF) onError reject; set (smtpExplanation, "%SPFResult%/%SPFHeader%"); }';
  const now = incoming(source, { call: () => ({ SPFResult: "pass" }) }).run("onMailFrom");
  assert.ok(!(now instanceof Promise));
  assert.equal(now.explanation, "pass/");
  const later = incoming(source, { call: async () => ({ SPFResult: "fail", SPFHeader: "h\r\nX: y" }) }).run(
    "onMailFrom",
  );
  assert.ok(later instanceof Promise);
  assert.equal((await later).explanation, "fail/h X: y");
});

test("a look-up that throws, rejects or is late yields its failure values and does what onError says", async () => {
  const source = `event onMailFrom { call (checkSPF) onError tmpreject; set (r, "%SPFResult%"); log ("%r%"); }`;
  const expected: EventResult = {
    action: "tmpreject",
    explanation: "checkSPF could not be completed",
    origin: "onMailFrom:1",
    effects: [{ kind: "log", text: "temperror" }],
  };
  const thrown = incoming(source, {
    call: () => {
      throw new Error("x");
    },
  });
  assert.deepEqual(await thrown.run("onMailFrom"), expected);
  const rejected = incoming(source, { call: () => Promise.reject(new Error("x")) });
  assert.deepEqual(await rejected.run("onMailFrom"), expected);
  const late = compiled(source, budgetWith({ lookupMs: 20 })).session("smtpIn", { call: () => new Promise(() => {}) });
  assert.deepEqual(await late.run("onMailFrom"), expected);
});

test("without onError a failed check lets the mail go on, failed filters don't", async () => {
  const fails = { call: () => Promise.reject(new Error("x")) };
  assert.equal((await incoming("event onMailFrom { call (checkSPF); }", fails).run("onMailFrom")).action, "");
  assert.equal(
    (await incoming("event onDataReceived { call (executeFilters); }", fails).run("onDataReceived")).action,
    "tmpreject",
  );
});

test("filters: named by addMilterFilter, known to executeFilters, their verdict counts", async () => {
  const seen: unknown[] = [];
  const session = incoming(
    `event onDataReceived {
      set (filterName, "av"); set (filterAddress, "inet:3310@127.0.0.1"); set (filterTimeout, "5");
      call (addMilterFilter); call (executeFilters); }`,
    {
      call: async (_name, _read, effects) => {
        seen.push(...effects);
        return { filterResult: "reject", filterExplanation: "virus" };
      },
    },
  );
  const result = await session.run("onDataReceived");
  assert.deepEqual(seen, [{ kind: "filter", name: "av", address: "inet:3310@127.0.0.1", timeoutMs: 5_000 }]);
  assert.deepEqual([result.action, result.explanation], ["reject", "virus"]);
});

test("independent checks of one event run together", async () => {
  const session = incoming(
    "event onMailFrom { call (checkSPF) onError ignore; call (checkReverseDNS) onError ignore; call (checkSenderMX) onError ignore; call (checkDNSBL) onError ignore; }",
    { call: () => new Promise((resolve) => setTimeout(() => resolve({}), 80)) },
  );
  const started = performance.now();
  await session.run("onMailFrom");
  assert.ok(performance.now() - started < 240, `took ${performance.now() - started} ms`);
});

test("a check sees its inputs as they were when it was called", async () => {
  const zones: string[] = [];
  const session = incoming(
    `event onConnect { set (DNSBLServer, "one"); call (checkDNSBL) onError ignore; set (DNSBLResult_1, "%DNSBLResult%");
      set (DNSBLServer, "two"); call (checkDNSBL) onError ignore; set (smtpExplanation, "%DNSBLResult_1% %DNSBLResult%"); }`,
    {
      call: async (_name, read) => {
        await null;
        zones.push(read("DNSBLServer"));
        return { DNSBLResult: `in ${read("DNSBLServer")}` };
      },
    },
  );
  assert.equal((await session.run("onConnect")).explanation, "in one in two");
  assert.deepEqual(zones.sort(), ["one", "two"]);
});

test("the country filter answers for the lists set last, when a result is read", () => {
  const session = incoming(
    `event onConnect {
      set (allowedCountries_0, "RO Germany"); set (bannedCountries_0, " "); set (isGeoIPBanned_0, "%isGeoIPBanned%");
      set (allowedCountries_1, ""); set (bannedCountries_1, "fr"); set (isGeoIPBanned_1, "%isGeoIPBanned%");
      set (smtpExplanation, "%isGeoIPBanned_0% %isGeoIPBanned_1% %GeoIPResult%"); }`,
    { call: (_name, read) => ({ GeoIPResult: read("remoteSmtpIp") }) },
  );
  const explain = (country: string): string => {
    session.input("remoteSmtpIp", country);
    return (session.run("onConnect") as EventResult).explanation;
  };
  assert.equal(explain("de"), "no no DE");
  assert.equal(explain("FR"), "yes yes FR");
  assert.equal(explain("us"), "yes no US");
  assert.equal(explain(""), "no no ");
});

test("rate counts only when it is reached, in anyOf, allOf and not", async () => {
  const counted: string[] = [];
  const session = incoming(
    `event onMailFrom {
      if (allOf (is (mailFrom, "a"), rate ("all %mailFrom%", "1/1h"), is (ehloHost, "h"))) { tag ("all"); }
      if (anyOf (is (mailFrom, "a"), rate ("any %mailFrom%", "1/1h"))) { tag ("any"); } else { tag ("not any"); }
      if (not (rate ("not", "1/1h"))) { tag ("not"); } }`,
    {
      rate: async (key, limit) => {
        counted.push(`${key} ${limit}`);
        return key !== "not";
      },
    },
    { ehloHost: "h" },
  );
  const tags = async (mailFrom: string): Promise<string[]> => {
    session.input("mailFrom", mailFrom);
    return (await session.run("onMailFrom")).effects.map((effect) => ("text" in effect ? effect.text : ""));
  };
  assert.deepEqual(await tags("a"), ["all", "any", "not"]);
  assert.deepEqual(counted.splice(0), ["all a 1/1h", "not 1/1h"]);
  assert.deepEqual(await tags("b"), ["any", "not"]);
  assert.deepEqual(counted, ["any b 1/1h", "not 1/1h"]);
});

test("header fields and parts: true for one of several, an absent one is empty", () => {
  const session = incoming(
    `event onDataReceived {
      if (contains (header ("Subject"), "win")) { tag ("subject"); }
      if (is (header ("X-None"), "")) { tag ("none"); }
      if (match (attachmentNames, "\\.exe$")) { tag ("%attachmentNames%"); } }`,
    {
      header: (name) => (name === "subject" ? ["hello", "you win"] : []),
      strings: (variable) => (variable === "attachmentNames" ? ["a.txt", "b.exe"] : []),
    },
  );
  assert.deepEqual((session.run("onDataReceived") as EventResult).effects, [
    { kind: "tag", text: "subject" },
    { kind: "tag", text: "none" },
    { kind: "tag", text: "a.txt, b.exe" },
  ]);
});

test("effects: safe values, nonsense is ignored", () => {
  const session = incoming(
    `event onHeadersReceived {
      set (headerName, "X-A"); set (headerValue, "one
two"); call (addHeader);
      set (headerName, "bad name"); call (removeHeader);
      set (rcptAddress, "<b@c.example>"); call (addRcpt);
      set (rcptAddress, "a b"); call (addRcpt);
      addBcc ("x@y.example"); delay ("9999999"); delay ("no"); }`,
  );
  assert.deepEqual((session.run("onHeadersReceived") as EventResult).effects, [
    { kind: "addHeader", name: "X-A", value: "one two" },
    { kind: "addRcpt", address: "b@c.example" },
    { kind: "addBcc", address: "x@y.example" },
    { kind: "delay", seconds: 604_800 },
  ]);
});

test("a route set in onRcptTo is that recipient's alone", async () => {
  const session = incoming(
    `event onRcptTo { if (is (rcptTo, "a")) { set (remoteSmtpHost, "h"); set (remoteSmtpPort, "99"); set (authUser, "u"); set (sslEnabled, "YES"); } }`,
    {},
    { remoteSmtpPort: "40000", authUser: "client" },
  );
  session.input("rcptTo", "a");
  await session.run("onRcptTo");
  assert.deepEqual(session.route(), { host: "h", port: 99, implicitTls: true, authUser: "u" });
  assert.equal(session.read("remoteSmtpPort"), "40000");
  assert.equal(session.read("authUser"), "client");
  session.input("rcptTo", "b");
  await session.run("onRcptTo");
  assert.equal(session.route(), undefined);
});

test("budgets end the event in tmpreject", () => {
  const doubling = `event onConnect { set (a, "xxxxxxxx"); ${'set (a, "%a%%a%"); '.repeat(40)} set (smtpExplanation, "%a%"); }`;
  const grown = incoming(doubling).run("onConnect") as EventResult;
  assert.deepEqual([grown.action, grown.origin], ["tmpreject", "limit variableBytes"]);
  const edits = incoming(`event onConnect { ${'log ("x"); '.repeat(201)} }`).run("onConnect") as EventResult;
  assert.deepEqual([edits.action, edits.origin], ["tmpreject", "limit headerEdits"]);
  const long = incoming(
    `event onConnect { ${'set (a, "%smtpIp%"); log ("%a%");'.repeat(1)} }`,
    {},
    { smtpIp: "9".repeat(100_000) },
  );
  assert.equal(long.read("smtpIp").length, 65_536);
  const steps = compiled(
    `event onConnect { ${'set (a, "%a%x"); '.repeat(101)} set (smtpGreeting, "%a%"); }`,
    budgetWith({ statementsPerEvent: 100 }),
  );
  assert.equal((steps.session("smtpIn", noFacts).run("onConnect") as EventResult).origin, "limit statementsPerEvent");
});

test("a policy names its lists; without them the mail waits", async () => {
  const source = 'event onMailFrom { if (inList (mailFrom, "file:a.txt")) { set (smtpAction, "reject"); } }';
  assert.deepEqual(compiled(source).lists, ["file:a.txt"]);
  assert.equal((await incoming(source).run("onMailFrom")).action, "tmpreject");
  const asked: string[] = [];
  const facts = { inList: (list: string, value: string) => asked.push(`${list} ${value}`) > 0 };
  assert.equal((await incoming(source, facts, { mailFrom: "x" }).run("onMailFrom")).action, "reject");
  assert.deepEqual(asked, ["file:a.txt x"]);
});

test("a result stays as it was when the next event runs", async () => {
  const session = incoming('event onMailFrom { set (smtpAction, "accept"); } event onRcptTo { log ("x"); }');
  const first = await session.run("onMailFrom");
  await session.run("onRcptTo");
  assert.deepEqual(first, { action: "accept", explanation: "", origin: "onMailFrom:1", effects: [] });
});

test("inputs must be predefined variables", () => {
  assert.throws(() => incoming("").input("nope", "x"), /no predefined variable/);
  assert.equal(incoming("").read("nope"), "");
});
