import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { ContentEncoder } from "../../../src/smtp/outgoing/content.ts";

function encode(text: string | Buffer, options = { dots: true, maxLine: 998 }, pieces: number[] = []): string {
  const encoder = new ContentEncoder(options);
  const bytes = Buffer.from(text);
  const out: Buffer[] = [];
  let at = 0;
  for (const piece of [...pieces, bytes.length]) {
    if (at >= bytes.length) break;
    out.push(encoder.push(bytes.subarray(at, at + piece)));
    at += piece;
  }
  out.push(encoder.end());
  return Buffer.concat(out).toString("latin1");
}

for (const [name, given, want] of [
  ["clean", "a\r\nb\r\n", "a\r\nb\r\n"],
  ["last line open", "a\r\nb", "a\r\nb\r\n"],
  ["empty", "", ""],
  ["dots", ".\r\n..\r\na.b\r\n.x", "..\r\n...\r\na.b\r\n..x\r\n"],
  ["bare LF", "a\nb\n", "a\r\nb\r\n"],
  ["bare CR", "a\rb\r\n", "a b\r\n"],
  ["CR at the end", "a\r", "a \r\n"],
  ["two CR", "a\r\r\nb", "a \r\nb\r\n"],
  ["smuggling: LF dot LF", "a\n.\nMAIL FROM:<x>\n", "a\r\n..\r\nMAIL FROM:<x>\r\n"],
  ["smuggling: LF dot CRLF", "a\n.\r\nQUIT\r\n", "a\r\n..\r\nQUIT\r\n"],
  ["smuggling: CR dot CR", "a\r.\rQUIT\r\n", "a . QUIT\r\n"],
  ["smuggling: CRLF dot CR LF split", "a\r\n.\r\nQUIT\r\n", "a\r\n..\r\nQUIT\r\n"],
] as const) {
  test(`content: ${name}, whole and byte by byte`, () => {
    assert.equal(encode(given), want);
    assert.equal(encode(given, { dots: true, maxLine: 998 }, Array(given.length).fill(1)), want);
  });
}

test("a clean chunk is passed on without a copy", () => {
  const chunk = Buffer.from("line\r\nline\r\n");
  assert.equal(new ContentEncoder({ dots: true, maxLine: 998 }).push(chunk).buffer, chunk.buffer);
});

test("without dots (BDAT) only line ends are made right", () => {
  assert.equal(encode(".\n.a\r\n", { dots: false, maxLine: 998 }), ".\r\n.a\r\n");
});

test("long lines are folded, UTF-8 sequences kept whole", () => {
  const folded = encode("x".repeat(2_500), { dots: true, maxLine: 998 });
  for (const line of folded.split("\r\n")) assert.ok(line.length <= 998);
  assert.equal(folded.replaceAll("\r\n ", "").trimEnd(), "x".repeat(2_500));
  const text = "é".repeat(1_000);
  const back = Buffer.from(encode(text, { dots: true, maxLine: 99 }), "latin1").toString("utf8");
  assert.equal(back.replaceAll("\r\n ", "").trimEnd(), text);
  assert.ok(back.split("\r\n").every((line) => !line.includes("�")));
});

test("whatever comes in, what goes out is legal and holds no early end of data", () => {
  const unit = fc.constantFrom("\r", "\n", ".", "a", "\r\n", "\r\n.\r\n", "\0", "é");
  fc.assert(
    fc.property(
      fc.string({ unit, maxLength: 80 }),
      fc.array(fc.integer({ min: 1, max: 7 }), { maxLength: 40 }),
      (text, pieces) => {
        const out = encode(text, { dots: true, maxLine: 20 }, pieces);
        assert.ok(!/\r(?!\n)/.test(out) && !/(?<!\r)\n/.test(out), "bare CR or LF");
        assert.ok(!/(?:^|\r\n)\.(?:\r\n|$)/.test(out), "end of data inside");
        assert.ok(out === "" || out.endsWith("\r\n"));
        // A stuffing dot does not count (RFC 5321 §4.5.3.1.6).
        for (const line of out.split("\r\n")) assert.ok(line.replace(/^\.\./, ".").length <= 20);
        assert.equal(out, encode(text, { dots: true, maxLine: 20 }), "pieces make no difference");
      },
    ),
    { numRuns: 500 },
  );
});
