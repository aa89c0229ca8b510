/**
 * Words for what the parser could not read: messages by the rule that failed, hints for common slips, and the problems
 * of tokens and comments. Pure.
 */
import {
  EOF,
  type IParserErrorMessageProvider,
  type IRecognitionException,
  type IToken,
  type TokenType,
  tokenLabel,
} from "chevrotain";
import type { Comment, SyntaxProblem } from "./ast.ts";
import * as t from "./tokens.ts";

/** What each rule expects, for "expected … but found …". */
export const expectations: Record<string, string> = {
  script: '"event" or "method"',
  action: '";"',
  statement: "a statement (call, set, export, if) or }",
  test: 'a test such as is (variable, "text")',
  operand: "a variable or a quoted text",
};

export const describe = (token: IToken): string =>
  token.tokenType === EOF
    ? "the end of the text"
    : `"${token.image.length > 30 ? `${token.image.slice(0, 30)}…` : token.image}"`;

export const messages: IParserErrorMessageProvider = {
  buildMismatchTokenMessage: ({ expected, actual }) => `expected ${tokenLabel(expected)} but found ${describe(actual)}`,
  buildNotAllInputParsedMessage: ({ firstRedundant }) =>
    `expected ${expectations.script} but found ${describe(firstRedundant)}`,
  buildNoViableAltMessage: ({ actual, ruleName }) =>
    `expected ${expectations[ruleName] ?? "something else"} but found ${describe(actual[0]!)}`,
  buildEarlyExitMessage: ({ actual, ruleName }) =>
    `expected ${expectations[ruleName] ?? "something else"} but found ${describe(actual[0]!)}`,
};

/** Tokens made up in recovery have no position (NaN). */
export function rangeOf(token: IToken): { start: number; end: number } {
  const start = Number.isNaN(token.startOffset) ? 0 : token.startOffset;
  return { start, end: start + token.image.length };
}

export function reportErrorToken(token: IToken, problems: SyntaxProblem[]): boolean {
  if (token.tokenType === t.UnterminatedString) {
    problems.push({
      code: "P003",
      message: "this text has no closing quote",
      hint: 'end the text with "',
      start: token.startOffset,
      end: token.startOffset + 1,
    });
    return true;
  }
  if (token.tokenType !== t.Unknown) return false;
  const hint = token.image.startsWith("'") ? { hint: 'texts stand in double quotes: "text"' } : {};
  problems.push({ code: "P002", message: `${describe(token)} has no meaning here`, ...hint, ...rangeOf(token) });
  return true;
}

export function checkComment(comment: Comment, problems: SyntaxProblem[]): void {
  if (!comment.text.startsWith("/*")) return;
  const range = { start: comment.start, end: comment.start + 2 };
  if (comment.text.length < 4 || !comment.text.endsWith("*/")) {
    problems.push({ code: "P004", message: "this comment has no end", hint: "end it with */", ...range });
  } else {
    problems.push({
      code: "P051",
      message: "/* */ comments are not part of the original language",
      hint: "write # before each line",
      warning: true,
      ...range,
    });
  }
}

export function firstTooDeep(tokens: readonly IToken[], limit: number): IToken | undefined {
  let depth = 0;
  for (const token of tokens) {
    const type: TokenType = token.tokenType;
    if (type === t.LBrace || type === t.LParen) {
      if (++depth > limit) return token;
    } else if (type === t.RBrace || type === t.RParen) depth = Math.max(0, depth - 1);
  }
  return undefined;
}

export function syntaxProblem(error: IRecognitionException, length: number): SyntaxProblem {
  const before: IToken | undefined = "previousToken" in error ? (error.previousToken as IToken) : undefined;
  const beforeRange = before && !Number.isNaN(before.startOffset) ? rangeOf(before) : undefined;
  const atEnd = error.token.tokenType === EOF || Number.isNaN(error.token.startOffset);
  let range = atEnd ? { start: beforeRange?.end ?? length, end: length } : rangeOf(error.token);
  let hint: { hint?: string } = {};
  if (error.message.startsWith(`expected ${tokenLabel(t.Semicolon)}`) && beforeRange) {
    range = { start: beforeRange.end, end: beforeRange.end + 1 };
    hint = { hint: 'a statement ends with ";"' };
  } else if (before?.tokenType === t.StringLiteral && /[\r\n]/.test(before.image)) {
    hint = { hint: "the text before this runs over several lines: is its closing quote missing?" };
  }
  return { code: "P001", message: error.message, ...hint, ...range };
}
