/**
 * Every name of a smtpFilters script with what it stands for, and the events in which each block can run. Pure walks
 * over the tree; what could not be parsed is not in it.
 */
import type { Block, Name, Operand, Script, Statement, Test } from "../../../../grammar/smtpfilters/ast.ts";
import { eventNames } from "../../../policy/events.ts";
import { findEvent } from "../../../policy/names.ts";
import type { EventName } from "../../../policy/types.ts";

export type ReferenceKind = "event" | "method" | "variable" | "test" | "action" | "onError";

export interface Reference {
  kind: ReferenceKind;
  text: string;
  /** The name itself, without the signs around it. */
  start: number;
  end: number;
  /** It defines the name: the head of a block, or the setting of a variable. */
  defines: boolean;
  block: Block;
}

export function references(script: Script): Reference[] {
  const found: Reference[] = [];
  for (const block of script.blocks) new Walk(block, found).run();
  return found;
}

class Walk {
  private readonly block: Block;
  private readonly found: Reference[];

  constructor(block: Block, found: Reference[]) {
    this.block = block;
    this.found = found;
  }

  run(): void {
    this.add(this.block.kind, this.block.name, true);
    this.statements(this.block.body);
  }

  private add(kind: ReferenceKind, { text, start, end }: Name, defines = false): void {
    // The parser makes up an empty name where one is missing.
    if (text !== "") this.found.push({ kind, text, start, end, defines, block: this.block });
  }

  private statements(body: readonly Statement[]): void {
    for (const statement of body) this.statement(statement);
  }

  private statement(statement: Statement): void {
    switch (statement.kind) {
      case "call":
        this.add("method", statement.name);
        if (statement.onError) this.add("onError", statement.onError);
        break;
      case "set":
        this.add("variable", statement.name, true);
        this.operand(statement.value);
        break;
      case "export":
        this.add("variable", statement.name);
        break;
      case "rule":
        this.statements(statement.body);
        break;
      case "action":
        this.add("action", statement.name);
        for (const operand of statement.operands) this.operand(operand);
        break;
      case "if":
        for (const branch of statement.branches) {
          this.test(branch.test);
          this.statements(branch.body);
        }
        if (statement.otherwise) this.statements(statement.otherwise);
        break;
    }
  }

  private test(test: Test): void {
    if (test.kind === "comparison") {
      this.add("test", test.comparator);
      for (const operand of test.operands) this.operand(operand);
    } else if (test.kind === "not") this.test(test.test);
    else for (const inner of test.tests) this.test(inner);
  }

  private operand(operand: Operand): void {
    if (operand.kind === "variable") this.add("variable", operand);
    else if (operand.kind === "text") {
      for (const part of operand.parts) {
        // The range of an expansion holds its percent signs.
        if ("name" in part) this.add("variable", { text: part.name, start: part.start + 1, end: part.end - 1 });
      }
    }
  }
}

/** The events in which a block can run, in their order: its own, or those that reach the method by calls. */
export function eventsOfBlock(all: readonly Reference[], block: Block): EventName[] {
  if (block.kind === "event") {
    const event = findEvent(block.name.text);
    return event ? [event] : [];
  }
  const callers = new Map<string, Set<Block>>();
  for (const { kind, text, defines, block: from } of all) {
    if (kind !== "method" || defines) continue;
    const key = text.toLowerCase();
    const known = callers.get(key);
    if (known) known.add(from);
    else callers.set(key, new Set([from]));
  }
  const seen = new Set<Block>([block]);
  const events = new Set<EventName>();
  const open = [block];
  for (let next = open.pop(); next; next = open.pop()) {
    for (const caller of callers.get(next.name.text.toLowerCase()) ?? []) {
      if (seen.has(caller)) continue;
      seen.add(caller);
      const event = caller.kind === "event" ? findEvent(caller.name.text) : undefined;
      if (event) events.add(event);
      else if (caller.kind === "method") open.push(caller);
    }
  }
  return eventNames.filter((event) => events.has(event));
}
