/**
 * Sieve text → tree, by the grammar of RFC 5228 §8.2, reporting every mistake of a file in one pass.
 * Recovery: a broken command is skipped to its ";" or block, and reading goes on after it; a block that holds something
 * other than commands can't be trusted further, so reading ends there. Written by hand: seven productions, and the
 * recovery points are the point.
 * Invariants: never throws, time linear in the text. Failure: `errors` is not empty.
 */
import type { Position } from "../../src/language/span.ts";
import type { ArgumentNode, CommandNode, ParseResult, StringNode, SyntaxProblem } from "./ast.ts";
import { Lexer, type TokenKind, tokenNames } from "./lexer.ts";

export interface ParserLimits {
  /** UTF-16 units of a script. */
  script: number;
  /** Blocks in blocks, and tests in tests. */
  nesting: number;
  /** Arguments of one command. */
  arguments: number;
  identifier: number;
  string: number;
  /** Errors after which reading stops. */
  errors: number;
}

export const parserLimits: ParserLimits = {
  script: 1024 * 1024,
  nesting: 32,
  arguments: 32,
  identifier: 32,
  string: 1024 * 1024,
  errors: 100,
};

/** @param file name for spans. */
export function parseSieve(source: string, file: string, limits: ParserLimits = parserLimits): ParseResult {
  if (source.length > limits.script) {
    const start = { offset: 0, line: 1, column: 1 };
    const message = `script is too large (max ${limits.script} bytes)`;
    return { commands: [], errors: [{ message, span: { file, start, end: start } }] };
  }
  return new Parser(source, file, limits).run();
}

/**
 * "on": all well; "skipped": a mistake was reported and passed over; "given up": so was a list of tests, and the lists
 * around it say no more; "stop": reading can't go on.
 */
type Progress = "on" | "skipped" | "given up" | "stop";

/** What no list goes past. */
const endsLists = new Set<string>([";", "{", "}"]);

class Parser {
  readonly #lexer: Lexer;
  readonly #errors: SyntaxProblem[] = [];
  readonly #limits: ParserLimits;

  constructor(source: string, file: string, limits: ParserLimits) {
    this.#limits = limits;
    this.#lexer = new Lexer(source, file, limits, this.#errors);
  }

  run(): ParseResult {
    const commands: CommandNode[] = [];
    const progress = this.#commands(commands, 0);
    const lexer = this.#lexer;
    if (progress === "on" && lexer.kind !== "end" && this.#onlyLexical()) {
      this.#error(`unexpected ${tokenNames[lexer.kind]} found at (the presumed) end of file`);
    }
    return { commands, errors: this.#errors };
  }

  /** No error yet, or just the one that the lexer gave with the current token. */
  #onlyLexical(): boolean {
    return this.#errors.length === 0 || (this.#errors.length === 1 && this.#lexer.kind === "garbage");
  }

  #error(message: string): void {
    // The lexer has already said what is wrong with an "error" token.
    if (this.#lexer.kind !== "error") this.#errors.push({ message, span: this.#lexer.span });
  }

  /** commands = *command (RFC 5228 §8.2). */
  #commands(into: CommandNode[], depth: number): Progress {
    while (this.#lexer.kind === "identifier") {
      if (this.#errors.length >= this.#limits.errors) return "stop";
      if (this.#command(into, depth) === "stop") return "stop";
    }
    return "on";
  }

  /** command = identifier arguments (";" / block) */
  #command(into: CommandNode[], depth: number): Progress {
    const lexer = this.#lexer;
    const node = this.#open("command");
    into.push(node);
    let progress = this.#arguments(node, 1);
    if (progress === "stop") return "stop";
    if (progress === "on" && lexer.kind !== ";" && lexer.kind !== "{") {
      this.#expected("end of command ';' or the beginning of a compound block '{'", "expected");
      progress = "skipped";
    }
    if (progress !== "on") this.#skipTo(";", "{", "}");
    if (lexer.kind === ";") {
      lexer.next();
    } else if (lexer.kind === "{") {
      if (depth + 1 > this.#limits.nesting) {
        this.#error(`cannot nest command blocks deeper than ${this.#limits.nesting} levels`);
        return "stop";
      }
      lexer.next();
      node.block = [];
      if (this.#commands(node.block, depth + 1) === "stop") return "stop";
      if ((lexer.kind as TokenKind) !== "}") {
        this.#expected("end of compound block '}'", "expected");
        return "stop";
      }
      lexer.next();
    }
    this.#close(node);
    return "on";
  }

  #expected(what: string, verb: "expected" | "expecting"): void {
    this.#error(`${verb} ${what}, but found ${tokenNames[this.#lexer.kind]}`);
  }

  #skipTo(...kinds: string[]): void {
    const lexer = this.#lexer;
    while (lexer.kind !== "end" && !kinds.includes(lexer.kind)) lexer.next();
  }

  /** Goes past the end of the list at hand, lists in it included; false, and before it, where the list can't go on. */
  #recover(end: "]" | ")"): boolean {
    const lexer = this.#lexer;
    const begin = end === "]" ? "[" : "(";
    for (let open = 1; open > 0; lexer.next()) {
      if (lexer.kind === begin) open++;
      else if (lexer.kind === end) open--;
      else if (
        lexer.kind === "end" ||
        endsLists.has(lexer.kind) ||
        (end === "]" && (lexer.kind === ")" || lexer.kind === "("))
      ) {
        return false;
      }
    }
    return true;
  }

  #open(kind: "command" | "test"): CommandNode {
    const lexer = this.#lexer;
    const span = lexer.span;
    const node: CommandNode = {
      kind,
      name: lexer.text,
      nameSpan: span,
      arguments: [],
      tests: [],
      testList: false,
      span,
    };
    lexer.next();
    return node;
  }

  #close(node: CommandNode): void {
    node.span = this.#spanSince(node.span.start);
  }

  #spanSince(start: Position) {
    return this.#lexer.spanFrom(start, this.#lexer.previousEnd);
  }

  /** arguments = *argument [ test / test-list ] */
  #arguments(node: CommandNode, depth: number): Progress {
    const lexer = this.#lexer;
    for (;;) {
      switch (lexer.kind) {
        case "identifier":
          return this.#tests(node, depth, false);
        case "(":
          node.testList = true;
          return this.#tests(node, depth, true);
        case "[":
        case "string":
        case "number":
        case "tag": {
          if (node.arguments.length >= this.#limits.arguments) {
            this.#error(`too many arguments for ${node.kind} '${node.name}' (max ${this.#limits.arguments})`);
            return "skipped";
          }
          const start = lexer.start;
          if (lexer.kind === "[") {
            const items: StringNode[] = [];
            const progress = this.#stringList(items);
            node.arguments.push({ kind: "list", items, span: this.#spanSince(start) });
            if (progress !== "on") return progress;
          } else {
            node.arguments.push(this.#single());
            lexer.next();
          }
          break;
        }
        default:
          return "on";
      }
    }
  }

  #single(): ArgumentNode {
    const lexer = this.#lexer;
    if (lexer.kind === "number") return { kind: "number", value: lexer.value, span: lexer.span };
    if (lexer.kind === "tag") return { kind: "tag", name: lexer.text, span: lexer.span };
    return { kind: "string", text: lexer.text, span: lexer.span };
  }

  /** string-list = "[" string *("," string) "]" */
  #stringList(items: StringNode[]): Progress {
    const lexer = this.#lexer;
    do {
      const after = lexer.kind === "[" ? "[" : ",";
      lexer.next();
      if (lexer.kind !== "string") {
        this.#expected(`string after '${after}' in string list`, "expecting");
        if (this.#recover("]")) return "on";
        this.#expected("',' or end of string list ']'", "expecting");
        return "skipped";
      }
      items.push({ kind: "string", text: lexer.text, span: lexer.span });
      lexer.next();
    } while ((lexer.kind as TokenKind) === ",");
    if ((lexer.kind as TokenKind) === "]") {
      lexer.next();
      return "on";
    }
    this.#expected("',' or end of string list ']'", "expecting");
    return this.#recover("]") ? "on" : "skipped";
  }

  /** test / test-list = "(" test *("," test) ")" */
  #tests(node: CommandNode, depth: number, list: boolean): Progress {
    const lexer = this.#lexer;
    if (depth > this.#limits.nesting) {
      this.#error(`cannot nest tests deeper than ${this.#limits.nesting} levels`);
      return "stop";
    }
    if (!list) {
      const alone = this.#test(node, depth);
      return alone === "given up" ? "skipped" : alone;
    }
    let progress: Progress = "on";
    do {
      const after = lexer.kind === "(" ? "(" : ",";
      lexer.next();
      if (lexer.kind !== "identifier") {
        this.#expected(`test identifier after '${after}' in test list`, "expecting");
        if (after === "(") {
          if (!this.#recover(")")) this.#expected("',' or end of test list ')'", "expecting");
          this.#error(`failed to accept more tests for command '${node.name}'`);
          return depth > 1 ? "given up" : "stop";
        }
        if (this.#recover(")")) return "on";
        this.#expected("',' or end of test list ')'", "expecting");
        return "skipped";
      }
      progress = this.#test(node, depth);
    } while (progress === "on" && (lexer.kind as TokenKind) === ",");
    if (progress === "stop" || progress === "given up") return progress;
    if (progress === "on" && (lexer.kind as TokenKind) === ")") {
      lexer.next();
      return "on";
    }
    if (progress === "on") this.#expected("',' or end of test list ')'", "expecting");
    if (this.#recover(")")) return "on";
    if (progress === "skipped") this.#expected("',' or end of test list ')'", "expecting");
    return "skipped";
  }

  /** test = identifier arguments */
  #test(node: CommandNode, depth: number): Progress {
    const test = this.#open("test");
    node.tests.push(test);
    const progress = this.#arguments(test, depth + 1);
    this.#close(test);
    return progress;
  }
}
