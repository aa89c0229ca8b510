/**
 * One event of a checked script as IR. It is walked in the order of its text with methods expanded in place, so
 * that each name meets the frames it would meet at run time (smtpfilters.md §10): an event or method body is a frame,
 * an `if` body is not; a name set in a caller's frame before is that one; what a method sets first ends with it.
 *
 * Decisions where the frames depend on a test: a variable counts as set from the first `set` in the text on, taken or
 * not. What is ignored at run time (no effect in this event) is left out, with a warning.
 * Failure: diagnostics through the reporter; `LoweringStopped` inside when the program grows past its budget.
 */
import type { Block, Name, Operand, Statement, Test, Text } from "../../grammar/smtpfilters/ast.ts";
import { constantText } from "../../grammar/smtpfilters/text.ts";
import type { Budget } from "../config/budget.ts";
import type * as ir from "../language/ir.ts";
import type { Span } from "../language/span.ts";
import type { CheckedScript } from "./check.ts";
import { eventContext } from "./events.ts";
import { describeDefault, equals, lowerCheck, type Place } from "./lower-check.ts";
import {
  eventsOf,
  findAction,
  findComparator,
  findMethod,
  findVariable,
  type KnownVariable,
  suggest,
} from "./names.ts";
import { checkPattern, checkReplyText, constantFor } from "./operands.ts";
import type { Reporter } from "./reporter.ts";
import { type ProgramSlots, Scope } from "./scope.ts";
import { hidden, overrideSlot, slotOf } from "./slots.ts";
import type { SourceText } from "./source.ts";
import type { EventName } from "./types.ts";
import { geoList } from "./variables.ts";
import type { MethodRow } from "./vocabulary.ts";

/** Reported already: the program is larger than its budget. */
export class LoweringStopped extends Error {}

export interface Shared extends ProgramSlots {
  script: CheckedScript;
  source: SourceText;
  budget: Pick<Budget, "rules" | "regexBytes">;
  reporter: Reporter;
  /** Lists that `inList` names. */
  lists: Set<string>;
  /** Statements made so far. */
  size: number;
}

export class EventLowering {
  readonly scope: Scope;
  private readonly shared: Shared;
  private readonly event: EventName;
  private readonly reporter: Reporter;
  /** Names exported in this event so far → slot that says whether the export was reached. */
  private readonly exportedHere = new Map<string, number>();
  /** Method or rule that the current statement belongs to. */
  private rule: string | undefined;
  /** The country verdict is up to date at this place. */
  private geoKnown = false;

  constructor(shared: Shared, event: EventName) {
    this.shared = shared;
    this.event = event;
    this.reporter = shared.reporter;
    this.scope = new Scope(shared);
  }

  /** The statements of an event, or of a method expanded in place. */
  run(block: Block): ir.Block {
    return this.scope.framed(() => this.block(block.body));
  }

  private block(body: readonly Statement[]): ir.Block {
    const out: ir.Block = [];
    for (const statement of body) this.statement(statement, out);
    return out;
  }

  private statement(statement: Statement, out: ir.Block): void {
    if (++this.shared.size > this.shared.budget.rules) {
      this.reporter.report("P008", statement, `the program has more than ${this.shared.budget.rules} statements`);
      throw new LoweringStopped();
    }
    switch (statement.kind) {
      case "call":
        this.call(statement, out);
        break;
      case "set":
        this.set(statement, out);
        break;
      case "export":
        this.exportVariable(statement.name, out);
        break;
      case "if":
        this.condition(statement, out);
        break;
      case "rule":
        this.within(constantText(statement.name) ?? "", () => {
          for (const inner of statement.body) this.statement(inner, out);
        });
        break;
      case "action":
        this.action(statement, out);
        break;
    }
  }

  private within(rule: string, work: () => void): void {
    const outer = this.rule;
    this.rule = rule;
    work();
    this.rule = outer;
  }

  private at(range: { start: number; end: number }): Place {
    const span = this.shared.source.span(range);
    return this.rule === undefined ? { span } : { span, rule: this.rule };
  }

  // --- reading -----------------------------------------------------------------------------------------------------

  /** The slot that a name reads from here. `out` gets what must happen before. */
  private read(name: Name, out: ir.Block): number {
    const known = findVariable(name.text, this.event, "read");
    if (!known) return this.readOwn(name);
    const { row } = known;
    if (row.origin === "dname" && this.reporter.strict) {
      this.reporter.report("P052", name, `the spelling of ${known.name} is our choice`);
    }
    if (row.origin === "ours" && this.reporter.strict) {
      this.reporter.report("P050", name, `variable ${known.name}: not part of the original language`);
    }
    if (!row.access[this.event]) {
      if (!this.shared.script.exported.has(name.text.toLowerCase())) {
        this.reporter.report("P022", name, `${known.name} is not known in ${this.event}`, earliest(known));
      }
      return this.scope.exported(known.name);
    }
    if (geoList.test(known.name)) return this.scope.countryList(known.name);
    if (row.lazy && !this.geoKnown) this.lookupCountry(name, out);
    return slotOf(known.name);
  }

  private readOwn(name: Name): number {
    const slot = this.scope.find(name.text);
    if (slot !== undefined) return slot;
    const key = name.text.toLowerCase();
    const { assigned, exported } = this.shared.script;
    if (!exported.has(key)) {
      const spelling = assigned.get(key);
      if (spelling === undefined) {
        const hint = suggest(name.text, "variable", assigned.values());
        this.reporter.report("P016", name, `unknown variable ${name.text}: it reads as the empty text`, hint);
      } else {
        const hint = "export it where it is set, or set it before the call";
        this.reporter.report("P026", name, `${spelling} is set in another block and is empty here`, hint);
      }
    }
    return this.scope.exported(name.text);
  }

  private lookupCountry(at: { start: number; end: number }, out: ir.Block): void {
    const reads = ["remoteSmtpIp", hidden.allowedCountries, hidden.bannedCountries].map(slotOf);
    const writes = findMethod("checkGeoIP")!.writes.map(slotOf);
    out.push({ op: "lookup", name: "checkGeoIP", reads, writes, data: {}, sees: [], ...this.at(at) });
    this.geoKnown = true;
  }

  /** A text with its expansions; `keep` names variables that stay placeholders (§8.3). */
  private text(text: Text, out: ir.Block, keep: readonly string[] = []): ir.Value {
    const parts = text.parts.map((part): ir.Value => {
      if (!("name" in part)) return { op: "const", text: part.text };
      const placeholder = keep.find((name) => name.toLowerCase() === part.name.toLowerCase());
      if (placeholder) return { op: "const", text: placeholderFor(placeholder) };
      return this.variableValue({ text: part.name, start: part.start, end: part.end }, out);
    });
    if (parts.length === 0) return { op: "const", text: "" };
    return parts.length === 1 ? parts[0]! : { op: "concat", parts };
  }

  private variableValue(name: Name, out: ir.Block): ir.Value {
    const known = findVariable(name.text, this.event, "read");
    const slot = this.read(name, out);
    if (known?.row.type.kind === "values" && known.row.access[this.event]) {
      return { op: "host", name: "joined", args: [], data: { source: known.name } };
    }
    return { op: "slot", slot };
  }

  private value(operand: Operand, out: ir.Block, keep: readonly string[]): ir.Value {
    if (operand.kind === "text") return this.text(operand, out, keep);
    if (operand.kind === "variable") return this.variableValue(operand, out);
    const name = this.fieldName(operand);
    return { op: "host", name: "header", args: [], data: { name } };
  }

  private fieldName(operand: Extract<Operand, { kind: "field" }>): string {
    const known = ["onHeadersReceived", "onBodyChunk", "onDataReceived", "onProcessing"];
    if (!known.includes(this.event)) {
      this.reporter.report(
        "P022",
        operand,
        `header fields are not known in ${this.event}`,
        "test them in onHeadersReceived",
      );
    }
    return (constantText(operand.argument) ?? "").toLowerCase();
  }

  // --- tests -------------------------------------------------------------------------------------------------------

  private subject(operand: Operand, out: ir.Block): ir.Subject {
    if (operand.kind === "field") {
      const data = { name: this.fieldName(operand) };
      return { op: "host", source: "header", data, args: [], stable: true, invalidatedBy: [] };
    }
    if (operand.kind === "text") return { op: "one", value: this.text(operand, out) };
    const known = findVariable(operand.text, this.event, "read");
    const slot = this.read(operand, out);
    if (known?.row.type.kind === "values" && known.row.access[this.event]) {
      return { op: "host", source: known.name, data: {}, args: [], stable: true, invalidatedBy: [] };
    }
    return { op: "one", value: { op: "slot", slot } };
  }

  /** The test; `out` gets what must happen before it. Tests with a `rate` become statements that keep the short circuit. */
  private test(test: Test, out: ir.Block): ir.Test {
    const { span } = this.at(test);
    switch (test.kind) {
      case "comparison":
        return this.comparison(test, out);
      case "not":
        return { op: "not", test: this.test(test.test, out), span };
      case "any":
      case "all":
        if (test.tests.some(counts)) return this.stepwise(test, out);
        return { op: test.kind, tests: test.tests.map((inner) => this.test(inner, out)), span };
    }
  }

  /** anyOf/allOf over tests that act (rate): each member runs only when those before it leave the answer open. */
  private stepwise(test: Extract<Test, { kind: "any" | "all" }>, out: ir.Block): ir.Test {
    const at = this.at(test);
    const result = this.scope.temporary("(test)");
    const settle = (word: string): ir.Statement => ({
      op: "set",
      slot: result,
      value: { op: "const", text: word },
      ...at,
    });
    out.push(settle(test.kind === "all" ? "" : "yes"));
    let inner = out;
    for (const member of test.tests) {
      const memberTest = this.test(member, inner);
      const next: ir.Block = [];
      const holds = test.kind === "all";
      inner.push({ op: "if", test: memberTest, then: holds ? next : [], else: holds ? [] : next, ...at });
      inner = next;
    }
    inner.push(settle(test.kind === "all" ? "yes" : ""));
    return equals(result, "yes", at.span);
  }

  private comparison(test: Extract<Test, { kind: "comparison" }>, out: ir.Block): ir.Test {
    const { span } = this.at(test);
    const word = test.comparator.text.toLowerCase();
    const [first, second] = test.operands as [Operand, Text];
    if (word === "rate") return this.rate(first as Text, second, span, out);
    const subject = this.subject(first, out);
    if (word === "inlist") {
      const list = constantText(second) ?? "";
      this.shared.lists.add(list);
      return { op: "inList", subject, lists: [{ op: "const", text: list }], span };
    }
    const comparator = findComparator(word)!;
    const known = first.kind === "variable" ? findVariable(first.text, this.event, "read") : undefined;
    checkPattern(comparator, second, known, this.shared.budget, this.reporter);
    const key = this.text(second, out);
    return { op: "match", subject, how: comparator.how, fold: comparator.fold, keys: [key], span };
  }

  private rate(key: Text, limit: Text, span: Span, out: ir.Block): ir.Test {
    const keySlot = this.scope.temporary("(rate key)");
    const result = this.scope.temporary("(rate)");
    const at = this.at(key);
    out.push({ op: "set", slot: keySlot, value: this.text(key, out), ...at });
    const data = { key: keySlot, limit: constantText(limit) ?? "" };
    out.push({ op: "lookup", name: "rate", reads: [keySlot], writes: [result], data, sees: [], ...at });
    return equals(result, "yes", span);
  }

  // --- statements --------------------------------------------------------------------------------------------------

  private condition(statement: Extract<Statement, { kind: "if" }>, out: ir.Block): void {
    let target = out;
    let geoKnown = true;
    for (const branch of statement.branches) {
      const test = this.test(branch.test, target);
      const before = this.geoKnown;
      const made: ir.Statement = { op: "if", test, then: this.block(branch.body), else: [], ...this.at(branch) };
      geoKnown &&= this.geoKnown;
      this.geoKnown = before;
      target.push(made);
      target = made.else;
    }
    for (const inner of statement.otherwise ?? []) this.statement(inner, target);
    // Known afterwards only when known on every way through.
    this.geoKnown &&= geoKnown;
  }

  private set(statement: Extract<Statement, { kind: "set" }>, out: ir.Block): void {
    const { name, value } = statement;
    const known = findVariable(name.text, this.event, "write");
    if (!known) {
      const lowered = this.value(value, out, []);
      this.assign(this.scope.declare(name.text), name.text, lowered, statement, out);
      return;
    }
    const target = this.writableSlot(known, name);
    if (target === undefined) return;
    if (value.kind === "text" && /^smtp(Explanation|Greeting)$/i.test(known.name)) checkReplyText(value, this.reporter);
    const constant = value.kind === "text" ? constantFor(known.row, value, this.reporter) : undefined;
    if (constant === "ignored") return;
    let lowered = constant
      ? { op: "const" as const, text: constant.text }
      : this.value(value, out, known.row.template ?? []);
    if (!constant && known.row.type.kind !== "text") {
      // A value known only at run time: the host answers the old one when the engine would ignore it (§4).
      const args: ir.Value[] = [lowered, { op: "slot", slot: target }];
      lowered = { op: "host", name: "validated", args, data: { variable: known.name } };
    }
    this.assign(target, known.name, lowered, statement, out);
    if (known.name === "smtpAction") {
      const origin: ir.Value = { op: "const", text: this.origin(statement) };
      out.push({ op: "set", slot: slotOf(hidden.actionOrigin), value: origin, ...this.at(statement) });
    }
    if (geoList.test(known.name)) this.useCountryLists(known.name, statement, out);
  }

  private assign(slot: number, name: string, value: ir.Value, at: Statement, out: ir.Block): void {
    out.push({ op: "set", slot, value, ...this.at(at) });
    const flag = this.exportedHere.get(name.toLowerCase());
    if (flag === undefined) return;
    // §10: a later set in the same event changes the exported copy too.
    const copy = this.scope.exported(name);
    const { span } = this.at(at);
    const update: ir.Block = [
      { op: "set", slot: copy, value: { op: "slot", slot }, span },
      { op: "export", slot: copy, span },
    ];
    out.push({ op: "if", test: equals(flag, "yes", span), then: update, else: [], span });
  }

  /** Where a predefined variable is written in this event; undefined, with a warning, when the engine ignores it. */
  private writableSlot(known: KnownVariable, at: Name): number | undefined {
    const { row, name } = known;
    const access = row.access[this.event];
    if (row.origin === "ours" && this.reporter.strict) {
      this.reporter.report("P050", at, `variable ${name}: not part of the original language`);
    }
    if (access === "rw" || access === "wo") return geoList.test(name) ? this.scope.countryList(name) : slotOf(name);
    if (row.route && this.event === "onRcptTo") return slotOf(overrideSlot(name));
    const context = eventContext[this.event];
    const elsewhere = eventsOf(row).filter((event) => row.access[event] !== "ro" && eventContext[event] === context);
    if (elsewhere.length > 0) {
      const hint = `set it in ${elsewhere.join(", ")}`;
      this.reporter.report("P020", at, `setting ${name} has no effect in ${this.event}`, hint);
    } else {
      const severity = this.reporter.strict ? "error" : "warning";
      this.reporter.report("P021", at, `${name} can't be set in this context`, "the statement is ignored", severity);
    }
    return undefined;
  }

  /** "rule:line" of a statement that sets smtpAction. */
  private origin(statement: Statement): string {
    return `${this.rule ?? this.event}:${this.at(statement).span.start.line}`;
  }

  /** The list pair set most recently is the one that counts (§5.4). */
  private useCountryLists(name: string, statement: Statement, out: ir.Block): void {
    const index = geoList.exec(name)![2]!;
    for (const list of ["allowedCountries", "bannedCountries"] as const) {
      const value: ir.Value = { op: "slot", slot: this.scope.countryList(`${list}_${index}`) };
      out.push({ op: "set", slot: slotOf(hidden[list]), value, ...this.at(statement) });
    }
    this.geoKnown = false;
  }

  private exportVariable(name: Name, out: ir.Block): void {
    const known = findVariable(name.text, this.event, "read");
    const { span } = this.at(name);
    const from = this.read(name, out);
    const canonical = known?.name ?? name.text;
    const copy = this.scope.exported(canonical);
    if (from !== copy) out.push({ op: "set", slot: copy, value: { op: "slot", slot: from }, span });
    out.push({ op: "export", slot: copy, span });
    let flag = this.exportedHere.get(canonical.toLowerCase());
    if (flag === undefined) {
      flag = this.scope.temporary("(exported)");
      this.exportedHere.set(canonical.toLowerCase(), flag);
    }
    out.push({ op: "set", slot: flag, value: { op: "const", text: "yes" }, span });
  }

  private call(statement: Extract<Statement, { kind: "call" }>, out: ir.Block): void {
    const { name } = statement;
    const method = findMethod(name.text);
    if (method) {
      this.predefined(method, statement, out);
      return;
    }
    const block = this.shared.script.methods.get(name.text.toLowerCase());
    if (!block) return; // reported as P014
    this.within(block.name.text, () => pushAll(out, this.run(block)));
  }

  private predefined(method: MethodRow, statement: Extract<Statement, { kind: "call" }>, out: ir.Block): void {
    if (!method.events.includes(this.event)) {
      const hint = `call it in ${method.events.join(", ")}`;
      this.reporter.report("P023", statement.name, `${method.name} does nothing in ${this.event}`, hint);
      return;
    }
    if (method.kind === "none") {
      this.reporter.report("P025", statement.name, `${method.name} does nothing`, "use DKIM: signDKIM, checkDKIM");
    } else if (method.kind === "effect") {
      const args = method.reads.map((name): ir.Value => ({ op: "slot", slot: slotOf(name) }));
      out.push({ op: "effect", kind: method.name, args, data: {}, ...this.at(statement) });
    } else if (method.name === "checkGeoIP") this.lookupCountry(statement, out);
    else this.lookup(method, statement, out);
  }

  private lookup(method: MethodRow, statement: Extract<Statement, { kind: "call" }>, out: ir.Block): void {
    if (!statement.onError) {
      this.reporter.report("P046", statement, `when ${method.name} fails: ${describeDefault(method)}`);
    }
    lowerCheck(method, statement.onError, this.at(statement), this.origin(statement), this.scope, out);
  }

  private action(statement: Extract<Statement, { kind: "action" }>, out: ir.Block): void {
    const row = findAction(statement.name.text)!;
    if (!row.events.includes(this.event)) {
      const hint = `use it in ${row.events.join(", ")}`;
      this.reporter.report("P023", statement.name, `${row.name} does nothing in ${this.event}`, hint);
      return;
    }
    const args = [this.text(statement.operands[0] as Text, out)];
    out.push({ op: "effect", kind: row.name, args, data: {}, ...this.at(statement) });
  }
}

/** `out.push(...block)` would put a long block on the stack. */
function pushAll(out: ir.Block, block: ir.Block): void {
  for (const statement of block) out.push(statement);
}

/** Does the test act when it is evaluated? */
function counts(test: Test): boolean {
  if (test.kind === "comparison") return test.comparator.text.toLowerCase() === "rate";
  return test.kind === "not" ? counts(test.test) : test.tests.some(counts);
}

function earliest(known: KnownVariable): string {
  return `it is known in ${eventsOf(known.row).join(", ")}`;
}

/**
 * Stands for a per-recipient variable in a report template until the report is rendered. Values from clients never hold
 * control characters, so none of them can look like one.
 */
export const placeholderFor = (name: string): string => `\x01${name}\x02`;
