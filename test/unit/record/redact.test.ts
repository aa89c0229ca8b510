import assert from "node:assert/strict";
import { test } from "node:test";
import { Redactor } from "../../../src/workbench/record/redact.ts";
import type { DecisionRecord } from "../../../src/workbench/record/types.ts";
import { sampleRecord } from "./sample.ts";

const redact = (fields: string[], record: DecisionRecord, key = "k"): DecisionRecord =>
  JSON.parse(new Redactor(fields, key).text(record)) as DecisionRecord;

test("a redacted value is gone wherever it occurs; domains and networks stay", () => {
  const record = sampleRecord({
    decision: {
      verdict: "reject",
      at: "onMailFrom",
      code: 550,
      text: "not bob@sender.test",
      by: "r:1",
      recipients: "",
    },
  });
  const text = JSON.stringify(redact(["mailFrom", "remoteSmtpIp"], record));
  assert.doesNotMatch(text, /bob@|198\.51\.100\.7/);
  assert.match(text, /not ~[0-9a-f]{10}@sender\.test/);
  assert.match(text, /"remoteSmtpIp":"198\.51\.100\.0"/);
  assert.match(text, /user@local\.test/, "what is not named stays");
});

test("equal values get equal pseudonyms under one key, others under another", () => {
  const { steps } = redact(["mailFrom"], sampleRecord());
  assert.equal(steps[2]!.in!.mailFrom, redact(["mailFrom"], sampleRecord()).steps[2]!.in!.mailFrom);
  assert.notEqual(steps[2]!.in!.mailFrom, redact(["mailFrom"], sampleRecord(), "z").steps[2]!.in!.mailFrom);
});

test("header fields, folded ones too, lose their value", () => {
  const record = sampleRecord({
    header: "Subject: secret plan\r\n of two lines\r\nFrom: a@b.test\r\n",
    facts: [["header", ["subject"], ["secret plan of two lines"], 0]],
  });
  const text = JSON.stringify(redact(["header:Subject"], record));
  assert.doesNotMatch(text, /secret|two lines/);
  assert.match(text, /From: a@b\.test/);
});

test("IPv6 keeps its network, a text without a domain goes whole", () => {
  const redactor = new Redactor([], "k");
  assert.equal(redactor.pseudonym("2001:db8:1:2::7"), "2001:db8:1::");
  assert.match(redactor.pseudonym("client.test"), /^~[0-9a-f]{10}$/);
});

test("variables that a message brought along, and recipients of reports, are hidden too", () => {
  const exports = { mailFrom: "eve@sender.test", note: "from dan@local.test to kim@local.test" };
  const later = { context: "smtpProc", of: "", queueId: "q", exports } as const;
  const people = { mailFrom: "dan@local.test", rcptTo: ["kim@local.test"] };
  const steps = [{ event: "onDeliveryFailure", in: { ndrRcptAddress: "bob@local.test" } } as const];
  const text = JSON.stringify(
    redact(["mailFrom", "rcptTo"], sampleRecord({ later, people, facts: [], steps: [...steps] })),
  );
  assert.doesNotMatch(text, /eve@|bob@|dan@|kim@|people/);
  assert.match(text, /"mailFrom":"~[0-9a-f]{10}@sender\.test"/);
});
