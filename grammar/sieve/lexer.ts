/**
 * Tokens of a Sieve script (RFC 5228 §8.1), made one at a time as the parser asks for them.
 * Invariants: never throws, always moves forward, each lexical mistake is reported once. Two kinds of bad token exist:
 * "error" (already reported in full: the parser stays silent) and "garbage" (characters that begin no token).
 */
import type { Position, Span } from "../../src/language/span.ts";
import type { SyntaxProblem } from "./ast.ts";

export type TokenKind =
  | "identifier"
  | "tag"
  | "number"
  | "string"
  | ";"
  | ","
  | "("
  | ")"
  | "["
  | "]"
  | "{"
  | "}"
  | "/"
  | ":"
  | "garbage"
  | "error"
  | "end";

/** How a token is named in a message. */
export const tokenNames: Record<TokenKind, string> = {
  identifier: "identifier",
  tag: "tag",
  number: "number",
  string: "string",
  ";": "';'",
  ",": "','",
  "(": "'('",
  ")": "')'",
  "[": "'['",
  "]": "']'",
  "{": "'{'",
  "}": "'}'",
  "/": "'/'",
  ":": "':'",
  garbage: "unknown characters",
  error: "invalid text",
  end: "end of file",
};

export interface LexerLimits {
  /** Characters of an identifier or tag. */
  identifier: number;
  /** Characters of a string. */
  string: number;
}

const quantifiers: Record<string, number> = { k: 2 ** 10, m: 2 ** 20, g: 2 ** 30 };
/** Largest number of a script; RFC 5228 §2.4.1 asks for 2^31-1 at least. */
const numberLimit = 18_446_744_073_709_551_615n;

export class Lexer {
  readonly errors: SyntaxProblem[];
  /** The current token. */
  kind: TokenKind = "end";
  /** Text of an identifier, tag or string. */
  text = "";
  /** Value of a number. */
  value = 0;
  readonly #source: string;
  readonly #file: string;
  readonly #limits: LexerLimits;
  #at = 0;
  #line = 1;
  #lineStart = 0;
  // Where the current token starts and the one before it ended: numbers, since most are never asked for.
  #startAt = 0;
  #startLine = 1;
  #startLineStart = 0;
  #endAt = 0;
  #endLine = 1;
  #endLineStart = 0;

  constructor(source: string, file: string, limits: LexerLimits, errors: SyntaxProblem[]) {
    this.#source = source;
    this.#file = file;
    this.#limits = limits;
    this.errors = errors;
    this.next();
  }

  /** Where the current token ends and the scan stands. */
  get position(): Position {
    return { offset: this.#at, line: this.#line, column: this.#at - this.#lineStart + 1 };
  }

  get start(): Position {
    return { offset: this.#startAt, line: this.#startLine, column: this.#startAt - this.#startLineStart + 1 };
  }

  /** End of the token before the current one. */
  get previousEnd(): Position {
    return { offset: this.#endAt, line: this.#endLine, column: this.#endAt - this.#endLineStart + 1 };
  }

  #markStart(): void {
    this.#startAt = this.#at;
    this.#startLine = this.#line;
    this.#startLineStart = this.#lineStart;
  }

  spanFrom(start: Position, end: Position): Span {
    return { file: this.#file, start, end };
  }

  /** Span of the current token. */
  get span(): Span {
    return this.spanFrom(this.start, this.position);
  }

  /** Goes to the next token. */
  next(): void {
    this.#endAt = this.#at;
    this.#endLine = this.#line;
    this.#endLineStart = this.#lineStart;
    const problem = this.#skipBlanks();
    if (problem !== undefined) {
      this.#fail(problem);
      return;
    }
    this.#markStart();
    const source = this.#source;
    const code = source.charCodeAt(this.#at);
    if (Number.isNaN(code)) {
      this.kind = "end";
    } else if (isLetter(code)) {
      this.#identifier();
    } else if (code >= 0x30 && code <= 0x39) {
      this.#number();
    } else if (code === 0x22) {
      this.#quoted();
    } else if (code === 0x3a) {
      this.#at++;
      if (isLetter(source.charCodeAt(this.#at))) {
        this.#word();
        if (this.kind !== "error") this.kind = "tag";
      } else this.kind = ":";
    } else {
      const sign = source[this.#at]!;
      if (";,()[]{}/".includes(sign)) {
        this.#at++;
        this.kind = sign as TokenKind;
      } else this.#garbage(code);
    }
  }

  #fail(message: string): void {
    this.kind = "error";
    this.errors.push({ message, span: this.span });
  }

  /** Blanks and comments (RFC 5228 §2.3); answers the mistake found in one. */
  #skipBlanks(): string | undefined {
    const source = this.#source;
    for (;;) {
      const code = source.charCodeAt(this.#at);
      if (code === 0x0a) this.#newline();
      else if (code === 0x20 || code === 0x09 || code === 0x0d) this.#at++;
      else if (code === 0x23) {
        const nul = this.#hashComment();
        if (nul) return "encountered NUL character in hash comment";
      } else if (code === 0x2f && source.charCodeAt(this.#at + 1) === 0x2a) {
        const problem = this.#bracketComment();
        if (problem) return problem;
      } else return undefined;
    }
  }

  #newline(): void {
    this.#at++;
    this.#line++;
    this.#lineStart = this.#at;
  }

  #hashComment(): boolean {
    this.#markStart();
    const newline = this.#source.indexOf("\n", this.#at);
    const end = newline < 0 ? this.#source.length : newline;
    const nul = this.#source.slice(this.#at, end).includes("\0");
    this.#at = end;
    return nul;
  }

  #bracketComment(): string | undefined {
    this.#markStart();
    const begin = this.#at;
    const end = this.#source.indexOf("*/", begin + 2);
    this.#moveTo(end < 0 ? this.#source.length : end + 2);
    if (end < 0) {
      return `end of file before end of bracket comment ('/* ... */') started at line ${this.start.line}`;
    }
    return this.#source.slice(begin, end).includes("\0") ? "encountered NUL character in bracket comment" : undefined;
  }

  /** Moves over text that may hold line ends. */
  #moveTo(end: number): void {
    for (let newline = this.#source.indexOf("\n", this.#at); newline >= 0 && newline < end; ) {
      this.#line++;
      this.#lineStart = newline + 1;
      newline = this.#source.indexOf("\n", newline + 1);
    }
    this.#at = end;
  }

  #word(): void {
    const begin = this.#at;
    let end = begin;
    while (isWord(this.#source.charCodeAt(end))) end++;
    this.#at = end;
    this.text = this.#source.slice(begin, end);
    this.kind = "identifier";
    if (end - begin > this.#limits.identifier) {
      this.#fail(`encountered impossibly long identifier '${this.text.slice(0, this.#limits.identifier)}...'`);
    }
  }

  #identifier(): void {
    this.#word();
    if (this.kind === "identifier" && this.text.toLowerCase() === "text" && this.#source[this.#at] === ":") {
      this.#at++;
      this.#multiline();
    }
  }

  /** number = 1*DIGIT [QUANTIFIER] (RFC 5228 §2.4.1). */
  #number(): void {
    const source = this.#source;
    const begin = this.#at;
    let end = begin;
    while (source.charCodeAt(end) >= 0x30 && source.charCodeAt(end) <= 0x39) end++;
    const digits = source.slice(begin, end);
    const factor = quantifiers[source[end]?.toLowerCase() ?? ""] ?? 1;
    this.#at = factor > 1 ? end + 1 : end;
    this.kind = "number";
    this.value = Number(digits) * factor;
    const exact = digits.length > 20 ? numberLimit + 1n : BigInt(digits) * BigInt(factor);
    if (exact > numberLimit) this.#fail(`number exceeds integer limits (max ${numberLimit})`);
  }

  /** quoted-string (RFC 5228 §2.4.2): a backslash before any character means that character. */
  #quoted(): void {
    const source = this.#source;
    const begin = this.#at + 1;
    let end = begin;
    let escaped = false;
    for (; end < source.length; end++) {
      const code = source.charCodeAt(end);
      if (code === 0x22) break;
      if (code === 0x5c) {
        escaped = true;
        end++;
      }
    }
    if (end >= source.length) {
      this.#moveTo(source.length);
      this.#fail(`end of file before end of quoted string started at line ${this.start.line}`);
      return;
    }
    const raw = source.slice(begin, end);
    this.#moveTo(end + 1);
    this.#string(escaped ? raw.replace(/\\([\s\S])/g, "$1") : raw, "quoted string");
  }

  #string(text: string, what: string): void {
    if (text.includes("\0")) {
      this.#fail(`encountered NUL character in ${what} started at line ${this.start.line}`);
      return;
    }
    if (text.length > this.#limits.string) {
      this.#fail(`${what} started at line ${this.start.line} is too long (longer than ${this.#limits.string} bytes)`);
      return;
    }
    this.kind = "string";
    this.text = text.includes("\n") ? text.replace(/\r?\n/g, "\r\n") : text;
  }

  /** multi-line (RFC 5228 §2.4.2): "text:" *(SP / HTAB) (hash-comment / CRLF), lines, ".". */
  #multiline(): void {
    const source = this.#source;
    while (source[this.#at] === " " || source[this.#at] === "\t") this.#at++;
    if (source[this.#at] === "#" && this.#hashComment()) {
      this.#fail("encountered NUL character in hash comment");
      return;
    }
    if (source[this.#at] === "\r") this.#at++;
    if (source[this.#at] !== "\n") {
      if (this.#at >= source.length) {
        this.#fail("end of file before end of multi-line string");
        return;
      }
      this.#fail(`invalid character '${shown(source[this.#at]!)}' after 'text:' in multiline string`);
      return;
    }
    this.#newline();
    const lines: string[] = [];
    while (this.#at < source.length) {
      const newline = source.indexOf("\n", this.#at);
      const end = newline < 0 ? source.length : newline;
      const line = source.slice(this.#at, source[end - 1] === "\r" && end > this.#at ? end - 1 : end);
      this.#at = end;
      if (line === ".") {
        // The "." line's own end belongs to the string (multi-line = ... "." CRLF).
        if (newline >= 0) this.#newline();
        this.#string(lines.join(""), "multi-line string");
        return;
      }
      if (newline >= 0) this.#newline();
      lines.push(line[0] === "." ? line.slice(1) : line, "\r\n");
    }
    this.#fail("end of file before end of multi-line string");
  }

  #garbage(code: number): void {
    const source = this.#source;
    let end = this.#at + 1;
    while (end < source.length && !isTokenStart(source.charCodeAt(end))) end++;
    this.#at = end;
    this.kind = "garbage";
    this.errors.push({
      message: `unexpected character(s) starting with '${shown(String.fromCharCode(code))}'`,
      span: this.span,
    });
  }
}

function shown(character: string): string {
  const code = character.charCodeAt(0);
  return code > 0x20 && code < 0x7f ? character : `0x${code.toString(16).padStart(2, "0")}`;
}

function isLetter(code: number): boolean {
  return (code >= 0x61 && code <= 0x7a) || (code >= 0x41 && code <= 0x5a) || code === 0x5f;
}

function isWord(code: number): boolean {
  return isLetter(code) || (code >= 0x30 && code <= 0x39);
}

/** Blanks, words, strings and signs end a run of garbage. */
function isTokenStart(code: number): boolean {
  return code <= 0x20 || isWord(code) || '";:,()[]{}/#'.includes(String.fromCharCode(code));
}
