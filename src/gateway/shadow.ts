/**
 * Two policies on one session: the live one and a candidate. Both get the same inputs and the same facts, one of them
 * enforces, and what they say is compared event by event and counted.
 *
 * Shadow: the live policy enforces and never waits for the candidate, whose look-ups go on behind the session's back.
 * Canary: the candidate enforces for a fixed share of the clients; when it fails, what the live policy said stands.
 * Invariants: only what the enforcing side says has an effect on the mail; counters and greylists are asked once for
 * both; who enforces changes at the begin of a transaction, or to the live policy. Failure: a candidate that throws, runs over its budget or falls behind is counted.
 */
import { createHash } from "node:crypto";
import { ListUnavailable } from "../language/lists/registry.ts";
import type { RouteOverride } from "../message/envelope.ts";
import type { HeaderSection } from "../message/headers.ts";
import { unevaluated } from "../policy/runtime.ts";
import type {
  EventName,
  EventResult,
  FactSource,
  PolicyEffect,
  PolicyProgram,
  PolicySession,
} from "../policy/types.ts";
import { inputsOf, type Strings, TapeFacts } from "../workbench/record/facts.ts";
import type { Fact } from "../workbench/record/types.ts";
import { type Asker, answerOf, noResult, verdictOf } from "./decision.ts";

/** What a trial has seen since the last report; plain data for the supervisor. */
export interface TrialCounts {
  sessions: number;
  /** Sessions in which the candidate enforced. */
  enforced: number;
  transactions: number;
  /** Transactions in which the two differed. */
  flips: number;
  events: number;
  /** Events in which the candidate failed. */
  errors: number;
  /** Sessions that the candidate could not follow. */
  skipped: number;
  /** Time in the candidate's events and in the live policy's, ms. */
  candidateMs: number;
  liveMs: number;
  /** "onMailFrom accept → reject by rule:12" → how often, and one example. */
  rules: Record<string, { count: number; example: string }>;
}

export const noCounts = (): TrialCounts => ({
  sessions: 0,
  enforced: 0,
  transactions: 0,
  flips: 0,
  events: 0,
  errors: 0,
  skipped: 0,
  candidateMs: 0,
  liveMs: 0,
  rules: {},
});

/** Distinct flips that one report names. */
const maxRules = 100;
/** Events that a candidate may be behind its session. */
const maxBehind = 64;

/** Is this client one of the share that the candidate decides for? The same client always gets the same answer. */
export function isCanary(policyHash: string, remoteIp: string, percent: number): boolean {
  if (percent <= 0) return false;
  const point = createHash("sha256").update(`${policyHash} ${remoteIp}`).digest().readUInt32BE(0);
  return (point / 2 ** 32) * 100 < percent;
}

/** A candidate on trial in this worker. */
export class ShadowTrial {
  readonly program: PolicyProgram;
  readonly percent: number;
  /** False once the trial was stopped: sessions in progress fall back to the live policy at their next transaction. */
  running = true;
  #counts = noCounts();

  constructor(program: PolicyProgram, percent: number) {
    this.program = program;
    this.percent = percent;
  }

  get counts(): TrialCounts {
    return this.#counts;
  }

  /** The counts since the last call. */
  take(): TrialCounts {
    const counts = this.#counts;
    this.#counts = noCounts();
    return counts;
  }

  flip(rule: string, example: string): void {
    const { rules } = this.#counts;
    const known = Object.hasOwn(rules, rule) ? rules[rule] : undefined;
    if (known) known.count++;
    else if (Object.keys(rules).length < maxRules) rules[rule] = { count: 1, example };
  }
}

export interface PairOptions {
  trial: ShadowTrial;
  live: PolicyProgram;
  /** Facts that the live policy reads; its answers are on `tape`, which is another one in each transaction. */
  facts: FactSource;
  tape(): readonly Fact[];
  /** For what the live policy did not ask. */
  candidateFacts: FactSource;
  remoteIp: string;
  /** Who asks now, for the recipient at hand. */
  asker(): Asker;
  /** Names the transaction in statistics. */
  label(): string;
}

/** The facts as the candidate sees them: the answers that live got, else its own. */
class CandidateFacts implements FactSource {
  headers: HeaderSection | undefined;
  /** May ask what leaves traces: counters and greylists. */
  enforces = false;
  #facts: readonly Fact[] = [];
  #tape = new TapeFacts({ facts: [] });
  readonly #own: FactSource;

  constructor(own: FactSource) {
    this.#own = own;
  }

  /** Answers come from this tape from now on. */
  use(tape: readonly Fact[]): void {
    if (tape === this.#facts) return;
    this.#facts = tape;
    this.#tape = new TapeFacts({ facts: tape });
  }

  call(name: string, read: (variable: string) => string, effects: readonly PolicyEffect[]) {
    const known = this.#tape.take(name, inputsOf(name, read));
    if (known) {
      if (known[2] === null) throw new Error(`${name} failed`);
      return known[2] as Record<string, string>;
    }
    // Filters see the message and may change it; a greylist remembers who asked.
    if (!this.enforces && (name === "checkGreylist" || name === "executeFilters")) throw new Error("not in a shadow");
    return this.#own.call(name, read, effects);
  }

  rate(key: string, limit: string): boolean | Promise<boolean> {
    const known = this.#tape.take("rate", [key, limit]);
    if (known) return (known[2] as Record<string, string> | null)?.yes === "yes";
    return this.enforces ? (this.#own.rate?.(key, limit) ?? false) : false;
  }

  inList(list: string, value: string): boolean {
    if (!this.#own.inList) throw new ListUnavailable(list, "there are no lists here");
    return this.#own.inList(list, value);
  }

  header(name: string): readonly string[] {
    return this.headers?.values(name) ?? [];
  }

  strings(variable: Strings): readonly string[] {
    return this.#own.strings?.(variable) ?? [];
  }
}

const wordOf = (event: EventName, result: EventResult, session: PolicySession, asker: Asker): string =>
  verdictOf(result, answerOf(event, result, session, asker));

interface Said {
  result: EventResult;
  failed: boolean;
}

export class PolicyPair implements PolicySession {
  headers: HeaderSection | undefined;
  readonly #options: PairOptions;
  readonly #live: PolicySession;
  readonly #candidate: PolicySession;
  readonly #facts: CandidateFacts;
  readonly #canary: boolean;
  #inputs: Array<readonly [string, string]> = [];
  #enforcing: boolean;
  #resets = false;
  #flipped = false;
  #tail: Promise<void> | undefined;
  #behind = 0;
  #lost = false;

  constructor(options: PairOptions) {
    const { trial, live, facts, candidateFacts, remoteIp } = options;
    this.#options = options;
    this.#facts = new CandidateFacts(candidateFacts);
    this.#live = live.session("smtpIn", facts);
    this.#candidate = trial.program.session("smtpIn", this.#facts);
    this.#canary = isCanary(trial.program.hash, remoteIp, trial.percent);
    this.#enforcing = this.#canary;
    trial.counts.sessions++;
    if (this.#canary) trial.counts.enforced++;
  }

  /** Hash of the policy whose word counts now. */
  get hash(): string {
    return this.#enforcing ? this.#options.trial.program.hash : this.#options.live.hash;
  }

  input(variable: string, value: string): void {
    this.#live.input(variable, value);
    this.#inputs.push([variable, value]);
  }

  read(variable: string): string {
    return this.#voice.read(variable);
  }

  route(): RouteOverride | undefined {
    return this.#voice.route();
  }

  exports(): Record<string, string> {
    return this.#voice.exports();
  }

  resetMessage(): void {
    this.#live.resetMessage();
    this.#resets = true;
    this.#inputs = [];
    this.#flipped = false;
    this.#enforcing = this.#canary && this.#options.trial.running && !this.#lost;
  }

  run(event: EventName): EventResult | Promise<EventResult> {
    const started = performance.now();
    const said = this.#live.run(event);
    return said instanceof Promise
      ? said.then((result) => this.#afterLive(event, result, started))
      : this.#afterLive(event, said, started);
  }

  get #voice(): PolicySession {
    return this.#enforcing ? this.#candidate : this.#live;
  }

  #afterLive(event: EventName, live: EventResult, started: number): EventResult | Promise<EventResult> {
    const { trial } = this.#options;
    if (!trial.running || this.#lost) {
      this.#enforcing = false;
      return live;
    }
    trial.counts.liveMs += performance.now() - started;
    if (event === "onMailFrom") trial.counts.transactions++;
    const inputs = this.#inputs;
    this.#inputs = [];
    const resets = this.#resets;
    this.#resets = false;
    const { headers } = this;
    const asker = this.#options.asker();
    const liveWord = wordOf(event, live, this.#live, asker);
    const label = this.#options.label();
    const tape = this.#options.tape();
    const step = (): Promise<Said> | Said => {
      this.#facts.headers = headers;
      this.#facts.enforces = this.#enforcing;
      this.#facts.use(tape);
      return this.#candidateSays(event, inputs, resets);
    };
    const compare = (said: Said): Said => {
      this.#count(event, liveWord, said, asker, label);
      return said;
    };
    if (this.#enforcing) {
      const choose = (said: Said): EventResult => {
        compare(said);
        if (!said.failed) return said.result;
        this.#enforcing = false;
        return live;
      };
      const said = step();
      return said instanceof Promise ? said.then(choose) : choose(said);
    }
    this.#follow(step, compare);
    return live;
  }

  /** Runs the candidate now when it needs no look-up of its own, else in its order behind the session. */
  #follow(step: () => Promise<Said> | Said, compare: (said: Said) => Said): void {
    if (!this.#tail) {
      const said = step();
      if (said instanceof Promise) this.#wait(said.then(compare));
      else compare(said);
    } else if (this.#behind >= maxBehind) {
      this.#lost = true;
      this.#options.trial.counts.skipped++;
    } else this.#wait(this.#tail.then(step).then(compare));
  }

  #wait(work: Promise<unknown>): void {
    this.#behind++;
    const tail = work.then(() => {
      this.#behind--;
      if (this.#tail === tail) this.#tail = undefined;
    });
    this.#tail = tail;
  }

  /** Never throws or rejects. */
  #candidateSays(
    event: EventName,
    inputs: ReadonlyArray<readonly [string, string]>,
    resets: boolean,
  ): Promise<Said> | Said {
    const { counts } = this.#options.trial;
    const started = performance.now();
    const done = (said: Said): Said => {
      counts.candidateMs += performance.now() - started;
      return said;
    };
    const failed = (): Said => done({ result: noResult, failed: true }); // counted by the caller
    const fine = (result: EventResult): Said => done({ result, failed: result.explanation === unevaluated });
    try {
      if (resets) this.#candidate.resetMessage();
      for (const [variable, value] of inputs) this.#candidate.input(variable, value);
      const result = this.#candidate.run(event);
      return result instanceof Promise ? result.then(fine, failed) : fine(result);
    } catch {
      return failed();
    }
  }

  #count(event: EventName, live: string, said: Said, asker: Asker, label: string): void {
    const { trial } = this.#options;
    trial.counts.events++;
    if (said.failed) {
      trial.counts.errors++;
      return;
    }
    const candidate = wordOf(event, said.result, this.#candidate, asker);
    if (candidate === live) return;
    if (!this.#flipped) trial.counts.flips++;
    this.#flipped = true;
    trial.flip(`${event}: ${live} → ${candidate} by ${said.result.origin || "the engine's rule"}`, label);
  }
}
