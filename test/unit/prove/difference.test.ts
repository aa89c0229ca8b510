/** Pairs of policies with known meaning: what differs is shown where it does, and sameness is stated as a proof. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type Budget, budgetDefaults, budgetWith } from "../../../src/config/budget.ts";
import { play } from "../../../src/workbench/play/play.ts";
import { RuleTrace } from "../../../src/workbench/play/trace.ts";
import { differenceOf } from "../../../src/workbench/prove/difference.ts";
import { subjectOf, textOf } from "./lab.ts";

const compare = (before: string, after: string, budget: Budget = budgetDefaults) =>
  differenceOf(subjectOf(before, budget), subjectOf(after, budget), budget);

const spf = (then: string, otherwise = ""): string =>
  `event onMailFrom { call (checkSPF) onError ignore; if (is (SPFResult, "fail")) { ${then} }${otherwise} }`;
const reject = 'set (smtpAction, "reject");';

const same: ReadonlyArray<readonly [name: string, before: string, after: string]> = [
  ["comments and layout", spf(reject), `# new\n${spf(reject).replaceAll(";", ";\n")}`],
  ["a method instead of its body", spf(reject), `${spf("call (No);")} method No { ${reject} }`],
  [
    "a condition turned round",
    spf(reject),
    'event onMailFrom { call (checkSPF) onError ignore; if (not (is (SPFResult, "fail"))) { } else { set (smtpAction, "reject"); } }',
  ],
  [
    "a netmask as a prefix",
    'event onEhlo { if (ipRange (remoteSmtpIp, "10.1.0.0/255.255.0.0")) { set (localDelivery, "auth"); } }',
    'event onEhlo { if (ipRange (remoteSmtpIp, "10.1.0.0-10.1.255.255")) { set (localDelivery, "auth"); } }',
  ],
  [
    "De Morgan",
    'event onMailFrom { if (not (anyOf (is (mailFromUser, "a"), containsCase (mailFromDomain, "x")))) { set (smtpAction, "reject"); } }',
    'event onMailFrom { if (allOf (not (containsCase (mailFromDomain, "X")), not (is (mailFromUser, "a")))) { set (smtpAction, "reject"); } }',
  ],
  [
    "a method of a method",
    'event onEhlo { call (A); } method A { call (B); } method B { set (maxDataSize, "10"); }',
    'event onEhlo { set (maxDataSize, "10"); }',
  ],
  [
    "a setting that is set again",
    'event onEhlo { set (remoteDelivery, "all"); set (remoteDelivery, "auth"); }',
    'event onEhlo { set (remoteDelivery, "auth"); }',
  ],
  [
    "a pattern of letters as equality",
    'event onMailFrom { if (match (mailFromDomain, "^a\\.example$")) { set (smtpAction, "reject"); } }',
    'event onMailFrom { if (is (mailFromDomain, "a.example")) { set (smtpAction, "reject"); } }',
  ],
  [
    "what the rule before has taken already",
    'event onMailFrom { if (inDomain (mailFromDomain, "a.example")) { set (smtpAction, "reject"); } else if (isCase (mailFromDomain, "b.a.example")) { set (smtpAction, "tmpreject"); } }',
    'event onMailFrom { if (inDomain (mailFromDomain, "a.example")) { set (smtpAction, "reject"); } }',
  ],
];

for (const [name, before, after] of same) {
  test(`the same meaning: ${name}`, async () => {
    const { changes, gap, cases } = await compare(before, after);
    assert.deepEqual(changes, []);
    assert.equal(gap, "", "and that is a proof");
    assert.ok(cases > 1);
  });
}

interface Pair {
  name: string;
  before: string;
  after: string;
  what: string;
  old: RegExp;
  now: RegExp;
  because?: RegExp;
}

const relay = (right: string): string => `event onEhlo { set (remoteDelivery, "${right}"); }`;

const dmarc = (action: string): string =>
  `event onDataReceived { call (checkDMARC) onError ignore; if (is (DMARCPolicy, "quarantine")) { ${action} } }`;

const different: readonly Pair[] = [
  {
    name: "relay opened",
    before: relay("auth"),
    after: relay("all"),
    what: "reply to RCPT TO",
    old: /^550/,
    now: /^250/,
    because: /elsewhere/,
  },
  {
    name: "refused for now instead of for good",
    before: spf(reject),
    after: spf('set (smtpAction, "tmpreject");'),
    what: "reply to MAIL FROM",
    old: /^550/,
    now: /^450/,
    because: /SPFResult is "fail"/,
  },
  {
    name: "other words",
    before: spf(`${reject} set (smtpExplanation, "no");`),
    after: spf(`${reject} set (smtpExplanation, "never");`),
    what: "reply to MAIL FROM",
    old: /no$/,
    now: /never$/,
  },
  {
    name: "one more case",
    before: spf(reject),
    after: spf(reject, ' if (is (SPFResult, "softfail")) { set (smtpAction, "reject"); }'),
    what: "reply to MAIL FROM",
    old: /^250/,
    now: /^550/,
    because: /"softfail"/,
  },
  {
    name: "another size",
    before: 'event onEhlo { set (maxDataSize, "1024"); }',
    after: 'event onEhlo { set (maxDataSize, "2048"); }',
    what: "announcements",
    old: /SIZE 1048576/,
    now: /SIZE 2097152/,
  },
  {
    name: "another range",
    before: 'event onConnect { if (ipRange (remoteSmtpIp, "10.0.0.0/25")) { set (smtpAction, "reject"); } }',
    after: 'event onConnect { if (ipRange (remoteSmtpIp, "10.0.0.0/24")) { set (smtpAction, "reject"); } }',
    what: "reply to connect",
    old: /^220/,
    now: /^554/,
    because: /10\.0\.0\.(128|255)/,
  },
  {
    name: "case counts",
    before: 'event onMailFrom { if (isCase (mailFromUser, "boss")) { set (smtpAction, "reject"); } }',
    after: 'event onMailFrom { if (is (mailFromUser, "boss")) { set (smtpAction, "reject"); } }',
    what: "reply to MAIL FROM",
    old: /^550/,
    now: /^250/,
    because: /BOSS@/,
  },
  {
    name: "another next hop",
    before: textOf("smart-host"),
    after: textOf("smart-host").replace("smtp.provider.example", "out.provider.example"),
    what: "route",
    old: /smtp\.provider/,
    now: /out\.provider/,
    because: /example\.org/,
  },
  {
    name: "a field less",
    before:
      'event onHeadersReceived { if (contains (header ("Subject"), "win")) { set (headerName, "X-Spam"); set (headerValue, "yes"); call (addHeader); } }',
    after: "event onHeadersReceived { }",
    what: "header of the message",
    old: /X-Spam: yes/,
    now: /nothing/,
    because: /Subject/,
  },
  {
    name: "set aside",
    before: dmarc('quarantine ("DMARC");'),
    after: dmarc('hold ("DMARC");'),
    what: "what onDataReceived does",
    old: /quarantine DMARC/,
    now: /hold DMARC/,
    because: /DMARCPolicy is "quarantine"/,
  },
  {
    name: "an earlier warning",
    before: textOf("default"),
    after: textOf("default").replace('(ndrRetryCount, "4")', '(ndrRetryCount, "3")'),
    what: "report",
    old: /nothing/,
    now: /delayed/,
    because: /ndrRetryCount is 3/,
  },
  {
    name: "another rate",
    before: 'event onConnect { if (rate ("%remoteSmtpIp%", "5/1m")) { set (smtpAction, "reject"); } }',
    after: 'event onConnect { if (rate ("%remoteSmtpIp%", "9/1m")) { set (smtpAction, "reject"); } }',
    what: "rates",
    old: /5\/1m/,
    now: /9\/1m/,
  },
  {
    name: "onError forgotten",
    before: "event onMailFrom { call (checkSPF) onError tmpreject; }",
    after: "event onMailFrom { call (checkSPF) onError ignore; }",
    what: "reply to MAIL FROM",
    old: /^450/,
    now: /^250/,
    because: /checkSPF gets no answer/,
  },
  {
    name: "a pattern that lost its anchor",
    before: 'event onMailFrom { if (match (mailFrom, "@a\\.example$")) { set (smtpAction, "reject"); } }',
    after: 'event onMailFrom { if (match (mailFrom, "@a\\.example")) { set (smtpAction, "reject"); } }',
    what: "reply to MAIL FROM",
    old: /^250/,
    now: /^550/,
    because: /@a\.example\w/,
  },
  {
    name: "another list",
    before: 'event onRcptTo { if (inList (rcptTo, "file:a.txt")) { set (smtpAction, "reject"); } }',
    after: 'event onRcptTo { if (inList (rcptTo, "file:b.txt")) { set (smtpAction, "reject"); } }',
    what: "reply to RCPT TO",
    old: /^550/,
    now: /^250/,
    because: /a\.txt/,
  },
  {
    name: "the second recipient only",
    before: "event onRcptTo { }",
    after: 'event onRcptTo { if (greaterThan (rcptCount, "0")) { set (smtpAction, "tmpreject"); } }',
    what: "reply to RCPT TO",
    old: /^250/,
    now: /^450/,
    because: /recipient/,
  },
  {
    name: "IPv6 clients",
    before: 'event onConnect { set (smtpAction, "accept"); }',
    after: 'event onConnect { if (contains (remoteSmtpIp, ":")) { set (smtpAction, "reject"); } }',
    what: "reply to connect",
    old: /^220/,
    now: /^554/,
    because: /2001:db8/,
  },
  {
    name: "a refusal after the message was taken",
    before: "event onProcessing { }",
    after: 'event onProcessing { if (contains (header ("Subject"), "win")) { set (smtpAction, "reject"); } }',
    what: "verdict of onProcessing",
    old: /none/,
    now: /reject/,
    because: /Subject/,
  },
];

for (const { name, before, after, what, old, now, because } of different) {
  test(`a difference: ${name}`, async () => {
    const { changes } = await compare(before, after);
    const change = changes.find((found) => found.what === what && old.test(found.before) && now.test(found.after));
    assert.ok(change, JSON.stringify(changes));
    if (because) assert.match(change.because.join("; "), because);
    if (what === "rates") return;
    const ends = await Promise.all(
      [before, after].map(async (text) => {
        const { policy, source, folder } = subjectOf(text);
        const played = await play(policy, change.session, undefined, new RuleTrace(source), folder);
        return { ...played, policy: "", events: played.events.flatMap(({ effects }) => effects) };
      }),
    );
    assert.notDeepEqual(ends[0], ends[1], "the example shows it");
  });
}

test("sameness is no proof when cases are left out, or a text can't be followed", async () => {
  const few = await compare(textOf("inbound-mx"), textOf("inbound-mx"), budgetWith({ proveCases: 10 }));
  assert.deepEqual(few.changes, []);
  assert.match(few.gap, /cases are too many: \d+ were tried/);
  const computed = 'event onMailFrom { set (x, "a%mailFromUser%"); if (is (x, "ab")) { set (smtpAction, "reject"); } }';
  assert.match((await compare(computed, computed)).gap, /computed/);
});
