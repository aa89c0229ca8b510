import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { budgetWith } from "../../../src/config/budget.ts";
import { parseBounce } from "../../../src/delivery/bounce/parse.ts";
import { maxText, textRules } from "../../../src/delivery/bounce/reasons.ts";
import { classifyReply } from "../../../src/delivery/classify.ts";

const budget = budgetWith();
const bounceOf = (...lines: string[]) => parseBounce(Buffer.from(lines.join("\r\n")), budget);

function report(fields: string[], notice = "Your message could not be delivered."): string[] {
  return [
    "Return-Path: <>",
    "From: MAILER-DAEMON@mx.example",
    "To: ann@x.example",
    "Subject: Undelivered Mail Returned to Sender",
    'Content-Type: multipart/report; report-type=delivery-status; boundary="b"',
    "",
    "--b",
    "",
    notice,
    "--b",
    "Content-Type: message/delivery-status",
    "",
    "Reporting-MTA: dns; mx.example",
    "",
    ...fields,
    "",
    "--b--",
    "",
  ];
}

test("RFC 3464: recipients, status, code, reason, hard and soft", () => {
  const parsed = bounceOf(
    ...report([
      "Original-Recipient: rfc822;bob@y.example",
      "Final-Recipient: rfc822; bob@y.example",
      "Action: failed",
      "Status: 5.0.0",
      "Diagnostic-Code: smtp; 550 5.1.1 <bob@y.example>:",
      "    no such user",
      "",
      "Final-Recipient: rfc822; <eve@y.example>",
      "Action: failed",
      "Status: 5.2.2",
      "Diagnostic-Code: smtp; 552 mailbox full",
    ]),
  )!;
  assert.equal(parsed.kind, "delivery");
  assert.deepEqual(
    parsed.recipients.map(({ address, status, replyCode, reason, hard }) => [address, status, replyCode, reason, hard]),
    [
      ["bob@y.example", "5.1.1", 550, "user-unknown", true],
      ["eve@y.example", "5.2.2", 552, "mailbox-full", false],
    ],
  );
});

test("records without blank lines between them, delays and successes", () => {
  const parsed = bounceOf(
    ...report([
      "Final-Recipient: rfc822; a@y.example",
      "Action: delayed",
      "Status: 4.4.1",
      "Final-Recipient: rfc822; b@y.example",
      "Action: relayed",
      "Status: 2.0.0",
    ]),
  )!;
  assert.deepEqual(
    parsed.recipients.map(({ action, reason, hard }) => [action, reason, hard]),
    [
      ["delayed", "expired", false],
      ["relayed", "delivered", false],
    ],
  );
});

test("a bounce in prose: address, cause, and none of the addresses around it", () => {
  const parsed = bounceOf(
    "From: Mail Delivery System <mailer-daemon@mx.example>",
    "To: ann@x.example",
    "Subject: Mail delivery failed: returning message to sender",
    "",
    "A message that you sent could not be delivered. Questions to postmaster@mx.example.",
    "",
    "  bob@y.example",
    "    SMTP error from remote mail server after RCPT TO:<bob@y.example>:",
    "    host mx.y.example [192.0.2.1]: 550 5.1.1 User unknown",
    "",
    "------ This is a copy of the message, including all the headers. ------",
    "",
    "From: ann@x.example",
    "To: someone@else.example",
    "",
  )!;
  assert.deepEqual(
    parsed.recipients.map(({ address, hard }) => [address, hard]),
    [["bob@y.example", true]],
  );
});

test("complaints, automatic replies and ordinary mail", () => {
  const complaint = bounceOf(
    'Content-Type: multipart/report; report-type=feedback-report; boundary="b"',
    "",
    "--b",
    "Content-Type: message/feedback-report",
    "",
    "Feedback-Type: abuse",
    "Original-Rcpt-To: <a@y.example>",
    "Original-Rcpt-To: <b@y.example>",
    "--b--",
    "",
  )!;
  assert.deepEqual(
    [complaint.kind, complaint.recipients.map((one) => one.address)],
    ["feedback", ["a@y.example", "b@y.example"]],
  );
  assert.equal(
    bounceOf("From: b@y.example", "Auto-Submitted: auto-replied", "Subject: away", "", "gone", "")?.kind,
    "auto-reply",
  );
  assert.equal(
    bounceOf("From: b@y.example", "To: a@x.example", "Subject: lunch", "", "at noon? write to c@y.example", ""),
    undefined,
  );
});

test("the number of recipients is bounded", () => {
  const fields = Array.from({ length: 30 }, (_, index) => [
    `Final-Recipient: rfc822; u${index}@y.example`,
    "Action: failed",
    "Status: 5.1.1",
    "",
  ]).flat();
  const parsed = parseBounce(Buffer.from(report(fields).join("\r\n")), budgetWith({ bounceRecipients: 10 }))!;
  assert.equal(parsed.recipients.length, 10);
});

test("text beyond the limit is not read", () => {
  const notice = `${"filler line\r\n".repeat(200)}  bob@y.example\r\n`;
  const lines = [
    "From: MAILER-DAEMON@mx.example",
    "To: ann@x.example",
    "Subject: failure notice",
    "",
    "could not be delivered",
    notice,
  ];
  assert.equal(parseBounce(Buffer.from(lines.join("\r\n")), budget)!.recipients[0]!.address, "bob@y.example");
  const short = parseBounce(Buffer.from(lines.join("\r\n")), budgetWith({ bounceText: 500 }));
  assert.notEqual(short?.recipients[0]?.address, "bob@y.example");
});

test("any bytes are read without a fault", () => {
  const line = fc.constantFrom(
    "Final-Recipient: rfc822;",
    "Action: failed",
    "550 ",
    "<a@b>",
    "{",
    '"notificationType"',
    "}",
    "--b",
    "",
    ">",
    "To: x",
    "é",
  );
  fc.assert(
    fc.property(fc.array(line, { maxLength: 30 }), (body) => {
      const parsed = bounceOf("Subject: failure notice", "Content-Type: multipart/report; boundary=b", "", ...body);
      for (const one of parsed?.recipients ?? []) assert.equal(typeof one.hard, "boolean");
    }),
    { numRuns: 300 },
  );
});

test("no rule is slow on hostile text", () => {
  const seeds = [
    "a ",
    "user ",
    "mailbox ",
    "sender ",
    "from: ",
    "from <",
    "ip ",
    "message ",
    "server ",
    "domain ",
    "exceed ",
    "no ",
    "x.x ",
  ];
  for (const rule of textRules) {
    for (const pattern of rule.patterns) {
      for (const seed of seeds) {
        const text = seed.repeat(Math.ceil(maxText / seed.length)).slice(0, maxText);
        // The best of three: on a busy machine a single run may wait for its turn.
        const times = [1, 2, 3].map(() => {
          const started = process.hrtime.bigint();
          pattern.test(text);
          return Number(process.hrtime.bigint() - started) / 1e6;
        });
        assert.ok(Math.min(...times) < 40, `${rule.reason} ${pattern} takes ${Math.min(...times)} ms on "${seed}"`);
      }
    }
  }
});

test("replies: action and category", () => {
  for (const [reply, action, category] of [
    ["550 5.1.1 <bob@y.example> user unknown", "reject", "recipient"],
    ["450 4.2.0 <bob@y.example>: greylisted, try again later", "defer", "greylist"],
    ["554 5.7.1 client [192.0.2.1] blocked using dnsbl.example.org", "defer", "blacklist"],
    ["451 4.7.0 rate limit exceeded", "slowdown", "capacity"],
    ["421 too many connections from your host", "defer", "capacity"],
    ["552 5.2.2 mailbox full", "reject", "capacity"],
    ["452 4.2.2 mailbox full", "defer", "capacity"],
    ["550 5.7.1 message looks like spam", "reject", "spam"],
    ["550 something never seen", "reject", "other"],
    ["", "defer", "other"],
  ] as const) {
    const advice = classifyReply(reply);
    assert.deepEqual([advice.action, advice.category], [action, category], reply);
  }
});
