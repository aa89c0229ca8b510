import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { BudgetExceeded, budgetWith } from "../../../src/config/budget.ts";
import { parseMessage } from "../../../src/message/parse.ts";

const budget = budgetWith();
const parse = (text: string) => parseMessage(Buffer.from(text, "latin1"), budget);

test("fields carry their places, raw, unfolded and decoded values", () => {
  const text = "Subject: =?utf-8?Q?caf=C3=A9?=\r\n =?utf-8?Q?_noir?=\r\nX-A : b\r\n\r\nbody";
  const message = parse(text);
  const [subject, extra] = message.headers.fields;
  assert.equal(subject!.raw, " =?utf-8?Q?caf=C3=A9?=\r\n =?utf-8?Q?_noir?=");
  assert.equal(subject!.value, "=?utf-8?Q?caf=C3=A9?= =?utf-8?Q?_noir?=");
  assert.equal(message.subject, "café noir");
  assert.equal(extra!.lower, "x-a");
  assert.equal(text.slice(extra!.start, extra!.end), "X-A : b\r\n");
  assert.equal(text.slice(message.bodyStart), "body");
});

test("LF line ends, mbox lines, raw 8-bit and a missing blank line are read", () => {
  const message = parse("From a@b Mon Jan  1 00:00:00 2024\nSubject: caf\xe9\nTo: a@b\nthis is body already\n");
  assert.equal(message.subject, "café");
  assert.equal(message.headers.fields.length, 2);
  assert.match(message.bytes.subarray(message.bodyStart).toString(), /^this is body/);
});

test("header section and field count end at the budget", () => {
  const over = (text: string, limits: Parameters<typeof budgetWith>[0], field: string) =>
    assert.throws(
      () => parseMessage(Buffer.from(text), budgetWith(limits)),
      (error) => error instanceof BudgetExceeded && error.field === field,
    );
  over("A: 1\r\nB: 2\r\nC: 3\r\n\r\n", { headerFields: 2 }, "headerFields");
  over(`A: ${"x".repeat(100)}\r\n\r\n`, { headerSection: 100 }, "headerSection");
  assert.equal(
    parseMessage(Buffer.from("A: 1\r\nB: 2\r\n\r\n"), budgetWith({ headerFields: 2 })).headers.fields.length,
    2,
  );
});

test("a 1 MB header line is read when the budget allows it", () => {
  const message = parseMessage(
    Buffer.from(`Subject: ${"y".repeat(1 << 20)}\r\n\r\n`),
    budgetWith({ headerSection: 2 << 20 }),
  );
  assert.equal(message.subject.length, 1 << 20);
});

const mixed = [
  "Content-Type: multipart/mixed; boundary=outer",
  "",
  "preamble",
  "--outer",
  "Content-Type: multipart/alternative; boundary=outer2",
  "",
  "--outer2",
  "",
  "plain",
  "--outer2",
  "Content-Type: text/html; charset=iso-8859-1",
  "Content-Transfer-Encoding: quoted-printable",
  "",
  "<p>caf=E9 =",
  "noir</p>",
  "--outer2--",
  "--outer",
  "Content-Type: application/pdf",
  "Content-Disposition: attachment; filename*0*=utf-8''r%C3%A9; filename*1=sum.pdf",
  "Content-Transfer-Encoding: base64",
  "",
  "aGVsbG8=",
  "--outer",
  "Content-Type: message/rfc822",
  "",
  "Subject: inner",
  "",
  "inside",
  "--outer--",
  "epilogue",
].join("\r\n");

test("the MIME tree: nesting, charsets, RFC 2231 names, attached messages", () => {
  const { root } = parse(mixed);
  assert.deepEqual(
    [...root.walk()].map((part) => part.mediaType),
    ["multipart/mixed", "multipart/alternative", "text/plain", "text/html", "application/pdf", "message/rfc822"],
  );
  const [alternative, pdf, attached] = root.children;
  assert.equal(alternative!.children[0]!.text, "plain");
  assert.equal(alternative!.children[1]!.text, "<p>café noir</p>");
  assert.equal(pdf!.filename, "résum.pdf");
  assert.equal(pdf!.disposition, "attachment");
  assert.equal(pdf!.content.toString(), "hello");
  assert.equal(attached!.nested!.headers.first("subject")!.decoded, "inner");
  assert.equal(attached!.nested!.text, "inside");
});

test("MIME depth and part count end at the budget", () => {
  let nested = "x";
  for (let i = 0; i < 8; i++) nested = `Content-Type: message/rfc822\r\n\r\n${nested}`;
  const walkDown = (limits: Parameters<typeof budgetWith>[0]) => {
    let part = parseMessage(Buffer.from(nested), budgetWith(limits)).root.nested;
    while (part) part = part.nested;
  };
  walkDown({});
  assert.throws(() => walkDown({ mimeDepth: 5 }), BudgetExceeded);
  const many = `Content-Type: multipart/mixed; boundary=b\r\n\r\n${"--b\r\n\r\nx\r\n".repeat(20)}--b--`;
  assert.equal(parse(many).parts().length, 21);
  assert.throws(() => parseMessage(Buffer.from(many), budgetWith({ mimeParts: 20 })).parts(), BudgetExceeded);
});

test("base64 goes on after padding in the middle", () => {
  const { root } = parse("Content-Transfer-Encoding: base64\r\n\r\nWDVPIVA=\r\nJUBBUA==\r\n");
  assert.equal(root.content.toString(), "X5O!P%@AP");
});

test("any octets are a message", () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 400 }),
      fc.constantFrom("", "Content-Type: multipart/x; boundary=a\n", "To: <"),
      (bytes, lead) => {
        const message = parseMessage(Buffer.concat([Buffer.from(lead), bytes]), budget);
        for (const part of message.parts()) assert.ok(part.start <= part.end && part.text.length >= 0);
        message.addresses("to");
        assert.ok(message.bodyStart <= message.bytes.length);
      },
    ),
    { numRuns: 300 },
  );
});
