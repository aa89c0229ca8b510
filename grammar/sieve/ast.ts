/**
 * The tree of a Sieve script (RFC 5228 §8.2): commands with arguments, tests and blocks, nothing resolved yet.
 * Invariants: plain data; every node has the span of its text; names keep the case they were written in.
 */
import type { Span } from "../../src/language/span.ts";

export interface StringNode {
  kind: "string";
  /** Unescaped and undotted text; line ends are CRLF. */
  text: string;
  span: Span;
}

export interface StringListNode {
  kind: "list";
  items: StringNode[];
  span: Span;
}

export interface NumberNode {
  kind: "number";
  /** Value with its quantifier applied; exact up to 2^53, the nearest double above. */
  value: number;
  span: Span;
}

export interface TagNode {
  kind: "tag";
  /** Without the colon, as written. */
  name: string;
  span: Span;
}

export type ArgumentNode = StringNode | StringListNode | NumberNode | TagNode;

/** A command or a test: RFC 5228 §8.2 gives both the same arguments. */
export interface CommandNode {
  kind: "command" | "test";
  name: string;
  nameSpan: Span;
  arguments: ArgumentNode[];
  tests: CommandNode[];
  /** The tests stood in parentheses. */
  testList: boolean;
  /** Absent when the command ended in ";". */
  block?: CommandNode[];
  span: Span;
}

export interface SyntaxProblem {
  message: string;
  span: Span;
}

/** `errors` are in text order, lexical and grammatical ones together; `commands` holds what could be read. */
export interface ParseResult {
  commands: CommandNode[];
  errors: SyntaxProblem[];
}
