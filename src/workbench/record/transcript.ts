/**
 * Writes down a session while it runs, and makes a record of each transaction: the steps of the session so far, then
 * those of the transaction, with what the house answered in them.
 * Invariants: bounded by the budget's `recordSteps`, `recordFacts` and `recordHeader`; a record that was cut says so.
 * Failure: none.
 */
import { createHash } from "node:crypto";
import type { Budget } from "../../config/budget.ts";
import type { HeaderSection } from "../../message/headers.ts";
import { printable } from "../../message/outcome.ts";
import { defaultSlots, fixedSlots } from "../../policy/slots.ts";
import type { EventName, EventResult } from "../../policy/types.ts";
import { variables } from "../../policy/variables.ts";
import type { Decision, DecisionRecord, Fact, Step } from "./types.ts";

export type HeaderMode = "none" | "hash" | "full";

/** Values that a session begins with, and those that each transaction begins with anew. */
const initial: ReadonlyMap<string, string> = new Map(
  defaultSlots("smtpIn").map((value, index) => [fixedSlots[index]!, value]),
);
const perMessage = variables.filter((row) => row.lifetime === "message").map((row) => row.name);
/** What follows from another variable is left out; replay makes it again. */
const derived = new Set(["mailFromDomain", "mailFromUser", "rcptToDomain", "rcptToUser"]);
/** Facts that don't change within a message: one answer is enough. */
const steady = new Set(["header", "inList", "strings"]);

export class Transcript {
  id = "";
  steps: Step[] = [];
  /** Another array in each transaction. */
  facts: Fact[] = [];
  readonly #budget: Budget;
  readonly #known = new Map(initial);
  readonly #asked = new Set<string>();
  #inputs: Record<string, string> = {};
  #sessionSteps: readonly Step[] = [];
  #sessionFacts: readonly Fact[] = [];
  #inTransaction = false;
  #started = performance.now();
  #header: HeaderSection | undefined;
  #cut = false;

  constructor(budget: Budget) {
    this.#budget = budget;
  }

  /** MAIL FROM came: a new transaction. */
  begin(id: string): void {
    if (!this.#inTransaction) {
      this.#sessionSteps = this.steps;
      this.#sessionFacts = this.facts;
    }
    this.#inTransaction = true;
    this.id = id;
    this.steps = [...this.#sessionSteps];
    this.facts = [...this.#sessionFacts];
    this.#asked.clear();
    this.#started = performance.now();
    this.#header = undefined;
    this.#cut = false;
  }

  input(variable: string, value: string): void {
    if (derived.has(variable) || this.#known.get(variable) === value) return;
    this.#known.set(variable, value);
    this.#inputs[variable] = value;
  }

  /** The engine's variables of a message are as in the beginning. */
  reset(): void {
    for (const name of perMessage) this.#known.set(name, initial.get(name) ?? "");
  }

  header(section: HeaderSection): void {
    this.#header = section;
  }

  fact(fact: Fact): void {
    if (steady.has(fact[0])) {
      const key = fact[1].join("\0");
      if (this.#asked.has(key)) return;
      this.#asked.add(key);
    }
    if (this.facts.length >= this.#budget.recordFacts) this.#cut = true;
    else this.facts.push(fact);
  }

  /** An event ran. `trusted`: see Step. */
  step(event: EventName, result: EventResult, trusted: boolean): void {
    const inputs = this.#inputs;
    this.#inputs = {};
    // Further chunks of a body tell nothing new until one gets a verdict.
    if (event === "onBodyChunk" && result.action === "" && this.steps.at(-1)?.event === event) return;
    if (this.steps.length >= this.#budget.recordSteps) {
      this.#cut = true;
      return;
    }
    const step: Step = { event };
    if (Object.keys(inputs).length > 0) step.in = inputs;
    if (result.action !== "") step.action = result.action;
    if (result.explanation !== "") step.text = printable(result.explanation);
    if (result.origin !== "") step.by = printable(result.origin);
    if (result.effects.length > 0) step.effects = result.effects;
    if (trusted && event === "onRcptTo") step.trusted = true;
    this.steps.push(step);
  }

  /** The reply to the event that ran last. */
  reply(event: EventName, code: number, enhanced: string, origin: string): void {
    const step = this.steps.at(-1);
    if (step?.event === event) step.reply = [code, enhanced, printable(origin)];
  }

  /** The record of the transaction. `size`: octets of the message, when it came to its end. */
  record(about: {
    policy: string;
    session: string;
    decision: Decision;
    headers: HeaderMode;
    size?: number;
  }): DecisionRecord {
    const { policy, session, decision, headers, size } = about;
    const ms = Math.round(performance.now() - this.#started);
    const record: DecisionRecord = {
      id: this.id,
      time: Date.now() - ms,
      ms,
      policy,
      session,
      steps: this.steps,
      facts: this.facts,
      decision,
    };
    if (size !== undefined) record.size = size;
    if (headers !== "none" && this.#header) this.#keepHeader(record, this.#header, headers);
    if (this.#cut) record.cut = true;
    return record;
  }

  #keepHeader(record: DecisionRecord, section: HeaderSection, mode: HeaderMode): void {
    const bytes = Buffer.concat(section.fields.map((field) => field.bytes));
    if (mode === "hash") record.headerHash = createHash("sha256").update(bytes).digest("hex");
    else if (bytes.length > this.#budget.recordHeader) record.cut = true;
    else {
      record.header = bytes.toString("latin1");
      record.facts = record.facts.filter(([name]) => name !== "header"); // they are in there
    }
  }
}
