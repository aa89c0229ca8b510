/**
 * One run of an entry point: its budget, its cached subjects, and how it becomes asynchronous.
 *
 * The interpreter and emitted programs are generators where a look-up can occur; they yield the promise of a look-up
 * and nothing else. Invariants: a run without a pending look-up finishes before `drive` returns; effects and look-ups
 * happen in program order. Failure: BudgetExceeded ends the run; so does whatever the host throws or rejects with.
 */
import { type Budget, BudgetExceeded, type BudgetField } from "../config/budget.ts";
import type { Host, Trace } from "./host.ts";
import type { Module } from "./ir.ts";

export interface CompiledModule {
  readonly entries: readonly string[];
  /** False when the module has no such entry point or it has no statements: running it does nothing. */
  has(entry: string): boolean;
  /**
   * Runs one entry point over the caller's slots (values in and out, by SlotIndex). Synchronous unless a look-up
   * answered a promise. `trace` is used by the traced variant only.
   */
  run(entry: string, slots: string[], host: Host, trace?: Trace): void | Promise<void>;
}

export interface RunLimits {
  readonly budget: Pick<
    Budget,
    "statementsPerEvent" | "lookupsPerEvent" | "variableBytes" | "regexBytes" | "sieveInstructions"
  >;
}

/** What a block does next. Codes from `firstBreak` on mean: leave the loop of that nesting depth. */
export type Signal = number;
export const proceed = 0;
export const stopped = 1;
export const returned = 2;
export const firstBreak = 3;

export type LookupAnswer = readonly string[] | undefined;
export type Running = Generator<Promise<LookupAnswer>, Signal, LookupAnswer>;

/** A compiled piece of program: a generator function where `async`, a plain one elsewhere. */
export interface Unit {
  readonly async: boolean;
  run(slots: string[], host: Host, state: RunState): Signal | Running;
}

/** The changing state of one run. */
export class RunState {
  /** Answers of stable subjects, by subject number; emptied by what invalidates them. */
  cache: Array<readonly string[] | undefined> = [];
  private steps: number;
  private lookups: number;
  private readonly limits: StateLimits;

  constructor(limits: StateLimits) {
    this.limits = limits;
    this.steps = limits.steps;
    this.lookups = limits.lookups;
  }

  /** Counts executed statements; tests that lead to none are free, so an indexed run costs what a plain one does. */
  step(count: number): void {
    if ((this.steps -= count) < 0) throw new BudgetExceeded(this.limits.stepsField, this.limits.steps);
  }

  /** Starts a look-up. */
  lookup(host: Host, name: string, data: Readonly<Record<string, unknown>>): ReturnType<Host["lookup"]> {
    if (--this.lookups < 0) throw new BudgetExceeded("lookupsPerEvent", this.limits.lookups);
    return host.lookup(name, data);
  }

  /** A computed value on its way into a slot, held to the size a variable may have. */
  sized(value: string): string {
    const limit = this.limits.variableChars;
    if (value.length <= limit) return value;
    // RFC 5229 §3: an implementation's limit truncates. A gateway rule that works on part of a value is unsafe instead.
    if (this.limits.truncate) return value.slice(0, limit);
    throw new BudgetExceeded("variableBytes", limit);
  }
}

export interface StateLimits {
  readonly steps: number;
  readonly stepsField: BudgetField;
  readonly lookups: number;
  readonly variableChars: number;
  readonly truncate: boolean;
}

export function stateLimits(module: Module, { budget }: RunLimits): StateLimits {
  const sieve = module.language === "sieve";
  return {
    steps: sieve ? budget.sieveInstructions : budget.statementsPerEvent,
    stepsField: sieve ? "sieveInstructions" : "statementsPerEvent",
    lookups: budget.lookupsPerEvent,
    variableChars: budget.variableBytes,
    truncate: sieve,
  };
}

/** Runs to the end, or to the first pending look-up and on in the background of the returned promise. */
export function drive(running: Running): void | Promise<void> {
  const step = running.next();
  if (!step.done) return driveOn(running, step.value);
}

async function driveOn(running: Running, pending: Promise<LookupAnswer>): Promise<void> {
  for (;;) {
    let answer: LookupAnswer;
    try {
      answer = await pending;
    } catch (error) {
      // Lets the program's `finally` blocks (eachEnd) run; it has no `catch`, so this throws the error again.
      running.throw(error);
      throw error;
    }
    const step = running.next(answer);
    if (step.done) return;
    pending = step.value;
  }
}

export function isPending(answer: ReturnType<Host["lookup"]>): answer is Promise<LookupAnswer> {
  return answer instanceof Promise;
}

/** Writes a look-up's answer to its slots, in the order of `writes`. */
export function applyAnswer(slots: string[], writes: readonly number[], answer: LookupAnswer): void {
  if (!answer) return;
  for (let i = 0; i < writes.length; i++) slots[writes[i]!] = answer[i] ?? "";
}
