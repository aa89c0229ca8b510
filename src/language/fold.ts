/**
 * Comparators as foldings: two strings are equal under a comparator when their folded forms are the same string.
 *
 * Invariants: each folding works code point by code point, so a substring of a text folds to a substring of the folded
 * text (decomposition apart, which only the i;unicode-casemap folding does). Failure: none; any string has a fold.
 */
import type { Fold } from "./ir.ts";

const nonAscii = /[^\x00-\x7f]/;

/** i;ascii-casemap (RFC 4790 §9.2): a-z become A-Z, nothing else changes. */
export function foldAscii(text: string): string {
  return nonAscii.test(text) ? text.replace(/[a-z]+/g, (run) => run.toUpperCase()) : text.toUpperCase();
}

/**
 * i;unicode-casemap (RFC 5051 §2): each character to its title case (here: simple upper case, the same equivalence
 * once decomposed), then compatibility decomposition.
 */
export function foldUnicode(text: string): string {
  if (!nonAscii.test(text)) return text.toUpperCase();
  let out = "";
  for (const char of text) {
    const upper = char.toUpperCase();
    // RFC 5051 uses the one-to-one mappings of UnicodeData only: "ß" stays "ß".
    out += codePointCount(upper) === 1 ? upper : char;
  }
  return out.normalize("NFKD");
}

/**
 * A folding coarser than octet, i;ascii-casemap and the case-insensitive mode of regular expressions: whatever is equal
 * under one of these is equal here. Lower case first, so that U+212A KELVIN SIGN and U+017F LONG S meet "K" and "S".
 */
export function foldCoarse(text: string): string {
  return text.toLowerCase().toUpperCase();
}

/** The folding of a text comparator; numeric comparators have none (see compareNumbers in match.ts). */
export function folding(fold: Fold): (text: string) => string {
  if (fold === "ascii") return foldAscii;
  if (fold === "unicode") return foldUnicode;
  return identity;
}

function identity(text: string): string {
  return text;
}

function codePointCount(text: string): number {
  return text.length === 1 || (text.length === 2 && text.codePointAt(0)! > 0xffff) ? 1 : 2;
}
