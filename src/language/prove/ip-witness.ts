/**
 * Addresses that tell tests apart. Ranges are cut at their borders; a test on an address's text (a substring, a pattern)
 * is tried on addresses made around what it looks for. Invariants: pure; all texts are addresses; `exact` as in
 * witness.ts: whether the text has a dot or a colon is known of each family, other tests need an address found for each
 * combination of answers. Failure: none.
 */
import type { Budget } from "../../config/budget.ts";
import { parseIp } from "../ipset.ts";
import { sampleGlob, sampleRegex } from "./sample.ts";
import { answers, plain, type TextTest, type Witnesses, witnessesOf } from "./witness.ts";

/** What may stand around a piece of an address. */
const around = {
  v4: {
    left: ["", "1", "10.", "10.0.", "10.0.0.", "192.0.2.", "198.51."],
    right: ["", "1", ".1", ".0.1", ".0.0.1", "0.1", "0.0.1"],
  },
  v6: { left: ["", "2001:", "2001:db8:", "2001:db8::"], right: ["", "1", "::", "::1", ":1", "db8::1"] },
} as const;
const anyV6 = "2001:db8::1";

/** `base` comes first. `known`: addresses that don't count. */
export function ipWitnesses(
  given: readonly TextTest[],
  base: string,
  budget: Budget,
  known: (ip: string) => boolean = () => false,
): Witnesses {
  const tests = given.map(plain);
  const ofText = tests.filter(({ how }) => how !== "cidr" && how !== "is");
  const others = tests.filter((test) => !ofText.includes(test));
  const found = witnessesOf(others, base, budget);
  const made = ofText.flatMap(samples).flatMap(completed);
  const texts = [...new Set([...found.texts, anyV6, ...made])].filter((text) => parseIp(text) && !known(text));
  const free = ofText.filter(({ how, key }) => how !== "contains" || (key !== "." && key !== ":"));
  const gap = found.exact ? gapOf(free, others, texts, budget) : found.gap;
  return { texts, exact: gap === "", gap };
}

function gapOf(
  free: readonly TextTest[],
  others: readonly TextTest[],
  texts: readonly string[],
  budget: Budget,
): string {
  if (free.length === 0) return "";
  const cells = new Map<string, Set<string>>();
  const [cell, answer] = [answers(others, budget), answers(free, budget)];
  for (const text of texts) {
    const seen = cells.get(cell(text)) ?? new Set<string>();
    cells.set(cell(text), seen.add(answer(text)));
  }
  const all = 2 ** new Set(free.map(({ how, fold, key }) => `${how} ${fold} ${key}`)).size;
  if ([...cells.values()].every((seen) => seen.size === all)) return "";
  return `no address was found for each combination of "${free.map(({ key }) => key).join('", "')}"; ipRange tells them apart`;
}

function samples({ how, key }: TextTest): string[] {
  if (how === "regex") return sampleRegex(key);
  return how === "glob" ? [sampleGlob(key, "1")] : [key];
}

const completed = (piece: string): string[] =>
  [around.v4, around.v6].flatMap(({ left, right }) => left.flatMap((a) => right.map((b) => `${a}${piece}${b}`)));
