/**
 * Prints a syntax tree in the one layout of `postern fmt`: two blanks an indent, one statement a line, `name (args);`.
 * Invariants: the result parses to the same tree, texts stand as they were written, every comment is kept in order
 * (a comment behind code stays behind it, one inside a statement moves behind that statement), and one blank line of
 * the author's is kept where there were some.
 */
import type { Block, Comment, Operand, Range, Script, Statement, Test } from "./ast.ts";

const width = 100;

export function print(script: Script, source: string): string {
  return new Printer(script, source).run();
}

class Printer {
  private readonly script: Script;
  private readonly source: string;
  private readonly lines: string[] = [];
  private nextComment = 0;
  /** End of what was printed last, in the source. */
  private at = 0;

  constructor(script: Script, source: string) {
    this.script = script;
    this.source = source;
  }

  run(): string {
    for (const block of this.script.blocks) this.block(block);
    this.comments(this.source.length, 0);
    while (this.lines[0] === "") this.lines.shift();
    return this.lines.length > 0 ? `${this.lines.join("\n")}\n` : "";
  }

  private block(block: Block): void {
    if (this.lines.length > 0) this.blank();
    if (this.comments(block.start, 0) && this.blankBefore(block.start)) this.blank();
    this.line(0, `${block.kind} ${block.name.text} {`);
    this.at = block.name.end;
    this.body(block.body, block.end, 1);
    this.line(0, "}");
    this.at = block.end;
  }

  /** Statements and comments up to the closing brace at `end`. */
  private body(body: readonly Statement[], end: number, depth: number): void {
    let first = true;
    for (const statement of body) {
      const commented = this.comments(statement.start, depth, first);
      if ((commented || !first) && this.blankBefore(statement.start)) this.blank();
      this.statement(statement, depth);
      this.at = statement.end;
      first = false;
    }
    this.comments(end, depth, first);
  }

  private statement(statement: Statement, depth: number): void {
    switch (statement.kind) {
      case "call": {
        const onError = statement.onError ? ` onError ${statement.onError.text}` : "";
        this.line(depth, `call (${statement.name.text})${onError};`);
        break;
      }
      case "set":
        this.line(depth, `set (${statement.name.text}, ${operand(statement.value)});`);
        break;
      case "export":
        this.line(depth, `export (${statement.name.text});`);
        break;
      case "action":
        this.line(depth, `${statement.name.text} (${statement.operands.map(operand).join(", ")});`);
        break;
      case "rule":
        this.line(depth, `rule ${statement.name.raw} {`);
        this.at = statement.name.end;
        this.body(statement.body, statement.end, depth + 1);
        this.line(depth, "}");
        break;
      case "if":
        this.condition(statement, depth);
        break;
    }
  }

  private condition(statement: Extract<Statement, { kind: "if" }>, depth: number): void {
    statement.branches.forEach((branch, i) => {
      const lead = i === 0 ? "if (" : "} else if (";
      this.line(depth, `${lead}${test(branch.test, depth)}) {`);
      this.at = branch.test.end;
      this.body(branch.body, branch.end, depth + 1);
      this.at = branch.end;
    });
    if (statement.otherwise) {
      this.line(depth, "} else {");
      this.body(statement.otherwise, statement.end, depth + 1);
    }
    this.line(depth, "}");
  }

  /** Prints the comments that begin before `offset`; answers whether there were any. */
  private comments(offset: number, depth: number, first = this.lines.length === 0): boolean {
    const from = this.nextComment;
    for (;;) {
      const comment: Comment | undefined = this.script.comments[this.nextComment];
      if (!comment || comment.start >= offset) return this.nextComment > from;
      this.nextComment++;
      const text = comment.text.trimEnd();
      if (this.isBehindCode(comment)) this.lines.push(`${this.lines.pop()} ${text}`);
      else {
        if (!first && this.blankBefore(comment.start)) this.blank();
        this.line(depth, text);
      }
      this.at = Math.max(this.at, comment.end);
      first = false;
    }
  }

  /** On the line of what was printed last, which is not itself a comment. */
  private isBehindCode(comment: Range): boolean {
    const last = this.lines.at(-1);
    if (last === undefined || last === "" || /^\s*(#|\/\*)/.test(last)) return false;
    // A line comment ends its line: nothing can stand behind it.
    if (endsInComment(last)) return false;
    return comment.start < this.at || !/[\r\n]/.test(this.source.slice(this.at, comment.start));
  }

  private blankBefore(start: number): boolean {
    return /(\r\n|\n|\r)[ \t]*(\r\n|\n|\r)\s*$/.test(this.source.slice(Math.min(this.at, start), start));
  }

  private blank(): void {
    if (this.lines.at(-1) !== "") this.lines.push("");
  }

  private line(depth: number, text: string): void {
    this.lines.push("  ".repeat(depth) + text);
  }
}

/** Does a printed line end in a comment? Texts of the line are skipped. */
function endsInComment(line: string): boolean {
  return /[#]|\/\*/.test(line.replace(/"[^"\\]*(?:\\[\s\S][^"\\]*)*"/g, ""));
}

function operand(item: Operand): string {
  if (item.kind === "text") return item.raw;
  return item.kind === "field" ? `${item.name.text} (${item.argument.raw})` : item.text;
}

function test(item: Test, depth: number): string {
  const flat = flatTest(item);
  if (item.kind !== "any" && item.kind !== "all") return flat;
  if (flat.length + depth * 2 <= width) return flat;
  const indent = "  ".repeat(depth + 1);
  const inner = item.tests.map((member) => indent + test(member, depth + 1));
  return `${item.kind}Of (\n${inner.join(",\n")}\n${"  ".repeat(depth)})`;
}

function flatTest(item: Test): string {
  switch (item.kind) {
    case "any":
    case "all":
      return `${item.kind}Of (${item.tests.map(flatTest).join(", ")})`;
    case "not":
      return `not (${flatTest(item.test)})`;
    case "comparison":
      return `${item.comparator.text} (${item.operands.map(operand).join(", ")})`;
  }
}
