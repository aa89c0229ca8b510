/**
 * Scanner verdicts as levels: X-AxigenSpam-Level 1 (clean) to 10 (certain) and X-AxigenVirus-Level 1 (clean) to 5
 * (certain), and the values of Sieve's spamtest and virustest (smtpfilters.md §12.1, RFC 5235 §2).
 * Invariants: at most one field of each name stays; a level is only ever raised. Failure: none.
 */
import type { HeaderEdit } from "../message/edit.ts";
import type { HeaderSection } from "../message/headers.ts";
import type { ScanVerdict } from "./types.ts";

export const levelHeaders = { spam: "X-AxigenSpam-Level", virus: "X-AxigenVirus-Level" } as const;
export type LevelHeaders = { spam: string; virus: string };

const spamMax = 10;
const virusMax = 5;

/** 1 at a score of zero or less, 10 at the threshold and above; undefined for a scanner that does not score. */
export function spamLevel(verdict: ScanVerdict): number | undefined {
  if (verdict.score === undefined || verdict.threshold === undefined) return undefined;
  if (verdict.threshold <= 0) return verdict.score >= verdict.threshold ? spamMax : 1;
  const share = verdict.score / verdict.threshold;
  // 2–9 below the threshold: "certain" is the scanner's own word that it is spam.
  return share >= 1 ? spamMax : share <= 0 ? 1 : Math.min(spamMax - 1, 1 + Math.ceil(share * (spamMax - 2)));
}

/** 5 with a name, 1 without; undefined for a scanner that looks for no viruses. */
export function virusLevel(verdict: ScanVerdict): number | undefined {
  if (verdict.virus !== "") return virusMax;
  return verdict.score === undefined ? 1 : undefined;
}

/** The level that a message carries: digits first, blanks around and text after allowed; 0 when none. */
export function levelOf(headers: HeaderSection, name: string, max: number): number {
  let level = 0;
  for (const field of headers.all(name)) {
    const digits = /^\s*(\d{1,3})(?!\d)/.exec(field.value);
    if (digits !== null) level = Math.max(level, Math.min(max, Number(digits[1])));
  }
  return level;
}

/** Edits that leave one field with `level`, or none when the message already says as much. */
function raise(headers: HeaderSection, name: string, level: number, max: number, text: string): HeaderEdit[] {
  if (level <= levelOf(headers, name, max)) return [];
  return [
    { op: "remove", name, which: "all" },
    { op: "add", name, value: text === "" ? String(level) : `${level} ${text}`, at: "top" },
  ];
}

/** Header edits that write a verdict's levels. */
export function levelEdits(
  headers: HeaderSection,
  verdict: ScanVerdict,
  names: LevelHeaders = levelHeaders,
): HeaderEdit[] {
  const spam = spamLevel(verdict);
  const virus = virusLevel(verdict);
  return [
    ...(spam === undefined ? [] : raise(headers, names.spam, spam, spamMax, "")),
    ...(virus === undefined ? [] : raise(headers, names.virus, virus, virusMax, verdict.virus)),
  ];
}

/** Values for Sieve: spamtest 0–10, virustest 0–5; 0 = not tested. */
export function sieveScores(
  headers: HeaderSection,
  names: LevelHeaders = levelHeaders,
): { spamtest: number; virustest: number } {
  return { spamtest: levelOf(headers, names.spam, spamMax), virustest: levelOf(headers, names.virus, virusMax) };
}
