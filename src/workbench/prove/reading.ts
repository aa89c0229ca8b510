/**
 * What a slice of a policy asks of the outside: which variables, header fields, checks and lists, and which texts it
 * compares them with. Tests on a variable that only holds a copy count for where the copy came from.
 * Invariants: pure. Whatever the analysis can't follow (a computed text that is tested, a pattern made of variables) is
 * named in `gaps`, and no theorem over this reading is then called proven.
 */
import type { Module, SlotIndex, Test, Value } from "../../language/ir.ts";
import { lookupCounts, type Slice } from "../../language/prove/slice.ts";
import type { TextTest } from "../../language/prove/witness.ts";
import { walkStatements, walkTests, walkValue } from "../../language/walk.ts";
import { variables } from "../../policy/variables.ts";

export interface Reading {
  /** Variables that count, and the tests made of each. */
  tests: Map<string, TextTest[]>;
  /** Header fields (lower case) and lists of strings of the message (attachmentNames…). */
  headers: Map<string, TextTest[]>;
  strings: Map<string, TextTest[]>;
  /** Checks (and "rate") that count → calls in the whole program. */
  lookups: Map<string, number>;
  /** List → variables looked for in it. */
  lists: Map<string, Set<string>>;
  /** Words of country lists. */
  countries: Set<string>;
  /** Variables compared with each other for equality. */
  equals: Array<readonly [string, string]>;
  /** What one recipient's event leaves behind counts for the next. */
  secondRecipient: boolean;
  /** Events that count. */
  events: Set<string>;
  gaps: string[];
}

export function emptyReading(): Reading {
  return {
    tests: new Map(),
    headers: new Map(),
    strings: new Map(),
    lookups: new Map(),
    lists: new Map(),
    countries: new Set(),
    equals: [],
    secondRecipient: false,
    events: new Set(),
    gaps: [],
  };
}

/** Adds what the slice of this module reads. */
export function read(module: Module, slice: Slice, into: Reading): void {
  const name = (slot: SlotIndex): string => module.slots[slot]!.name;
  for (const slot of slice.slots) if (!into.tests.has(name(slot))) into.tests.set(name(slot), []);
  const onSlot = new Map<SlotIndex, TextTest[]>();
  for (const test of slice.tests) readTest(test, name, onSlot, into);
  copies(slice, onSlot, name, into);
  for (const [slot, tests] of onSlot) append(into.tests, name(slot), tests);
  const counts = lookupCounts(module);
  for (const s of slice.statements) {
    if (s.op !== "lookup") continue;
    into.lookups.set(s.name, Math.max(into.lookups.get(s.name) ?? 0, counts.get(s.name) ?? 0));
  }
  for (const [event, block] of Object.entries(module.entries)) {
    walkStatements([block], (s) => {
      const counts = s.op === "if" ? touches(s.test, slice) : slice.statements.has(s);
      if (!counts) return;
      into.events.add(event);
      if (event === "onRcptTo" && s.op === "set" && lasting.has(name(s.slot))) into.secondRecipient = true;
    });
  }
  // A list that the question doesn't depend on must still be there: without it the event could not be evaluated.
  walkStatements(Object.values(module.entries), (s) => {
    if (s.op !== "if") return;
    walkTests(s.test, (leaf) => {
      if (leaf.op !== "inList") return;
      for (const list of leaf.lists)
        if (list.op === "const" && !into.lists.has(list.text)) into.lists.set(list.text, new Set());
    });
  });
  walkStatements(Object.values(module.entries), (s) => {
    if (s.op !== "set" || s.value.op !== "const" || !/Countries/.test(name(s.slot))) return;
    for (const word of s.value.text.split(/[\s,]+/).filter(Boolean)) into.countries.add(word);
  });
}

/** Variables that keep what one recipient's event set when the next recipient comes. */
const lasting: ReadonlySet<string> = new Set(
  variables
    .filter((row) => row.lifetime === "session" && row.access.onRcptTo === "rw" && !row.route)
    .map((row) => row.name),
);

function touches(test: Test, slice: Slice): boolean {
  let found = false;
  walkTests(test, (leaf) => (found ||= slice.tests.has(leaf)));
  return found;
}

function append<K>(map: Map<K, TextTest[]>, key: K, tests: readonly TextTest[]): void {
  map.set(key, [...(map.get(key) ?? []), ...tests]);
}

function readTest(
  test: Test,
  name: (slot: SlotIndex) => string,
  onSlot: Map<SlotIndex, TextTest[]>,
  into: Reading,
): void {
  if (test.op === "inList") {
    const value = test.subject.op === "one" ? test.subject.value : undefined;
    for (const list of test.lists) {
      if (list.op !== "const" || value?.op !== "slot") into.gaps.push("a list is asked for a computed text");
      else into.lists.set(list.text, (into.lists.get(list.text) ?? new Set()).add(name(value.slot)));
    }
    return;
  }
  if (test.op !== "match") return;
  const keys: TextTest[] = [];
  for (const key of test.keys) {
    if (key.op === "const") keys.push({ how: test.how, fold: test.fold, key: key.text });
    else if (key.op === "slot" && test.how === "is" && test.subject.op === "one" && test.subject.value.op === "slot") {
      into.equals.push([name(test.subject.value.slot), name(key.slot)]);
    } else into.gaps.push(`line ${test.span.start.line}: the text compared with is computed`);
  }
  const { subject } = test;
  if (subject.op === "host") {
    if (subject.source === "header") append(into.headers, String(subject.data.name), keys);
    else append(into.strings, subject.source, keys);
  } else {
    for (const value of subject.op === "one" ? [subject.value] : subject.values) {
      if (value.op === "slot") append(onSlot, value.slot, keys);
      else fromHost(value, keys, test.span.start.line, into);
    }
  }
}

/** A tested value that is no slot: the text of a header field, or something that can't be followed. */
function fromHost(value: Value, keys: TextTest[], line: number, into: Reading): void {
  if (value.op === "host" && value.name === "header") append(into.headers, String(value.data?.name), keys);
  else into.gaps.push(`line ${line}: the tested text is computed`);
}

/** Carries tests from a variable that is set to where its value comes from. */
function copies(
  slice: Slice,
  onSlot: Map<SlotIndex, TextTest[]>,
  name: (slot: SlotIndex) => string,
  into: Reading,
): void {
  const computed = new Set<SlotIndex>();
  for (let changed = true; changed; ) {
    changed = false;
    for (const s of slice.statements) {
      if (s.op !== "set" || s.value.op === "const") continue;
      const tests = onSlot.get(s.slot) ?? [];
      const from = sourceOf(s.value);
      if (from !== undefined) {
        const known = onSlot.get(from) ?? [];
        const added = tests.filter((test) => !known.includes(test));
        if (added.length > 0 && from !== s.slot) {
          append(onSlot, from, added);
          changed = true;
        }
      } else if (s.value.op === "host" && s.value.name === "header") {
        const field = String(s.value.data?.name);
        const known = into.headers.get(field) ?? [];
        append(
          into.headers,
          field,
          tests.filter((test) => !known.includes(test)),
        );
      } else if (tests.length > 0 && !computed.has(s.slot)) {
        computed.add(s.slot);
        into.gaps.push(`line ${s.span.start.line}: ${name(s.slot)} is computed and then tested`);
      }
    }
  }
  for (const s of slice.statements) {
    if (s.op !== "set") continue;
    walkValue(s.value, (v) => {
      if (v.op !== "host" || v.name !== "header") return;
      const field = String(v.data?.name);
      if (!into.headers.has(field)) into.headers.set(field, []);
    });
  }
}

/** The slot whose text this value is; a checked value ("validated") is that text or the old one. */
function sourceOf(value: Value): SlotIndex | undefined {
  if (value.op === "slot") return value.slot;
  if (value.op === "host" && value.name === "validated") return value.args[0] ? sourceOf(value.args[0]) : undefined;
  return undefined;
}
