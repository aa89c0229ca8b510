/**
 * Finds what a name in a script means: variables (with their aliases, per event), methods, comparators and actions.
 * Names are compared without case (smtpfilters.md L5, L6). Pure look-ups over vocabulary.ts.
 */
import { nearest } from "../language/nearest.ts";
import { eventContext, eventNames } from "./events.ts";
import type { EventName } from "./types.ts";
import { aliases, geoList, geoListRow, type VariableRow, variables } from "./variables.ts";
import {
  type ActionRow,
  actions,
  type ComparatorRow,
  comparators,
  type MethodRow,
  methods,
  otherTests,
} from "./vocabulary.ts";

export interface KnownVariable {
  row: VariableRow;
  /** Canonical spelling; differs from the row's name for the numbered country lists. */
  name: string;
}

function byName<T extends { name: string }>(rows: readonly T[]): Map<string, T> {
  return new Map(rows.map((row) => [row.name.toLowerCase(), row]));
}

const rowsByName = new Map<string, VariableRow[]>();
for (const row of variables) {
  const key = row.name.toLowerCase();
  rowsByName.set(key, [...(rowsByName.get(key) ?? []), row]);
}
const methodsByName = byName(methods);
const comparatorsByName = byName(comparators);
const actionsByName = byName(actions);
const eventsByName = new Map(eventNames.map((name) => [name.toLowerCase(), name]));

/** The variable that `name` means in `event`, or undefined when it is the script's own. */
export function findVariable(name: string, event: EventName, use: "read" | "write"): KnownVariable | undefined {
  const lower = name.toLowerCase();
  const rows = rowsByName.get((aliases[lower]?.[use] ?? lower).toLowerCase());
  if (rows) {
    const context = eventContext[event];
    const several = rows.length > 1;
    const row =
      (several && rows.find((candidate) => candidate.access[event])) ||
      (several && rows.find((candidate) => eventsOf(candidate).some((other) => eventContext[other] === context))) ||
      rows[0]!;
    return { row, name: row.name };
  }
  const list = geoList.exec(name);
  if (list) return { row: geoListRow, name: `${list[1]!.toLowerCase()}Countries_${Number(list[2])}` };
  return undefined;
}

/** True when a name stands for another one in some events. */
export const hasAlias = (name: string): boolean => Object.hasOwn(aliases, name.toLowerCase());

export const isPredefinedVariable = (name: string): boolean =>
  rowsByName.has(name.toLowerCase()) || Object.hasOwn(aliases, name.toLowerCase()) || geoList.test(name);

export const eventsOf = (row: VariableRow): EventName[] => Object.keys(row.access) as EventName[];
export const findMethod = (name: string): MethodRow | undefined => methodsByName.get(name.toLowerCase());
export const findComparator = (name: string): ComparatorRow | undefined => comparatorsByName.get(name.toLowerCase());
export const findAction = (name: string): ActionRow | undefined => actionsByName.get(name.toLowerCase());
export const findEvent = (name: string): EventName | undefined => eventsByName.get(name.toLowerCase());

/** "did you mean …?" over a kind of names and some of the script's own; undefined when none is near. */
export function suggest(
  name: string,
  kind: "variable" | "method" | "test" | "action" | "event",
  own: Iterable<string> = [],
) {
  const known: Record<typeof kind, Iterable<string>> = {
    variable: [...rowsByName.values()].map((rows) => rows[0]!.name),
    method: methods.map((row) => row.name),
    test: [...comparators, ...otherTests].map((row) => row.name),
    action: ["call", "set", "export", "if", ...actions.map((row) => row.name)],
    event: eventNames,
  };
  const found = nearest(name, [...own, ...known[kind]]);
  return found === undefined ? undefined : `did you mean ${found}?`;
}
