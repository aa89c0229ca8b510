/**
 * Where a cursor stands in a Sieve script, told from the tokens before it: a script is half-written while it is typed.
 * Pure; any text gives an answer, in time linear in the text before the cursor.
 */
import { Lexer } from "../../../../grammar/sieve/lexer.ts";
import { parserLimits } from "../../../../grammar/sieve/parser.ts";
import type { Range } from "../language.ts";

export type Place =
  | { kind: "nothing" }
  | { kind: "command"; afterIf: boolean }
  | { kind: "test" }
  /** A tag of the construct named `of`. */
  | { kind: "tag"; of: string; construct: "command" | "test" }
  | { kind: "capability" }
  | { kind: "variable" };

export interface Cursor {
  place: Place;
  word: Range;
}

const testHolders = new Set(["if", "elsif", "not", "anyof", "allof"]);

export function cursorAt(source: string, offset: number): Cursor {
  const behind = /^\w*/.exec(source.slice(offset, offset + 128))![0].length;
  const before = source.slice(0, offset);
  const partial = /(?<![\w])\w*$/.exec(before.slice(-128))![0];
  const word = { start: offset - partial.length, end: offset + behind };
  const walk = new Walk(source.slice(0, word.start));
  const place = walk.place();
  // In a string a capability may hold dashes and dots: the whole of it is replaced.
  if (place.kind === "capability") {
    const start = before.lastIndexOf('"') + 1;
    const rest = /^[\w;.-]*/.exec(source.slice(offset, offset + 128))![0].length;
    return { place, word: { start, end: offset + rest } };
  }
  return { place, word };
}

class Walk {
  private readonly source: string;
  /** Identifier of the command or test being written, and what the one before was. */
  private name = "";
  private construct: "command" | "test" = "command";
  private command = "";
  private last = "";
  private stringAt: number | undefined;
  private readonly inComment: boolean;

  constructor(source: string) {
    this.source = source;
    const problems: [] = [];
    const lexer = new Lexer(source, "", parserLimits, problems);
    for (; lexer.kind !== "end" && this.stringAt === undefined; lexer.next()) {
      const { kind } = lexer;
      if (kind === "error") {
        // An unfinished string or comment: the last token of the text.
        if (lexer.position.offset >= source.length) this.stringAt = lexer.start.offset;
        continue;
      }
      if (kind === "identifier") {
        this.construct = this.startsCommand() ? "command" : "test";
        this.name = lexer.text.toLowerCase();
        if (this.construct === "command") this.command = this.name;
      } else if (kind === ";" || kind === "{" || kind === "}") {
        this.name = "";
      }
      this.last = kind;
    }
    this.inComment = this.stringAt === undefined && endsInComment(source);
  }

  place(): Place {
    const { source, stringAt } = this;
    if (stringAt !== undefined) {
      const text = source.slice(stringAt);
      if (!text.startsWith('"') && !/^text:/i.test(text)) return { kind: "nothing" };
      if (/\$\{[\w.]*$/.test(text)) return { kind: "variable" };
      return this.command === "require" ? { kind: "capability" } : { kind: "nothing" };
    }
    if (this.inComment) return { kind: "nothing" };
    if (this.last === ":" || source.endsWith(":")) return { kind: "tag", of: this.name, construct: this.construct };
    if (this.startsCommand()) return { kind: "command", afterIf: this.last === "}" };
    const holds = testHolders.has(this.name);
    if (holds && (this.last === "identifier" || this.last === "(" || this.last === ",")) return { kind: "test" };
    // After a test inside of a list the next one follows a comma.
    if (this.last === "," && this.construct === "test") return { kind: "test" };
    return { kind: "nothing" };
  }

  private startsCommand(): boolean {
    return this.last === "" || this.last === ";" || this.last === "{" || this.last === "}";
  }
}

/** A `#` comment that the text breaks off in. Only asked when no string is open. */
function endsInComment(source: string): boolean {
  const line = source.slice(source.lastIndexOf("\n") + 1).replace(/"[^"\\]*(?:\\[\s\S][^"\\]*)*"/g, "");
  return line.includes("#");
}
