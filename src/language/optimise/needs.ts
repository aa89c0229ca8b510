/**
 * What a test needs to be true, as probe entries of which at least one must hit.
 *
 * A match needs one of its keys; an `any` needs what one of its members needs; an `all` offers a choice, any one member
 * will do, and a regex may offer several literals. The choice is made when all rules of a run are known: the entry that
 * fewest rules share sifts best, so a condition that every rule repeats is not the one they are indexed by.
 * Invariants: when none of the entries hits, evaluating the test would be false and without side effect, so it may be
 * skipped. Failure: none; undefined means that no such entries are known.
 */
import { isPure } from "../effects.ts";
import { longestLiteral, parseGlob } from "../glob.ts";
import { parseIpSet, prefixesOf } from "../ipset.ts";
import type { Fold, MatchKind, Subject, Test, Value } from "../ir.ts";
import { requiredLiterals } from "../regex-literals.ts";
import { subjectKey } from "../walk.ts";

/** One entry of an index. */
export interface Entry {
  readonly subject: Subject;
  readonly how: MatchKind;
  readonly fold: Fold;
  readonly key: string;
  /** Same text for all entries that one probe can hold. */
  readonly group: string;
}

/** `any`: one of these is needed. `choice`: each of these is needed, so looking for one of them is enough. */
export type Need = Entry | { readonly any: readonly Need[] } | { readonly choice: readonly Need[] };

/** `usable`: whether a subject's strings are settled before the run of rules begins. */
export function needsOf(test: Test, usable: (subject: Subject) => boolean): Need | undefined {
  switch (test.op) {
    case "const":
      return test.value ? undefined : { any: [] };
    case "any":
      return allKnown(test.tests, (member) => needsOf(member, usable));
    case "all": {
      const choice: Need[] = [];
      for (const member of test.tests) {
        const need = needsOf(member, usable);
        if (need) choice.push(need);
        // What follows is skipped with the test only if this member can be evaluated for nothing.
        if (!isPure(member)) break;
      }
      return choice.length > 0 ? { choice } : undefined;
    }
    case "match": {
      const { subject, how, fold } = test;
      if (!canProbe(subject) || !usable(subject)) return undefined;
      const asked: Asked = { subject, name: subjectKey(subject) };
      return allKnown(test.keys, (key) => (key.op === "const" ? keyNeed(asked, how, fold, key.text) : undefined));
    }
    default:
      return undefined;
  }
}

/** One of what the items need, if all are known. */
function allKnown<T>(items: readonly T[], needOf: (item: T) => Need | undefined): Need | undefined {
  if (items.length === 1) return needOf(items[0]!);
  const any: Need[] = [];
  for (const item of items) {
    const need = needOf(item);
    if (!need) return undefined;
    any.push(need);
  }
  return { any };
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

/** A subject and its subjectKey. */
interface Asked {
  readonly subject: Subject;
  readonly name: string;
}

function entry(asked: Asked, how: MatchKind, fold: Fold, key: string): Entry {
  return { subject: asked.subject, how, fold, key, group: `${how} ${fold} ${asked.name}` };
}

const never: Need = { any: [] };

function keyNeed(asked: Asked, how: MatchKind, fold: Fold, key: string): Need | undefined {
  const number = fold === "numeric" || fold === "integer";
  switch (how) {
    case "is":
    case "eq":
      return entry(asked, number ? "eq" : "is", fold, key);
    case "domain":
      return number ? never : key === "" ? undefined : entry(asked, how, fold, key);
    case "contains":
    case "prefix":
    case "suffix":
      return number ? never : literalNeed(asked, fold, key);
    case "glob": {
      if (number) return never;
      const glob = parseGlob(key);
      if (glob.literal !== undefined) return entry(asked, "is", fold, glob.literal);
      return literalNeed(asked, fold, longestLiteral(glob));
    }
    case "regex": {
      const choice = requiredLiterals(key).flatMap(
        (set) => allKnown(set, (literal) => literalNeed(asked, "ascii", literal)) ?? [],
      );
      return choice.length > 0 ? { choice } : undefined;
    }
    case "cidr":
      return (parseIpSet(key) ?? []).every(prefixesOf) ? entry(asked, how, "octet", key) : undefined;
    case "gt":
    case "ge":
    case "lt":
    case "le":
      return number ? entry(asked, how, fold, key) : undefined;
    case "ne":
      return undefined;
  }
}

/** The literal scan compares under one coarse folding; i;unicode-casemap needs its own. */
function literalNeed(asked: Asked, fold: Fold, key: string): Need | undefined {
  if (key === "" || !key.isWellFormed()) return undefined;
  return entry(asked, "contains", fold === "unicode" ? "unicode" : "ascii", key);
}
