/**
 * A compiled policy at work: sessions over slots, and what the program asks of them (facts, lists, header fields).
 *
 * Lifetimes (smtpfilters.md §5.3, §10): engine settings live for the session, smtpAction and its like for one event,
 * envelope values and message exports for one transaction, the script's own variables for one event.
 * Invariants: values that come from outside hold no control characters and at most `variableBytes`; an event without
 * statements does no work. Failure: a look-up that fails or is late yields its declared values; a program over its
 * budget or without its lists ends in `tmpreject`, so that mail waits rather than passes unchecked. `run` never throws for either.
 */
import { type Budget, BudgetExceeded } from "../config/budget.ts";
import type { CompiledModule } from "../language/compile.ts";
import type { Host, Trace } from "../language/host.ts";
import type { Data } from "../language/ir.ts";
import { ListUnavailable } from "../language/lists/registry.ts";
import type { RouteOverride } from "../message/envelope.ts";
import { printable } from "../message/outcome.ts";
import { countryVerdict } from "./country.ts";
import { effectOf } from "./effects.ts";
import { eventContext, eventNames } from "./events.ts";
import type { Lowered } from "./lower.ts";
import { findMethod, findVariable, hasAlias } from "./names.ts";
import { acceptValue } from "./operands.ts";
import { overrideSlots, routeOf } from "./route.ts";
import { defaultSlots, fixedSlot, hidden, slotOf } from "./slots.ts";
import type { EventName, EventResult, FactSource, PolicyContext, PolicyEffect, PolicySession } from "./types.ts";
import { variables } from "./variables.ts";

const slot = {
  action: slotOf("smtpAction"),
  explanation: slotOf("smtpExplanation"),
  origin: slotOf(hidden.actionOrigin),
  sendNdr: slotOf("sendNdr"),
} as const;

const slotsFor = (lifetime: string): readonly number[] =>
  variables.filter((row) => row.lifetime === lifetime).map((row) => slotOf(row.name));
const commandSlots = [...slotsFor("command"), slot.origin];
const messageSlots = slotsFor("message");
/** Names that mean the same slot in every event: read without looking for what they mean in this one. */
const plainSlots = new Map(
  variables.filter((row) => !hasAlias(row.name)).map((row) => [row.name, slotOf(row.name)] as const),
);
const messageEvents = new Set(eventNames.slice(eventNames.indexOf("onMailFrom")));

/** What a session has to know of its program's slots. */
export type SlotTables = Omit<Lowered, "module" | "lists"> & { module: Pick<Lowered["module"], "slots"> };

/** The parts of a program that sessions share. */
export interface Executable {
  compiled: CompiledModule;
  lowered: SlotTables;
  budget: Budget;
  trace?: Trace;
}

const nothing: EventResult = Object.freeze({
  action: "",
  explanation: "",
  origin: "",
  effects: Object.freeze([]) as unknown as PolicyEffect[],
});

export class Session implements PolicySession {
  private readonly program: Executable;
  private readonly context: PolicyContext;
  private readonly slots: string[];
  private readonly host: SessionHost;
  /** Exported values by canonical name; those made before a message began outlive it. */
  private readonly sessionExports = new Map<string, string>();
  private readonly messageExports = new Map<string, string>();
  private event: EventName | undefined;

  constructor(program: Executable, context: PolicyContext, facts: FactSource, exports: Record<string, string>) {
    this.program = program;
    this.context = context;
    this.slots = [...defaultSlots(context)];
    for (let i = this.slots.length; i < program.lowered.module.slots.length; i++) this.slots.push("");
    this.host = new SessionHost(this, program, this.slots, facts);
    for (const [name, value] of Object.entries(exports)) {
      this.messageExports.set(name, value);
      this.restore(name, value);
    }
  }

  input(variable: string, value: string): void {
    const index = fixedSlot(variable);
    if (index === undefined) throw new Error(`no predefined variable ${variable}`);
    const clean = printable(value);
    const limit = this.program.budget.variableBytes;
    this.slots[index] = clean.length > limit ? clean.slice(0, limit) : clean;
  }

  read(variable: string): string {
    const plain = plainSlots.get(variable);
    if (plain !== undefined) return this.slots[plain]! || (this.exported(variable) ?? "");
    const name = findVariable(variable, this.event ?? firstEvent(this.context), "read")?.name ?? variable;
    const { lowered } = this.program;
    const index = fixedSlot(name) ?? lowered.countryLists.get(name) ?? lowered.exports.get(name.toLowerCase());
    const value = index === undefined ? "" : this.slots[index]!;
    return value === "" ? (this.exported(name) ?? "") : value;
  }

  run(event: EventName): EventResult | Promise<EventResult> {
    const { compiled, lowered } = this.program;
    this.event = event;
    for (const index of commandSlots) this.slots[index] = "";
    if (event === "onRcptTo") for (const index of overrideSlots) this.slots[index] = "";
    if (this.context === "smtpProc") this.beginReport(event);
    if (!compiled.has(event)) return nothing;
    for (const index of lowered.locals[event] ?? []) this.slots[index] = "";
    this.host.begin();
    try {
      const pending = compiled.run(event, this.slots, this.host, this.program.trace);
      return pending ? pending.then(() => this.result(), notEvaluated) : this.result();
    } catch (error) {
      return notEvaluated(error);
    }
  }

  private result(): EventResult {
    const action = this.slots[slot.action] as EventResult["action"];
    const { effects } = this.host;
    const explanation = this.slots[slot.explanation]!;
    if (action === "" && explanation === "" && effects.length === 0) return nothing;
    return { action, explanation, origin: this.slots[slot.origin]!, effects };
  }

  /** The report variables start anew: a permanent failure is reported unless the script says no (§5.7). */
  private beginReport(event: EventName): void {
    for (const row of variables) if (row.lifetime === "report") this.slots[slotOf(row.name)] = row.default;
    if (event === "onTemporaryDeliveryFailure") this.slots[slot.sendNdr] = "no";
  }

  route(): RouteOverride | undefined {
    return routeOf(this.context, (index) => this.slots[index]!);
  }

  resetMessage(): void {
    const defaults = defaultSlots(this.context);
    for (const index of messageSlots) this.slots[index] = defaults[index]!;
    for (const name of this.messageExports.keys()) this.restore(name, this.sessionExports.get(name) ?? "");
    this.messageExports.clear();
  }

  exports(): Record<string, string> {
    return Object.fromEntries([...this.sessionExports, ...this.messageExports]);
  }

  /** A program exported what is now in slot `index`. */
  noteExport(index: number): void {
    const { name } = this.program.lowered.module.slots[index]!;
    const early = this.context === "smtpIn" && this.event !== undefined && !messageEvents.has(this.event);
    (early ? this.sessionExports : this.messageExports).set(name, this.slots[index]!);
  }

  private exported(name: string): string | undefined {
    for (const values of [this.messageExports, this.sessionExports]) {
      for (const [key, value] of values) if (key.toLowerCase() === name.toLowerCase()) return value;
    }
    return undefined;
  }

  private restore(name: string, value: string): void {
    const index = this.program.lowered.exports.get(name.toLowerCase());
    if (index !== undefined) this.slots[index] = value;
  }
}

function firstEvent(context: PolicyContext): EventName {
  return eventNames.find((event) => eventContext[event] === context)!;
}

/** The explanation of a result that a program did not come to by itself. */
export const unevaluated = "The message policy could not be evaluated, try again later";

/** A program over its budget, or without a list it needs, can't say that the mail may pass. */
function notEvaluated(error: unknown): EventResult {
  let origin: string;
  if (error instanceof BudgetExceeded) origin = `limit ${error.field}`;
  else if (error instanceof ListUnavailable) origin = error.message;
  else throw error;
  return { action: "tmpreject", explanation: unevaluated, origin, effects: [] };
}

/** What the program asks while it runs. */
class SessionHost implements Host {
  effects: PolicyEffect[] = [];
  private readonly session: Session;
  private readonly program: Executable;
  private readonly slots: readonly string[];
  private readonly facts: FactSource;

  constructor(session: Session, program: Executable, slots: readonly string[], facts: FactSource) {
    this.session = session;
    this.program = program;
    this.slots = slots;
    this.facts = facts;
  }

  begin(): void {
    // Not emptied: the result of the last event holds the old one.
    this.effects = [];
  }

  source(name: string, data: Data): readonly string[] {
    if (name !== "header") return this.strings(name);
    const values = this.facts.header?.(String(data.name)) ?? [];
    // An absent field reads as the empty text, like every unknown value (§10).
    return values.length === 0 ? [""] : values.map((value) => printable(value));
  }

  private strings(name: string): readonly string[] {
    const values = this.facts.strings?.(name as "attachmentNames") ?? [];
    return values.length === 0 ? [""] : values.map((value) => printable(value));
  }

  value(name: string, data: Data | undefined, args: readonly string[]): string {
    switch (name) {
      case "header":
        return this.source("header", data!)[0]!;
      case "joined":
        return this.strings(String(data!.source)).join(", ");
      case "validated":
        return this.validated(String(data!.variable), args[0]!, args[1]!);
      default:
        throw new Error(`no such value: ${name}`);
    }
  }

  private validated(variable: string, value: string, old: string): string {
    const row = variables.find((candidate) => candidate.name === variable);
    const accepted = row ? acceptValue(row.type, value) : value;
    if (accepted === undefined) this.facts.ignored?.(variable, value);
    return accepted ?? old;
  }

  ask(name: string): boolean {
    throw new Error(`no such question: ${name}`);
  }

  inList(list: string, value: string): boolean {
    if (!this.facts.inList) throw new ListUnavailable(list, "there are no lists here");
    return this.facts.inList(list, value);
  }

  effect(kind: string, _data: Data, args: readonly string[]): void {
    const effect = effectOf(kind, args);
    if (effect === undefined) return;
    const limit = this.program.budget.headerEdits;
    if (this.effects.length >= limit) throw new BudgetExceeded("headerEdits", limit);
    this.effects.push(effect);
  }

  lookup(name: string, data: Data): Promise<readonly string[]> | readonly string[] {
    if (name === "rate") return this.rate(this.slots[Number(data.key)]!, String(data.limit));
    const method = findMethod(name)!;
    const failure = [...method.writes.map((variable) => method.failure[variable] ?? ""), "yes"];
    // What the method reads is what it was called with, even if the script goes on before the answer is there.
    const inputs = new Map(method.reads.map((variable) => [variable.toLowerCase(), this.slots[slotOf(variable)]!]));
    const read = (variable: string) => inputs.get(variable.toLowerCase()) ?? this.session.read(variable);
    const outputs = (facts: Record<string, string>): readonly string[] => {
      const found = name === "checkGeoIP" ? countryVerdict(facts, read) : facts;
      return [...method.writes.map((variable) => printable(found[variable] ?? "")), ""];
    };
    try {
      const answer = this.facts.call(name, read, this.effects);
      if (!(answer instanceof Promise)) return outputs(answer);
      // Filters have time-outs of their own (filterTimeout), in which they may look at a large message.
      const { lookupMs, milterMessageMs } = this.program.budget;
      return withDeadline(answer, method.cost === "scanner" ? milterMessageMs : lookupMs).then(outputs, () => failure);
    } catch {
      // The declared failure of the method is the answer; the fact source has logged the cause.
      return failure;
    }
  }

  /** A rate that can't be counted is not exceeded: counting must not stop mail. */
  private rate(key: string, limit: string): Promise<readonly string[]> | readonly string[] {
    const word = (over: boolean): readonly string[] => [over ? "yes" : ""];
    try {
      const over = this.facts.rate?.(key, limit) ?? false;
      if (typeof over === "boolean") return word(over);
      return withDeadline(over, this.program.budget.lookupMs).then(word, () => word(false));
    } catch {
      return word(false);
    }
  }

  exported(index: number): void {
    this.session.noteExport(index);
  }

  captured(): void {}

  eachBegin(): void {}
  eachNext(): boolean {
    return false;
  }
  eachEnd(): void {}
}

function withDeadline<T>(answer: Promise<T>, ms: number): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${ms} ms`)), ms);
  });
  return Promise.race([answer, late]).finally(() => clearTimeout(timer));
}
