import assert from "node:assert/strict";
import { test } from "node:test";
import { budgetWith } from "../../../src/config/budget.ts";
import { parseHeaders } from "../../../src/message/headers.ts";
import { TapeFacts, TapingFacts } from "../../../src/workbench/record/facts.ts";
import { Transcript } from "../../../src/workbench/record/transcript.ts";
import type { Decision, Fact } from "../../../src/workbench/record/types.ts";

const decision: Decision = { verdict: "accept", at: "onMailFrom", code: 250, text: "", by: "engine", recipients: "" };
const about = { policy: "p", session: "s", decision, headers: "none" } as const;
const nothing = { action: "", explanation: "", origin: "", effects: [] } as const;
const quiet = { ...nothing, effects: [] };

function transcript(limits: Parameters<typeof budgetWith>[0] = {}): Transcript {
  const made = new Transcript(budgetWith(limits));
  made.input("remoteSmtpIp", "192.0.2.1");
  made.step("onConnect", quiet, false);
  return made;
}

test("each transaction has the session's steps and its own; defaults and what follows from others are left out", () => {
  const made = transcript();
  for (const id of ["one", "two"]) {
    made.begin(id);
    made.reset();
    made.input("mailFrom", `${id}@a.test`);
    made.input("mailFromDomain", "a.test");
    made.input("mailCount", "0");
    made.step("onMailFrom", quiet, false);
    const { id: is, steps } = made.record(about);
    assert.equal(is, id);
    assert.deepEqual(steps, [
      { event: "onConnect", in: { remoteSmtpIp: "192.0.2.1" } },
      { event: "onMailFrom", in: { mailFrom: `${id}@a.test` } },
    ]);
  }
});

test("recordSteps, recordFacts and recordHeader cut a record, and it says so", () => {
  const steps = transcript({ recordSteps: 2 });
  steps.begin("x");
  for (let i = 0; i < 3; i++) steps.step("onRcptTo", quiet, false);
  assert.equal(steps.record(about).steps.length, 2);
  assert.equal(steps.record(about).cut, true);

  const facts = transcript({ recordFacts: 2 });
  facts.begin("x");
  facts.fact(["rate", ["a", "1/1h"], { yes: "" }, 0]);
  facts.fact(["rate", ["a", "1/1h"], { yes: "" }, 0]);
  assert.equal(facts.record(about).cut, undefined);
  facts.fact(["rate", ["a", "1/1h"], { yes: "yes" }, 0]);
  assert.equal(facts.record(about).facts.length, 2);
  assert.equal(facts.record(about).cut, true);

  const section = parseHeaders(Buffer.from("Subject: 12345\r\n\r\n"), budgetWith());
  for (const [recordHeader, cut] of [
    [16, undefined],
    [15, true],
  ] as const) {
    const header = transcript({ recordHeader });
    header.begin("x");
    header.header(section);
    const record = header.record({ ...about, headers: "full" });
    assert.equal(record.cut, cut);
    assert.equal(record.header, cut ? undefined : "Subject: 12345\r\n");
  }
});

test("header fields and lists are asked many times and noted once; a body's quiet chunks too", () => {
  const made = transcript();
  made.begin("x");
  for (let i = 0; i < 5; i++) made.fact(["header", ["subject"], ["a"], 0]);
  for (let i = 0; i < 5; i++) made.step("onBodyChunk", quiet, false);
  const { facts, steps } = made.record(about);
  assert.equal(facts.length, 1);
  assert.equal(steps.length, 2);
});

test("a tape answers as the house did: in order, the last again, failures as failures, nothing it was not asked", async () => {
  const facts: Fact[] = [];
  let count = 0;
  const taping = new TapingFacts(
    {
      async call(name) {
        if (name === "checkDNSBL") throw new Error("no answer");
        return { GreylistResult: count++ === 0 ? "new" : "pass" };
      },
      inList: (_list, value) => value === "in",
      rate: () => true,
      header: () => ["a", "b"],
    },
    (fact) => facts.push(fact),
  );
  const read = (): string => "v";
  await taping.call("checkGreylist", read, []);
  await taping.call("checkGreylist", read, []);
  await assert.rejects(taping.call("checkDNSBL", read, []) as Promise<unknown>, /no answer/);
  assert.equal(taping.inList("file:l", "in"), true);
  assert.equal(taping.rate("k", "1/1h"), true);
  taping.header("Subject");

  const tape = new TapeFacts({ facts: JSON.parse(JSON.stringify(facts)) as Fact[] });
  const results = [0, 1, 2].map(() => tape.call("checkGreylist", read).GreylistResult);
  assert.deepEqual(results, ["new", "pass", "pass"]);
  assert.throws(() => tape.call("checkDNSBL", read), /failed when it was recorded/);
  assert.equal(tape.inList("file:l", "in"), true);
  assert.equal(tape.rate("k", "1/1h"), true);
  assert.deepEqual(tape.header("SUBJECT"), ["a", "b"]);
  assert.equal(tape.missing.size, 0);
  assert.throws(() => tape.call("checkSPF", read), /was not asked/);
  assert.throws(() => tape.inList("file:other", "in"));
  assert.deepEqual([...tape.missing], ["checkSPF", "list file:other"]);
});
