import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { compilePolicy, type Policy } from "../../../src/policy/compile.ts";
import type { DecisionRecord } from "../../../src/workbench/record/types.ts";
import { decide, type Redecision } from "../../../src/workbench/replay/decide.ts";
import { nearestFlips } from "../../../src/workbench/replay/nearest-flip.ts";
import { ReplayReport } from "../../../src/workbench/replay/report.ts";
import { sampleRecord } from "./sample.ts";

function policy(source: string): Policy {
  const result = compilePolicy(source, { file: "test.script" });
  assert.ok(result.ok, JSON.stringify(result.diagnostics));
  return result.program;
}

async function verdict(source: string, record: DecisionRecord): Promise<string> {
  const { decision } = await decide(policy(source), record);
  return `${decision.verdict} ${decision.at} ${decision.recipients}`;
}

test("each event's word decides as it would live", async () => {
  const record = sampleRecord();
  const cases: Array<[string, string]> = [
    ["", "accept onDataReceived a"],
    ['event onConnect { set (smtpAction, "reject"); }', "reject onConnect "],
    [
      'event onMailFrom { if (is (mailFromDomain, "sender.test")) { set (smtpAction, "tmpreject"); } }',
      "tmpreject onMailFrom ",
    ],
    ['event onRcptTo { set (smtpAction, "reject"); }', "reject onRcptTo r"],
    ['event onRcptTo { set (smtpAction, "discard"); }', "discard onRcptTo d"],
    ['event onDataReceived { if (is (mailSize, "2000")) { set (smtpAction, "reject"); } }', "reject onDataReceived a"],
    ['event onHeadersReceived { set (smtpAction, "discard"); }', "discard onHeadersReceived a"],
    ['event onRcptTo { set (localDelivery, "none"); }', "reject onRcptTo r"],
    [
      'event onMailFrom { call (checkSPF); if (is (SPFResult, "fail")) { set (smtpAction, "reject"); } }',
      "reject onMailFrom ",
    ],
  ];
  for (const [source, expected] of cases) assert.equal(await verdict(source, record), expected, source);
});

test("the engine's rules stand behind a replayed policy: relay, unknown users", async () => {
  const [connect, ehlo, mail] = sampleRecord().steps;
  const remote = { event: "onRcptTo", in: { rcptTo: "x@far.test", isLocalRcpt: "no" } } as const;
  const relay = sampleRecord({ steps: [connect!, ehlo!, mail!, remote] });
  assert.equal(await verdict("", relay), "reject onRcptTo r");
  assert.equal(
    await verdict("", { ...relay, steps: relay.steps.with(3, { ...remote, trusted: true }) }),
    "accept onDataReceived a",
  );
  const login = { ...mail!, in: { ...mail!.in, authUser: "user" } };
  assert.equal(await verdict("", { ...relay, steps: relay.steps.with(2, login) }), "accept onDataReceived a");
  assert.equal(await verdict('event onRcptTo { set (remoteDelivery, "all"); }', relay), "accept onDataReceived a");
  const unknown = sampleRecord();
  unknown.steps[3]!.reply = [550, "5.1.1", "engine"];
  assert.equal(await verdict('event onRcptTo { set (smtpAction, "accept"); }', unknown), "reject onRcptTo r");
});

test("what a policy asks and the record doesn't know fails as declared, and is named", async () => {
  const source = `event onMailFrom {
    call (checkReverseDNS);
    if (is (ReverseDNSResult, "error")) { set (smtpAction, "tmpreject"); }
  }`;
  const { decision, missing } = await decide(policy(source), sampleRecord());
  assert.equal(decision.verdict, "tmpreject");
  assert.deepEqual([...missing], ["checkReverseDNS"]);
});

test("the smallest change of one fact: check, sender, header", async () => {
  const source = `event onMailFrom {
    call (checkSPF);
    if (is (SPFResult, "fail")) { if (is (mailFromDomain, "sender.test")) { set (smtpAction, "reject"); } }
  }
  event onHeadersReceived { if (contains (header ("Subject"), "offer")) { set (smtpAction, "reject"); } }`;
  const refused = await nearestFlips(policy(source), sampleRecord());
  assert.deepEqual(
    refused.map(({ fact, from, decision }) => [fact, from, decision.verdict]),
    [
      ["checkSPF SPFResult", "fail", "accept"],
      ["checkSPF answered", "yes", "accept"],
      ["mailFrom", "bob@sender.test", "accept"],
    ],
  );
  const passed = sampleRecord({ header: "Subject: hello\r\nFrom: a@b.test\r\n" });
  passed.steps[2]!.in!.mailFrom = "bob@fine.test";
  const flips = await nearestFlips(policy(source), passed);
  assert.deepEqual(
    flips.map(({ fact, to }) => [fact, to]),
    [
      ["mailFrom", "bob@sender.test"],
      ["isLocalRcpt", "no"],
      ["header subject", "offer"],
    ],
  );
});

test("a found flip is real: deciding the changed record gives what it says", async () => {
  const words = ["pass", "fail", "softfail", "none"];
  await fc.assert(
    fc.asyncProperty(fc.constantFrom(...words), fc.constantFrom(...words), async (is, tested) => {
      const record = sampleRecord();
      record.facts = [[record.facts[0]![0], record.facts[0]![1], { SPFResult: is }, 1]];
      const program = policy(
        `event onMailFrom { call (checkSPF); if (is (SPFResult, "${tested}")) { set (smtpAction, "reject"); } }`,
      );
      const before = (await decide(program, record)).decision.verdict;
      assert.equal(before, is === tested ? "reject" : "accept");
      const [flip] = await nearestFlips(program, record);
      assert.equal(flip!.fact, "checkSPF SPFResult");
      record.facts = [[record.facts[0]![0], record.facts[0]![1], { SPFResult: flip!.to }, 1]];
      assert.deepEqual((await decide(program, record)).decision, flip!.decision);
      assert.notEqual(flip!.decision.verdict, before);
    }),
    { numRuns: 50 },
  );
});

test("flips are grouped by the rule that makes the difference; examples and groups are bounded", async () => {
  const report = new ReplayReport(2);
  const program = policy('event onMailFrom { if (contains (mailFrom, "bob")) { set (smtpAction, "reject"); } }');
  for (let i = 0; i < 5; i++) {
    const record = sampleRecord({ id: `id${i}` });
    report.add(record, record.decision, (await decide(program, record)) as Redecision);
  }
  const kept = sampleRecord();
  report.add(kept, { ...kept.decision, verdict: "reject", by: "old:7" }, await decide(policy(""), kept));
  assert.equal(report.flips, 6);
  const [first, second] = report.groups;
  assert.deepEqual([first!.change, first!.by, first!.count], ["accept → reject", "onMailFrom:1", 5]);
  assert.deepEqual(
    first!.examples.map(({ id }) => id),
    ["id0", "id1"],
  );
  assert.deepEqual([second!.change, second!.by, second!.count], ["reject → accept", "old:7", 1]);

  const again = await decide(policy(""), kept);
  for (let i = 0; i < 1_200; i++) report.add(kept, { ...kept.decision, verdict: "reject", by: `rule:${i}` }, again);
  assert.equal(report.groups.length, 1_000);
  assert.equal(report.ungrouped, 202);
  assert.equal(report.flips, 1_206);
});
