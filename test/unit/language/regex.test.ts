import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { BudgetExceeded, budgetDefaults } from "../../../src/config/budget.ts";
import { foldCoarse } from "../../../src/language/fold.ts";
import { compileRegex, RegexError } from "../../../src/language/regex.ts";
import { requiredLiterals } from "../../../src/language/regex-literals.ts";

const mega = 1 << 20;
const evil: Array<[pattern: string, text: string]> = [
  ["(a+)+$", `${"a".repeat(mega)}!`],
  ["(a|aa)+$", `${"a".repeat(mega)}!`],
  ["(.*a){20}$", `${"a".repeat(mega)}!`],
  ["^(([a-z])+.)+[A-Z]([a-z])+$", "a".repeat(mega)],
  ["(x+x+)+y", "x".repeat(mega)],
  ["(\\w+\\s?)*$", `${"ab ".repeat(mega / 3)}!`],
  ["(?:a?){30}a{30}", `${"a".repeat(29)}b`.repeat(mega / 30)],
  ["[ab]*a[ab]{14}$", "ab".repeat(mega / 2)],
  ["(.*)(.*)(.*)(.*)(.*)[^a]$", "a".repeat(mega)],
];

test("known evil patterns on 1 MB run in linear time", () => {
  for (const [pattern, text] of evil) {
    const regex = compileRegex(pattern, "octet", budgetDefaults);
    const started = performance.now();
    regex.test(text);
    // About 20 ms on a quiet machine (bench/policy.ts measures it); a backtracking engine would need years.
    assert.ok(performance.now() - started < 500, pattern);
  }
});

test("faults have a place, and what backtracks is refused with a hint", () => {
  const fault = (pattern: string): RegexError => {
    try {
      compileRegex(pattern, "octet", budgetDefaults);
    } catch (error) {
      assert.ok(error instanceof RegexError, String(error));
      return error;
    }
    return assert.fail(`${pattern} was accepted`);
  };
  assert.equal(fault("ab[c").offset, 2);
  assert.match(fault("(a)\\1").hint ?? "", /back-references/);
  assert.match(fault("a(?=b)").hint ?? "", /look-around/);
  assert.equal(fault("a(?=b)").offset, 1);
  assert.equal(fault("a**").offset, 1);
});

test("a pattern longer than regexBytes is refused", () => {
  const limits = { regexBytes: 10 };
  compileRegex("a".repeat(10), "octet", limits);
  for (const pattern of ["a".repeat(11), "é".repeat(6)]) {
    assert.throws(() => compileRegex(pattern, "octet", limits), BudgetExceeded);
  }
});

test("required literals of known patterns", () => {
  const rows: Array<[pattern: string, sets: string[][]]> = [
    ["invoice", [["invoice"]]],
    ["^Re: invoice$", [["Re: invoice"]]],
    ["colou?r code", [["colo"], ["r code"]]],
    ["abc+def", [["abc"], ["def"]]],
    ["abc*def", [["def"]]],
    ["(viagra|cialis)!", [["viagra", "cialis"]]],
    ["(viagra|x)!", []],
    ["viagra|", []],
    ["[a-z]+\\.example\\.org", [[".example.org"]]],
    ["(?i)(?:buy (?P<what>pills))", [["buy "], ["pills"]]],
    ["\\bfoo\\d+bar", [["foo"], ["bar"]]],
    ["a{2}bcd{0,3}ef{1}", []],
    ["x[]abc]yyy[[:alpha:]]zzz", [["yyy"], ["zzz"]]],
    ["\\x41bcdef", []],
    ["\\Qabc\\Edef", []],
  ];
  for (const [pattern, sets] of rows) assert.deepEqual(requiredLiterals(pattern), sets, pattern);
});

test("a match contains one literal of each required set", () => {
  const atom = fc.constantFrom(
    "abc",
    "d",
    "É",
    "k",
    "(abc|xyz)",
    "(?:d|efg)",
    "[ab]",
    "\\d",
    ".",
    "\\.",
    "\u212a",
    "ß",
  );
  const piece = fc
    .tuple(atom, fc.constantFrom("", "", "", "?", "*", "+", "{0}", "{2}", "{1,2}", "+?"))
    .map((p) => p.join(""));
  const pattern = fc.array(piece, { maxLength: 6 }).map((pieces) => pieces.join(""));
  const text = fc.array(
    fc.constantFrom("abc", "ABC", "xyz", "d", "dd", "EFG", "a", "7", ".", "É", "é", "K", "ß", "\u212a"),
  );
  fc.assert(
    fc.property(fc.array(pattern, { minLength: 1, maxLength: 2 }), text, (branches, parts) => {
      const source = branches.join("|");
      const subject = parts.join("");
      if (!compileRegex(source, "ascii", budgetDefaults).test(subject)) return;
      for (const set of requiredLiterals(source)) {
        assert.ok(
          set.some((literal) => foldCoarse(subject).includes(foldCoarse(literal))),
          `${source} ${subject}`,
        );
      }
    }),
    { numRuns: 2_000, seed: 1 },
  );
});
