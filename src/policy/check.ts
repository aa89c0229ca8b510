/**
 * What can be said of a script without following its events: names of blocks, calls and tests, shapes of operands,
 * recursion, and (strict) what the original language doesn't have. Order-dependent checks are in lower.ts and flow.ts.
 * Failure: diagnostics through the reporter; lowering expects a script that passed without error.
 */
import type { Block, Name, Operand, Script, Statement, Test, Text } from "../../grammar/smtpfilters/ast.ts";
import { constantText } from "../../grammar/smtpfilters/text.ts";
import type { Budget } from "../config/budget.ts";
import { findAction, findComparator, findEvent, findMethod, isPredefinedVariable, suggest } from "./names.ts";
import { parseRate } from "./rate.ts";
import type { Reporter } from "./reporter.ts";
import type { EventName } from "./types.ts";
import { type OnError, onErrorWords } from "./vocabulary.ts";

/** A script whose names are resolved. */
export interface CheckedScript {
  events: Map<EventName, Block>;
  /** By name in lower case. */
  methods: Map<string, Block>;
  /** Methods that some event reaches, in lower case. */
  reached: Set<string>;
  /** Own variables that are set anywhere, in lower case, with the spelling of the first. */
  assigned: Map<string, string>;
  /** Names that are exported anywhere, in lower case. */
  exported: Set<string>;
}

export function check(script: Script, budget: Budget, reporter: Reporter): CheckedScript {
  const checker = new Checker(budget, reporter);
  return checker.run(script);
}

class Checker {
  private readonly budget: Budget;
  private readonly reporter: Reporter;
  private readonly result: CheckedScript = {
    events: new Map(),
    methods: new Map(),
    reached: new Set(),
    assigned: new Map(),
    exported: new Set(),
  };
  /** Calls of each block, by the name of the block. */
  private readonly calls = new Map<Block, Name[]>();

  constructor(budget: Budget, reporter: Reporter) {
    this.budget = budget;
    this.reporter = reporter;
  }

  run(script: Script): CheckedScript {
    for (const block of script.blocks) this.block(block);
    for (const block of script.blocks) {
      const calls: Name[] = [];
      this.calls.set(block, calls);
      this.statements(block.body, calls);
    }
    for (const block of this.result.events.values()) this.follow(block, []);
    for (const block of this.result.methods.values()) {
      if (this.result.reached.has(block.name.text.toLowerCase())) continue;
      this.follow(block, []);
      this.reporter.report("P044", block.name, `method ${block.name.text} is never called`);
    }
    return this.result;
  }

  private block(block: Block): void {
    const { name } = block;
    const key = name.text.toLowerCase();
    if (block.kind === "event") {
      const event = findEvent(name.text);
      if (!event) this.reporter.report("P010", name, `unknown event ${name.text}`, suggest(name.text, "event"));
      else if (this.result.events.has(event)) this.reporter.report("P011", name, `event ${event} is defined twice`);
      else this.result.events.set(event, block);
      return;
    }
    const predefined = findMethod(name.text);
    if (predefined) {
      this.reporter.report("P013", name, `${predefined.name} is a predefined method`, "choose another name");
    } else if (this.result.methods.has(key)) {
      this.reporter.report("P012", name, `method ${name.text} is defined twice`, "names are compared without case");
    } else this.result.methods.set(key, block);
  }

  /** Walks the calls from a block: marks what is reached, refuses cycles and chains that are too long. */
  private follow(block: Block, chain: Block[]): void {
    if (chain.includes(block)) return;
    if (chain.length > this.budget.callDepth) {
      this.reporter.report("P009", block.name, `calls are nested deeper than ${this.budget.callDepth}`);
      return;
    }
    chain.push(block);
    for (const name of this.calls.get(block) ?? []) {
      const key = name.text.toLowerCase();
      const target = this.result.methods.get(key);
      if (!target) continue;
      if (chain.includes(target)) {
        const path = [...chain.slice(chain.indexOf(target)), target].map((step) => step.name.text).join(" → ");
        this.reporter.report("P015", name, `recursion: ${path}`, "the language has no recursion");
      }
      const depth = this.deepest.get(target);
      if (depth !== undefined && depth >= chain.length) continue;
      this.deepest.set(target, chain.length);
      if (chain[0]?.kind === "event") this.result.reached.add(key);
      this.follow(target, chain);
    }
    chain.pop();
  }
  /** Longest chain by which each method was entered so far: walking it again by a shorter one shows nothing new. */
  private readonly deepest = new Map<Block, number>();

  private statements(body: readonly Statement[], calls: Name[]): void {
    for (const statement of body) this.statement(statement, calls);
  }

  private statement(statement: Statement, calls: Name[]): void {
    switch (statement.kind) {
      case "call":
        this.call(statement.name, statement.onError, calls);
        break;
      case "set":
        this.assigned(statement.name);
        this.value(statement.value);
        break;
      case "export":
        this.result.exported.add(statement.name.text.toLowerCase());
        break;
      case "if":
        this.condition(statement, calls);
        break;
      case "rule":
        this.ours(statement, "rule names");
        this.constant(statement.name, "the name of a rule");
        this.statements(statement.body, calls);
        break;
      case "action":
        this.action(statement);
        break;
    }
  }

  private call(name: Name, onError: Name | undefined, calls: Name[]): void {
    calls.push(name);
    const method = findMethod(name.text);
    if (!method && !this.result.methods.has(name.text.toLowerCase())) {
      const own = [...this.result.methods.values()].map((block) => block.name.text);
      this.reporter.report("P014", name, `unknown method ${name.text}`, suggest(name.text, "method", own));
    }
    if (method?.origin === "ours") this.ours(name, `method ${method.name}`);
    if (method?.origin === "dname") this.ourName(name, method.name);
    if (!onError) return;
    this.ours(onError, "onError");
    if (method && method.kind !== "lookup") {
      this.reporter.report("P019", onError, `${method.name} asks nothing that could fail`, "remove onError");
    } else if (!method && this.result.methods.has(name.text.toLowerCase())) {
      this.reporter.report("P019", onError, "onError belongs to predefined checks", "remove onError");
    } else if (!onErrorWords.includes(onError.text.toLowerCase() as OnError)) {
      this.reporter.report("P031", onError, `onError is one of ${onErrorWords.join(", ")}`, undefined, "error");
    }
  }

  private assigned(name: Name): void {
    const key = name.text.toLowerCase();
    if (isPredefinedVariable(name.text)) return;
    const first = !this.result.assigned.has(key);
    if (first) this.result.assigned.set(key, name.text);
    // The wizard's convention is a predefined name with an index, e.g. isGeoIPBanned_0.
    const hint = first && !/_\d+$/.test(name.text) ? suggest(name.text, "variable") : undefined;
    if (hint) this.reporter.report("P017", name, `${name.text} becomes a variable of your own`, hint);
  }

  private value(value: Operand): void {
    if (value.kind === "variable") {
      this.reporter.report("P019", value, "a value is a quoted text", `write "%${value.text}%"`);
    } else this.operand(value);
  }

  private condition(statement: Extract<Statement, { kind: "if" }>, calls: Name[]): void {
    const { branches, otherwise } = statement;
    if (branches.length > 1 || otherwise) this.ours(statement, "else", 2);
    if (branches.length > this.budget.elseBranches) {
      this.reporter.report("P005", statement, `more than ${this.budget.elseBranches} branches in one if`);
    }
    for (const branch of branches) {
      this.test(branch.test);
      this.statements(branch.body, calls);
    }
    if (otherwise) this.statements(otherwise, calls);
    if (!otherwise && branches.length === 1 && branches[0]!.body.length === 0) {
      this.reporter.report("P045", { start: statement.start, end: statement.start + 2 }, "this rule does nothing");
    }
  }

  private test(test: Test): void {
    if (test.kind === "comparison") this.comparison(test);
    else if (test.kind === "not") {
      this.ours(test, "not", 3);
      this.test(test.test);
    } else for (const inner of test.tests) this.test(inner);
  }

  private comparison(test: Extract<Test, { kind: "comparison" }>): void {
    const { comparator, operands } = test;
    const word = comparator.text.toLowerCase();
    const row = findComparator(word);
    const usage = word === "rate" ? 'rate ("key", "100/1h")' : `${row?.name ?? comparator.text} (variable, "text")`;
    if (!row && word !== "rate" && word !== "inlist") {
      this.reporter.report("P018", comparator, `unknown test ${comparator.text}`, suggest(comparator.text, "test"));
      return;
    }
    if (!row || row.origin === "ours") this.ours(comparator, comparator.text);
    if (row?.origin === "dname") this.ourName(comparator, row.name);
    const [first, second] = operands;
    if (operands.length !== 2 || !first || !second) {
      this.reporter.report("P019", test, `${comparator.text} takes two operands`, `write ${usage}`);
      return;
    }
    if (second.kind !== "text") {
      const hint = second.kind === "variable" ? `write "%${second.text}%"` : `write ${usage}`;
      this.reporter.report("P019", second, "the second operand is a quoted text", hint);
    }
    if ((first.kind === "text") !== (word === "rate")) {
      this.reporter.report(
        "P019",
        first,
        word === "rate" ? "the first operand is a quoted text" : "the first operand is a variable",
        `write ${usage}`,
      );
    }
    this.operand(first);
    this.operand(second);
    if (word === "inlist" && second.kind === "text") this.constant(second, "the name of a list");
    if (word === "rate" && second.kind === "text") this.rate(second);
  }

  private rate(text: Text): void {
    const limit = constantText(text);
    if (limit === undefined || !parseRate(limit)) {
      this.reporter.report("P039", text, "a rate is a count and a time", 'write for example "100/1h"');
    }
  }

  private action(statement: Extract<Statement, { kind: "action" }>): void {
    const { name, operands } = statement;
    const row = findAction(name.text);
    if (!row) {
      this.reporter.report("P007", name, `no such statement: ${name.text}`, suggest(name.text, "action"));
      return;
    }
    this.ours(name, row.name);
    const [operand] = operands;
    if (operands.length !== 1 || operand?.kind !== "text") {
      this.reporter.report("P019", statement, `${row.name} takes one quoted text`, `write ${row.name} ("…");`);
    } else this.operand(operand);
  }

  private operand(operand: Operand): void {
    if (operand.kind === "text") {
      const expansions = operand.parts.filter((part) => "name" in part).length;
      if (expansions > this.budget.expansions) {
        this.reporter.report("P036", operand, `more than ${this.budget.expansions} expansions in one text`);
      }
    } else if (operand.kind === "field") {
      this.ours(operand.name, operand.name.text);
      if (operand.name.text.toLowerCase() !== "header") {
        this.reporter.report(
          "P019",
          operand.name,
          `unknown value ${operand.name.text} (…)`,
          'write header ("Subject")',
        );
      }
      const field = this.constant(operand.argument, "a field name");
      if (field !== undefined && !/^[!-9;-~]{1,998}$/.test(field)) {
        this.reporter.report("P019", operand.argument, "no header field can have this name");
      }
    }
  }

  private constant(text: Text, what: string): string | undefined {
    const value = constantText(text);
    if (value === undefined) this.reporter.report("P019", text, `${what} can't hold a variable`);
    return value;
  }

  private ours(at: { start: number; end: number }, what: string, width = at.end - at.start): void {
    if (!this.reporter.strict) return;
    this.reporter.report(
      "P050",
      { start: at.start, end: at.start + width },
      `${what}: not part of the original language`,
    );
  }

  private ourName(at: Name, name: string): void {
    if (this.reporter.strict) this.reporter.report("P052", at, `the spelling of ${name} is our choice`);
  }
}
