/**
 * What a test says about the variables it reads when it is taken to be true, or false: equal to a text, not equal to
 * some, between two numbers. Enough to notice contradictions; everything else is "don't know". Pure but for `facts`.
 */
import type { Test } from "../language/ir.ts";

interface Knowledge {
  /** Equal to this text, or (folded) to this text in lower case. */
  equal?: { text: string; folded: boolean };
  /** Not equal to these; folded ones in lower case behind "~". */
  unequal: readonly string[];
  /** Whole number strictly between. */
  above: number;
  below: number;
}

export type Assumptions = Map<number, Knowledge>;

const nothing: Knowledge = { unequal: [], above: Number.NEGATIVE_INFINITY, below: Number.POSITIVE_INFINITY };

export const known = (text: string): Knowledge => ({ ...nothing, equal: { text, folded: false } });

/** Adds what follows from the test being `value`; false when that contradicts what is known. */
export function assume(test: Test, value: boolean, facts: Assumptions): boolean {
  switch (test.op) {
    case "const":
      return test.value === value;
    case "not":
      return assume(test.test, !value, facts);
    case "all":
    case "any":
      if ((test.op === "all") === value) return test.tests.every((inner) => assume(inner, value, facts));
      return test.tests.some((inner) => assume(inner, value, new Map(facts)));
    case "match":
      return assumeMatch(test, value, facts);
    default:
      return true;
  }
}

function assumeMatch(test: Extract<Test, { op: "match" }>, value: boolean, facts: Assumptions): boolean {
  const [key] = test.keys;
  if (test.keys.length !== 1 || key?.op !== "const") return true;
  if (test.subject.op !== "one" || test.subject.value.op !== "slot") return true;
  const { slot } = test.subject.value;
  const before = facts.get(slot) ?? nothing;
  let after: Knowledge | undefined;
  if (test.how === "is") after = withEquality(before, key.text, test.fold !== "octet", value);
  else if ((test.how === "gt" || test.how === "lt") && value) after = withBound(before, test.how, key.text);
  else return true;
  if (after) facts.set(slot, after);
  return after !== undefined;
}

const mark = (text: string, folded: boolean): string => (folded ? `~${text.toLowerCase()}` : text);

/** Undefined when it contradicts what is known. */
function withEquality(before: Knowledge, text: string, folded: boolean, value: boolean): Knowledge | undefined {
  const { equal } = before;
  if (!value) {
    const same =
      equal && !equal.folded && (folded ? equal.text.toLowerCase() === text.toLowerCase() : equal.text === text);
    const sameFolded = equal?.folded && folded && equal.text.toLowerCase() === text.toLowerCase();
    if (same || sameFolded) return undefined;
    return { ...before, unequal: [...before.unequal, mark(text, folded)].slice(0, 64) };
  }
  if (equal) {
    const bothExact = !equal.folded && !folded;
    const same = bothExact ? equal.text === text : equal.text.toLowerCase() === text.toLowerCase();
    if (!same) return undefined;
  }
  const excluded = folded ? [mark(text, true)] : [text, mark(text, true)];
  if (before.unequal.some((other) => excluded.includes(other))) return undefined;
  const bounded = before.above !== Number.NEGATIVE_INFINITY || before.below !== Number.POSITIVE_INFINITY;
  if (bounded && !(Number(text) > before.above && Number(text) < before.below)) return undefined;
  return { ...before, equal: equal && !equal.folded ? equal : { text, folded } };
}

function withBound(before: Knowledge, how: "gt" | "lt", text: string): Knowledge | undefined {
  // A comparison with what is no number is never true (§9.2); numbers too long for certainty are left alone.
  if (!/^\s*[+-]?\d+\s*$/.test(text)) return undefined;
  const limit = Number(text);
  if (!Number.isSafeInteger(limit)) return before;
  const above = how === "gt" ? Math.max(before.above, limit) : before.above;
  const below = how === "lt" ? Math.min(before.below, limit) : before.below;
  if (below - above < 2) return undefined;
  if (before.equal && !(Number(before.equal.text) > above && Number(before.equal.text) < below)) return undefined;
  return { ...before, above, below };
}
