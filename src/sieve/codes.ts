/**
 * Diagnostic codes of Sieve. Stable: docs/reference/sieve.md explains each, editors and tests rely on them.
 */
export const codes = {
  syntax: "S001",
  unknownCommand: "S002",
  unknownTag: "S003",
  arguments: "S004",
  subTests: "S005",
  block: "S006",
  placement: "S007",
  capability: "S008",
  value: "S009",
  match: "S010",
  variable: "S011",
  include: "S012",
  limit: "S013",
  doubtful: "S014",
  /** A profile refuses what the RFCs allow; the message names the statement (AX-nn). */
  profile: "S100",
} as const;

export type Code = (typeof codes)[keyof typeof codes];
