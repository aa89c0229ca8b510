/**
 * Lays out a Sieve script by its brackets: two blanks a level, no blanks at the end of a line, one empty line at most.
 * Invariants: nothing but blanks between tokens changes; lines that begin inside of a string or a comment stay as they
 * are, since their blanks have a meaning. Pure, linear.
 */
import { Lexer } from "../../../../grammar/sieve/lexer.ts";
import { parserLimits } from "../../../../grammar/sieve/parser.ts";

export function indented(source: string): string {
  const lines = source.split(/\r?\n/);
  /** Brackets open where each line begins, and those that the line closes first. */
  const depth = new Array<number>(lines.length).fill(0);
  const closing = new Array<number>(lines.length).fill(0);
  const fixed = new Set<number>();
  walk(source, depth, closing, fixed);
  const out: string[] = [];
  for (const [i, line] of lines.entries()) {
    if (fixed.has(i)) {
      out.push(fixed.has(i + 1) ? line : line.trimEnd());
      continue;
    }
    const text = fixed.has(i + 1) ? line.trimStart() : line.trim();
    if (text === "" && out.at(-1) === "") continue;
    out.push(text === "" ? "" : "  ".repeat(Math.max(0, depth[i]! - closing[i]!)) + text);
  }
  while (out.at(-1) === "") out.pop();
  while (out[0] === "") out.shift();
  return out.length > 0 ? `${out.join("\n")}\n` : "";
}

function walk(source: string, depth: number[], closing: number[], fixed: Set<number>): void {
  const lexer = new Lexer(source, "", parserLimits, []);
  let open = 0;
  let line = 0;
  let previousEnd = 0;
  /** Nothing but closing brackets came in this line. */
  let leading = true;
  const comments = (to: number): void => markComments(source, previousEnd, to, fixed);
  for (; lexer.kind !== "end"; lexer.next()) {
    const { start, position, kind } = lexer;
    comments(start.offset);
    previousEnd = position.offset;
    if (line < start.line - 1) leading = true;
    while (line < start.line - 1) depth[++line] = open;
    for (let inside = start.line; inside < position.line; inside++) fixed.add(inside);
    // A multi-line string ends behind the line break after its dot.
    if (position.column === 1 && position.line > start.line) fixed.delete(position.line - 1);
    if (kind === "}" || kind === "]" || kind === ")") {
      open = Math.max(0, open - 1);
      if (leading) closing[line]!++;
    } else {
      leading = false;
      if (kind === "{" || kind === "[" || kind === "(") open++;
    }
  }
  comments(source.length);
  while (line < depth.length - 1) depth[++line] = open;
}

/** Lines that begin inside of a bracket comment. */
function markComments(source: string, from: number, to: number, fixed: Set<number>): void {
  const between = source.slice(from, to);
  if (!between.includes("/*")) return;
  const plain = between.replace(/#[^\n]*/g, (comment) => "x".repeat(comment.length));
  let base = -1;
  for (const match of plain.matchAll(/\/\*[\s\S]*?(?:\*\/|$)/g)) {
    if (!match[0].includes("\n")) continue;
    if (base < 0) base = source.slice(0, from).split("\n").length - 1;
    const first = base + between.slice(0, match.index).split("\n").length - 1;
    const lines = match[0].split("\n").length - 1;
    for (let i = 1; i <= lines; i++) fixed.add(first + i);
  }
}
