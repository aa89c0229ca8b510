/**
 * The index of a run of rules at run time: from what the subjects hold now to the rules that can be true.
 *
 * Equality and exact numbers are hash look-ups; domains, one hash look-up per label; addresses, one per prefix length in
 * use; thresholds, a binary search; literals, one scan for all (literals.ts).
 * Invariants: candidates come in rule order, each once, and include every rule whose test is true. Failure: none but the
 * host's.
 */
import { foldCoarse, folding, foldUnicode } from "./fold.ts";
import type { Host } from "./host.ts";
import { contiguous, parseIp, parseIpSet, prefixesOf } from "./ipset.ts";
import type { Fold, IndexProbe, MatchKind, Statement, Subject } from "./ir.ts";
import { LiteralScan } from "./literals.ts";
import {
  type BigNumber,
  compareNumbers,
  type MatchLimits,
  parseInteger,
  parseNumeric,
  type Tester,
  tester,
} from "./match.ts";
import { entriesOf } from "./pack.ts";
import type { RunState } from "./run.ts";
import { atOnce } from "./slices.ts";

export type SubjectReader = (slots: string[], host: Host, state: RunState) => readonly string[];

/** What a probe looks for, without where; its entries come in pieces. */
interface Keys {
  readonly how: MatchKind;
  readonly fold: Fold;
  readonly pieces: Iterable<IndexProbe["entries"]>;
}

/** Appends the rules that a text can make true. */
type Find = (text: string, hits: number[]) => void;

export class ProbeIndex {
  private readonly always: readonly number[];
  private readonly probes: ReadonlyArray<{ read: SubjectReader; find: Find }>;

  private constructor(always: readonly number[], probes: ProbeIndex["probes"]) {
    this.always = always;
    this.probes = probes;
  }

  /** The index of a run; yields after each part of the work. */
  static *build(
    s: Extract<Statement, { op: "indexed" }>,
    readerOf: (subject: Subject) => SubjectReader,
  ): Generator<void, ProbeIndex> {
    const probes: Array<ProbeIndex["probes"][number]> = [];
    for (const [i, { subject, how, fold }] of s.plan.probes.entries()) {
      const find = yield* finder({ how, fold, pieces: entriesOf(s, i) });
      probes.push({ read: readerOf(subject), find });
    }
    return new ProbeIndex(s.plan.always, probes);
  }

  /** Numbers of the rules that can be true now, ascending. */
  candidates(slots: string[], host: Host, state: RunState): readonly number[] {
    const hits: number[] = [];
    for (const { read, find } of this.probes) {
      for (const text of read(slots, host, state)) find(text, hits);
    }
    if (hits.length === 0) return this.always;
    if (hits.length > 1) hits.sort((a, b) => a - b);
    return merge(hits, this.always);
  }
}

/** From this many keys on, one test's keys are probed like rules; below, comparing one by one is as quick. */
const probedKeys = 8;

/** `tester` (match.ts) for constant keys, whose cost does not grow with the number of domains, networks or literals. */
export function testerOfMany(how: MatchKind, fold: Fold, keys: readonly string[], limits: MatchLimits): Tester {
  if (keys.length < probedKeys || !canProbe(how, fold, keys)) return tester(how, fold, keys, limits);
  const pieces = [keys.map((key, rule) => ({ key, rule }))];
  const find = atOnce(finder({ how, fold: how === "contains" && fold !== "unicode" ? "ascii" : fold, pieces }));
  return (text) => {
    const hits: number[] = [];
    find(text, hits);
    return hits.some((i) => tester(how, fold, [keys[i]!], limits)(text));
  };
}

function canProbe(how: MatchKind, fold: Fold, keys: readonly string[]): boolean {
  if (fold === "numeric" || fold === "integer") return false;
  if (how === "cidr") return keys.every((key) => (parseIpSet(key) ?? []).every(contiguous));
  return (how === "domain" || how === "contains") && keys.every((key) => key !== "" && key.isWellFormed());
}

/** Both sorted; duplicates of `hits` are dropped. */
function merge(hits: readonly number[], always: readonly number[]): number[] {
  const out: number[] = [];
  let a = 0;
  for (const [i, hit] of hits.entries()) {
    if (i > 0 && hit === hits[i - 1]) continue;
    while (a < always.length && always[a]! < hit) out.push(always[a++]!);
    out.push(hit);
  }
  while (a < always.length) out.push(always[a++]!);
  return out;
}

type Building = Generator<void, Find>;

function finder(probe: Keys): Building {
  switch (probe.how) {
    case "is":
      return hashFinder(probe, folding(probe.fold));
    case "eq":
      return hashFinder(probe, probe.fold === "numeric" ? numericKey : integerKey);
    case "domain":
      return domainFinder(probe);
    case "cidr":
      return cidrFinder(probe);
    case "contains":
      return scanFinder(probe);
    default:
      return thresholdFinder(probe);
  }
}

/** Rules by key; most keys have one rule, which then needs no list. */
class RulesByKey<K> {
  private readonly map = new Map<K, number | number[]>();

  add(key: K, rule: number): void {
    const had = this.map.get(key);
    if (had === undefined) this.map.set(key, rule);
    else if (typeof had === "number") this.map.set(key, [had, rule]);
    else had.push(rule);
  }

  find(key: K, hits: number[]): void {
    const found = this.map.get(key);
    if (found === undefined) return;
    if (typeof found === "number") hits.push(found);
    else for (const rule of found) hits.push(rule);
  }
}

function* hashFinder(probe: Keys, keyOf: (text: string) => string | undefined): Building {
  const rules = new RulesByKey<string>();
  for (const entries of probe.pieces) {
    for (const { key, rule } of entries) {
      const folded = keyOf(key);
      if (folded !== undefined) rules.add(folded, rule);
    }
    yield;
  }
  return (text, hits) => {
    const key = keyOf(text);
    if (key !== undefined) rules.find(key, hits);
  };
}

function numericKey(text: string): string {
  return parseNumeric(text).digits;
}

function integerKey(text: string): string | undefined {
  const number = parseInteger(text);
  return number && (number.negative ? "-" : "") + number.digits;
}

function* domainFinder(probe: Keys): Building {
  const fold = folding(probe.fold);
  const rules = new RulesByKey<string>();
  let longest = 0;
  for (const entries of probe.pieces) {
    for (const { key, rule } of entries) {
      const folded = fold(key);
      longest = Math.max(longest, folded.length);
      rules.add(folded, rule);
    }
    yield;
  }
  return (text, hits) => {
    const folded = fold(text);
    // No suffix longer than the longest key can be one: a hostile run of dots costs no more than that.
    for (let dot = folded.lastIndexOf("."); dot >= 0; dot = dot > 0 ? folded.lastIndexOf(".", dot - 1) : -1) {
      if (folded.length - dot - 1 > longest) return;
      rules.find(folded.slice(dot + 1), hits);
    }
    if (folded.length <= longest) rules.find(folded, hits);
  };
}

/** Prefixes by length; an address asks once for each length in use, at most 33 (IPv4) or 129 times. */
function* cidrFinder(probe: Keys): Building {
  const v4 = new Map<number, RulesByKey<number>>();
  const v6 = new Map<number, RulesByKey<bigint>>();
  for (const entries of probe.pieces) {
    for (const { key, rule } of entries) {
      for (const { bits, base, length } of (parseIpSet(key) ?? []).flatMap((range) => prefixesOf(range) ?? [])) {
        if (bits === 32) tableFor(v4, length).add(head32(Number(base), length), rule);
        else tableFor(v6, length).add(base >> BigInt(128 - length), rule);
      }
    }
    yield;
  }
  const [v4Tables, v6Tables] = [[...v4], [...v6]];
  return (text, hits) => {
    const ip = parseIp(text);
    if (ip?.bits === 32) {
      const value = Number(ip.value);
      for (const [length, rules] of v4Tables) rules.find(head32(value, length), hits);
    } else if (ip) {
      for (const [length, rules] of v6Tables) rules.find(ip.value >> BigInt(128 - length), hits);
    }
  };
}

function tableFor<K>(tables: Map<number, RulesByKey<K>>, length: number): RulesByKey<K> {
  let table = tables.get(length);
  if (!table) tables.set(length, (table = new RulesByKey()));
  return table;
}

/** The first `length` bits; a shift by 32 would be a shift by 0. */
function head32(value: number, length: number): number {
  return length === 0 ? 0 : value >>> (32 - length);
}

function* scanFinder(probe: Keys): Building {
  const fold = probe.fold === "unicode" ? foldUnicode : foldCoarse;
  const literals: string[] = [];
  const owners: number[] = [];
  for (const entries of probe.pieces) {
    for (const { key, rule } of entries) {
      literals.push(fold(key));
      owners.push(rule);
    }
    yield;
  }
  const scan = yield* LiteralScan.build(literals, owners);
  return (text, hits) => scan.find(fold(text), hits);
}

/** gt, ge, lt, le: thresholds in ascending order; those on the right side of the value are hits. */
function* thresholdFinder(probe: Keys): Building {
  const parse: (text: string) => BigNumber | undefined = probe.fold === "numeric" ? parseNumeric : parseInteger;
  const thresholds: Array<{ number: BigNumber; rule: number }> = [];
  for (const entries of probe.pieces) {
    for (const { key, rule } of entries) {
      const number = parse(key);
      if (number) thresholds.push({ number, rule });
    }
    yield;
  }
  thresholds.sort((a, b) => compareNumbers(a.number, b.number));
  const below = probe.how === "gt" || probe.how === "ge";
  const orEqual = probe.how === "ge" || probe.how === "le";
  return (text, hits) => {
    const value = parse(text);
    if (!value) return;
    // First threshold above the value; equal ones count as above when they must not (gt) or must (le) be hits.
    let [low, high] = [0, thresholds.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      const order = compareNumbers(thresholds[middle]!.number, value);
      if (order > 0 || (order === 0 && below !== orEqual)) high = middle;
      else low = middle + 1;
    }
    const [from, to] = below ? [0, low] : [low, thresholds.length];
    for (let i = from; i < to; i++) hits.push(thresholds[i]!.rule);
  };
}
