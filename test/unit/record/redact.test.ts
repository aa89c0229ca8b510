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
