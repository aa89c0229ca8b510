import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { budgetWith } from "../../../src/config/budget.ts";
import { type ContentKind, ContentScanner, type Violation } from "../../../src/smtp/incoming/data.ts";

const budget = budgetWith({ textLineRead: 200, headerSection: 2_000, headerFields: 20 });
const limits = { messageBytes: 100_000, receivedHeaders: 3, budget };

interface Scan {
  content: string;
  end: number;
  violation: Violation | undefined;
  eightBit: boolean;
}

/** Feeds `input` in pieces of `step` octets; `end` counts from the start of the input. */
function scan(input: string, step = Number.POSITIVE_INFINITY, kind: ContentKind = "dotted"): Scan {
  let content = "";
  const scanner = new ContentScanner(kind, limits, (piece) => {
    content += piece.toString("latin1");
  });
  const octets = Buffer.from(input, "latin1");
  for (let from = 0; from < octets.length; from += step) {
    const end = scanner.feed(Buffer.from(octets.subarray(from, from + step)));
    if (end >= 0) return { content, end: from + end, violation: scanner.violation, eightBit: scanner.eightBit };
  }
  if (kind !== "dotted") scanner.finish();
  return { content, end: -1, violation: scanner.violation, eightBit: scanner.eightBit };
}

/** The same rules, written as plainly as can be: whole text, no state. */
function reference(input: string): { content: string; end: number; broken: boolean } {
  let rest = input;
  let content = "";
  for (;;) {
    const line = /^([^\r\n\0]*)(\r\n|[\r\n\0]|$)/.exec(rest)!;
    if (line[2] === "") return { content: content + line[1]!.replace(/^\./, ""), end: -1, broken: false };
    if (line[2] !== "\r\n") return { content: "", end: -1, broken: true };
    rest = rest.slice(line[0].length);
    if (line[1] === ".") return { content, end: input.length - rest.length, broken: false };
    content += line[0].replace(/^\./, "");
  }
}

test("dots are unstuffed and the end is found, at every split", () => {
  const input = "Subject: x\r\n\r\n..one\r\n...\r\nplain.\r\n.leading\r\n.\r\nQUIT\r\n";
  for (let step = 1; step <= input.length; step++) {
    const result = scan(input, step);
    assert.equal(result.content, "Subject: x\r\n\r\n.one\r\n..\r\nplain.\r\nleading\r\n", `step ${step}`);
    assert.equal(result.end, input.indexOf("QUIT"));
    assert.equal(result.violation, undefined);
  }
});

test("an empty message ends at once", () => {
  assert.deepEqual(scan(".\r\nNOOP"), { content: "", end: 3, violation: undefined, eightBit: false });
});

test("any text over CR, LF, dot, NUL and a letter: as the plain reference says, at any split", () => {
  const text = fc.string({ unit: fc.constantFrom("\r", "\n", "\r\n", "\r\n", ".", "a", "\0"), maxLength: 40 });
  fc.assert(
    fc.property(text, fc.integer({ min: 1, max: 9 }), (body, step) => {
      const expected = reference(body);
      const result = scan(body, step);
      // A reference that met a broken line before any end must be refused; a CR still waiting for its LF may not be.
      if (expected.broken) {
        const pendingCr = /\r$/.test(body) && reference(body.slice(0, -1)).broken === false;
        assert.ok(result.violation !== undefined || pendingCr, JSON.stringify(body));
        return;
      }
      assert.equal(result.end, expected.end, JSON.stringify(body));
      assert.equal(result.violation, undefined);
      if (expected.end >= 0) assert.equal(result.content, expected.content);
    }),
    { numRuns: 500, seed: 5321 },
  );
});

test("smuggling: no sequence but CRLF.CRLF ends the content", () => {
  const units = ["\r", "\n", "\r\n", "\0", ""];
  for (const before of units) {
    for (const after of units) {
      if (before === "\r\n" && after === "\r\n") continue;
      const input = `a\r\n\r\nb${before}.${after}MAIL FROM:<x@y>\r\n.\r\n`;
      for (const step of [1, 2, 3, 1_000]) {
        const { end, violation } = scan(input, step);
        assert.equal(end, input.length, JSON.stringify([before, after, step]));
        const clean = (before === "" || before === "\r\n") && (after === "" || after === "\r\n");
        assert.equal(violation === undefined, clean, JSON.stringify([before, after, step]));
      }
    }
  }
});

test("a long line, too large a header, too many fields, too many Received: each refused at its limit", () => {
  const line = (length: number): string => `${"x".repeat(length)}\r\n`;
  assert.equal(scan(`\r\n${line(200)}.\r\n`).violation, undefined);
  assert.equal(scan(`\r\n${line(201)}.\r\n`).violation, "lineTooLong");
  assert.equal(scan(`\r\n${line(201)}.\r\n`, 7).violation, "lineTooLong");
  const fold = ` ${"y".repeat(97)}\r\n`; // 100 octets
  assert.equal(scan(`A: b\r\n${fold.repeat(19)}\r\nbody\r\n.\r\n`).violation, undefined);
  assert.equal(scan(`A: b\r\n${fold.repeat(20)}\r\nbody\r\n.\r\n`).violation, "headerSection");
  assert.equal(scan(`${"A: b\r\n".repeat(20)}\r\n.\r\n`).violation, undefined);
  assert.equal(scan(`${"A: b\r\n".repeat(21)}\r\n.\r\n`).violation, "headerFields");
  assert.equal(scan(`${"no field\r\n".repeat(300)}.\r\n`, 5).violation, undefined);
  assert.equal(scan(`${"Received: by a\r\n".repeat(3)}\r\nReceived: x\r\n.\r\n`, 4).violation, undefined);
  assert.equal(scan(`${"RECEIVED: by a\r\n".repeat(4)}\r\n.\r\n`, 4).violation, "receivedHeaders");
  assert.equal(scan(`\r\n${line(100).repeat(1_000)}.\r\n`).violation, "tooBig");
});

test("after a violation the end is still found, and line endings outrank sizes", () => {
  const input = `\r\n${"x".repeat(300)}\r\nbare\nlf\r\n.\r\n`;
  assert.deepEqual([scan(input).violation, scan(input).end], ["bareLf", input.length]);
});

test("octets above 127 are noticed wherever they stand", () => {
  for (let at = 0; at < 12; at++) {
    const line = "abcdefghijkl".split("");
    line[at] = "\xe9";
    assert.equal(scan(`\r\n${line.join("")}\r\n.\r\n`).eightBit, true, `at ${at}`);
  }
  assert.equal(scan("\r\nabcdefghijkl\r\n.\r\n").eightBit, false);
});

test("BDAT text keeps dots and gets its last CRLF; binary bodies pass as they are", () => {
  assert.equal(scan("A: b\r\n\r\n..dot\r\n.\r\nrest", 3, "lines").content, "A: b\r\n\r\n..dot\r\n.\r\nrest\r\n");
  assert.equal(scan("A: b\r\n\r\nbare\nlf\r\n", 3, "lines").violation, "bareLf");
  assert.equal(scan("A: b\r\n\r\nbare\r", 3, "lines").violation, "bareCr");
  assert.equal(scan("A: b\r\n\r\nbare\nlf\0\r", 3, "binary").content, "A: b\r\n\r\nbare\nlf\0\r");
  assert.equal(scan("A: b\nC: d\r\n\r\nx", 3, "binary").violation, "bareLf");
});
