/**
 * One scan for many literals: which of thousands of texts may occur in a subject.
 *
 * Each literal is filed under one of its grams (four code units, fewer for shorter literals), the one that fewest
 * literals have. A scan keeps the last four code units in one integer and asks a bit table at each place, so
 * its cost is a few nanoseconds a code unit however many literals there are; the bit table is sized for few false hits.
 * Grams keep the low eight bits of each code unit, which only adds false hits.
 * Invariants: never misses a literal; may name one that is not there (the caller runs the whole test anyway). Text and
 * literals must be folded alike. Failure: none.
 */

import { atOnce } from "./slices.ts";

const gramLength = 4;
const masks = [0, 0xff, 0xffff, 0xffffff, -1] as const;
/** Looks at the text itself this often per gram and scan, then calls every literal of the gram possible. */
const verifications = 8;

interface Filed {
  readonly literal: string;
  /** Offset of the end of the gram in the literal. */
  readonly gramEnd: number;
  readonly owner: number;
}

interface Bucket {
  readonly filed: Filed[];
  /** The scan that asked last, and how often it has. */
  scan: number;
  asked: number;
}

/** The buckets of one gram length. */
interface Table {
  readonly length: number;
  readonly buckets: ReadonlyMap<number, Bucket>;
  readonly bits: Uint32Array;
  readonly shift: number;
}

/** Literals that are looked at between two yields. */
const literalsAtOnce = 256;

export class LiteralScan {
  /** One for each length that occurs, longest first. */
  private tables: readonly Table[];
  private scans = 0;

  /** `owners[i]` is what a hit of `literals[i]` names; literals must not be empty. */
  constructor(literals: readonly string[], owners: readonly number[]) {
    this.tables = atOnce(tablesOf(literals, owners));
  }

  /** The same, with a yield after each part of the work. */
  static *build(literals: readonly string[], owners: readonly number[]): Generator<void, LiteralScan> {
    const scan = new LiteralScan([], []);
    scan.tables = yield* tablesOf(literals, owners);
    return scan;
  }

  /** Appends the owners of all literals that may occur in the text; an owner may come more than once. */
  find(text: string, hits: number[]): void {
    const scan = ++this.scans;
    for (const { length, buckets, bits, shift } of this.tables) {
      const mask = masks[length]!;
      let window = 0;
      for (let i = 0; i < text.length; i++) {
        window = ((window << 8) | (text.charCodeAt(i) & 0xff)) & mask;
        const bit = spread(window) >>> shift;
        if ((bits[bit >>> 5]! & (1 << (bit & 31))) === 0 || i + 1 < length) continue;
        const bucket = buckets.get(window);
        if (bucket) report(bucket, scan, text, i + 1, hits);
      }
    }
  }
}

function* tablesOf(literals: readonly string[], owners: readonly number[]): Generator<void, Table[]> {
  const tables: Table[] = [];
  const byLength = new Map<number, number[]>();
  for (const [i, literal] of literals.entries()) {
    const length = Math.min(gramLength, literal.length);
    const list = byLength.get(length);
    if (list) list.push(i);
    else byLength.set(length, [i]);
  }
  for (const [length, members] of [...byLength].sort(([a], [b]) => b - a)) {
    const commonness = new Commonness();
    for (const [at, i] of members.entries()) {
      if (at % literalsAtOnce === 0) yield;
      eachGram(literals[i]!, length, (gram) => commonness.add(gram));
    }
    const buckets = new Map<number, Bucket>();
    for (const [at, i] of members.entries()) {
      if (at % literalsAtOnce === 0) yield;
      file(buckets, literals[i]!, length, owners[i]!, commonness);
    }
    // Sixteen bits a gram: about one false hit in sixteen places.
    const power = Math.min(24, Math.max(10, Math.ceil(Math.log2(buckets.size * 16))));
    const bits = new Uint32Array(1 << (power - 5));
    const shift = 32 - power;
    for (const gram of buckets.keys()) {
      const bit = spread(gram) >>> shift;
      bits[bit >>> 5]! |= 1 << (bit & 31);
    }
    tables.push({ length, buckets, bits, shift });
  }
  return tables;
}

function report(bucket: Bucket, scan: number, text: string, gramEnd: number, hits: number[]): void {
  if (bucket.scan !== scan) {
    bucket.scan = scan;
    bucket.asked = 0;
  }
  if (bucket.asked > verifications) return;
  const surrender = ++bucket.asked > verifications;
  for (const filed of bucket.filed) {
    if (surrender || text.startsWith(filed.literal, gramEnd - filed.gramEnd)) hits.push(filed.owner);
  }
}

/** Files a literal under its rarest gram. */
function file(buckets: Map<number, Bucket>, literal: string, length: number, owner: number, common: Commonness): void {
  let [best, gramEnd, rarest] = [0, 0, Number.POSITIVE_INFINITY];
  eachGram(literal, length, (gram, end) => {
    const count = common.of(gram);
    if (count < rarest) [best, gramEnd, rarest] = [gram, end, count];
  });
  const filed = { literal, gramEnd, owner };
  const bucket = buckets.get(best);
  if (bucket) bucket.filed.push(filed);
  else buckets.set(best, { filed: [filed], scan: 0, asked: 0 });
}

/** Visits the grams of a literal with the offset behind each. */
function eachGram(literal: string, length: number, visit: (gram: number, end: number) => void): void {
  const mask = masks[length]!;
  let window = 0;
  for (let i = 0; i < literal.length; i++) {
    window = ((window << 8) | (literal.charCodeAt(i) & 0xff)) & mask;
    if (i + 1 >= length) visit(window, i + 1);
  }
}

/** About how many literals have a gram; grams that share a counter only look more common than they are. */
class Commonness {
  private readonly counters = new Uint32Array(1 << 16);

  add(gram: number): void {
    this.counters[spread(gram) >>> 16]!++;
  }

  of(gram: number): number {
    return this.counters[spread(gram) >>> 16]!;
  }
}

/** Spreads a gram over 32 bits (multiplicative hashing). */
function spread(gram: number): number {
  return Math.imul(gram ^ (gram >>> 15), 0x9e3779b1);
}
