/**
 * Facts on tape: `TapingFacts` notes each answer that a program gets from the house, `TapeFacts` gives the same answers
 * again. The n-th question of one wording gets the n-th answer, further ones the last, so that counters and greylists
 * are repeated as they were.
 * Failure: TapeFacts throws for a question that was never asked, which the policy runtime turns into the method's
 * declared failure; the names are kept in `missing`.
 */
import { printable } from "../../message/outcome.ts";
import { findMethod } from "../../policy/names.ts";
import type { FactSource, PolicyEffect } from "../../policy/types.ts";
import type { Fact } from "./types.ts";

type Answers = Record<string, string>;
type Read = (variable: string) => string;
export type Strings = "attachmentNames" | "attachmentTypes" | "mimeTypes";

/** What a method was asked with, in the order of its row in the vocabulary. */
export function inputsOf(name: string, read: Read): string[] {
  return (findMethod(name)?.reads ?? []).map(read);
}

export class TapingFacts implements FactSource {
  readonly #inner: FactSource;
  readonly #note: (fact: Fact) => void;

  constructor(inner: FactSource, note: (fact: Fact) => void) {
    this.#inner = inner;
    this.#note = note;
  }

  call(name: string, read: Read, effects: readonly PolicyEffect[]): Promise<Answers> | Answers {
    const inputs = inputsOf(name, read);
    return this.#timed(name, inputs, () => this.#inner.call(name, read, effects));
  }

  origin(answer: Answers): readonly string[] {
    return this.#inner.origin?.(answer) ?? [];
  }

  rate(key: string, limit: string): boolean | Promise<boolean> {
    const answer = this.#timed("rate", [key, limit], () => {
      const over = this.#inner.rate?.(key, limit) ?? false;
      return over instanceof Promise ? over.then(yesNo) : yesNo(over);
    });
    return answer instanceof Promise ? answer.then(isYes) : isYes(answer);
  }

  inList(list: string, value: string): boolean {
    if (!this.#inner.inList) throw new Error("there are no lists here");
    const found = this.#inner.inList(list, value);
    this.#note(["inList", [list, value], yesNo(found), 0]);
    return found;
  }

  header(name: string): readonly string[] {
    const values = this.#inner.header?.(name) ?? [];
    this.#note(["header", [name.toLowerCase()], values, 0]);
    return values;
  }

  strings(variable: Strings): readonly string[] {
    const values = this.#inner.strings?.(variable) ?? [];
    this.#note(["strings", [variable], values, 0]);
    return values;
  }

  ignored(variable: string, value: string): void {
    this.#inner.ignored?.(variable, value);
  }

  #timed(name: string, inputs: string[], ask: () => Promise<Answers> | Answers): Promise<Answers> | Answers {
    const started = performance.now();
    const note = (answer: Answers | null): void => {
      const from = (answer && this.#inner.origin?.(answer)) ?? [];
      const ms = Math.round((performance.now() - started) * 10) / 10;
      this.#note(from.length > 0 ? [name, inputs, answer, ms, from] : [name, inputs, answer, ms]);
    };
    const failed = (error: unknown): never => {
      note(null);
      throw error;
    };
    try {
      const answer = ask();
      if (answer instanceof Promise) {
        return answer.then((value) => {
          note(value);
          return value;
        }, failed);
      }
      note(answer);
      return answer;
    } catch (error) {
      return failed(error);
    }
  }
}

const yesNo = (yes: boolean): Answers => ({ yes: yes ? "yes" : "" });
const isYes = (answer: Answers): boolean => answer.yes === "yes";

export interface TapeOptions {
  facts: readonly Fact[];
  /** Header fields of the message, when they are at hand; else those on the tape. */
  header?(name: string): readonly string[];
  /** Current content of a list; undefined when it can't be had, and the tape is asked. */
  inList?(list: string, value: string): boolean | undefined;
  strings?(variable: Strings): readonly string[];
  /** Answers, by method, to what is not on the tape. */
  assume?: Readonly<Record<string, Answers>>;
}

export class TapeFacts implements FactSource {
  /** Questions without an answer on the tape. */
  readonly missing = new Set<string>();
  readonly #options: TapeOptions;
  /** Answers by question, of the first `#indexed` facts: the tape may still grow. */
  readonly #answers = new Map<string, Fact[]>();
  #indexed = 0;
  readonly #asked = new Map<string, number>();

  constructor(options: TapeOptions) {
    this.#options = options;
  }

  /** The next answer to this question; undefined when it is not on the tape. */
  take(name: string, inputs: readonly string[]): Fact | undefined {
    const key = keyOf(name, inputs);
    this.#index();
    const answers = this.#answers.get(key);
    if (!answers) return undefined;
    const turn = this.#asked.get(key) ?? 0;
    this.#asked.set(key, turn + 1);
    return answers[Math.min(turn, answers.length - 1)];
  }

  call(name: string, read: Read): Answers {
    const fact = this.take(name, inputsOf(name, read));
    if (!fact) return this.#options.assume?.[name] ?? this.#unknown(name);
    if (fact[2] === null) throw new Error(`${name} failed when it was recorded`);
    return fact[2] as Answers;
  }

  rate(key: string, limit: string): boolean {
    const fact = this.take("rate", [key, limit]);
    if (!fact) this.missing.add("rate");
    return fact ? isYes((fact[2] ?? {}) as Answers) : false;
  }

  inList(list: string, value: string): boolean {
    const now = this.#options.inList?.(list, value);
    if (now !== undefined) return now;
    const fact = this.take("inList", [list, value]);
    return fact ? isYes(fact[2] as Answers) : this.#unknown(`list ${list}`);
  }

  header(name: string): readonly string[] {
    if (this.#options.header) return this.#options.header(name);
    const fact = this.take("header", [name.toLowerCase()]);
    if (!fact) this.missing.add(`header ${printable(name)}`);
    return (fact?.[2] ?? []) as readonly string[];
  }

  strings(variable: Strings): readonly string[] {
    if (this.#options.strings) return this.#options.strings(variable);
    const fact = this.take("strings", [variable]);
    if (!fact) this.missing.add(variable);
    return (fact?.[2] ?? []) as readonly string[];
  }

  #unknown(what: string): never {
    this.missing.add(what);
    throw new Error(`${what} was not asked when this was recorded`);
  }

  #index(): void {
    for (; this.#indexed < this.#options.facts.length; this.#indexed++) {
      const fact = this.#options.facts[this.#indexed]!;
      const key = keyOf(fact[0], fact[1]);
      const same = this.#answers.get(key);
      if (same) same.push(fact);
      else this.#answers.set(key, [fact]);
    }
  }
}

const keyOf = (name: string, inputs: readonly string[]): string => `${name}\0${inputs.join("\0")}`;
