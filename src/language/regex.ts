/**
 * Regular expressions of policy authors: Perl-like syntax, run in time linear in the text.
 *
 * Every pattern runs on re2js, an automaton engine; what only a backtracking engine can do (back-references,
 * look-around, atomic groups) is refused at compile time. `test` uses its lazy DFA (about 20 ms per 1,000,000
 * characters); captures take its slower NFA, and only after `test` said yes.
 * Failure: RegexError with the offset in the pattern; BudgetExceeded("regexBytes") for an over-long pattern.
 */
import { RE2JS, RE2JSSyntaxException } from "re2js";
import { type Budget, BudgetExceeded } from "../config/budget.ts";
import type { Fold } from "./ir.ts";

export class RegexError extends Error {
  /** UTF-16 offset in the pattern where the fault is. */
  readonly offset: number;
  readonly hint: string | undefined;
  constructor(message: string, offset: number, hint?: string) {
    super(message);
    this.name = "RegexError";
    this.offset = offset;
    this.hint = hint;
  }
}

export interface Regex {
  /** True when the pattern matches anywhere in the text. */
  test(text: string): boolean;
  /** The leftmost match and its groups ([0] = whole, a group without part in the match = ""), or undefined. */
  exec(text: string): string[] | undefined;
}

const unsupported: ReadonlyArray<readonly [RegExp, string]> = [
  [/\\[1-9]/, "back-references need a backtracking engine; write the alternatives out"],
  [/\(\?<?[=!]/, "look-around needs a backtracking engine; use a second test"],
  [/\(\?>/, "atomic groups are not needed here: matching never backtracks"],
  [/[*+?}]\+/, "possessive quantifiers are not needed here: matching never backtracks"],
];

/** Compiles an author's pattern. `fold`: octet matches case, any other ignores it. */
export function compileRegex(pattern: string, fold: Fold, budget: Pick<Budget, "regexBytes">): Regex {
  if (pattern.length > budget.regexBytes || Buffer.byteLength(pattern) > budget.regexBytes) {
    throw new BudgetExceeded("regexBytes", budget.regexBytes);
  }
  const program = compileRe2(pattern, fold);
  return {
    test: (text) => program.test(text),
    exec(text) {
      if (!program.test(text)) return undefined;
      const matcher = program.matcher(text);
      if (!matcher.find()) return undefined;
      return Array.from({ length: matcher.groupCount() + 1 }, (_, i) => matcher.group(i) ?? "");
    },
  };
}

function compileRe2(pattern: string, fold: Fold): RE2JS {
  try {
    return RE2JS.compile(pattern, fold === "octet" ? 0 : RE2JS.CASE_INSENSITIVE);
  } catch (error) {
    if (!(error instanceof RE2JSSyntaxException)) throw error;
    const { error: reason, input } = error as unknown as { error: string; input: string | null };
    const offset = input ? Math.max(0, pattern.lastIndexOf(input)) : 0;
    const hint = unsupported.find(([sign]) => sign.test(pattern))?.[1];
    throw new RegexError(input ? `${reason}: ${input}` : reason, offset, hint);
  }
}
