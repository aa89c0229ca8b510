/**
 * The fixed slots of every policy program: one for each predefined variable (rows of one name in several contexts share
 * it), then some of the engine's own. Slots that a script adds follow after these.
 */

import { eventContext } from "./events.ts";
import { eventsOf } from "./names.ts";
import type { PolicyContext } from "./types.ts";
import { variables } from "./variables.ts";

/** Engine slots without a name in the language. */
export const hidden = {
  /** "rule:line" of the statement that set smtpAction last. */
  actionOrigin: "(smtpAction origin)",
  /** The country lists set last (smtpfilters.md §5.4); the fact source reads them under these names. */
  allowedCountries: "allowedCountries",
  bannedCountries: "bannedCountries",
} as const;

/** Where a route override goes whose variable means something else when read (remoteSmtpPort, authUser). */
export const overrideSlot = (name: string): string => `(route ${name})`;

const names = [
  ...new Set(variables.map((row) => row.name)),
  ...Object.values(hidden),
  overrideSlot("remoteSmtpPort"),
  overrideSlot("authUser"),
];

export const fixedSlots: readonly string[] = names;
const indexes = new Map(names.map((name, index) => [name, index]));
const indexesAnyCase = new Map(names.map((name, index) => [name.toLowerCase(), index]));

/** Slot of a canonical name, in any case; undefined when the name is not predefined. */
export const fixedSlot = (name: string): number | undefined =>
  indexes.get(name) ?? indexesAnyCase.get(name.toLowerCase());

export function slotOf(name: string): number {
  const slot = fixedSlot(name);
  if (slot === undefined) throw new Error(`no predefined variable ${name}`);
  return slot;
}

const defaultsByContext = new Map<PolicyContext, readonly string[]>();

/** Starting values of a session in a context; not to be changed. */
export function defaultSlots(context: PolicyContext): readonly string[] {
  let slots = defaultsByContext.get(context);
  if (!slots) defaultsByContext.set(context, (slots = makeDefaults(context)));
  return slots;
}

function makeDefaults(context: PolicyContext): string[] {
  const slots = names.map(() => "");
  for (const row of variables) {
    // What routes a single recipient is unset until the script sets it (§8.1).
    if (row.route && context !== "smtpOut") continue;
    if (eventsOf(row).some((event) => eventContext[event] === context)) slots[slotOf(row.name)] = row.default;
  }
  return slots;
}
