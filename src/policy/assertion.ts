/**
 * Properties that authors write beside the rules, in comments that begin with `assert`:
 *
 *   # assert never accept when mailFromDomain is "corp.example" and not authenticated
 *
 *   assertion = ("never" | "always") outcome ["when" either]
 *   outcome   = "accept" | "deliver" | "refuse" | "relay" | "quarantine" | "report"
 *   either    = both {"or" both}          both = part {"and" part}
 *   part      = "not" part | "(" either ")" | "authenticated" | "encrypted" | "trusted" | "local"
 *             | variable comparator "text"
 *
 * `trusted`: the client is in relay.trustedNetworks; `local`: the recipient's domain is served here.
 * Variables and comparators are those of the language. Other servers see a comment. Failure: a diagnostic P060 with the
 * place; nesting is bounded by the budget.
 */
import type { Budget } from "../config/budget.ts";
import type { Diagnostic } from "../language/diagnostic.ts";
import { parseIpSet } from "../language/ipset.ts";
import type { Test } from "../language/ir.ts";
import { compileRegex } from "../language/regex.ts";
import type { Span } from "../language/span.ts";
import { codes } from "./codes.ts";
import { findComparator, suggest } from "./names.ts";
import { slotOf } from "./slots.ts";
import { SourceText } from "./source.ts";
import { variables } from "./variables.ts";

const outcomes = ["accept", "deliver", "refuse", "relay", "quarantine", "report"] as const;
export type AssertedOutcome = (typeof outcomes)[number];

export interface Assertion {
  /** The words after `assert`. */
  text: string;
  span: Span;
  /** The outcome must be absent, or present. */
  never: boolean;
  outcome: AssertedOutcome;
  /** Over the slots of predefined variables. */
  when: Test;
}

interface Word {
  text: string;
  quoted: boolean;
  start: number;
  end: number;
}

class Unreadable extends Error {
  readonly at: { start: number; end: number };
  readonly hint: string | undefined;
  constructor(message: string, at: { start: number; end: number }, hint?: string) {
    super(message);
    this.at = at;
    this.hint = hint;
  }
}

/** All assertions of a script, and what is wrong with those that can't be read. */
export function assertionsOf(
  source: string,
  file: string,
  budget: Pick<Budget, "nesting" | "regexBytes">,
): { assertions: Assertion[]; diagnostics: Diagnostic[] } {
  const text = new SourceText(file, source);
  const assertions: Assertion[] = [];
  const diagnostics: Diagnostic[] = [];
  for (const found of source.matchAll(/^[ \t]*#[ \t]*assert[ \t]+(.*?)[ \t]*\r?$/gm)) {
    const words = found[1]!;
    const start = found.index + found[0].indexOf(words, found[0].indexOf("assert") + 6);
    const span = text.span({ start, end: start + words.length });
    try {
      assertions.push(new Reader(words, start, span, text, budget).assertion());
    } catch (error) {
      if (!(error instanceof Unreadable)) throw error;
      const { severity } = codes.P060;
      const hint = error.hint === undefined ? {} : { hint: error.hint };
      diagnostics.push({ severity, code: "P060", message: error.message, ...hint, span: text.span(error.at) });
    }
  }
  return { assertions, diagnostics };
}

class Reader {
  private readonly words: Word[];
  private readonly text: string;
  private readonly span: Span;
  private readonly source: SourceText;
  private readonly budget: Pick<Budget, "nesting" | "regexBytes">;
  private readonly end: { start: number; end: number };
  private at = 0;

  constructor(
    text: string,
    start: number,
    span: Span,
    source: SourceText,
    budget: Pick<Budget, "nesting" | "regexBytes">,
  ) {
    this.text = text;
    this.span = span;
    this.source = source;
    this.budget = budget;
    this.end = { start: start + text.length, end: start + text.length };
    this.words = [...text.matchAll(/"([^"]*)"|[()]|[^\s()"]+|"/g)].map((found) => ({
      text: found[1] ?? found[0],
      quoted: found[1] !== undefined,
      start: start + found.index,
      end: start + found.index + found[0].length,
    }));
  }

  assertion(): Assertion {
    const never = this.oneOf(["never", "always"]) === "never";
    const outcome = this.oneOf(outcomes);
    const when: Test = this.take("when") ? this.either(0) : { op: "const", value: true, span: this.span };
    const rest = this.words[this.at];
    if (rest) throw new Unreadable(`"${rest.text}" is not expected here`, rest, 'join conditions with "and" or "or"');
    return { text: this.text, span: this.span, never, outcome, when };
  }

  private either(depth: number): Test {
    const tests = [this.both(depth)];
    while (this.take("or")) tests.push(this.both(depth));
    return tests.length === 1 ? tests[0]! : { op: "any", tests, span: this.span };
  }

  private both(depth: number): Test {
    const tests = [this.part(depth)];
    while (this.take("and")) tests.push(this.part(depth));
    return tests.length === 1 ? tests[0]! : { op: "all", tests, span: this.span };
  }

  private part(depth: number): Test {
    const word = this.next("a condition");
    if (depth > this.budget.nesting) throw new Unreadable("conditions nest too deeply", word);
    if (word.text === "(" && !word.quoted) {
      const inner = this.either(depth + 1);
      if (!this.take(")")) throw new Unreadable('")" is missing', this.words[this.at] ?? this.end);
      return inner;
    }
    switch (word.quoted ? "" : word.text.toLowerCase()) {
      case "not":
        return { op: "not", test: this.part(depth + 1), span: this.span };
      case "authenticated":
        return { op: "not", test: this.equals("authUser", "", word), span: this.span };
      case "encrypted":
        return this.equals("isSSLConnection", "yes", word);
      case "trusted":
        return { op: "ask", name: "trusted", args: [], data: {}, pure: true, span: this.span };
      case "local":
        return this.equals("isLocalRcpt", "yes", word);
      default:
        return this.comparison(word);
    }
  }

  private equals(variable: string, text: string, word: Word): Test {
    return this.match(variable, { how: "is", fold: "octet" }, text, word, word);
  }

  private comparison(name: Word): Test {
    const row = variables.find((known) => known.name.toLowerCase() === name.text.toLowerCase());
    if (!row || name.quoted)
      throw new Unreadable(`unknown variable ${name.text}`, name, suggest(name.text, "variable"));
    const word = this.next("a comparator");
    const comparator = findComparator(word.text);
    if (!comparator) throw new Unreadable(`unknown comparator ${word.text}`, word, suggest(word.text, "test"));
    const text = this.next("a text in quotes");
    if (!text.quoted) throw new Unreadable("a text in quotes is expected", text);
    if (comparator.how === "cidr" && !parseIpSet(text.text))
      throw new Unreadable("not an address, range or network", text);
    if (comparator.how === "regex") this.pattern(text);
    return this.match(row.name, comparator, text.text, name, text);
  }

  private pattern(text: Word): void {
    try {
      compileRegex(text.text, "octet", this.budget);
    } catch (error) {
      throw new Unreadable(error instanceof Error ? error.message : String(error), text);
    }
  }

  private match(
    variable: string,
    { how, fold }: Pick<Extract<Test, { op: "match" }>, "how" | "fold">,
    text: string,
    first: Word,
    last: Word,
  ): Test {
    const subject = { op: "one", value: { op: "slot", slot: slotOf(variable) } } as const;
    const span = this.source.span({ start: first.start, end: last.end });
    return { op: "match", subject, how, fold, keys: [{ op: "const", text }], span };
  }

  private oneOf<T extends string>(choices: readonly T[]): T {
    const word = this.next(choices.join(" or "));
    const found = choices.find((choice) => choice === word.text.toLowerCase());
    if (!found || word.quoted) throw new Unreadable(`${choices.join(" or ")} is expected, not "${word.text}"`, word);
    return found;
  }

  private take(text: string): boolean {
    const word = this.words[this.at];
    if (!word || word.quoted || word.text.toLowerCase() !== text) return false;
    this.at++;
    return true;
  }

  private next(wanted: string): Word {
    const word = this.words[this.at++];
    if (!word) throw new Unreadable(`${wanted} is missing`, this.end);
    return word;
  }
}
