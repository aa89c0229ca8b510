/**
 * The one intermediate form that both languages lower to, and that optimise, prove, diff and emit work on.
 *
 * A `Module` has entry points (one per event, or "main" of a Sieve script), each a `Block` of statements over numbered
 * slots. All run-time values are strings; lists of strings ("subjects") come from slots or from the host (header
 * fields, address parts...). Everything the program can't compute itself is asked of the `Host` (host.ts) by name:
 * `source` (a list of strings), `ask` (a yes/no), `pure` (string → string functions), `effect`, `lookup`.
 *
 * Invariants: plain data, JSON-serialisable, no cycles; names are resolved (slots are indexes); methods are inlined,
 * recursion was refused before; each statement and test keeps the span of the text it came from. Author text occurs
 * only in `const`, `keys` and `data`, which emit puts in a constant table, never in generated source. During a run only
 * `set` and `lookup` statements change slots. `pure` values depend on their arguments alone.
 * Failure: none of its own; `verify.ts` states what a well-formed module is.
 */
import type { Span } from "./span.ts";

export type SlotIndex = number;

export interface SlotInfo {
  /** Canonical name ("mailFromDomain", "myVar"). */
  name: string;
  /** engine: set by the host before an event; custom: the script's own; temp: compiler's. */
  kind: "engine" | "custom" | "temp";
}

export interface Module {
  language: "smtpfilters" | "sieve";
  file: string;
  slots: SlotInfo[];
  entries: Record<string, Block>;
  /** Subroutines called by `call` (Sieve include). */
  routines: Block[];
}

export type Block = Statement[];

/** A constant argument object for the host: what exactly is asked. Must be JSON data. */
export type Data = Readonly<Record<string, unknown>>;

export type Value =
  | { op: "const"; text: string }
  | { op: "slot"; slot: SlotIndex }
  | { op: "concat"; parts: Value[] }
  /** A pure function of its arguments, registered with the host under `name` (lower, length, quoteregex...). */
  | { op: "pure"; name: string; args: Value[]; data?: Data }
  /** A value only the host knows (match variable ${1}, header("Subject"), date parts...), not cached across effects. */
  | { op: "host"; name: string; args: Value[]; data?: Data };

/** A list of strings to test. */
export type Subject = { op: "one"; value: Value } | { op: "list"; values: Value[] } | HostSubject;

/**
 * Strings from the host, e.g. {source:"header", data:{names:["subject"]}}. `stable`: the same (source, data) gives the
 * same list until an effect listed in `invalidatedBy` ran; emit asks once and shares the answer.
 */
export interface HostSubject {
  op: "host";
  source: string;
  data: Data;
  args: Value[];
  stable: boolean;
  invalidatedBy: readonly string[];
}

/** How a key is compared with a string of the subject. Numeric kinds compare integers (see `fold: "numeric"`). */
export type MatchKind =
  | "is"
  | "contains"
  | "prefix"
  | "suffix"
  /** The key is a domain: equal to it, or ends in "." + it. */
  | "domain"
  /** Sieve :matches globs (* ? \\), whole string. */
  | "glob"
  /** Unanchored regular expression (linear-time engine or proven safe). */
  | "regex"
  /** The key is an IP set in any form of smtpfilters.md §9.2. */
  | "cidr"
  | "gt"
  | "ge"
  | "lt"
  | "le"
  | "eq"
  | "ne";

/** Comparator: octet = exact; ascii = i;ascii-casemap; unicode = i;unicode-casemap; numeric = i;ascii-numeric; integer = signed (smtpFilters). */
export type Fold = "octet" | "ascii" | "unicode" | "numeric" | "integer";

export type Test =
  | { op: "const"; value: boolean; span: Span }
  | { op: "any"; tests: Test[]; span: Span }
  | { op: "all"; tests: Test[]; span: Span }
  | { op: "not"; test: Test; span: Span }
  /** True when any string of the subject matches any key. `capture`: sets the host's match variables on success. */
  | { op: "match"; subject: Subject; how: MatchKind; fold: Fold; keys: Value[]; capture?: boolean; span: Span }
  /** Compares the number of strings in the subject with each key (RFC 5231 :count). */
  | {
      op: "count";
      subject: Subject;
      how: "gt" | "ge" | "lt" | "le" | "eq" | "ne";
      keys: Value[];
      fold: Fold;
      span: Span;
    }
  /** Any string of the subject is in a named list (inList, extlists); membership is the host's. */
  | { op: "inList"; subject: Subject; lists: Value[]; span: Span }
  /** A yes/no that only the host can answer (exists, size, duplicate, rate...). `pure`: no side effect, may be shared. */
  | { op: "ask"; name: string; args: Value[]; data: Data; pure: boolean; span: Span };

export type Statement =
  /** `rule`: name for trace and coverage (method or rule name). `chain`: else-branches are nested here. */
  | { op: "if"; test: Test; then: Block; else: Block; span: Span; rule?: string }
  | { op: "set"; slot: SlotIndex; value: Value; span: Span; rule?: string }
  /** Acts on the host; `kind` is its name in the host's effect table. */
  | { op: "effect"; kind: string; args: Value[]; data: Data; span: Span; rule?: string }
  /**
   * Asks for an asynchronous fact; its answer goes to the `writes` slots. It may be asked early, once its `reads` are
   * final and no effect of the kinds in `sees` lies in between. `sees` unstated: any effect may matter to it.
   */
  | {
      op: "lookup";
      name: string;
      reads: SlotIndex[];
      writes: SlotIndex[];
      data: Data;
      sees?: readonly string[];
      span: Span;
      rule?: string;
    }
  | { op: "export"; slot: SlotIndex; span: Span }
  /** Ends the entry point (Sieve stop). */
  | { op: "stop"; span: Span }
  /** Ends the routine (Sieve return). */
  | { op: "return"; span: Span }
  | { op: "call"; routine: number; span: Span }
  /** Loops over what the host lists under `source` (foreverypart); the host holds the current item. */
  | { op: "each"; source: string; data: Data; body: Block; name?: string; span: Span }
  | { op: "break"; name?: string; span: Span }
  /**
   * Made by the optimiser only: a run of rules behind an index. Semantics: exactly the plain `ifs`, in order. With
   * `otherwise` (an if/elsif/else chain): only the first true one, and `otherwise` when none is. With `packed` (made by
   * pack.ts, for emit alone), `ifs` and the entries of the plan are there instead.
   */
  | { op: "indexed"; ifs: IfStatement[]; otherwise?: Block; plan: IndexPlan; packed?: PackedRun; span: Span };

export type IfStatement = Extract<Statement, { op: "if" }>;

/**
 * How candidates of an `indexed` run are found. A rule of `always` is always a candidate; any other can be true only if
 * one of its entries matches its probe's subject. Candidates still run their whole test. Rule numbers point into `ifs`.
 */
export interface IndexPlan {
  probes: IndexProbe[];
  always: number[];
}

/**
 * Probe kinds: is (text folds), contains (texts compared under foldCoarse; or fold unicode), domain, cidr, and
 * gt/ge/lt/le/eq of numbers.
 */
export interface IndexProbe {
  subject: Subject;
  how: MatchKind;
  fold: Fold;
  entries: Array<{ key: string; rule: number }>;
}

/** Items as JSON, one behind the other; item i ends at ends[i]. */
export interface PackedItems {
  octets: Uint8Array;
  ends: Uint32Array;
}

/** Rules as text, and what has to be known of them while they are that. */
export interface PackedRun {
  /** One IfStatement an item, without spans. */
  rules: PackedItems;
  /** Of each probe of the plan; an item is a piece of its list of entries. */
  entries: PackedItems[];
  /** Host subjects whose answers the rules share. */
  subjects: HostSubject[];
  /** Effects of all rules together (effects.ts). */
  effects: {
    writes: SlotIndex[];
    kinds: string[];
    looksUp: boolean;
    leaves: boolean;
    loops: boolean;
    impureTests: boolean;
  };
}
