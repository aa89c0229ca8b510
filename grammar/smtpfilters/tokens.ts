/**
 * Tokens of the smtpFilters language (smtpfilters.md §1). One lexer, built once.
 * Invariants: every input is fully tokenised (a catch-all token takes what nothing else matches), each pattern is
 * linear, keywords are also identifiers, so that a method or variable may bear any name.
 */
import { createToken, Lexer, type TokenType } from "chevrotain";

export const Identifier = createToken({ name: "Identifier", label: "a name", pattern: /[A-Za-z_][A-Za-z0-9_]*/ });

function keyword(word: string): TokenType {
  return createToken({
    name: `${word[0]!.toUpperCase()}${word.slice(1)}`,
    label: word,
    pattern: new RegExp(word, "i"),
    longer_alt: Identifier,
    categories: Identifier,
  });
}

export const Event = keyword("event");
export const Method = keyword("method");
export const Call = keyword("call");
export const SetVariable = keyword("set");
export const Export = keyword("export");
export const If = keyword("if");
export const Else = keyword("else");
export const AnyOf = keyword("anyOf");
export const AllOf = keyword("allOf");
export const Not = keyword("not");
export const Rule = keyword("rule");
export const OnError = keyword("onError");

export const LBrace = createToken({ name: "LBrace", label: '"{"', pattern: "{" });
export const RBrace = createToken({ name: "RBrace", label: '"}"', pattern: "}" });
export const LParen = createToken({ name: "LParen", label: '"("', pattern: "(" });
export const RParen = createToken({ name: "RParen", label: '")"', pattern: ")" });
export const Comma = createToken({ name: "Comma", label: '","', pattern: "," });
export const Semicolon = createToken({ name: "Semicolon", label: '";"', pattern: ";" });
/** Line breaks may stand in a string (L8); `\"` and `\\` are the only escapes (L9). */
export const StringLiteral = createToken({
  name: "String",
  label: "a quoted text",
  pattern: /"[^"\\]*(?:\\[\s\S][^"\\]*)*"/,
  line_breaks: true,
});
export const IntegerLiteral = createToken({ name: "Integer", label: "a number", pattern: /[+-]?[0-9]+/ });

/** Error tokens: reported by the parser and left out of its input. */
export const UnterminatedString = createToken({ name: "UnterminatedString", pattern: /"[\s\S]*/, line_breaks: true });
const unknown = /[^\sA-Za-z0-9_"#(){},;/+-]+|[/+-]|[0-9]/;
export const Unknown = createToken({
  name: "Unknown",
  pattern: unknown,
  // The lexer can't work out what a complement set may begin with, and would try every pattern at every place.
  start_chars_hint: Array.from({ length: 65_536 }, (_, code) => code).filter((code) =>
    unknown.test(String.fromCharCode(code)),
  ),
});

const WhiteSpace = createToken({ name: "WhiteSpace", pattern: /\s+/, group: Lexer.SKIPPED, line_breaks: true });
const LineComment = createToken({ name: "LineComment", pattern: /#[^\r\n]*/, group: "comments" });
/** Not of the original language (L13); one without an end runs to the end of the text. */
const BlockComment = createToken({
  name: "BlockComment",
  pattern: /\/\*[^*]*(?:\*(?!\/)[^*]*)*(?:\*\/)?/,
  group: "comments",
  line_breaks: true,
});

export const vocabulary: TokenType[] = [
  WhiteSpace,
  LineComment,
  BlockComment,
  Event,
  Method,
  Call,
  SetVariable,
  Export,
  If,
  Else,
  AnyOf,
  AllOf,
  Not,
  Rule,
  OnError,
  Identifier,
  LBrace,
  RBrace,
  LParen,
  RParen,
  Comma,
  Semicolon,
  StringLiteral,
  IntegerLiteral,
  UnterminatedString,
  Unknown,
];

export const lexer = new Lexer(vocabulary, { positionTracking: "onlyOffset", ensureOptimizations: true });
