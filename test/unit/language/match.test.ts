/** Every kind of match under every comparator, as a table. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { budgetDefaults } from "../../../src/config/budget.ts";
import type { Fold, MatchKind } from "../../../src/language/ir.ts";
import { capturer, compareCodePoints, tester } from "../../../src/language/match.ts";

type Row = [how: MatchKind, fold: Fold, text: string, key: string, expected: boolean];

const rows: Row[] = [
  ["is", "octet", "Abc", "Abc", true],
  ["is", "octet", "abc", "Abc", false],
  ["is", "ascii", "abc", "ABC", true],
  ["is", "ascii", "é", "É", false],
  ["is", "unicode", "é", "É", true],
  ["is", "unicode", "e\u0301", "é", true],
  ["is", "unicode", "Ａ", "a", true],
  ["is", "unicode", "ß", "ss", false],
  ["is", "numeric", "007", "7", true],
  ["is", "numeric", "7 apples", "7", true],
  ["is", "numeric", "x", "y", true],
  ["is", "numeric", "x", "99999999999999999999999", false],
  ["is", "integer", " -07 ", "-7", true],
  ["is", "integer", "7x", "7", false],
  ["contains", "octet", "xAbcx", "Abc", true],
  ["contains", "ascii", "xABCx", "abc", true],
  ["contains", "ascii", "x", "", true],
  ["contains", "unicode", "GRÜSSE", "üss", true],
  ["contains", "numeric", "11", "1", false],
  ["prefix", "ascii", "Re: x", "RE:", true],
  ["prefix", "ascii", " Re:", "re:", false],
  ["suffix", "octet", "a.exe", ".exe", true],
  ["suffix", "octet", "a.EXE", ".exe", false],
  ["domain", "ascii", "Mail.Example.Org", "example.org", true],
  ["domain", "ascii", "example.org", "example.org", true],
  ["domain", "ascii", "notexample.org", "example.org", false],
  ["domain", "ascii", "org", "example.org", false],
  ["glob", "ascii", "frop@example.org", "*@EXAMPLE.*", true],
  ["glob", "octet", "a*b", "a\\*b", true],
  ["glob", "octet", "axb", "a\\*b", false],
  ["glob", "octet", "a\u{1d11e}b", "a?b", true],
  ["glob", "octet", "ab", "a?b", false],
  ["glob", "octet", "", "*", true],
  ["glob", "octet", "aab", "*ab", true],
  ["glob", "octet", "abab", "ab*ab", true],
  ["glob", "octet", "aba", "ab*ba", false],
  ["glob", "octet", "xaxbx", "*a?b*", true],
  ["regex", "octet", "invoice 42", "voice \\d+$", true],
  ["regex", "octet", "INVOICE", "voice", false],
  ["regex", "ascii", "INVOICE", "voice", true],
  ["cidr", "octet", "10.1.2.3", "10.1.2.0/24", true],
  ["cidr", "octet", "10.1.3.3", "10.1.2.0/255.255.255.0", false],
  ["cidr", "octet", "nonsense", "0.0.0.0/0", false],
  ["cidr", "octet", "10.1.2.3", "nonsense", false],
  ["gt", "integer", "10", "9", true],
  ["gt", "octet", "10", "9", false],
  ["gt", "integer", "-1", "-2", true],
  ["gt", "integer", "-10", "-2", false],
  ["gt", "integer", "", "-1", false],
  ["lt", "integer", "x", "1", false],
  ["gt", "numeric", "4294967298", "4294967297", true],
  ["gt", "numeric", "", "99999999999999999999", true],
  ["ge", "numeric", "x", "y", true],
  ["lt", "numeric", "18446744073709551616", "x", true],
  ["le", "integer", "+5", "5", true],
  ["le", "integer", "-0", "0", true],
  ["eq", "integer", "04", "4", true],
  ["eq", "octet", "04", "4", false],
  ["ne", "integer", "04", "4", false],
  ["ne", "integer", "x", "4", false],
  ["lt", "ascii", "abc", "ABD", true],
  ["lt", "ascii", "a", "_", true],
  ["lt", "octet", "\uffee", "\u{10000}", true],
];

test("kinds and comparators", () => {
  for (const [how, fold, text, key, expected] of rows) {
    const name = `${JSON.stringify(text)} ${how}/${fold} ${JSON.stringify(key)}`;
    assert.equal(tester(how, fold, [key], budgetDefaults)(text), expected, name);
    const keys = ["\u0001 no such", "\u0001 nor this", "\u0001 or this", key];
    if (!["ne", "gt", "ge"].includes(how) && fold !== "numeric" && how !== "cidr") {
      assert.equal(tester(how, fold, keys, budgetDefaults)(text), expected, `several: ${name}`);
    }
  }
});

test("without keys nothing matches", () => {
  for (const how of ["is", "contains", "glob", "regex", "cidr", "gt"] as const) {
    assert.equal(tester(how, "octet", [], budgetDefaults)(""), false);
  }
});

test("captures take as little as they can and keep the original case", () => {
  const groups = (pattern: string, text: string, fold: Fold = "ascii") =>
    capturer("glob", fold, [pattern], budgetDefaults)(text);
  assert.deepEqual(groups("*[LIST]*", "Re: [List] News [list] x"), [
    "Re: [List] News [list] x",
    "Re: ",
    " News [list] x",
  ]);
  assert.deepEqual(groups("a?*c", "aXYZc"), ["aXYZc", "X", "YZ"]);
  assert.deepEqual(groups("*?b", "aab"), ["aab", "a", "a"]);
  assert.equal(groups("a*b", "acd"), undefined);
  const regex = capturer("regex", "octet", ["(a)(x)?", "b(c)"], budgetDefaults);
  assert.deepEqual(regex("bcba"), ["a", "a", ""]);
  assert.deepEqual(regex("bc"), ["bc", "c"]);
});

test("a glob of many stars on a long text is quick", () => {
  const started = performance.now();
  assert.equal(tester("glob", "octet", [`${"*a".repeat(200)}b`], budgetDefaults)("a".repeat(100_000)), false);
  assert.ok(performance.now() - started < 1_000);
});

test("texts are ordered as their UTF-8 octets", () => {
  const texts = ["", "a", "aa", "b", "\u00e9", "\ud7ff", "\ue000", "\uffff", "\u{10000}", "\u{10ffff}"];
  for (const a of texts) {
    for (const b of texts) {
      const octets = Buffer.compare(Buffer.from(a), Buffer.from(b));
      assert.equal(Math.sign(compareCodePoints(a, b)), octets, `${a} ${b}`);
    }
  }
});
