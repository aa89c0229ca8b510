/**
 * Every predefined variable of the smtpFilters language (smtpfilters.md §5), where a script may read or set it, and the
 * spellings that are accepted for it. One row says everything; checker, lowering, runtime and reference pages read it.
 * Invariants: a name has at most one row with access in an event; names are compared without case.
 */
import { since } from "./events.ts";
import { checkVariables } from "./variables/checks.ts";
import { deliveryVariables } from "./variables/delivery.ts";
import { row, type VariableRow } from "./variables/row.ts";
import { sessionVariables } from "./variables/session.ts";

export type { Origin, ValueType, VariableRow } from "./variables/row.ts";

export const variables: readonly VariableRow[] = [...sessionVariables, ...checkVariables, ...deliveryVariables];

/** allowedCountries_0, bannedCountries_12…: lists of the country filter (§5.4). */
export const geoList = /^(allowed|banned)Countries_(\d{1,6})$/i;
export const geoListRow: VariableRow = row(
  "allowedCountries_N, bannedCountries_N",
  { kind: "words" },
  since("onConnect", "rw"),
  "Country lists (ISO 3166 codes) of check N; empty lists restrict nothing.",
  { source: "§5.4" },
);

/** Spellings that are accepted for a canonical name; where reading and setting differ, both are given. */
export const aliases: Readonly<Record<string, { read: string; write: string }>> = Object.fromEntries(
  (
    [
      ["currentRcpt", "rcptTo"],
      ["recipient", "rcptTo"],
      ["rcpt", "rcptTo", "rcptAddress"],
      ["currentRcptDomain", "rcptToDomain"],
      ["rcptDomain", "rcptToDomain"],
      ["recipientDomain", "rcptToDomain"],
      ["currentRcptUser", "rcptToUser"],
      ["hdrName", "headerName"],
      ["header", "headerName"],
      ["hdrValue", "headerValue"],
      ["value", "headerValue"],
    ] as const
  ).map(([alias, read, write]) => [alias.toLowerCase(), { read, write: write ?? read }]),
);
