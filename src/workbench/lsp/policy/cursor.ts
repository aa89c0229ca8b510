/**
 * Where a cursor stands in a smtpFilters script, told from the tokens before it: a script is half-written while it is
 * typed, so the tree can't be relied on. Pure; any text gives an answer, in time linear in the text before the cursor.
 */
import type { IToken } from "chevrotain";
import * as t from "../../../../grammar/smtpfilters/tokens.ts";
import type { Range } from "../language.ts";
import { topLevelParts } from "./blocks.ts";

/** What can be written at the cursor. */
export type Place =
  | { kind: "nothing" }
  | { kind: "block" }
  | { kind: "eventName" }
  | { kind: "methodName" }
  | { kind: "statement"; afterIf: boolean }
  | { kind: "method" }
  | { kind: "onError" }
  | { kind: "onErrorWord" }
  | { kind: "target"; of: "set" | "export" }
  | { kind: "test" }
  | { kind: "subject" }
  /** Inside a text that `variable` is set to or compared with. */
  | { kind: "value"; variable: string; use: "read" | "write" }
  | { kind: "expansion" };

export interface Cursor {
  place: Place;
  /** The part of a word that is already there, before and behind the cursor. */
  word: Range;
  /** Head of the block around the cursor. */
  block: { kind: "event" | "method"; name: string } | undefined;
}

interface Bracket {
  sign: "{" | "(";
  /** The word before it, in lower case. */
  head: string;
  commas: number;
  first: IToken | undefined;
}

const isName = (token: IToken | undefined): boolean =>
  token !== undefined &&
  (token.tokenType === t.Identifier || (token.tokenType.CATEGORIES ?? []).includes(t.Identifier));

export function cursorAt(source: string, offset: number): Cursor {
  const typed = source.slice(0, offset);
  // Nothing is open before the last top-level part: only its tokens matter.
  const from = topLevelParts(typed).at(-1)?.start ?? 0;
  const { tokens, groups } = t.lexer.tokenize(typed.slice(from));
  const last = tokens.at(-1);
  const nothing = { start: offset, end: offset };
  const comment = groups.comments?.at(-1);
  const inComment = comment !== undefined && from + comment.startOffset + comment.image.length === offset;
  if (inComment && !(comment.image.startsWith("/*") && comment.image.endsWith("*/") && comment.image.length > 3)) {
    return { place: { kind: "nothing" }, word: nothing, block: undefined };
  }
  const partial =
    last && isName(last) && from + last.startOffset + last.image.length === offset ? tokens.pop() : undefined;
  const behind = /^\w*/.exec(source.slice(offset, offset + 128))![0].length;
  const word = { start: partial ? from + partial.startOffset : offset, end: offset + behind };
  const walk = new Brackets();
  for (const token of tokens) walk.next(token);
  const open = tokens.at(-1);
  if (open?.tokenType === t.UnterminatedString) {
    const text = placeInText(source, offset, from + open.startOffset, walk);
    return { place: text.place, word: text.word, block: walk.block };
  }
  return { place: walk.place(tokens), word, block: walk.block };
}

/** Brackets that are open, and the block around. */
class Brackets {
  block: Cursor["block"];
  readonly open: Bracket[] = [];
  private closedHead = "";
  private before: IToken | undefined;
  private beforeThat: IToken | undefined;

  next(token: IToken): void {
    const type = token.tokenType;
    const top = this.open.at(-1);
    if (type === t.LBrace || type === t.LParen) {
      const head = isName(this.before) ? this.before!.image.toLowerCase() : "";
      this.open.push({ sign: type === t.LBrace ? "{" : "(", head, commas: 0, first: undefined });
    } else if (type === t.RBrace || type === t.RParen) this.closedHead = this.open.pop()?.head ?? "";
    else if (type === t.Comma && top) top.commas++;
    else if (top && top.commas === 0 && top.first === undefined) top.first = token;
    // A head of a block also ends what was left open above it.
    if (isName(token) && (this.before?.tokenType === t.Event || this.before?.tokenType === t.Method)) {
      const atStart = this.beforeThat === undefined || this.beforeThat.tokenType === t.RBrace;
      if (this.open.length === 0 || atStart) {
        this.open.length = 0;
        this.block = { kind: this.before.tokenType === t.Event ? "event" : "method", name: token.image };
      }
    }
    if (this.open.length === 0 && type === t.RBrace) this.block = undefined;
    this.beforeThat = this.before;
    this.before = token;
  }

  place(tokens: readonly IToken[]): Place {
    const type = tokens.at(-1)?.tokenType;
    const top = this.open.at(-1);
    if (type === t.OnError) return { kind: "onErrorWord" };
    if (top === undefined) {
      if (type === t.Event) return { kind: "eventName" };
      if (type === t.Method) return { kind: "methodName" };
      return type === undefined || type === t.RBrace ? { kind: "block" } : { kind: "nothing" };
    }
    if (top.sign === "{") {
      if (type === t.LBrace || type === t.Semicolon) return { kind: "statement", afterIf: false };
      if (type === t.RBrace) return { kind: "statement", afterIf: true };
      return type === t.RParen && this.closedHead === "call" ? { kind: "onError" } : { kind: "nothing" };
    }
    if (type !== t.LParen && type !== t.Comma) return { kind: "nothing" };
    switch (top.head) {
      case "call":
        return { kind: "method" };
      case "set":
      case "export":
        return top.commas === 0 ? { kind: "target", of: top.head } : { kind: "nothing" };
      case "if":
      case "not":
      case "anyof":
      case "allof":
        return { kind: "test" };
      default:
        return top.commas === 0 ? { kind: "subject" } : { kind: "nothing" };
    }
  }
}

/** Inside a text: behind a `%` stands a variable; else a whole value, where the variable has a list of them. */
function placeInText(source: string, offset: number, open: number, walk: Brackets): { place: Place; word: Range } {
  const text = source.slice(open + 1, offset);
  const expansion = /%(\w*)$/.exec(text.replaceAll("%%", "  "));
  const lineRest = source.slice(offset, offset + 1_000).split(/[\r\n]/, 1)[0]!;
  if (expansion) {
    const end = offset + /^\w*%?/.exec(lineRest)![0].length;
    return { place: { kind: "expansion" }, word: { start: offset - expansion[1]!.length, end } };
  }
  const top = walk.open.at(-1);
  const variable = top?.commas === 1 && isName(top.first) ? top.first!.image : undefined;
  if (variable === undefined || top?.sign !== "(") {
    return { place: { kind: "nothing" }, word: { start: offset, end: offset } };
  }
  const word = /[\w-]*$/.exec(text)![0];
  const end = offset + /^[\w-]*/.exec(lineRest)![0].length;
  const use = top.head === "set" ? "write" : "read";
  return { place: { kind: "value", variable, use }, word: { start: offset - word.length, end } };
}
