/**
 * What a running program asks of its surroundings. One Host object per session (smtpFilters) or per message (Sieve).
 * Invariants: `source`, `ask` with pure=true and `value` have no visible side effect. `lookup` may answer a promise; only
 * then does the program become asynchronous. Failure: a throw from the host ends the run with that error; the caller of
 * the program turns it into the declared failure (451, implicit keep). The host gives each look-up its deadline: its
 * promise always settles, with the declared failure values when time is up.
 */
import type { Data } from "./ir.ts";
import type { Span } from "./span.ts";

export interface Host {
  /** Strings of a subject. The array must not be changed by the callee afterwards. */
  source(name: string, data: Data, args: readonly string[]): readonly string[];
  value(name: string, data: Data | undefined, args: readonly string[]): string;
  ask(name: string, data: Data, args: readonly string[]): boolean;
  inList(list: string, value: string): boolean;
  effect(kind: string, data: Data, args: readonly string[], span: Span): void;
  /** Answers the values of the look-up's output slots in the order of `writes`, or undefined for "leave them". */
  lookup(name: string, data: Data): Promise<readonly string[] | undefined> | readonly string[] | undefined;
  /** A variable was exported. */
  exported(slot: number): void;
  /** Match variables of a successful :matches/:regex ([0] = whole). */
  captured(groups: readonly string[]): void;
  /** Begins and steps a loop: returns false when there is no further item. */
  eachBegin(source: string, data: Data): void;
  eachNext(): boolean;
  eachEnd(): void;
}

/**
 * What the traced variant reports, in the order of the source; the plain program has none of these calls. What is not
 * reported was not reached: behind a short circuit, in a branch not taken, after a stop.
 */
export interface Trace {
  /** A leaf test was evaluated (any, all and not follow from theirs); `values`: the first ten strings that it saw. */
  test(span: Span, rule: string | undefined, result: boolean, values: readonly string[]): void;
  /**
   * A statement ran. kind "if": detail is "then" or "else" (also for an absent else); "set": "name = value"; "effect":
   * kind and arguments; "lookup": name and what it wrote, told when the answer is there; "export": the name; "stop".
   */
  statement(span: Span, rule: string | undefined, kind: string, detail: string): void;
}
