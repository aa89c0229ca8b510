/**
 * Decides a recorded transaction again, under any program: same inputs, same facts, same engine rules behind the policy.
 * A decision is a pure function of program and record. Invariants: synchronous unless a fact is not; what the record
 * leaves out because it follows from the rest is made again here. Failure: what the program asks and the record can't
 * answer counts as a failed look-up and is named in `missing`; a program over its budget decides tmpreject, as it would live.
 */
import { answerOf, effectOf, Judge, noResult } from "../../gateway/decision.ts";
import { domainOf, localPartOf } from "../../message/envelope.ts";
import { outcome } from "../../message/outcome.ts";
import type {
  EventName,
  EventResult,
  FactSource,
  PolicyContext,
  PolicyProgram,
  PolicySession,
} from "../../policy/types.ts";
import { TapeFacts, type TapeOptions } from "../record/facts.ts";
import type { Decision, DecisionRecord, Step } from "../record/types.ts";
import { headersOf } from "./headers.ts";

export interface DecideOptions {
  /** Content of the lists that the program names; see TapeOptions. */
  inList?: TapeOptions["inList"];
  /** Of the message, when it is at hand. */
  strings?: TapeOptions["strings"];
  /** Answers to what the record does not know; see TapeOptions. */
  assume?: TapeOptions["assume"];
  /** Opens the session; for a traced one. */
  open?(facts: FactSource, context: PolicyContext, exports: Readonly<Record<string, string>>): PolicySession;
  before?(event: EventName): void;
  after?(event: EventName, result: EventResult, session: PolicySession, recipient: string): void;
}

export interface Redecision {
  decision: Decision;
  /** What the program asked and the record does not know. */
  missing: ReadonlySet<string>;
}

const dataEvents: readonly EventName[] = ["onHeadersReceived", "onBodyChunk", "onDataReceived"];

export function decide(
  program: PolicyProgram,
  record: DecisionRecord,
  options: DecideOptions = {},
): Redecision | Promise<Redecision> {
  const { inList, strings, assume } = options;
  const header = record.header === undefined ? undefined : headersOf(record.header);
  const facts = new TapeFacts({
    facts: record.facts,
    ...(header ? { header: (name: string) => header().values(name) } : {}),
    ...(inList ? { inList } : {}),
    ...(strings ? { strings } : {}),
    ...(assume ? { assume } : {}),
  });
  const { context = "smtpIn", exports = {} } = record.later ?? {};
  if (context === "sieve") throw new Error("what a Sieve script said can't be decided again: bodies are not kept");
  const session = options.open?.(facts, context, exports) ?? program.session(context, facts, exports);
  const run = new Run(program, session, options);
  const effect = (): string => (record.later ? effectOf(record.decision.at, session) : "");
  const finish = (): Redecision => {
    const found = effect();
    return {
      decision: { ...run.judge.decision(), ...(found === "" ? {} : { effect: found }) },
      missing: facts.missing,
    };
  };
  const done = run.steps(stepsOf(record), 0);
  return done ? done.then(finish) : finish();
}

/** The steps of the record, with the events of the message that the recorded policy had no rules for. */
function stepsOf(record: DecisionRecord): Step[] {
  if (record.later) return record.steps;
  const commands = record.steps.filter(({ event }) => !dataEvents.includes(event));
  const data = record.steps.filter(({ event }) => dataEvents.includes(event));
  if (record.size === undefined && data.length === 0) return commands;
  for (const event of dataEvents) {
    const known = data.filter((step) => step.event === event);
    if (known.length > 0) commands.push(...known);
    else if (event !== "onDataReceived") commands.push({ event });
    else commands.push({ event, in: { mailSize: String(record.size ?? 0) } });
  }
  return commands;
}

class Run {
  readonly judge = new Judge();
  readonly #program: PolicyProgram;
  readonly #session: PolicySession;
  readonly #options: DecideOptions;
  #authenticated = false;
  #recipient = "";

  constructor(program: PolicyProgram, session: PolicySession, options: DecideOptions) {
    this.#program = program;
    this.#session = session;
    this.#options = options;
  }

  /** Runs the steps from `from` on; a promise only when one of them gives one. */
  steps(steps: readonly Step[], from: number): Promise<void> | undefined {
    for (let at = from; at < steps.length; at++) {
      const step = steps[at]!;
      // DATA is refused when nobody is left to get the message (RFC 5321 §3.3).
      if (dataEvents.includes(step.event) && !this.judge.hasRecipient) return undefined;
      this.#inputs(step);
      this.#options.before?.(step.event);
      const result = this.#program.isEmpty(step.event) ? noResult : this.#session.run(step.event);
      if (result instanceof Promise) {
        return result.then((said) => (this.#judged(step, said) ? this.steps(steps, at + 1) : undefined));
      }
      if (!this.#judged(step, result)) return undefined;
    }
    return undefined;
  }

  #inputs({ in: inputs }: Step): void {
    const session = this.#session;
    for (const name in inputs) {
      const value = inputs[name]!;
      session.input(name, value);
      if (name === "mailFrom") {
        session.input("mailFromDomain", domainOf(value));
        session.input("mailFromUser", localPartOf(value));
      } else if (name === "rcptTo") {
        this.#recipient = value;
        session.input("rcptToDomain", domainOf(value));
        session.input("rcptToUser", localPartOf(value));
      } else if (name === "authUser") this.#authenticated = value !== "";
    }
  }

  #judged(step: Step, result: EventResult): boolean {
    const asker = { authenticated: this.#authenticated, trusted: step.trusted === true };
    let answer = answerOf(step.event, result, this.#session, asker);
    // Whether a mailbox exists doesn't depend on the policy.
    const [code, enhanced, by] = step.reply ?? [];
    if (by === "engine" && code === 550 && enhanced === "5.1.1" && !(answer && answer.code >= 400)) {
      answer = outcome.reject({ code, enhanced, text: "User not found", origin: by });
    }
    this.#options.after?.(step.event, result, this.#session, step.event === "onRcptTo" ? this.#recipient : "");
    return this.judge.note(step.event, result, answer, this.#recipient);
  }
}
