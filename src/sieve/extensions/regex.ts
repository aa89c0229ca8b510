/** draft-ietf-sieve-regex-01: the match type :regex, on a linear-time engine, and the modifier :quoteregex. */
import { BudgetExceeded, budgetDefaults } from "../../config/budget.ts";
import { compileRegex, RegexError } from "../../language/regex.ts";
import { codes } from "../codes.ts";
import type { Extension } from "../registry.ts";
import { modifier } from "./variables.ts";

function problemOf(pattern: string): string | undefined {
  try {
    compileRegex(pattern, "ascii", budgetDefaults);
    return undefined;
  } catch (error) {
    if (error instanceof RegexError || error instanceof BudgetExceeded) return error.message;
    throw error;
  }
}

export const regex: Extension = {
  capability: "regex",
  specification: "draft-ietf-sieve-regex-01",
  doc: { summary: "Match type :regex.", example: `if header :regex "subject" "^\\\\[.*\\\\]" { keep; }` },
  tags: [
    {
      on: ["@match"],
      tag: {
        name: "regex",
        group: "MATCH-TYPE",
        after(call, check) {
          for (const node of check.strings(call.arguments.at(-1))) {
            const pattern = check.constant(node);
            const problem = pattern === undefined ? undefined : problemOf(pattern);
            if (problem)
              check.error(
                node,
                codes.match,
                `invalid regular expression '${pattern!.slice(0, 128)}' for regex match: ${problem}`,
              );
          }
        },
      },
    },
    { on: ["set", "extracttext"], tag: modifier("quoteregex") },
  ],
};
