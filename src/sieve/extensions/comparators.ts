/** RFC 4790 §9.1 i;ascii-numeric and RFC 5051 i;unicode-casemap. Their meaning is in src/language/match.ts. */
import type { Extension } from "../registry.ts";

export const asciiNumeric: Extension = {
  capability: "comparator-i;ascii-numeric",
  specification: "RFC 4790 §9.1",
  doc: {
    summary: "Compares by leading digits; text without any is larger than every number.",
    example: `if header :comparator "i;ascii-numeric" "x-priority" "1" { keep; }`,
  },
  comparators: { "i;ascii-numeric": "numeric" },
};

export const unicodeCasemap: Extension = {
  capability: "comparator-i;unicode-casemap",
  specification: "RFC 5051",
  preloaded: true,
  doc: {
    summary: "Compares without case in all scripts. Usable without require.",
    example: `if header :comparator "i;unicode-casemap" "subject" "ÜBER" { keep; }`,
  },
  comparators: { "i;unicode-casemap": "unicode" },
};
