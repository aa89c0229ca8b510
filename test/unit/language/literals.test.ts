import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { LiteralScan } from "../../../src/language/literals.ts";

function find(scan: LiteralScan, text: string): Set<number> {
  const hits: number[] = [];
  scan.find(text, hits);
  return new Set(hits);
}

test("never misses a literal", () => {
  const text = fc.string({ unit: fc.constantFrom("a", "b", "c", "é", "\u{1d11e}", "š"), maxLength: 40 });
  const literal = fc.string({
    unit: fc.constantFrom("a", "b", "c", "é", "\u{1d11e}", "š"),
    minLength: 1,
    maxLength: 8,
  });
  fc.assert(
    fc.property(fc.array(literal, { minLength: 1, maxLength: 30 }), text, (literals, subject) => {
      const found = find(new LiteralScan(literals, [...literals.keys()]), subject);
      for (const [i, l] of literals.entries()) if (subject.includes(l)) assert.ok(found.has(i), `${l} in ${subject}`);
    }),
    { numRuns: 1_000, seed: 1 },
  );
});

test("names few of 20,000 literals that share most of their text", () => {
  const literals = Array.from({ length: 20_000 }, (_, i) => `special offer ${i} only`);
  const scan = new LiteralScan(literals, [...literals.keys()]);
  const found = find(scan, "our special offer 19999 only today");
  assert.ok(found.has(19_999));
  assert.ok(found.size < 20, `${found.size} candidates`);
  assert.equal(find(scan, "minutes of the meeting").size, 0);
});

test("a text made of one gram over and over is scanned in linear time", () => {
  const literals = Array.from({ length: 2_000 }, (_, i) => `${"a".repeat(60)}${i}`);
  const scan = new LiteralScan(literals, [...literals.keys()]);
  const started = performance.now();
  find(scan, "a".repeat(1 << 20));
  assert.ok(performance.now() - started < 500);
});
