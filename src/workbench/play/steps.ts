/**
 * Records a played session step by step, for the debugger: each test, statement and event of the author's text with the
 * variables that it changed. Statements that the compiler added are left out, as in explanations.
 */
import type { Script, Statement, Test } from "../../../grammar/smtpfilters/ast.ts";
import { parse } from "../../../grammar/smtpfilters/parser.ts";
import { type Budget, budgetDefaults } from "../../config/budget.ts";
import type { Span } from "../../language/span.ts";
import { printable } from "../../message/outcome.ts";
import { findEvent, findMethod } from "../../policy/names.ts";
import { SourceText } from "../../policy/source.ts";
import type { EventName, PolicySession } from "../../policy/types.ts";
import { variables } from "../../policy/variables.ts";
import { excerptOf, StepList, stepAt } from "../dap/step-list.ts";
import type { Recording, Step } from "../dap/timeline.ts";
import type { LoadedPolicy } from "./loaded.ts";
import { play } from "./play.ts";
import type { Played } from "./played.ts";
import type { PlaySession } from "./session.ts";
import { isRule, RuleTrace, writtenBy } from "./trace.ts";

/** Plays the session; more steps than the budget's `debugSteps` are left out, with a line that says so. */
export async function recordSteps(
  { policy, source, folder }: LoadedPolicy,
  session: PlaySession,
  message: Uint8Array | undefined,
  budget: Budget = budgetDefaults,
): Promise<Recording> {
  const { script } = parse(source, { nesting: budgetDefaults.nesting });
  const trace = new StepTrace(source, script, budget.debugSteps);
  const played = await play(policy, session, message, trace, folder);
  trace.close(played);
  const { steps, loss } = trace.list;
  const program = policy.file;
  return { program, steps, lines: statementLines(script, source), transcript: [...transcript(played), ...loss] };
}

class StepTrace extends RuleTrace {
  readonly list: StepList;
  private readonly text: SourceText;
  private readonly blocks: ReadonlyMap<EventName, { head: Span; end: Span }>;
  private readonly script: string;
  private event: EventName | undefined;
  private session: PolicySession | undefined;
  /** Values that the steps so far have told. */
  private readonly told = new Map<string, string>();
  private occurrence = -1;

  constructor(source: string, script: Script, most: number) {
    super(source);
    this.list = new StepList(most);
    this.script = source;
    this.text = new SourceText("", source);
    const blocks = new Map<EventName, { head: Span; end: Span }>();
    for (const { kind, name, start, end } of script.blocks) {
      const event = kind === "event" ? findEvent(name.text) : undefined;
      const head = this.text.span({ start, end: name.end });
      if (event) blocks.set(event, { head, end: this.text.span({ start: end - 1, end }) });
    }
    this.blocks = blocks;
  }

  override begin(event?: EventName, session?: PolicySession): void {
    super.begin(event, session);
    this.event = event;
    this.session = session;
    this.occurrence++;
    const at = event && this.blocks.get(event)?.head;
    if (at) this.add("event", at, undefined, `event ${event}`, this.changed());
  }

  override test(span: Span, rule: string | undefined, result: boolean, values: readonly string[]): void {
    super.test(span, rule, result, values);
    // `onError` is lowered to a test of its own.
    if (/^call\b/i.test(excerptOf(this.script, span))) return;
    const saw = values.map((value) => `"${printable(value)}"`).join(", ");
    this.add("test", span, rule, `${excerptOf(this.script, span)} is ${result}${saw ? `: saw ${saw}` : ""}`);
  }

  override statement(span: Span, rule: string | undefined, kind: string, detail: string): void {
    super.statement(span, rule, kind, detail);
    switch (kind) {
      case "if":
        if (isRule(this.script, span))
          this.add("if", span, rule, detail === "then" ? "the test is true" : "the test is false");
        break;
      case "set": {
        const written = writtenBy(detail);
        // `export` is lowered to a copy into a slot of the same name, which stands at the name.
        if (!written || /\bexport\s*\(\s*$/i.test(this.script.slice(0, span.start.offset).slice(-40))) return;
        this.told.set(written.name, written.value);
        this.add("set", span, rule, `${written.name} = "${printable(written.value)}"`, [[written.name, written.value]]);
        break;
      }
      case "lookup": {
        const name = detail.split(" ", 1)[0]!;
        this.add("lookup", span, rule, `asked ${name}`, this.changed(findMethod(name)?.writes));
        break;
      }
      case "effect":
      case "export":
      case "stop":
        this.add(kind, span, rule, `${kind} ${printable(detail)}`);
        break;
    }
  }

  /** What each event came to, at its closing brace. */
  close(played: Played): void {
    const { steps } = this.list;
    const lastOf = new Map<number, number>();
    for (const [i, step] of steps.entries()) lastOf.set(step.occurrence, i);
    for (const [occurrence, i] of [...lastOf].reverse()) {
      const event = played.events[occurrence];
      const end = event && this.blocks.get(event.event)?.end;
      if (!event || !end) continue;
      const detail = event.action ? `${event.action}: ${printable(event.explanation)}` : "no action";
      steps.splice(i + 1, 0, stepAt(end, { kind: "end", event: event.event, occurrence, detail }));
    }
  }

  private add(
    kind: Step["kind"],
    span: Span,
    rule: string | undefined,
    detail: string,
    changes: Step["changes"] = [],
  ): void {
    const refusal = changes.some(([name, value]) => name === "smtpAction" && value.endsWith("reject")) || undefined;
    const { event = "", occurrence } = this;
    this.list.add(span, { kind, event, occurrence, rule, detail, changes, refusal });
  }

  /** Predefined variables whose values differ from what was told. */
  private changed(names: readonly string[] = allVariables): Array<readonly [string, string]> {
    const changes: Array<readonly [string, string]> = [];
    for (const name of names) {
      const value = this.session?.read(name) ?? "";
      if (value === (this.told.get(name) ?? "")) continue;
      this.told.set(name, value);
      changes.push([name, value]);
    }
    return changes;
  }
}

const allVariables: readonly string[] = [...new Set(variables.map((row) => row.name))];

function statementLines(script: Script, source: string): number[] {
  const text = new SourceText("", source);
  const lines = new Set<number>();
  const add = (range: { start: number; end: number }): void => void lines.add(text.span(range).start.line);
  const test = (item: Test): void => {
    if (item.kind === "comparison") add(item);
    else if (item.kind === "not") test(item.test);
    else for (const inner of item.tests) test(inner);
  };
  const walk = (body: readonly Statement[]): void => {
    for (const statement of body) {
      if (statement.kind === "rule") walk(statement.body);
      else add(statement);
      if (statement.kind !== "if") continue;
      for (const branch of statement.branches) {
        test(branch.test);
        walk(branch.body);
      }
      walk(statement.otherwise ?? []);
    }
  };
  for (const block of script.blocks) {
    if (block.kind === "event") add(block);
    walk(block.body);
  }
  return [...lines].sort((a, b) => a - b);
}

function transcript({ replies, notes, missing }: Played): string[] {
  return [
    ...replies.map(({ command, code, enhanced, text }) => `${command} → ${code} ${enhanced} ${printable(text)}`),
    ...missing.map((name) => `the session gives no answer for ${name}: it counted as failed`),
    ...notes,
  ];
}
