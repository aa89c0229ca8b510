/**
 * Syntax tree of the smtpFilters language. Plain data, positions are half-open offset ranges in the source text.
 * Invariants: names keep the spelling of the source (the language compares them without case); a `Text` holds its
 * decoded pieces and, for printing, the raw source of the literal.
 */

export interface Range {
  start: number;
  end: number;
}

export interface Name extends Range {
  text: string;
}

/** A piece of a string: literal text, or `%name%`. */
export type TextPart = { text: string } | ExpansionPart;

export interface ExpansionPart extends Range {
  name: string;
}

export interface Text extends Range {
  kind: "text";
  parts: TextPart[];
  /** The literal as written, quotes included (or the bare digits). */
  raw: string;
}

export type Operand =
  | Text
  | ({ kind: "variable" } & Name)
  /** A readable value with an argument, e.g. `header ("Subject")`. */
  | ({ kind: "field"; name: Name; argument: Text } & Range);

export type Test = Range &
  (
    | { kind: "any" | "all"; tests: Test[] }
    | { kind: "not"; test: Test }
    | { kind: "comparison"; comparator: Name; operands: Operand[] }
  );

export type Statement = Range &
  (
    | { kind: "call"; name: Name; onError?: Name }
    | { kind: "set"; name: Name; value: Operand }
    | { kind: "export"; name: Name }
    /** `if … else if … else`: branches in order; `otherwise` is the last else. */
    | { kind: "if"; branches: Branch[]; otherwise?: Statement[] }
    /** A named group of statements: the name shows in traces, coverage and logs. Not a block of its own. */
    | { kind: "rule"; name: Text; body: Statement[] }
    /** `name (operand, …);` for every other statement word (log, tag, hold…). */
    | { kind: "action"; name: Name; operands: Operand[] }
  );

export interface Branch extends Range {
  test: Test;
  body: Statement[];
}

export interface Block extends Range {
  kind: "event" | "method";
  name: Name;
  body: Statement[];
}

export interface Comment extends Range {
  text: string;
}

export interface Script {
  blocks: Block[];
  /** All comments in source order. */
  comments: Comment[];
}

/** One thing wrong with the text; the reader adds file and line. */
export interface SyntaxProblem extends Range {
  code: string;
  message: string;
  hint?: string;
  warning?: true;
}
