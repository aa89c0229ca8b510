/**
 * Records what policy decides about a message after its reception: onProcessing, onRelay, the reports, and Sieve scripts.
 * One record an event, with the id of the decision that let the message in, so that `postern explain --id` of that one
 * shows them all. Invariants: without a recorder nothing stands in between; nothing is recorded of an event without
 * rules. Failure: none of its own; what the policy's session throws passes through.
 */
import type { Budget } from "../config/budget.ts";
import type { RouteOverride } from "../message/envelope.ts";
import { printable } from "../message/outcome.ts";
import type {
  EventName,
  EventResult,
  FactSource,
  PolicyContext,
  PolicyProgram,
  PolicySession,
} from "../policy/types.ts";
import type { SieveRan } from "../processing/sieve-filter.ts";
import type { QueuedMessage } from "../queue/types.ts";
import { TapingFacts } from "../workbench/record/facts.ts";
import type { DecisionRecord, Fact, Step, Verdict } from "../workbench/record/types.ts";
import { answerOf, effectOf, Judge } from "./decision.ts";
import type { Recording } from "./recording.ts";

/** A session for one later event of a message; recorded when there is a recorder. */
export function laterSession(
  recording: Recording | undefined,
  program: PolicyProgram,
  context: Exclude<PolicyContext, "smtpIn">,
  facts: FactSource,
  message: QueuedMessage,
  budget: Budget,
): PolicySession {
  if (!recording) return program.session(context, facts, message.exports);
  return new RecordedEvent(recording, program, context, facts, message, budget);
}

class RecordedEvent implements PolicySession {
  readonly #recording: Recording;
  readonly #program: PolicyProgram;
  readonly #inner: PolicySession;
  readonly #facts: Fact[] = [];
  readonly #inputs: Record<string, string> = {};
  readonly #record: Pick<DecisionRecord, "id" | "time" | "session" | "people"> &
    Required<Pick<DecisionRecord, "later">>;
  readonly #started = performance.now();
  #cut = false;

  constructor(
    recording: Recording,
    program: PolicyProgram,
    context: Exclude<PolicyContext, "smtpIn">,
    facts: FactSource,
    message: QueuedMessage,
    budget: Budget,
  ) {
    this.#recording = recording;
    this.#program = program;
    const exports = { ...message.exports };
    this.#record = { ...headOf(recording, message), later: { ...laterOf(message), context, exports } };
    const taped = new TapingFacts(facts, (fact) => {
      if (this.#facts.length < budget.recordFacts) this.#facts.push(fact);
      else this.#cut = true;
    });
    this.#inner = program.session(context, taped, message.exports);
  }

  input(variable: string, value: string): void {
    // They follow from mailFrom, which is among the inputs.
    if (variable !== "mailFromDomain" && variable !== "mailFromUser") this.#inputs[variable] = value;
    this.#inner.input(variable, value);
  }

  read(variable: string): string {
    return this.#inner.read(variable);
  }

  run(event: EventName): EventResult | Promise<EventResult> {
    const said = this.#inner.run(event);
    return said instanceof Promise ? said.then((result) => this.#ran(event, result)) : this.#ran(event, said);
  }

  resetMessage(): void {
    this.#inner.resetMessage();
  }

  route(): RouteOverride | undefined {
    return this.#inner.route();
  }

  exports(): Record<string, string> {
    return this.#inner.exports();
  }

  #ran(event: EventName, result: EventResult): EventResult {
    if (this.#program.isEmpty(event)) return result;
    const judge = new Judge();
    judge.note(event, result, answerOf(event, result, this.#inner, { authenticated: false, trusted: false }));
    const step: Step = { event, in: this.#inputs };
    if (result.action !== "") step.action = result.action;
    if (result.explanation !== "") step.text = printable(result.explanation);
    if (result.origin !== "") step.by = printable(result.origin);
    if (result.effects.length > 0) step.effects = result.effects;
    const effect = effectOf(event, this.#inner);
    this.#recording.add({
      ...this.#record,
      ms: Math.round(performance.now() - this.#started),
      policy: this.#program.hash,
      steps: [step],
      facts: this.#facts,
      decision: { ...judge.decision(), ...(effect === "" ? {} : { effect }) },
      ...(this.#cut ? { cut: true } : {}),
    });
    return result;
  }
}

/** What a Sieve script said; it can't be decided again, since bodies are not kept. */
export function recordSieve(recording: Recording, { script, message, recipient, result }: SieveRan): void {
  const [error] = result.errors;
  const done = result.actions.map(sieveAction);
  if (result.implicitKeep) done.push("implicit keep");
  if (error) done.push(`error in line ${error.line}: ${error.message}`);
  const verdict: Verdict = done.some((text) => /^e?reject/.test(text))
    ? "reject"
    : done.length === 0 || done.every((text) => text === "discard")
      ? "discard"
      : "accept";
  recording.add({
    ...headOf(recording, message),
    ms: 0,
    policy: script.hash,
    steps: [{ event: "onProcessing", in: { mailFrom: message.envelope.mailFrom, rcptTo: recipient } }],
    facts: [],
    decision: {
      ...{ verdict, at: "onProcessing", code: verdict === "reject" ? 550 : 250, text: "", recipients: "" },
      by: printable(`sieve ${script.file}`),
      effect: printable(done.join(", ") || "nothing"),
    },
    later: { ...laterOf(message), context: "sieve", exports: {} },
  });
}

function sieveAction(action: SieveRan["result"]["actions"][number]): string {
  const { folder, address, reason } = action as { folder?: string; address?: string; reason?: string };
  const target = folder ?? address ?? reason;
  return target === undefined ? action.action : `${action.action} "${target}"`;
}

const headOf = (recording: Recording, message: QueuedMessage) => ({
  id: recording.nextId(),
  time: Date.now(),
  session: message.client.sessionId,
  people: { mailFrom: message.envelope.mailFrom, rcptTo: message.envelope.rcptTo.map(({ address }) => address) },
});

const laterOf = (message: QueuedMessage) => ({ of: message.client.decisionId ?? "", queueId: message.id });
