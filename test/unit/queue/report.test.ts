import assert from "node:assert/strict";
import { test } from "node:test";
import { budgetWith } from "../../../src/config/budget.ts";
import { outcome } from "../../../src/message/outcome.ts";
import { defaultReportText, writeReport } from "../../../src/queue/report.ts";
import { isAutomatic, ReportLimits, reportable } from "../../../src/queue/report-rules.ts";
import type { DeliveryResult, QueuedMessage, ReportText } from "../../../src/queue/types.ts";
import { newMessage } from "./fixtures.ts";

const unknown = outcome.reject({ code: 550, enhanced: "5.1.1", text: "no such\nuser", origin: "remote mx.example" });

function queued(more: Partial<QueuedMessage> = {}, addresses = ["u@x.example"]): QueuedMessage {
  const message = newMessage("a@b.example", addresses);
  return {
    ...message,
    id: "000100",
    state: "sending",
    recipients: addresses.map((address, index) => ({ address, index, state: "failed", attempts: 1 })),
    receivedAt: 1_000_000,
    size: 10,
    attempts: 1,
    nextAttempt: 0,
    failure: "",
    delayNotified: false,
    ...more,
  };
}

function results(message: QueuedMessage, kind: DeliveryResult["kind"] = "failed"): DeliveryResult[] {
  return message.recipients.map((recipient) => ({
    recipient,
    outcome: unknown,
    destination: "mx.example [192.0.2.1]:25",
    kind,
  }));
}

function report(message: QueuedMessage, text: Partial<ReportText> = {}, original = "Subject: s\r\n\r\nbody\r\n") {
  const about = results(message);
  return writeReport({
    kind: "failure",
    message,
    results: about,
    text: { ...defaultReportText("failure", about, "mx.test"), ...text },
    hostName: "mx.test",
    original: Buffer.from(original),
    complete: true,
    now: 2_000_000,
  });
}

test("an NDR is a multipart/report with the fields of RFC 3464", () => {
  const message = queued();
  message.envelope.envid = "QQ314159";
  message.recipients[0]!.orcpt = "rfc822;user@old.example";
  const { message: ndr, body } = report(message);
  const text = body.toString();
  assert.equal(ndr.envelope.mailFrom, "");
  assert.deepEqual(ndr.envelope.rcptTo, [{ address: "a@b.example", notify: ["NEVER"] }]);
  assert.equal(ndr.runFilters, false);
  for (const line of [
    /^From: MAILER-DAEMON@mx\.test\r\nTo: <a@b\.example>\r\n/,
    /\r\nAuto-Submitted: auto-replied\r\n/,
    /\r\nContent-Type: multipart\/report; report-type=delivery-status; boundary="/,
    /\r\nOriginal-Envelope-Id: QQ314159\r\nReporting-MTA: dns; mx\.test\r\n/,
    /\r\nOriginal-Recipient: rfc822;user@old\.example\r\nFinal-Recipient: rfc822; u@x\.example\r\nAction: failed\r\n/,
    /\r\nStatus: 5\.1\.1\r\nRemote-MTA: dns; mx\.example\r\nDiagnostic-Code: smtp; 550 5\.1\.1 no such user\r\n/,
    /\r\nContent-Type: text\/rfc822-headers\r\n\r\nSubject: s\r\n\r\n--/,
  ]) {
    assert.match(text, line);
  }
  assert.doesNotMatch(text.replaceAll("\r\n", ""), /[\r\n]/, "all lines end in CRLF");
});

test("the attachment is none, header or mail, and RET=HDRS never returns the body", () => {
  assert.doesNotMatch(report(queued(), { attach: "none" }).body.toString(), /Subject: s/);
  assert.match(
    report(queued(), { attach: "mail" }).body.toString(),
    /message\/rfc822\r\n\r\nSubject: s\r\n\r\nbody\r\n/,
  );
  const message = queued();
  message.envelope.ret = "HDRS";
  assert.doesNotMatch(report(message, { attach: "mail" }).body.toString(), /body\r\n/);
  message.envelope.ret = "FULL";
  assert.match(report(message, { attach: "header" }).body.toString(), /body\r\n/, "the sender asked for it");
  assert.doesNotMatch(report(message, { attach: "none" }).body.toString(), /body\r\n/);
  const endless = report(queued(), { attach: "header" }, `${"X: y\r\n".repeat(20_000)}\r\n`).body;
  assert.ok(endless.length < 70_000, "a header section is cut at its limit");
});

test("nothing from outside adds a header line or an overlong line", () => {
  const evil = queued({}, ["u@x.example\r\nBcc: victim@x.example"]);
  const { body } = report(evil, { subject: "hi\r\nBcc: victim@x.example", opening: `${"ä".repeat(3_000)}\n` });
  const text = body.toString();
  assert.doesNotMatch(text.split("\r\n\r\n")[0]!, /^Bcc:/m);
  assert.doesNotMatch(text.slice(text.indexOf("Reporting-MTA:")), /^Bcc:/m);
  for (const line of text.split("\r\n")) assert.ok(Buffer.byteLength(line) <= 998);
});

test("addresses beyond ASCII make the report's UTF-8 forms (RFC 6533)", () => {
  const { message, body } = report(queued({}, ["üser@x.example"]));
  assert.equal(message.envelope.smtpUtf8, true);
  assert.match(body.toString(), /message\/global-delivery-status\r\n[^\0]*Final-Recipient: utf-8; üser@x\.example/);
});

test("no report for null senders, reports, or against NOTIFY", () => {
  const message = queued({}, ["a@x.example", "b@x.example", "c@x.example"]);
  message.recipients[0]!.notify = ["NEVER"];
  message.recipients[1]!.notify = ["SUCCESS", "DELAY"];
  const kept = (kind: "failure" | "delay" | "success", of = message) =>
    reportable(kind, of, results(of)).map(({ recipient }) => recipient.index);
  assert.deepEqual(kept("failure"), [2]);
  assert.deepEqual(kept("delay"), [1, 2]);
  assert.deepEqual(kept("success"), [1]);
  const passedOn = results(message).map((result) => ({ ...result, dsnPassedOn: true }));
  assert.deepEqual(reportable("success", message, passedOn), [], "the next hop reports success");
  const nobody = queued();
  nobody.envelope.mailFrom = "";
  assert.deepEqual(kept("failure", nobody), []);
  assert.deepEqual(kept("failure", queued({ marks: { report: true } })), []);
  message.delayNotified = true;
  assert.deepEqual(kept("delay"), [], "one warning a message");
  assert.deepEqual(kept("failure"), [2]);
});

test("automatic and list mail gets no delay warning", () => {
  const fields = (text: string) => Buffer.from(`Subject: s\r\n${text}\r\n`);
  for (const text of [
    "Auto-Submitted: auto-generated",
    "auto-submitted:auto-replied",
    "Precedence: bulk",
    "List-Id: <x>",
  ]) {
    assert.equal(isAutomatic("ann@x.example", fields(text)), true, text);
  }
  for (const text of ["Auto-Submitted: no", "Precedence: first-class", "X-List-Id: <x>", "Subject: List-Id: <x>"]) {
    assert.equal(isAutomatic("ann@x.example", fields(text)), false, text);
  }
  for (const sender of [
    "owner-list@x",
    "list-request@x",
    "list-bounces@x",
    "list-bounces+ann=y@x",
    "MAILER-DAEMON@x",
  ]) {
    assert.equal(isAutomatic(sender, fields("")), true, sender);
  }
});

test("reports are counted by address and domain, an hour at a time, in bounded memory", () => {
  const limits = new ReportLimits(budgetWith({ reportsPerAddress: 2, reportsPerDomain: 4, reportAddresses: 6 }));
  const hour = 3_600_000;
  const allowed = (addresses: string[], now: number) =>
    addresses.filter((address) => limits.allows(address, now)).length;
  assert.equal(allowed(["a@x.test", "a@X.test", "a@x.test", "b@x.test"], hour), 3, "two for an address");
  assert.equal(allowed(["c@x.test", "d@x.test"], hour), 0, "four for a domain");
  assert.equal(allowed(["a@y.test"], hour), 1);
  assert.equal(allowed(["a@x.test", "c@x.test"], 2 * hour), 2, "the next hour");
});
