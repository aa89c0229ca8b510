/**
 * The meaning of every MatchKind × Fold pair, in one place: interpreter, emitted code, index and named lists use it.
 *
 * Semantics (RFC 5228 §2.7, RFC 5231, RFC 4790; smtpfilters.md §9.2):
 * - is, contains, prefix, suffix, domain, glob compare folded texts (fold.ts). `domain`: equal, or ends in "." + key.
 * - numeric (i;ascii-numeric): the leading digits, of any size; a text without is positive infinity.
 * - integer: trimmed, optional sign, digits; if either side is no integer the comparison is false.
 * - gt … ne order texts by code point under text comparators, as numbers under numeric ones.
 * - cidr: both sides as in ipset.ts; malformed on either side is false.
 * - regex ignores case unless the fold is octet.
 * Invariants: pure functions; `is` under a numeric fold is `eq`. Substring kinds under a numeric fold are false: such a
 * module is not well-formed (verify.ts). Failure: only a bad regex throws, when its Matcher is made.
 */
import type { Budget } from "../config/budget.ts";
import { foldAscii, folding } from "./fold.ts";
import { matchGlob, parseGlob } from "./glob.ts";
import { type IpRange, parseIp, parseIpSet, rangeHas } from "./ipset.ts";
import type { Fold, MatchKind } from "./ir.ts";
import { compileRegex } from "./regex.ts";

export type Tester = (text: string) => boolean;

export type MatchLimits = Pick<Budget, "regexBytes">;

/** Prepares keys for many texts: the answer is true when any key matches the text. */
export function tester(how: MatchKind, fold: Fold, keys: readonly string[], limits: MatchLimits): Tester {
  if (fold === "numeric" || fold === "integer") return numberTester(how, fold, keys);
  const f = folding(fold);
  const folded = keys.map(f);
  const plain = fold === "octet";
  switch (how) {
    case "is":
      return isTester(fold, folded);
    case "contains":
      return anyOf(folded, plain ? (text, key) => text.includes(key) : undefined, f, (text, key) => text.includes(key));
    case "prefix":
      return anyOf(folded, undefined, f, (text, key) => text.startsWith(key));
    case "suffix":
      return anyOf(folded, undefined, f, (text, key) => text.endsWith(key));
    case "domain":
      return anyOf(folded, undefined, f, isInDomain);
    case "glob": {
      const globs = folded.map(parseGlob);
      return (text) => {
        const subject = f(text);
        return globs.some((glob) => matchGlob(glob, subject) !== undefined);
      };
    }
    case "regex": {
      const regexes = keys.map((key) => compileRegex(key, fold, limits));
      return (text) => regexes.some((regex) => regex.test(text));
    }
    case "cidr":
      return ipTester(keys);
    default:
      return anyOf(folded, undefined, f, (text, key) => holds(how, compareCodePoints(text, key)));
  }
}

/** Texts with many keys are looked up, not compared one by one. */
const hashFrom = 4;

function isTester(fold: Fold, folded: readonly string[]): Tester {
  const f = folding(fold);
  if (folded.length >= hashFrom) {
    const set = new Set(folded);
    return (text) => set.has(f(text));
  }
  if (folded.length === 1) {
    const key = folded[0]!;
    // Folding ASCII keeps the length: most texts differ in it and need no folding.
    if (fold === "ascii") return (text) => text.length === key.length && foldAscii(text) === key;
    return (text) => f(text) === key;
  }
  return (text) => folded.includes(f(text));
}

function anyOf(
  keys: readonly string[],
  unfolded: ((text: string, key: string) => boolean) | undefined,
  f: (text: string) => string,
  one: (text: string, key: string) => boolean,
): Tester {
  if (keys.length === 1) {
    const key = keys[0]!;
    return unfolded ? (text) => unfolded(text, key) : (text) => one(f(text), key);
  }
  return (text) => {
    const subject = f(text);
    for (const key of keys) if (one(subject, key)) return true;
    return false;
  };
}

function isInDomain(text: string, key: string): boolean {
  if (!text.endsWith(key)) return false;
  return text.length === key.length || text[text.length - key.length - 1] === ".";
}

function ipTester(keys: readonly string[]): Tester {
  const ranges: IpRange[] = keys.flatMap((key) => parseIpSet(key) ?? []);
  return (text) => {
    const ip = parseIp(text);
    return ip !== undefined && ranges.some((range) => rangeHas(range, ip));
  };
}

function numberTester(how: MatchKind, fold: "numeric" | "integer", keys: readonly string[]): Tester {
  const parse = fold === "numeric" ? parseNumeric : parseInteger;
  const relation = how === "is" ? "eq" : how;
  const numbers = keys.map(parse);
  return (text) => {
    const left = parse(text);
    if (left === undefined) return false;
    return numbers.some((right) => right !== undefined && holds(relation, compareNumbers(left, right)));
  };
}

function holds(how: MatchKind, order: number): boolean {
  switch (how) {
    case "gt":
      return order > 0;
    case "ge":
      return order >= 0;
    case "lt":
      return order < 0;
    case "le":
      return order <= 0;
    case "eq":
      return order === 0;
    case "ne":
      return order !== 0;
    default:
      return false;
  }
}

/** An integer of any size: sign and digits without leading zeros; digits "∞" for i;ascii-numeric's infinity. */
export interface BigNumber {
  readonly negative: boolean;
  readonly digits: string;
}

const infinity = "∞";

/** i;ascii-numeric (RFC 4790 §9.1.1): leading digits; none at all means positive infinity. */
export function parseNumeric(text: string): BigNumber {
  const digits = /^[0-9]+/.exec(text)?.[0];
  return { negative: false, digits: digits === undefined ? infinity : digits.replace(/^0+(?=.)/, "") };
}

/** smtpfilters.md §9.2: trimmed, optional sign, digits; anything else is no number. */
export function parseInteger(text: string): BigNumber | undefined {
  const parts = /^[+-]?[0-9]+$/.exec(text.trim())?.[0];
  if (parts === undefined) return undefined;
  const digits = parts.replace(/^[+-]/, "").replace(/^0+(?=.)/, "");
  return { negative: parts.startsWith("-") && digits !== "0", digits };
}

/** Negative, zero or positive as a is less than, equal to or more than b. */
export function compareNumbers(a: BigNumber, b: BigNumber): number {
  if (a.negative !== b.negative) return a.negative ? -1 : 1;
  const size = compareDigits(a.digits, b.digits);
  return a.negative ? -size : size;
}

function compareDigits(a: string, b: string): number {
  if (a === b) return 0;
  if (a === infinity || b === infinity) return a === infinity ? 1 : -1;
  if (a.length !== b.length) return a.length - b.length;
  return a < b ? -1 : 1;
}

/** Order by code point, which is the order of UTF-8 octets (i;octet, RFC 4790 §9.3); UTF-16 order differs. */
export function compareCodePoints(a: string, b: string): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) {
    if (a.charCodeAt(i) !== b.charCodeAt(i)) return rank(a.charCodeAt(i)) - rank(b.charCodeAt(i));
  }
  return a.length - b.length;
}

/** Surrogates stand for code points above U+FFFF, so they sort after every other code unit. */
function rank(unit: number): number {
  return unit >= 0xd800 && unit <= 0xdfff ? unit + 0x10000 : unit;
}

/**
 * Like `tester`, but answers the match variables of the first key that matches ([0] = whole text or match), or
 * undefined. Only :matches and :regex have more than [0] (RFC 5229 §3.2); texts are cut from the unfolded text.
 */
export function capturer(
  how: MatchKind,
  fold: Fold,
  keys: readonly string[],
  limits: MatchLimits,
): (text: string) => readonly string[] | undefined {
  if (how === "regex") {
    const regexes = keys.map((key) => compileRegex(key, fold, limits));
    return (text) => firstDefined(regexes, (regex) => regex.exec(text));
  }
  if (how !== "glob") {
    const test = tester(how, fold, keys, limits);
    return (text) => (test(text) ? [text] : undefined);
  }
  const f = folding(fold);
  const globs = keys.map((key) => parseGlob(f(key)));
  return (text) => {
    const subject = f(text);
    // A folding that changed the length (decomposition) leaves no offsets into the original: cut from the folded text.
    const original = subject.length === text.length ? text : subject;
    return firstDefined(globs, (glob) => {
      const wild = matchGlob(glob, subject);
      if (!wild) return undefined;
      const groups = [text];
      for (let i = 0; i < wild.length; i += 2) groups.push(original.slice(wild[i], wild[i + 1]));
      return groups;
    });
  };
}

function firstDefined<A, B>(list: readonly A[], f: (a: A) => B | undefined): B | undefined {
  for (const item of list) {
    const result = f(item);
    if (result !== undefined) return result;
  }
  return undefined;
}
