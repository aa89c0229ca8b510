/** Texts that tell tests apart: for random tests and random texts, some witness gets the same answers. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { budgetDefaults } from "../../../src/config/budget.ts";
import { sampleRegex } from "../../../src/language/prove/sample.ts";
import { answers, type TextTest, witnessesOf } from "../../../src/language/prove/witness.ts";
import { compileRegex } from "../../../src/language/regex.ts";

const letters = fc.string({ unit: fc.constantFrom("a", "b", "."), maxLength: 6 });
const textTest: fc.Arbitrary<TextTest> = fc.record({
  how: fc.constantFrom("is", "contains", "prefix", "suffix", "domain"),
  fold: fc.constantFrom("octet", "ascii"),
  key: letters.filter((key) => key !== ""),
});

test("no combination of answers is missing where the witnesses are called exact", () => {
  fc.assert(
    fc.property(fc.array(textTest, { maxLength: 3 }), letters, (tests, text) => {
      const { texts, exact } = witnessesOf(tests, "base", budgetDefaults);
      if (!exact) return;
      const answer = answers(tests, budgetDefaults);
      assert.ok(
        texts.some((witness) => answer(witness) === answer(text)),
        `${text}: ${texts.join(" | ")}`,
      );
    }),
    { numRuns: 1_000 },
  );
});

test("addresses on both sides of every border", () => {
  const range = (key: string): TextTest => ({ how: "cidr", fold: "octet", key });
  const tests = [range("10.0.0.0/8"), range("10.1.0.0-10.2.255.255"), range("2001:db8::/32")];
  const { texts, exact } = witnessesOf(tests, "192.0.2.1", budgetDefaults);
  assert.ok(exact);
  const answer = answers(tests, budgetDefaults);
  assert.deepEqual([...new Set(texts.map(answer))].sort(), ["000", "001", "100", "110"]);
  assert.equal(witnessesOf([range("10.0.0.1/255.0.0.255")], "192.0.2.1", budgetDefaults).exact, false);
});

test("numbers below, at and above", () => {
  const tests: TextTest[] = [
    { how: "gt", fold: "integer", key: "4" },
    { how: "lt", fold: "integer", key: "6" },
  ];
  const answer = answers(tests, budgetDefaults);
  const found = new Set(witnessesOf(tests, "0", budgetDefaults).texts.map(answer));
  assert.ok(["01", "11", "10"].every((wanted) => found.has(wanted)));
});

test("patterns are sampled, and their gaps are told", () => {
  for (const pattern of [
    "^[a-c]+@corp\\.example$",
    "(foo|bar){2,3}\\d?",
    "[^a-z]x\\w\\s",
    "\\Qa.b\\E$",
    "(?i)viagra|cialis",
    "a{70}",
  ]) {
    const matcher = compileRegex(pattern, "octet", budgetDefaults);
    assert.ok(pattern === "a{70}" || sampleRegex(pattern).some((text) => matcher.test(text)), pattern);
  }
  const regex = (key: string): TextTest => ({ how: "regex", fold: "octet", key });
  assert.equal(witnessesOf([regex("^a+$")], "base", budgetDefaults).exact, true);
  const literal = witnessesOf(
    [regex("^example\\.org$"), { how: "is", fold: "octet", key: "example.org" }],
    "",
    budgetDefaults,
  );
  assert.equal(literal.exact, true, "a pattern of letters alone is no pattern");
  assert.match(witnessesOf([regex("a{70}")], "base", budgetDefaults).gap, /no text was found that matches/);
  assert.match(witnessesOf([regex("^a+$"), regex("^b+$")], "base", budgetDefaults).gap, /each combination/);
});

test("more parts than are combined leave a gap", () => {
  const parts = (count: number): TextTest[] =>
    Array.from({ length: count }, (_, i) => ({ how: "contains", fold: "octet", key: `k${i}k` }));
  assert.equal(witnessesOf(parts(5), "base", budgetDefaults).exact, true);
  assert.match(witnessesOf(parts(6), "base", budgetDefaults).gap, /more than 5/);
});
