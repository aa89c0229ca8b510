/**
 * A list file → compact tables (typed arrays only, so that a worker can hand them over without copying).
 *
 * File: UTF-8, one entry a line, `#` begins a comment line, blank lines are skipped. The kind is that of a first line
 * `type: exact|domain|cidr|regex`, else of the file's extension (.domains, .cidr, .regex), else exact. Entries ignore
 * ASCII case. A domain entry covers the domain and all below it; a leading "." or "*." is allowed.
 * Invariants: no entry is longer than `listLineBytes`. Failure: a bad line is left out and named in `faults` (the first
 * `shownFaults` of them); BudgetExceeded when there are too many entries, patterns or octets.
 */
import { type Budget, BudgetExceeded } from "../../config/budget.ts";
import { foldAscii } from "../fold.ts";
import { contiguous, parseIpSet } from "../ipset.ts";
import { compileRegex, RegexError } from "../regex.ts";

export type ListKind = "exact" | "domain" | "cidr" | "regex";
export type ListLimits = Pick<
  Budget,
  "listEntries" | "listFileBytes" | "listLineBytes" | "listPatterns" | "regexBytes"
>;

/** Folded texts as a hash table: `table` holds entry number + 1 or 0; entry i is `bytes[offsets[i]..offsets[i + 1]]`. */
export interface TextTable {
  readonly bytes: Uint8Array;
  readonly offsets: Uint32Array;
  readonly table: Uint32Array;
  /** Random for each build: senders can't aim for collisions. */
  readonly seed: number;
}

/** Sorted, disjoint ranges: v4 as first, last; v6 as first high, first low, last high, last low. */
export interface RangeTable {
  readonly v4: Uint32Array;
  readonly v6: BigUint64Array;
}

export interface ListFault {
  readonly line: number;
  readonly message: string;
}

export interface ListData {
  readonly kind: ListKind;
  readonly entries: number;
  readonly faults: readonly ListFault[];
  readonly texts?: TextTable;
  readonly ranges?: RangeTable;
  readonly patterns?: readonly string[];
}

const shownFaults = 20;

/** The kind that a file's name stands for. */
export function kindOfName(path: string): ListKind {
  if (path.endsWith(".domains")) return "domain";
  if (path.endsWith(".cidr")) return "cidr";
  return path.endsWith(".regex") ? "regex" : "exact";
}

/** Reads a whole list file; `defaultKind` is that of its name. */
export function buildList(file: Uint8Array, defaultKind: ListKind, limits: ListLimits): ListData {
  if (file.length > limits.listFileBytes) throw new BudgetExceeded("listFileBytes", limits.listFileBytes);
  let kind = defaultKind;
  let builder: Builder | undefined;
  const faults: ListFault[] = [];
  let entries = 0;
  eachLine(file, (line, number) => {
    const fault = (message: string): void => {
      if (faults.length < shownFaults) faults.push({ line: number, message });
    };
    if (!builder) {
      const header = /^type:\s*(\S*)$/i.exec(line)?.[1];
      if (header !== undefined) {
        const named = header.toLowerCase();
        if (isKind(named)) kind = named;
        else fault(`unknown type ${JSON.stringify(header)}`);
        builder = builderOf(kind, file.length, limits);
        return;
      }
      builder = builderOf(kind, file.length, limits);
    }
    if (line.length > limits.listLineBytes) return fault("line too long");
    const message = builder.add(line);
    if (message) fault(message);
    else if (++entries > limits.listEntries) throw new BudgetExceeded("listEntries", limits.listEntries);
  });
  return { kind, entries, faults, ...(builder ?? builderOf(kind, 0, limits)).finish() };
}

function isKind(text: string): text is ListKind {
  return text === "exact" || text === "domain" || text === "cidr" || text === "regex";
}

/** Visits the trimmed lines that hold an entry. */
function eachLine(file: Uint8Array, visit: (line: string, number: number) => void): void {
  const buffer = Buffer.from(file.buffer, file.byteOffset, file.byteLength);
  let start = 0;
  for (let number = 1; start < buffer.length; number++) {
    const newline = buffer.indexOf(0x0a, start);
    const end = newline < 0 ? buffer.length : newline;
    const line = buffer.toString("utf8", start, end).trim();
    if (line !== "" && !line.startsWith("#")) visit(line, number);
    start = end + 1;
  }
}

interface Builder {
  /** Takes an entry, or says what is wrong with it. */
  add(line: string): string | undefined;
  finish(): Pick<ListData, "texts" | "ranges" | "patterns">;
}

function builderOf(kind: ListKind, fileBytes: number, limits: ListLimits): Builder {
  if (kind === "cidr") return rangeBuilder();
  if (kind === "regex") return patternBuilder(limits);
  return textBuilder(kind, fileBytes);
}

function textBuilder(kind: "exact" | "domain", fileBytes: number): Builder {
  // Folding ASCII never lengthens, so all entries fit into the size of their file.
  const pool = Buffer.from(new ArrayBuffer(fileBytes));
  const starts: number[] = [];
  let used = 0;
  return {
    add(line) {
      const text = foldAscii(kind === "domain" ? line.replace(/^(\*?\.)/, "") : line);
      if (text === "") return "empty domain";
      starts.push(used);
      used += pool.write(text, used, "utf8");
      return undefined;
    },
    finish() {
      const bytes = new Uint8Array(pool.buffer.slice(0, used));
      return { texts: hashTexts(bytes, Uint32Array.from([...starts.values(), used])) };
    },
  };
}

function hashTexts(bytes: Uint8Array, offsets: Uint32Array): TextTable {
  const count = offsets.length - 1;
  const table = new Uint32Array(2 ** Math.ceil(Math.log2(Math.max(2, count * 2))));
  const seed = (Math.random() * 2 ** 32) | 0;
  for (let i = 0; i < count; i++) {
    let place = hashBytes(bytes, offsets[i]!, offsets[i + 1]!, seed) & (table.length - 1);
    while (table[place] !== 0) place = (place + 1) & (table.length - 1);
    table[place] = i + 1;
  }
  return { bytes, offsets, table, seed };
}

/** FNV-1a over a part of a byte string, finished so that the low bits depend on all. */
export function hashBytes(bytes: Uint8Array, start: number, end: number, seed: number): number {
  let hash = seed ^ 0x811c9dc5;
  for (let i = start; i < end; i++) hash = Math.imul(hash ^ bytes[i]!, 0x01000193);
  return (hash ^ (hash >>> 15)) >>> 0;
}

function rangeBuilder(): Builder {
  /** Last, first, last, first...: read as one little-endian 64-bit number, a pair sorts by its first address. */
  const v4: number[] = [];
  const v6: Array<{ readonly first: bigint; readonly last: bigint }> = [];
  return {
    add(line) {
      const members = parseIpSet(line);
      if (!members) return "not an address, range or network";
      for (const member of members) {
        const range = contiguous(member);
        if (!range) return "a netmask with holes";
        if (member.bits === 32) v4.push(Number(range.last), Number(range.first));
        else v6.push(range);
      }
      return undefined;
    },
    finish: () => ({ ranges: { v4: joinV4(Uint32Array.from(v4)), v6: joinV6(v6) } }),
  };
}

/** Sorts the pairs, and joins those that overlap or touch. */
function joinV4(pairs: Uint32Array<ArrayBuffer>): Uint32Array {
  new BigUint64Array(pairs.buffer).sort();
  let used = 0;
  const joined = new Uint32Array(pairs.length);
  for (let i = 0; i < pairs.length; i += 2) {
    const [last, first] = [pairs[i]!, pairs[i + 1]!];
    if (used > 0 && first <= joined[used - 1]! + 1) joined[used - 1] = Math.max(joined[used - 1]!, last);
    else {
      joined[used++] = first;
      joined[used++] = last;
    }
  }
  return joined.slice(0, used);
}

function joinV6(ranges: Array<{ readonly first: bigint; readonly last: bigint }>): BigUint64Array {
  ranges.sort((a, b) => (a.first < b.first ? -1 : a.first > b.first ? 1 : 0));
  const joined: Array<{ first: bigint; last: bigint }> = [];
  for (const { first, last } of ranges) {
    const previous = joined.at(-1);
    if (!previous || first > previous.last + 1n) joined.push({ first, last });
    else if (last > previous.last) previous.last = last;
  }
  const halves = (ip: bigint): bigint[] => [ip >> 64n, ip & 0xffff_ffff_ffff_ffffn];
  return BigUint64Array.from(joined.flatMap(({ first, last }) => [...halves(first), ...halves(last)]));
}

function patternBuilder(limits: ListLimits): Builder {
  const patterns: string[] = [];
  return {
    add(line) {
      if (patterns.length >= limits.listPatterns) throw new BudgetExceeded("listPatterns", limits.listPatterns);
      try {
        compileRegex(line, "ascii", limits);
      } catch (error) {
        if (error instanceof RegexError || error instanceof BudgetExceeded) return error.message;
        throw error;
      }
      patterns.push(line);
      return undefined;
    },
    finish: () => ({ patterns }),
  };
}
