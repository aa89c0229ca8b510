/** RFC 5231: :value and :count. */
import { codes } from "../codes.ts";
import type { Extension, TagSpec } from "../registry.ts";

const relations = new Set(["gt", "ge", "lt", "le", "eq", "ne"]);

const relation = (name: "value" | "count"): TagSpec => {
  const wrongValue = (found: string) =>
    `the :${name} match-type requires a constant string argument being one of "gt", "ge", "lt", "le", "eq" or "ne", but ${found} was found`;
  return {
    name,
    group: "MATCH-TYPE",
    value: "string",
    wrongValue,
    check(use, _call, check) {
      const text = check.constant(use.value);
      if (text !== undefined && relations.has(text.toLowerCase())) return;
      check.error(use.value!, codes.match, wrongValue(text === undefined ? "a variable string" : `"${text}"`));
    },
  };
};

export const relational: Extension = {
  capability: "relational",
  specification: "RFC 5231",
  doc: {
    summary: "Match types :value (order) and :count (number of strings).",
    example: `if address :count "ge" :comparator "i;ascii-numeric" ["to", "cc"] "3" { keep; }`,
  },
  tags: [
    { on: ["@match"], tag: relation("value") },
    { on: ["@match"], tag: relation("count") },
  ],
};
