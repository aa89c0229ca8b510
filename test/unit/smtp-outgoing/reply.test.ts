import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { BudgetExceeded, budgetWith } from "../../../src/config/budget.ts";
import { type Reply, ReplyError, ReplyParser, replyOutcome } from "../../../src/smtp/outgoing/reply.ts";

function parse(text: string, pieces = [text.length], budget = budgetWith()): Reply[] {
  const parser = new ReplyParser(budget);
  const bytes = Buffer.from(text);
  const replies: Reply[] = [];
  let at = 0;
  for (const piece of [...pieces, bytes.length]) {
    if (at >= bytes.length) break;
    parser.push(bytes.subarray(at, at + piece), (reply) => replies.push(reply));
    at += piece;
  }
  return replies;
}

test("single and multi-line replies", () => {
  assert.deepEqual(parse("250 2.1.5 ok\r\n"), [{ code: 250, enhanced: "2.1.5", lines: ["ok"] }]);
  assert.deepEqual(parse("550-5.7.1 one\r\n550-5.7.1 two\r\n550 5.7.1 three\r\n"), [
    { code: 550, enhanced: "5.7.1", lines: ["one", "two", "three"] },
  ]);
  assert.deepEqual(parse("250\r\n354 go\r\n"), [
    { code: 250, enhanced: "", lines: [""] },
    { code: 354, enhanced: "", lines: ["go"] },
  ]);
});

test("an enhanced code of another class is text", () => {
  assert.deepEqual(parse("550 4.7.1 odd\r\n")[0], { code: 550, enhanced: "", lines: ["4.7.1 odd"] });
});

test("control bytes never leave the parser", () => {
  const [reply] = parse("550 a\x00b\x1b[31mc\r\n");
  assert.equal(reply!.lines[0], "a b [31mc");
});

for (const [name, text] of [
  ["bare LF", "250 ok\n"],
  ["bare CR", "250 a\rb\r\n"],
  ["no code", "hello\r\n"],
  ["code of one digit", "2 ok\r\n"],
  ["code of class 1", "150 wait\r\n"],
  ["odd separator", "250+ok\r\n"],
  ["code changes", "250-a\r\n550 b\r\n"],
  ["empty line", "\r\n"],
] as const) {
  test(`refused: ${name}`, () => assert.throws(() => parse(text), ReplyError));
}

test("budgets: lines, bytes of a reply, bytes of a line without end", () => {
  const small = budgetWith({ replyLines: 3, replyBytes: 100 });
  assert.equal(parse("250-a\r\n250-b\r\n250 c\r\n", undefined, small).length, 1);
  assert.throws(() => parse("250-a\r\n250-b\r\n250-c\r\n250 d\r\n", undefined, small), BudgetExceeded);
  assert.throws(() => parse(`250-${"a".repeat(60)}\r\n250 ${"b".repeat(60)}\r\n`, undefined, small), BudgetExceeded);
  assert.throws(() => parse(`250 ${"a".repeat(200)}`, undefined, small), BudgetExceeded);
});

test("pieces make no difference, and any bytes either parse or are refused", () => {
  const text = "220 hi\r\n250-one\r\n250 2.0.0 two\r\n";
  const whole = parse(text);
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: 9 }), { maxLength: 30 }), (pieces) => {
      assert.deepEqual(parse(text, pieces), whole);
    }),
    { numRuns: 200 },
  );
  fc.assert(
    fc.property(
      fc.string({ unit: fc.constantFrom("2", "5", "0", "-", " ", "\r", "\n", "a", "."), maxLength: 60 }),
      (noise) => {
        try {
          for (const reply of parse(noise)) assert.ok(reply.code >= 200 && reply.code < 600);
        } catch (error) {
          assert.ok(error instanceof ReplyError);
        }
      },
    ),
    { numRuns: 500 },
  );
});

test("an outcome keeps codes, class and lines", () => {
  const said = replyOutcome(parse("451-4.7.1 later\r\n451 4.7.1 please\r\n")[0]!, "remote x");
  assert.deepEqual(said, { code: 451, enhanced: "4.7.1", text: "later\nplease", temporary: true, origin: "remote x" });
});
