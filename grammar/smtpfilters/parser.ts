/**
 * Parser of the smtpFilters language (smtpfilters.md §2), on chevrotain with error recovery: one pass gives the tree of
 * what could be read and every problem found (bounded by `maxProblems`).
 * Invariants: any string gives an answer in bounded time; nesting is measured before parsing, so that the descent
 * can't exhaust the stack. Failure: problems in the answer, never a throw.
 */
import { EmbeddedActionsParser, type IToken } from "chevrotain";
import type { Block, Branch, Comment, Name, Operand, Script, Statement, SyntaxProblem, Test, Text } from "./ast.ts";
import {
  checkComment,
  describe,
  expectations,
  firstTooDeep,
  messages,
  rangeOf,
  reportErrorToken,
  syntaxProblem,
} from "./problems.ts";
import { readText } from "./text.ts";
import * as t from "./tokens.ts";

const maxProblems = 50;

class SmtpFiltersParser extends EmbeddedActionsParser {
  constructor() {
    super(t.vocabulary, {
      recoveryEnabled: true,
      maxLookahead: 2,
      errorMessageProvider: messages,
    });
    this.performSelfAnalysis();
  }

  /** Found by the error productions of this parse. */
  strays: SyntaxProblem[] = [];
  /** A stray was reported and no block came since: what follows it is part of the same slip. */
  private insideStray = false;

  begin(tokens: IToken[]): void {
    this.input = tokens;
    this.strays = [];
    this.insideStray = false;
  }

  readonly script = this.RULE("script", (): Block[] => {
    const blocks: Block[] = [];
    this.MANY({
      GATE: () => this.mayGoOn(),
      DEF: () => {
        const block = this.OR([
          { ALT: () => this.block(this.SUBRULE(this.event)) },
          { ALT: () => this.block(this.SUBRULE(this.method)) },
          { ALT: () => this.SUBRULE(this.stray), IGNORE_AMBIGUITIES: true },
        ]);
        this.ACTION(() => keep(blocks, block));
      },
    });
    return blocks;
  });

  /** Error production: what can't stand between blocks is read as far as it makes sense, so that the rest is checked. */
  readonly stray = this.RULE("stray", (): undefined => {
    const start = this.LA(1);
    this.OR([
      {
        ALT: () => {
          this.CONSUME(t.Identifier);
          this.CONSUME2(t.Identifier);
          this.SUBRULE(this.body);
        },
      },
      { ALT: () => this.SUBRULE(this.statement), IGNORE_AMBIGUITIES: true },
      { ALT: () => this.CONSUME3(t.Identifier), IGNORE_AMBIGUITIES: true },
      { ALT: () => this.CONSUME(t.RBrace) },
      { ALT: () => this.CONSUME(t.LBrace) },
      { ALT: () => this.CONSUME(t.RParen) },
      { ALT: () => this.CONSUME(t.LParen) },
      { ALT: () => this.CONSUME(t.Comma) },
      { ALT: () => this.CONSUME(t.Semicolon) },
      { ALT: () => this.CONSUME(t.StringLiteral) },
      { ALT: () => this.CONSUME(t.IntegerLiteral) },
    ]);
    this.ACTION(() => {
      if (this.insideStray) return;
      this.insideStray = true;
      const isBrace = start.tokenType === t.RBrace;
      this.strays.push({
        code: "P001",
        message: isBrace ? 'this "}" closes nothing' : `expected ${expectations.script} but found ${describe(start)}`,
        hint: isBrace ? "remove it, or look for a missing { above" : "statements stand inside an event or a method",
        ...rangeOf(start),
      });
    });
    return undefined;
  });

  readonly event = this.RULE("event", (): Block => {
    const start = this.CONSUME(t.Event);
    const name = this.CONSUME(t.Identifier);
    const body = this.SUBRULE(this.body);
    return this.ACTION(() => ({ kind: "event", name: nameOf(name), body: list(body), ...this.rangeFrom(start) }));
  });

  readonly method = this.RULE("method", (): Block => {
    const start = this.CONSUME(t.Method);
    const name = this.CONSUME(t.Identifier);
    const body = this.SUBRULE(this.body);
    return this.ACTION(() => ({ kind: "method", name: nameOf(name), body: list(body), ...this.rangeFrom(start) }));
  });

  readonly body = this.RULE("body", (): Statement[] => {
    const statements: Statement[] = [];
    this.CONSUME(t.LBrace);
    this.MANY({
      GATE: () => this.mayGoOn() && !this.atBlock(),
      DEF: () => {
        const statement = this.SUBRULE(this.statement);
        this.ACTION(() => keep(statements, statement));
      },
    });
    this.CONSUME(t.RBrace);
    return statements;
  });

  readonly statement = this.RULE("statement", (): Statement | undefined =>
    this.OR({
      // The first word alone decides, so that a slip after it is reported where it is.
      MAX_LOOKAHEAD: 1,
      DEF: [
        { ALT: () => this.SUBRULE(this.call) },
        { ALT: () => this.SUBRULE(this.set) },
        { ALT: () => this.SUBRULE(this.exportVariable) },
        { ALT: () => this.SUBRULE(this.condition) },
        { ALT: () => this.SUBRULE(this.rule) },
        { ALT: () => this.SUBRULE(this.action), IGNORE_AMBIGUITIES: true },
      ],
    }),
  );

  readonly call = this.RULE("call", (): Statement | undefined => {
    const start = this.CONSUME(t.Call);
    this.CONSUME(t.LParen);
    const name = this.CONSUME(t.Identifier);
    this.CONSUME(t.RParen);
    const onError = this.OPTION(() => {
      this.CONSUME(t.OnError);
      return this.CONSUME2(t.Identifier);
    });
    this.CONSUME(t.Semicolon);
    return this.ACTION(() => ({
      kind: "call",
      name: nameOf(name),
      ...(onError ? { onError: nameOf(onError) } : {}),
      ...this.rangeFrom(start),
    }));
  });

  readonly set = this.RULE("set", (): Statement | undefined => {
    const start = this.CONSUME(t.SetVariable);
    this.CONSUME(t.LParen);
    const name = this.CONSUME(t.Identifier);
    this.CONSUME(t.Comma);
    const value = this.SUBRULE(this.operand);
    this.CONSUME(t.RParen);
    this.CONSUME(t.Semicolon);
    return this.ACTION(() => value && { kind: "set", name: nameOf(name), value, ...this.rangeFrom(start) });
  });

  readonly exportVariable = this.RULE("export", (): Statement | undefined => {
    const start = this.CONSUME(t.Export);
    this.CONSUME(t.LParen);
    const name = this.CONSUME(t.Identifier);
    this.CONSUME(t.RParen);
    this.CONSUME(t.Semicolon);
    return this.ACTION(() => ({ kind: "export", name: nameOf(name), ...this.rangeFrom(start) }));
  });

  /** `else if` is read in a loop, so a long chain is no deep nesting. */
  readonly condition = this.RULE("if", (): Statement | undefined => {
    const start = this.LA(1);
    const branches: Branch[] = [];
    const first = this.SUBRULE(this.branch);
    this.ACTION(() => keep(branches, first));
    let otherwise: Statement[] | undefined;
    this.MANY({
      GATE: () => this.LA(2).tokenType === t.If,
      DEF: () => {
        this.CONSUME(t.Else);
        const branch = this.SUBRULE2(this.branch);
        this.ACTION(() => keep(branches, branch));
      },
    });
    this.OPTION(() => {
      this.CONSUME2(t.Else);
      otherwise = this.SUBRULE(this.body);
    });
    return this.ACTION(() => ({ kind: "if", branches, ...(otherwise ? { otherwise } : {}), ...this.rangeFrom(start) }));
  });

  readonly branch = this.RULE("branch", (): Branch | undefined => {
    const start = this.CONSUME(t.If);
    this.CONSUME(t.LParen);
    const test = this.SUBRULE(this.test);
    this.CONSUME(t.RParen);
    const body = this.SUBRULE(this.body);
    return this.ACTION(() => test && { test, body: list(body), ...this.rangeFrom(start) });
  });

  readonly rule = this.RULE("rule", (): Statement | undefined => {
    const start = this.CONSUME(t.Rule);
    const name = this.SUBRULE(this.text);
    const body = this.SUBRULE(this.body);
    return this.ACTION(() => name && { kind: "rule", name, body: list(body), ...this.rangeFrom(start) });
  });

  readonly action = this.RULE("action", (): Statement | undefined => {
    const name = this.CONSUME(t.Identifier);
    const operands = this.SUBRULE(this.operands);
    this.OR([
      { ALT: () => this.CONSUME(t.Semicolon) },
      {
        // Error production: "switch (x) { … }" and the like.
        ALT: () => {
          this.SUBRULE(this.body);
          this.ACTION(() => {
            this.strays.push({
              code: "P007",
              message: `the language has no "${name.image} (…) { … }"`,
              hint: "use if, else and methods",
              ...rangeOf(name),
            });
          });
        },
      },
    ]);
    return this.ACTION(() => ({
      kind: "action",
      name: nameOf(name),
      operands: list(operands),
      ...this.rangeFrom(name),
    }));
  });

  readonly test = this.RULE("test", (): Test | undefined =>
    this.OR([
      { ALT: () => this.SUBRULE(this.combination) },
      { ALT: () => this.SUBRULE(this.negation) },
      { ALT: () => this.SUBRULE(this.comparison), IGNORE_AMBIGUITIES: true },
    ]),
  );

  readonly combination = this.RULE("combination", (): Test | undefined => {
    const word = this.OR([{ ALT: () => this.CONSUME(t.AnyOf) }, { ALT: () => this.CONSUME(t.AllOf) }]);
    const tests: Test[] = [];
    this.CONSUME(t.LParen);
    this.AT_LEAST_ONE_SEP({
      SEP: t.Comma,
      DEF: () => {
        const test = this.SUBRULE(this.test);
        this.ACTION(() => keep(tests, test));
      },
    });
    this.CONSUME(t.RParen);
    return this.ACTION(() => ({ kind: word.tokenType === t.AnyOf ? "any" : "all", tests, ...this.rangeFrom(word) }));
  });

  readonly negation = this.RULE("negation", (): Test | undefined => {
    const start = this.CONSUME(t.Not);
    const test = this.OR([
      {
        ALT: () => {
          this.CONSUME(t.LParen);
          const inner = this.SUBRULE(this.test);
          this.CONSUME(t.RParen);
          return inner;
        },
      },
      { ALT: () => this.SUBRULE(this.comparison) },
    ]);
    return this.ACTION(() => test && { kind: "not", test, ...this.rangeFrom(start) });
  });

  readonly comparison = this.RULE("comparison", (): Test | undefined => {
    const comparator = this.CONSUME(t.Identifier);
    const operands = this.SUBRULE(this.operands);
    return this.ACTION(() => ({
      kind: "comparison",
      comparator: nameOf(comparator),
      operands: list(operands),
      ...this.rangeFrom(comparator),
    }));
  });

  readonly operands = this.RULE("operands", (): Operand[] => {
    const operands: Operand[] = [];
    this.CONSUME(t.LParen);
    this.MANY_SEP({
      SEP: t.Comma,
      DEF: () => {
        const operand = this.SUBRULE(this.operand);
        this.ACTION(() => keep(operands, operand));
      },
    });
    this.CONSUME(t.RParen);
    return operands;
  });

  readonly operand = this.RULE("operand", (): Operand | undefined =>
    this.OR([
      { ALT: () => this.SUBRULE(this.text) },
      { ALT: () => this.SUBRULE(this.field) },
      { ALT: () => this.SUBRULE(this.variable) },
    ]),
  );

  readonly field = this.RULE("field", (): Operand | undefined => {
    const name = this.CONSUME(t.Identifier);
    this.CONSUME(t.LParen);
    const argument = this.SUBRULE(this.text);
    this.CONSUME(t.RParen);
    return this.ACTION(() => argument && { kind: "field", name: nameOf(name), argument, ...this.rangeFrom(name) });
  });

  readonly variable = this.RULE("variable", (): Operand | undefined => {
    const name = this.CONSUME(t.Identifier);
    return this.ACTION(() => ({ kind: "variable", ...nameOf(name) }));
  });

  readonly text = this.RULE("text", (): Text | undefined => {
    const token = this.OR([
      { ALT: () => this.CONSUME(t.StringLiteral) },
      { ALT: () => this.CONSUME(t.IntegerLiteral) },
    ]);
    return this.ACTION((): Text | undefined => {
      if (token.tokenType === t.StringLiteral && !token.isInsertedInRecovery)
        return readText(token.image, token.startOffset);
      return { kind: "text", parts: token.image ? [{ text: token.image }] : [], raw: token.image, ...rangeOf(token) };
    });
  });

  /** `event name` or `method name` inside a body: a "}" is missing before it. */
  private atBlock(): boolean {
    const { tokenType } = this.LA(1);
    return (tokenType === t.Event || tokenType === t.Method) && this.LA(2).tokenType !== t.LParen;
  }

  /** Gives up on text that is hardly a script: each recovery costs time. */
  private mayGoOn(): boolean {
    return this.strays.length + this.errors.length < maxProblems;
  }

  private block(read: Block): Block {
    this.insideStray = false;
    return read;
  }

  private rangeFrom(start: IToken): { start: number; end: number } {
    const { end } = rangeOf(this.LA(0));
    const from = rangeOf(start).start;
    return { start: from, end: Math.max(from, end) };
  }
}

const nameOf = (token: IToken): Name => ({ text: token.image, ...rangeOf(token) });

/** A rule that recovery gave up answers undefined; what needs its answer is then undefined too. */
function keep<T>(items: T[], item: T | undefined): void {
  if (item !== undefined) items.push(item);
}
const list = <T>(items: T[] | undefined): T[] => items ?? [];

const parser = new SmtpFiltersParser();

export interface ParseLimits {
  /** Deepest allowed nesting of brackets of any kind. */
  nesting: number;
}

export interface ParseResult {
  script: Script;
  problems: SyntaxProblem[];
}

export function parse(source: string, limits: ParseLimits): ParseResult {
  const { tokens, groups } = t.lexer.tokenize(source);
  const problems: SyntaxProblem[] = [];
  const comments: Comment[] = (groups.comments ?? []).map((token) => ({ text: token.image, ...rangeOf(token) }));
  for (const comment of comments) checkComment(comment, problems);
  const input = tokens.filter((token) => !reportErrorToken(token, problems));
  const tooDeep = firstTooDeep(input, limits.nesting);
  if (tooDeep) {
    problems.push({
      code: "P005",
      message: `brackets are nested deeper than ${limits.nesting}`,
      hint: "move inner parts into methods",
      ...rangeOf(tooDeep),
    });
    return { script: { blocks: [], comments }, problems: problems.slice(0, maxProblems) };
  }
  parser.begin(input);
  const blocks = list(parser.script());
  for (const error of parser.errors) problems.push(syntaxProblem(error, source.length));
  problems.push(...parser.strays);
  parser.begin([]);
  problems.sort((a, b) => a.start - b.start);
  // Recovery can report one place twice; the first report is the cause.
  const distinct = problems.filter((problem, i) => problem.start !== problems[i - 1]?.start);
  return { script: { blocks, comments }, problems: distinct.slice(0, maxProblems) };
}
