/**
 * Texts that tell tests apart: for the tests that a program makes of one text, a small set of texts such that every
 * answer all the tests together can give is given by one of them. Case analysis runs over these instead of all texts.
 *
 * Invariants: pure and deterministic. `exact` says that no combination of answers is missing: true for equality,
 * substrings, prefixes, suffixes, domains, address ranges and numbers; for patterns only where a text was found for each
 * combination. What is missing makes a theorem unknown, never true. Failure: none; a pattern nobody can sample is a gap.
 */
import type { Budget } from "../../config/budget.ts";
import { contiguous, parseIpSet } from "../ipset.ts";
import type { Fold, MatchKind } from "../ir.ts";
import { tester } from "../match.ts";
import { sampleGlob, sampleRegex } from "./sample.ts";

export interface TextTest {
  how: MatchKind;
  fold: Fold;
  key: string;
}

export interface Witnesses {
  texts: string[];
  exact: boolean;
  /** Why not. */
  gap: string;
}

/** Occurs in no script: neither contains what tests look for nor equals it. */
const fresh = "zq7";
/** Between pieces of a text; a key that spans pieces would have to hold it. */
const freeSeparator = ` ${fresh} `;
/** The same inside of domains and local parts. */
export const dottedSeparator = `.${fresh}.`;
/** All subsets of so many substring and pattern tests are tried. */
const combined = 5;

const substrings: ReadonlySet<MatchKind> = new Set(["contains", "prefix", "suffix"]);
const patterns: ReadonlySet<MatchKind> = new Set(["regex", "glob"]);

/** `base` comes first: the text that is used when nothing depends on it. */
export function witnessesOf(
  given: readonly TextTest[],
  base: string,
  budget: Budget,
  separator: string = freeSeparator,
): Witnesses {
  const tests = given.map(plain);
  const texts = new Set([base]);
  const gaps: string[] = [];
  for (const test of tests) for (const text of alone(test, budget, gaps)) texts.add(text);
  const parts = unique(tests.filter(({ how }) => substrings.has(how) || patterns.has(how)));
  // Domains alone are told apart one by one; together with parts of texts they are parts too.
  const pieces = parts.length === 0 ? [] : [...parts, ...unique(tests.filter(({ how }) => how === "domain"))];
  if (pieces.length > combined) gaps.push(`more than ${combined} substrings and patterns are tested together`);
  else if (pieces.length > 1) {
    const between = pieces.length > parts.length ? dottedSeparator : separator;
    for (const text of together(pieces, between)) texts.add(text);
  }
  const sampled = pieces.filter(({ how }) => patterns.has(how));
  if (sampled.length > 0 && gaps.length === 0 && !allAnswers(pieces, tests, [...texts], budget)) {
    gaps.push(`no text was found for each combination of ${sampled.map(({ key }) => `"${key}"`).join(", ")}`);
  }
  return { texts: [...texts], exact: gaps.length === 0, gap: gaps[0] ?? "" };
}

/** A pattern of letters alone, with anchors or without, as the test that it is. */
export function plain(test: TextTest): TextTest {
  const [, start, letters = "", end] =
    (test.how === "regex" && /^(\^?)((?:[\w@ -]|\\[^\w])+)(\$?)$/.exec(test.key)) || [];
  if (letters === "") return test;
  const how = start && end ? "is" : start ? "prefix" : end ? "suffix" : "contains";
  return { ...test, how, key: letters.replace(/\\(.)/g, "$1") };
}

/** What each test answers to the text, as a key: texts with the same key need not be told apart. */
export function answers(tests: readonly TextTest[], budget: Budget): (text: string) => string {
  const testers = unique(tests).map(({ how, fold, key }) => tester(how, fold, [key], budget));
  return (text) => testers.map((test) => (test(text) ? "1" : "0")).join("");
}

const unique = (tests: readonly TextTest[]): TextTest[] => [
  ...new Map(tests.map((test) => [`${test.how} ${test.fold} ${test.key}`, test])).values(),
];

/** Texts on both sides of one test. */
function alone({ how, key }: TextTest, budget: Budget, gaps: string[]): string[] {
  switch (how) {
    case "is":
      return [key, key.toUpperCase(), key.toLowerCase(), fresh];
    case "contains":
    case "prefix":
    case "suffix":
      return [key, key.toUpperCase(), key.toLowerCase()].flatMap(padded);
    case "domain":
      return [key, `${fresh}.${key}`, `${fresh}${key}`, fresh];
    case "glob":
      return [sampleGlob(key, ""), sampleGlob(key, fresh)].flatMap(padded);
    case "regex":
      return regexTexts(key, budget, gaps);
    case "cidr":
      return borders(key, gaps);
    default:
      return numbersAround(key);
  }
}

function regexTexts(pattern: string, budget: Budget, gaps: string[]): string[] {
  const matches = tester("regex", "octet", [pattern], budget);
  const found = sampleRegex(pattern).filter(matches);
  if (found.length === 0) gaps.push(`no text was found that matches "${pattern}"`);
  return [...found, ...found.map((text) => text.toUpperCase())].flatMap(padded).concat("");
}

/** A text, and itself as a part of others. */
const padded = (text: string): string[] => [
  text,
  `${text}${fresh}`,
  `${fresh}${text}`,
  `${fresh}${text}${fresh}`,
  fresh,
];

/** The first and last address of each range and their neighbours: every cell of the partition has one of them. */
function borders(set: string, gaps: string[]): string[] {
  const out: string[] = [];
  for (const range of parseIpSet(set) ?? []) {
    const ends = contiguous(range);
    if (!ends) {
      gaps.push(`the netmask of "${set}" has holes`);
      continue;
    }
    const most = (1n << BigInt(range.bits)) - 1n;
    for (const value of [ends.first, ends.last, ends.first - 1n, ends.last + 1n]) {
      if (value >= 0n && value <= most) out.push(formatIp(value, range.bits));
    }
  }
  return out;
}

function numbersAround(key: string): string[] {
  if (!/^\s*[+-]?\d{1,15}\s*$/.test(key)) return ["0", fresh];
  const number = Number(key);
  return [number - 1, number, number + 1].map(String);
}

/** One text for each subset of the pieces: prefixes first, suffixes last, the longest outermost. */
function together(tests: readonly TextTest[], separator: string): string[] {
  const samples = tests.map(({ how, key }) => {
    if (how === "glob") return sampleGlob(key, "");
    return how === "regex" ? (sampleRegex(key)[0] ?? "") : key;
  });
  const ends = (i: number): boolean => tests[i]!.how === "suffix" || tests[i]!.how === "domain";
  const rank = (i: number): number => {
    const { how, key } = tests[i]!;
    if (how === "prefix") return -1_000_000 - key.length;
    return ends(i) ? 1_000_000 + key.length : 0;
  };
  const out: string[] = [];
  for (let subset = 1; subset < 1 << tests.length; subset++) {
    const members = tests.map((_, i) => i).filter((i) => (subset >> i) & 1);
    members.sort((a, b) => rank(a) - rank(b));
    const middle = members.map((i) => samples[i]!).join(separator);
    const prefixed = members.some((i) => tests[i]!.how === "prefix");
    const suffixed = members.some(ends);
    out.push(middle, `${prefixed ? "" : fresh + separator}${middle}${suffixed ? "" : separator + fresh}`);
  }
  return out;
}

/** Every combination of answers, by texts that equal none of those that the other tests name. */
function allAnswers(
  pieces: readonly TextTest[],
  tests: readonly TextTest[],
  texts: readonly string[],
  budget: Budget,
): boolean {
  const named = answers(
    tests.filter((test) => !pieces.includes(test) && !patterns.has(test.how)),
    budget,
  );
  const answer = answers(pieces, budget);
  return new Set(texts.filter((text) => !named(text).includes("1")).map(answer)).size === 2 ** pieces.length;
}

/** IPv6 in full groups: `parseIp` and the session file read it back. */
export function formatIp(value: bigint, bits: 32 | 128): string {
  const size = bits === 32 ? 8n : 16n;
  const parts: string[] = [];
  for (let shift = BigInt(bits) - size; shift >= 0n; shift -= size) {
    const part = (value >> shift) & ((1n << size) - 1n);
    parts.push(part.toString(bits === 32 ? 10 : 16));
  }
  return parts.join(bits === 32 ? "." : ":");
}
