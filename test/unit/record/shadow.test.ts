import assert from "node:assert/strict";
import { test } from "node:test";
import { answerOf, Judge, noResult } from "../../../src/gateway/decision.ts";
import { isCanary, noCounts, PolicyPair, ShadowTrial, type TrialCounts } from "../../../src/gateway/shadow.ts";
import { Trial } from "../../../src/gateway/trial.ts";
import { compilePolicy } from "../../../src/policy/compile.ts";
import type { FactSource, PolicyProgram } from "../../../src/policy/types.ts";
import { TapingFacts } from "../../../src/workbench/record/facts.ts";
import type { Fact } from "../../../src/workbench/record/types.ts";

function program(source: string): PolicyProgram {
  const result = compilePolicy(source, { file: "test.script" });
  assert.ok(result.ok);
  return result.program;
}

interface Bench {
  pair: PolicyPair;
  trial: ShadowTrial;
  asked: string[];
}

function bench(live: string, candidate: string, percent: number, facts: Partial<FactSource> = {}): Bench {
  const asked: string[] = [];
  const tape: Fact[] = [];
  const house: FactSource = {
    call(name) {
      asked.push(name);
      return { SPFResult: "fail", GreylistResult: "new" };
    },
    rate(key) {
      asked.push(`rate ${key}`);
      return true;
    },
    ...facts,
  };
  const trial = new ShadowTrial(program(candidate), percent);
  const pair = new PolicyPair({
    trial,
    live: program(live),
    facts: new TapingFacts(house, (fact) => tape.push(fact)),
    tape: () => tape,
    candidateFacts: house,
    remoteIp: "192.0.2.1",
    asker: () => ({ authenticated: false, trusted: false }),
    label: () => "here",
  });
  return { pair, trial, asked };
}

const reject = 'event onMailFrom { set (smtpAction, "reject"); }';
const accept = 'event onMailFrom { set (smtpAction, "accept"); }';
const spf = 'event onMailFrom { call (checkSPF); if (is (SPFResult, "fail")) { set (smtpAction, "reject"); } }';
const grey =
  'event onRcptTo { call (checkGreylist); if (is (GreylistResult, "new")) { set (smtpAction, "tmpreject"); } }';

test("canaries: the share is met, the same client always falls on the same side", () => {
  const clients = Array.from({ length: 4_000 }, (_, i) => `198.51.${i >> 8}.${i & 255}`);
  for (const percent of [0, 10, 50, 100]) {
    const chosen = clients.filter((ip) => isCanary("hash", ip, percent));
    assert.ok(Math.abs(chosen.length / 40 - percent) < 3, `${percent} %: ${chosen.length / 40}`);
    assert.deepEqual(
      chosen,
      clients.filter((ip) => isCanary("hash", ip, percent)),
    );
  }
  const ten = new Set(clients.filter((ip) => isCanary("hash", ip, 10)));
  const twenty = new Set(clients.filter((ip) => isCanary("hash", ip, 20)));
  assert.ok(
    [...ten].every((ip) => twenty.has(ip)),
    "a larger share keeps those it had",
  );
});

test("in shadow the live policy's word goes out and the difference is counted", async () => {
  const { pair, trial } = bench(accept, reject, 0);
  pair.resetMessage();
  assert.equal((await pair.run("onMailFrom")).action, "accept");
  assert.equal(trial.counts.flips, 1);
  assert.deepEqual(trial.counts.rules, {
    "onMailFrom: accept → reject by onMailFrom:1": { count: 1, example: "here" },
  });
  pair.resetMessage();
  await pair.run("onMailFrom");
  assert.equal(trial.counts.transactions, 2);
});

test("facts are asked once for both; what leaves traces is not asked for a shadow", async () => {
  const both = bench(spf, spf, 0);
  await both.pair.run("onMailFrom");
  assert.deepEqual(both.asked, ["checkSPF"]);
  assert.equal(both.trial.counts.flips, 0);
  const shadow = bench(accept, grey, 0);
  await shadow.pair.run("onRcptTo");
  assert.deepEqual(shadow.asked, []);
  const canary = bench(accept, grey, 100);
  const { action } = await canary.pair.run("onRcptTo");
  assert.deepEqual([canary.asked, action], [["checkGreylist"], "tmpreject"]);
  const rate = bench(accept, 'event onMailFrom { if (rate ("k", "1/1h")) { set (smtpAction, "reject"); } }', 0);
  await rate.pair.run("onMailFrom");
  assert.deepEqual(rate.asked, []);
});

test("a canary decides; when it fails the live policy's word stands, to the end of the transaction", async () => {
  const good = bench(accept, reject, 100);
  assert.equal((await good.pair.run("onMailFrom")).action, "reject");
  const failing = bench(
    accept,
    'event onMailFrom { if (inList (mailFrom, "file:none")) { set (smtpAction, "reject"); } }',
    100,
  );
  assert.equal((await failing.pair.run("onMailFrom")).action, "accept");
  assert.equal(failing.trial.counts.errors, 1);
  assert.equal(failing.pair.hash, program(accept).hash);
});

test("a stopped trial falls silent at once, and the live policy decides", async () => {
  const { pair, trial } = bench(accept, reject, 100);
  trial.running = false;
  pair.resetMessage();
  assert.equal((await pair.run("onMailFrom")).action, "accept");
  assert.equal(trial.counts.events, 0);
});

test("a shadow's own look-up doesn't hold up the session; one that falls behind is given up", async () => {
  let release: (facts: Record<string, string>) => void = () => {};
  const slow: Partial<FactSource> = {
    call: () =>
      new Promise((resolve) => {
        release = resolve;
      }),
  };
  const { pair, trial } = bench(accept, spf, 0, slow);
  assert.ok(!(pair.run("onMailFrom") instanceof Promise));
  for (let i = 0; i < 70; i++) assert.ok(!(pair.run("onRcptTo") instanceof Promise));
  assert.equal(trial.counts.skipped, 1);
  assert.equal(trial.counts.events, 0);
  release({ SPFResult: "fail" });
  await new Promise((resolve) => setTimeout(resolve, 10));
  assert.equal(trial.counts.flips, 1);
});

const counts = (over: Partial<TrialCounts>): TrialCounts => ({
  ...noCounts(),
  transactions: 100,
  events: 400,
  ...over,
});
const limits = { flips: 10, errors: 1, latency: 100, minimum: 50, window: 60_000 };
const trialOf = (over: object = {}): Trial =>
  new Trial("h", { smtpFilters: "c.script", enforce: 0, stepBack: { ...limits, ...over } });

test("each threshold stops a trial when it is passed, not when it is met", () => {
  assert.equal(trialOf().add(counts({ flips: 10, errors: 4, candidateMs: 40_000 })), undefined);
  assert.match(trialOf().add(counts({ flips: 11 }))!, /decided 11 % of the transactions otherwise, the limit is 10 %/);
  assert.match(trialOf().add(counts({ errors: 5 }))!, /failed in 1\.3 % of the events/);
  assert.match(
    trialOf().add(counts({ candidateMs: 40_400 }))!,
    /took 101\.0 ms an event where the live policy took 0\.0 ms/,
  );
  assert.equal(
    trialOf().add(counts({ candidateMs: 80_000, liveMs: 40_000 })),
    undefined,
    "the live one's time is no fault",
  );
  assert.equal(trialOf({ minimum: 101 }).add(counts({ flips: 100 })), undefined, "too few to tell");
});

test("thresholds look at the window: old sins are forgotten, old virtues too", () => {
  const trial = trialOf();
  assert.equal(trial.add(counts({ transactions: 10_000 }), 0), undefined);
  assert.equal(trial.add(counts({ flips: 50 }), 1_000), undefined, "diluted within the window");
  assert.match(trial.add(counts({ flips: 50 }), 61_500)!, /decided 50 %/);
  assert.match(trial.status(), /transactions 10200, decided otherwise 100 \(1 %\)/);
});

test("what workers tell is bounded in the sums", () => {
  const trial = trialOf({ flips: 100 });
  const rules = Object.fromEntries(Array.from({ length: 300 }, (_, i) => [`rule ${i}`, { count: 1, example: "a\nb" }]));
  trial.add(counts({ rules }));
  trial.add(counts({ rules: { "rule 299": { count: 1, example: "x" }, "rule 0": { count: 4, example: "x" } } }));
  const lines = trial.status().split("\n");
  assert.equal(lines.length, 26);
  assert.match(trial.status(), /\n {2}5 × rule 0 \(such as a b\)\n/);
});

test("the judge: recipients, discards and marks", () => {
  const said = (action: "" | "reject" | "discard", kind?: "quarantine") => ({
    ...noResult,
    action,
    effects: kind ? [{ kind, text: "x" }] : [],
  });
  const session = program(accept).session("smtpIn", { call: () => ({}) });
  const asker = { authenticated: true, trusted: false };
  const judge = new Judge();
  for (const [address, action] of [
    ["a@x", ""],
    ["b@x", "reject"],
    ["c@x", "discard"],
  ] as const) {
    const result = said(action);
    judge.note("onRcptTo", result, answerOf("onRcptTo", result, session, asker), address);
  }
  assert.deepEqual([judge.decision().verdict, judge.decision().recipients], ["accept", "ard"]);
  const marked = said("", "quarantine");
  judge.note("onDataReceived", marked, undefined);
  assert.equal(judge.decision().verdict, "quarantine");
  judge.note("onDataReceived", { ...noResult, effects: [{ kind: "discardRcpt", address: "a@x" }] }, undefined);
  assert.equal(judge.decision().recipients, "drd");
});
