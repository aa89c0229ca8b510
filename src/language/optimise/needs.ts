/**
 * What a test needs: probe entries of which at least one must hit for the test to be true.
 *
 * An `any` needs what all its members need together; an `all` needs what any one member needs, so the most selective
 * one is taken. Invariants: when none of the entries hits, evaluating the test would be false and without side effect,
 * so it may be skipped. Failure: none; undefined means that no such entries are known.
 */
import { isPure } from "../effects.ts";
import { longestLiteral, parseGlob } from "../glob.ts";
import { parseIpSet, prefixesOf } from "../ipset.ts";
import type { Fold, MatchKind, Subject, Test, Value } from "../ir.ts";
import { requiredLiterals } from "../regex-literals.ts";

export interface Need {
  readonly subject: Subject;
  readonly how: MatchKind;
  readonly fold: Fold;
  readonly key: string;
}

/** `usable`: whether a subject's strings are settled before the run of rules begins. */
export function needsOf(test: Test, usable: (subject: Subject) => boolean): Need[] | undefined {
  switch (test.op) {
    case "const":
      return test.value ? undefined : [];
    case "any": {
      const needs: Need[] = [];
      for (const member of test.tests) {
        const need = needsOf(member, usable);
        if (!need) return undefined;
        for (const n of need) needs.push(n);
      }
      return needs;
    }
    case "all": {
      let best: Need[] | undefined;
      for (const member of test.tests) {
        const need = needsOf(member, usable);
        if (need && (!best || cost(need) < cost(best))) best = need;
        // What follows is skipped with the test only if this member can be evaluated for nothing.
        if (!isPure(member)) break;
      }
      return best;
    }
    case "match":
      return matchNeeds(test, usable);
    default:
      return undefined;
  }
}

function matchNeeds(t: Extract<Test, { op: "match" }>, usable: (subject: Subject) => boolean): Need[] | undefined {
  if (!canProbe(t.subject) || !usable(t.subject)) return undefined;
  const needs: Need[] = [];
  for (const key of t.keys) {
    if (key.op !== "const") return undefined;
    const need = keyNeeds(t.how, t.fold, key.text);
    if (!need) return undefined;
    for (const n of need) needs.push({ ...n, subject: t.subject });
  }
  return needs;
}

/** Only strings that can be asked for once, before the rules run. */
function canProbe(subject: Subject): boolean {
  if (subject.op === "one") return isSettled(subject.value);
  if (subject.op === "list") return subject.values.every(isSettled);
  return subject.stable && subject.args.every((arg) => arg.op === "const");
}

function isSettled(value: Value): boolean {
  if (value.op === "concat") return value.parts.every(isSettled);
  return value.op === "pure" ? value.args.every(isSettled) : value.op !== "host";
}

type KeyNeed = Omit<Need, "subject">;

/** Entries of one key; none when nothing can match it. */
function keyNeeds(how: MatchKind, fold: Fold, key: string): KeyNeed[] | undefined {
  const number = fold === "numeric" || fold === "integer";
  switch (how) {
    case "is":
    case "eq":
      return [{ how: number ? "eq" : "is", fold, key }];
    case "domain":
      return number ? [] : key === "" ? undefined : [{ how, fold, key }];
    case "contains":
    case "prefix":
    case "suffix":
      return number ? [] : literalNeeds([key], fold);
    case "glob": {
      if (number) return [];
      const glob = parseGlob(key);
      return glob.literal === undefined
        ? literalNeeds([longestLiteral(glob)], fold)
        : [{ how: "is", fold, key: glob.literal }];
    }
    case "regex": {
      const literals = number ? undefined : requiredLiterals(key);
      return literals && literalNeeds(literals, "ascii");
    }
    case "cidr":
      return (parseIpSet(key) ?? []).every(prefixesOf) ? [{ how, fold: "octet", key }] : undefined;
    case "gt":
    case "ge":
    case "lt":
    case "le":
      return number ? [{ how, fold, key }] : undefined;
    case "ne":
      return undefined;
  }
}

/** The literal scan compares under one coarse folding; i;unicode-casemap needs its own. */
function literalNeeds(literals: readonly string[], fold: Fold): KeyNeed[] | undefined {
  if (literals.some((literal) => literal === "" || !literal.isWellFormed())) return undefined;
  return literals.map((key) => ({ how: "contains", fold: fold === "unicode" ? "unicode" : "ascii", key }));
}

/** How many false candidates an entry brings, roughly: the least selective entry counts. */
function cost(needs: readonly Need[]): number {
  let worst = 0;
  for (const { how, key } of needs) {
    const one = how === "contains" ? 4 + 8 / key.length : (selectivity[how] ?? 100);
    worst = Math.max(worst, one);
  }
  return worst;
}

const selectivity: Partial<Record<MatchKind, number>> = { is: 1, eq: 1, domain: 2, cidr: 3 };
