/**
 * Watches SMTP sessions for the recorder and for a candidate policy on trial. It stands around the reception that the
 * gateway has anyway: it hands it a program whose sessions are taped, and sees the replies that go out.
 * Invariants: without recorder and trial nothing stands in between; a decision id is told in replies only where
 * configured; records are handed over when a transaction is over. Failure: what reception throws passes through.
 */
import { domainOf, type Envelope, type Recipient, type RouteOverride } from "../message/envelope.ts";
import type { Outcome } from "../message/outcome.ts";
import type { EventName, EventResult, FactSource, PolicyProgram, PolicySession } from "../policy/types.ts";
import type {
  Answer,
  Credentials,
  MaybePromise,
  MessageSink,
  SessionHandler,
  SessionHandlerFactory,
  SessionSettings,
  SmtpClientInfo,
  StoredSecret,
} from "../smtp/incoming/hooks.ts";
import { TapingFacts } from "../workbench/record/facts.ts";
import { Transcript } from "../workbench/record/transcript.ts";
import { Judge, noResult } from "./decision.ts";
import type { Live } from "./live.ts";
import { createReception, type ReceptionServices, then } from "./reception.ts";
import type { Recording } from "./recording.ts";
import type { SessionFacts } from "./session-facts.ts";
import { PolicyPair, type ShadowTrial } from "./shadow.ts";
import { replyOf } from "./verdict.ts";

export interface WatchServices extends ReceptionServices {
  /** The recorder; undefined: nothing is recorded. Read once a session. */
  recording(): Recording | undefined;
  /** The candidate on trial; undefined: none. Read once a session. */
  trial(): ShadowTrial | undefined;
}

export function createWatchedReception(services: WatchServices): SessionHandlerFactory {
  const plain = createReception(services);
  return (client) => {
    const recording = services.recording();
    const trial = services.trial();
    return recording || trial?.running ? new Watch(services, client, recording, trial) : plain(client);
  };
}

/** Events whose replies are not given at once: a refusal is remembered until the final dot. */
const dataEvents: ReadonlySet<EventName> = new Set(["onHeadersReceived", "onBodyChunk", "onDataReceived"]);
/** Events that a record tells of even when the live policy has nothing for them; replay adds those of the message. */
const recordedEvents: ReadonlySet<EventName> = new Set(["onConnect", "onEhlo", "onMailFrom", "onRcptTo"]);

class Watch implements SessionHandler {
  readonly settings: SessionSettings;
  readonly #services: WatchServices;
  readonly #client: SmtpClientInfo;
  readonly #live: Live;
  readonly #inner: SessionHandler;
  readonly #recording: Recording | undefined;
  readonly #transcript: Transcript;
  #facts: SessionFacts | undefined;
  #pair: PolicyPair | undefined;
  #judge = new Judge();
  #result: EventResult = noResult;
  #recipient = "";
  /** Nothing of the transaction has been recorded yet, and there is something to say. */
  #open = false;

  constructor(
    services: WatchServices,
    client: SmtpClientInfo,
    recording: Recording | undefined,
    trial: ShadowTrial | undefined,
  ) {
    this.#services = services;
    this.#client = client;
    this.#live = services.live();
    this.#recording = recording;
    this.#transcript = new Transcript(this.#live.budget);
    this.#transcript.id = recording?.nextId() ?? "";
    const own: Live = { ...this.#live, program: this.#program(trial) };
    const reception = createReception({
      ...services,
      live: () => own,
      // The real one: lists belong to the program that names them.
      facts: () => {
        this.#facts = services.facts(this.#live, client);
        return this.#facts;
      },
    });
    this.#inner = reception(client);
    this.settings = this.#inner.settings;
  }

  /** The program as reception sees it: it has every event that recorder or candidate want to hear of. */
  #program(trial: ShadowTrial | undefined): PolicyProgram {
    const { program } = this.#live;
    const { headers = "none" } = this.#recording ?? {};
    return {
      hash: program.hash,
      file: program.file,
      warnings: program.warnings,
      lists: program.lists,
      isEmpty: (event) =>
        program.isEmpty(event) &&
        (trial?.program.isEmpty(event) ?? true) &&
        !(this.#recording && recordedEvents.has(event)) &&
        !(event === "onHeadersReceived" && headers !== "none"),
      session: (_context, facts) => {
        const taped = new TapingFacts(facts, (fact) => this.#transcript.fact(fact));
        this.#pair = trial && this.#pairOf(trial, taped, facts);
        const inner = this.#pair ?? program.session("smtpIn", taped);
        return new WatchedPolicy(inner, this.#transcript, {
          before: () => this.#before(),
          after: (event, result) => this.#after(event, result),
        });
      },
    };
  }

  #pairOf(trial: ShadowTrial, taped: FactSource, facts: FactSource): PolicyPair {
    const candidate = this.#services.facts({ ...this.#live, program: trial.program }, this.#client);
    return new PolicyPair({
      trial,
      live: this.#live.program,
      facts: taped,
      tape: () => this.#transcript.facts,
      candidateFacts: {
        call: (name, read, effects) => facts.call(name, read, effects),
        rate: (key, limit) => facts.rate?.(key, limit) ?? false,
        strings: (variable) => facts.strings?.(variable) ?? [],
        inList: (list, value) => candidate.inList(list, value),
      },
      remoteIp: this.#client.remoteIp,
      asker: () => ({ authenticated: this.#client.authUser !== "", trusted: this.#trusted() }),
      label: () => this.#transcript.id || `session ${this.#client.sessionId}`,
    });
  }

  #trusted(): boolean {
    const domain = domainOf(this.#recipient);
    return this.#live.trusts(this.#client.remoteIp) || (domain !== "" && this.#live.relaysFor(domain));
  }

  #before(): void {
    const headers = this.#facts?.headers;
    if (headers) this.#transcript.header(headers);
    if (this.#pair) this.#pair.headers = headers;
  }

  #after(event: EventName, result: EventResult): void {
    this.#result = result;
    if (!this.#recording) return;
    this.#open = true;
    this.#transcript.step(event, result, this.#trusted());
    if (dataEvents.has(event)) this.#judge.note(event, result, replyOf(event, result));
  }

  onConnect(client: SmtpClientInfo): MaybePromise<Answer> {
    this.#result = noResult;
    return then(this.#inner.onConnect(client), (answer) => this.#answered("onConnect", answer));
  }

  onEhlo(client: SmtpClientInfo): MaybePromise<Answer> {
    this.#result = noResult;
    return then(this.#inner.onEhlo(client), (answer) => this.#answered("onEhlo", answer));
  }

  onAuth(credentials: Credentials): ReturnType<SessionHandler["onAuth"]> {
    return this.#inner.onAuth(credentials);
  }

  lookupSecret(username: string, scheme: StoredSecret["scheme"]): MaybePromise<StoredSecret | undefined> {
    return this.#inner.lookupSecret?.(username, scheme);
  }

  onMailFrom(envelope: Envelope): MaybePromise<Answer> {
    this.#finish();
    this.#begin();
    return then(this.#inner.onMailFrom(envelope), (answer) => this.#answered("onMailFrom", answer));
  }

  onRcptTo(envelope: Envelope, recipient: Recipient): MaybePromise<Answer> {
    this.#recipient = recipient.address;
    this.#result = noResult;
    return then(this.#inner.onRcptTo(envelope, recipient), (answer) => this.#answered("onRcptTo", answer));
  }

  onData(envelope: Envelope): MaybePromise<MessageSink | Outcome> {
    return then(this.#inner.onData(envelope), (sink) => {
      if (!("write" in sink)) return this.#withId(sink);
      let size = 0;
      return {
        write: (chunk) => {
          size += chunk.length;
          return sink.write(chunk);
        },
        end: () =>
          then(sink.end(), (answer) => {
            this.#finish(answer, size);
            return this.#withId(answer);
          }),
        abort: () => sink.abort(),
      };
    });
  }

  onReset(): void {
    this.#finish();
    this.#inner.onReset();
  }

  onClose(reason: string): void {
    this.#finish();
    this.#inner.onClose(reason);
  }

  #begin(): void {
    this.#judge = new Judge();
    this.#recipient = "";
    this.#result = noResult;
    this.#transcript.begin(this.#recording?.nextId() ?? "");
    if (this.#recording) this.#client.decisionId = this.#transcript.id;
  }

  #answered(event: EventName, answer: Answer): Answer {
    if (!this.#recording) return answer;
    this.#judge.note(event, this.#result, answer, this.#recipient);
    if (!answer) return answer;
    this.#transcript.reply(event, answer.code, answer.enhanced, answer.origin);
    return this.#withId(answer);
  }

  #withId(answer: Outcome): Outcome {
    // The engine's usual replies to commands never come by here: they decide nothing.
    if (!this.#recording?.inReplies) return answer;
    return { ...answer, text: `${answer.text} [${this.#transcript.id}]` };
  }

  /** The transaction is over: hands over its record. */
  #finish(final?: Outcome, size?: number): void {
    const recording = this.#recording;
    if (!recording || !this.#open) return;
    this.#open = false;
    const decision = this.#judge.decision(final);
    // A client that looked in and left without a word was not decided about.
    const last = this.#transcript.steps.at(-1)?.event;
    if ((last === "onConnect" || last === "onEhlo") && decision.verdict === "accept") return;
    const { sessionId: session } = this.#client;
    this.#services.log.info(
      { decision: this.#transcript.id, session, verdict: decision.verdict, at: decision.at, by: decision.by },
      "decided",
    );
    recording.add(
      this.#transcript.record({
        policy: this.#pair?.hash ?? this.#live.program.hash,
        session,
        decision,
        headers: recording.headers,
        ...(size === undefined ? {} : { size }),
      }),
    );
  }
}

interface Ear {
  before(): void;
  after(event: EventName, result: EventResult): void;
}

/** Passes everything on, and notes inputs and results. */
class WatchedPolicy implements PolicySession {
  readonly #inner: PolicySession;
  readonly #transcript: Transcript;
  readonly #ear: Ear;

  constructor(inner: PolicySession, transcript: Transcript, ear: Ear) {
    this.#inner = inner;
    this.#transcript = transcript;
    this.#ear = ear;
  }

  input(variable: string, value: string): void {
    this.#transcript.input(variable, value);
    this.#inner.input(variable, value);
  }

  read(variable: string): string {
    return this.#inner.read(variable);
  }

  run(event: EventName): EventResult | Promise<EventResult> {
    this.#ear.before();
    return then(this.#inner.run(event), (result) => {
      this.#ear.after(event, result);
      return result;
    });
  }

  resetMessage(): void {
    this.#transcript.reset();
    this.#inner.resetMessage();
  }

  route(): RouteOverride | undefined {
    return this.#inner.route();
  }

  exports(): Record<string, string> {
    return this.#inner.exports();
  }
}
