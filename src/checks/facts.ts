/**
 * Facts of one SMTP session for the policy: the check methods (methods.ts) with what surrounds each call. Each fact has
 * a deadline, is kept for the session (or the message), and leaves a trace record that says where it came from.
 * Invariants: the same question (method and inputs) is asked once; a verdict about a message is dropped with it.
 * Failure: `call` rejects with FactError after the deadline or when a check could not run; the policy runtime then
 * takes the method's declared failure values.
 */
import { printable } from "../message/outcome.ts";
import { type Authentication, authenticate } from "./authenticate.ts";
import type { MessageSource } from "./message.ts";
import {
  type AnswerSource,
  FactError,
  type MethodServices,
  methods,
  type Outputs,
  type Read,
  type Sender,
  senderOf,
} from "./methods.ts";
import { NotedResolver } from "./provenance.ts";
import { checkSpf, type SpfResult } from "./spf/check.ts";
import { receivedSpf } from "./spf/received.ts";
import type { CheckContext } from "./types.ts";

export interface FactServices extends MethodServices {
  /** Told of each fact when it is there. */
  onRecord?: (record: FactRecord) => void;
  /** Whole time one fact may take, ms. Default 10,000. */
  deadlineMs?: number;
}

/** One line of where a fact came from, for logs and `postern explain`. */
export interface FactRecord {
  name: string;
  source: AnswerSource;
  /** The questions it took: record type and name, who answered, ms; or the data that was asked. */
  from: readonly string[];
  elapsedMs: number;
  outputs: Readonly<Record<string, string>>;
  /** Why there is no answer; "" when there is one. */
  failure: string;
}

/** What checks have found about one message. */
export interface Findings {
  spf?: SpfResult;
  /** Value of a Received-SPF field. */
  receivedSpf?: string;
  authentication?: Authentication;
}

/** An answer that several facts share, and where it came from. */
interface Shared<T> {
  answer: Promise<T>;
  resolver: NotedResolver;
}

/** One call that was answered, or is being. */
interface Call {
  outputs: Promise<Outputs>;
  from(): string[];
}

/** Names that `SenderFacts.call` knows. */
export const factMethods: ReadonlySet<string> = new Set(Object.keys(methods));

export class SenderFacts {
  readonly services: FactServices;
  /** Records in the order of the calls. */
  readonly trace: FactRecord[] = [];
  readonly #calls = new Map<string, Call>();
  readonly #origins = new WeakMap<object, readonly string[]>();
  readonly #spf = new Map<string, Shared<SpfResult>>();
  #message: (() => MessageSource) | undefined;
  #authentication: Shared<Authentication> | undefined;

  constructor(services: FactServices) {
    this.services = services;
  }

  /** Sets the message at hand (each call of `open` reads it from its start), or undefined between messages. */
  setMessage(open: (() => MessageSource) | undefined): void {
    this.#message = open;
    this.#authentication = undefined;
    for (const key of this.#calls.keys()) {
      if (methods[key.split("\0", 1)[0]!]!.source === "message") this.#calls.delete(key);
    }
  }

  /** FactSource.call: output variables of method `name`. Rejects with FactError. */
  async call(name: string, read: Read): Promise<Outputs> {
    const method = methods[name];
    if (method === undefined) throw new FactError(`no such check: ${name}`);
    const key = [name, ...method.reads.map(read)].join("\0");
    const known = name === "checkGreylist" ? undefined : this.#calls.get(key);
    const started = performance.now();
    const call = known ?? this.#ask(name, read);
    if (known === undefined) {
      if (this.#calls.size >= maxAnswers) this.#calls.clear();
      this.#calls.set(key, call);
    }
    const about = (): Pick<FactRecord, "name" | "source" | "from" | "elapsedMs"> => ({
      name,
      source: known === undefined ? method.source : "session",
      from: known === undefined ? call.from() : ["the same question, asked before"],
      elapsedMs: performance.now() - started,
    });
    try {
      const outputs = { ...(await call.outputs) };
      const record = { ...about(), outputs, failure: "" };
      this.#origins.set(outputs, record.from);
      this.#record(record);
      return outputs;
    } catch (error) {
      this.#calls.delete(key); // a failure may be over at the next call
      const failure = printable((error as Error).message);
      this.#record({ ...about(), outputs: {}, failure });
      throw error instanceof FactError ? error : new FactError(failure);
    }
  }

  /** FactSource.origin: where an answer of `call` came from. */
  origin(outputs: object): readonly string[] {
    return this.#origins.get(outputs) ?? [];
  }

  /**
   * What was found so far of the message at hand and its sender, without asking for anything: the whole authentication
   * when one was made, else SPF alone (of MAIL FROM, or of HELO when only that was checked).
   */
  async findings(mailFrom: string): Promise<Findings> {
    const asked = [...this.#spf].map(([key, { answer }]) => ({ input: JSON.parse(key) as Sender, answer }));
    const spf =
      asked.findLast(({ input }) => input.mailFrom === mailFrom) ??
      asked.findLast(({ input }) => input.mailFrom === "");
    const found: Findings = {};
    if (spf !== undefined) {
      const result = await spf.answer;
      found.spf = result;
      found.receivedSpf = receivedSpf(result, spf.input, this.services.ctx.hostName);
    }
    // One that failed has been told to whoever asked for it.
    const all = await this.#authentication?.answer.catch(() => undefined);
    if (all !== undefined) found.authentication = all;
    return found;
  }

  /** SPF, DKIM, ARC and DMARC of the message at hand; worked out once. Rejects when there is no message. */
  authentication(read: Read): Promise<Authentication> {
    return this.#authenticationOf(senderOf(read)).answer;
  }

  #ask(name: string, read: Read): Call {
    const resolver = new NotedResolver(this.services.ctx.resolver);
    const shared: NotedResolver[] = [];
    const said: string[] = [];
    const use = <T>({ answer, resolver: used }: Shared<T>): Promise<T> => {
      shared.push(used);
      return answer;
    };
    const asked = {
      services: this.services,
      ctx: { ...this.services.ctx, resolver },
      read,
      message: () => this.#openMessage(),
      spf: (sender: Sender) => use(this.#spfOf(sender)),
      authentication: (sender: Sender) => use(this.#authenticationOf(sender)),
      from: (source: string) => void said.push(source),
    };
    return {
      outputs: this.#withDeadline(Promise.resolve().then(() => methods[name]!.run(asked))),
      from: () => [...said, ...[resolver, ...shared].flatMap(({ sources }) => sources)],
    };
  }

  /** The message at hand, from its start. */
  #openMessage(): MessageSource {
    if (this.#message === undefined) throw new FactError("there is no message yet");
    return this.#message();
  }

  #noted(): { ctx: CheckContext; resolver: NotedResolver } {
    const resolver = new NotedResolver(this.services.ctx.resolver);
    return { ctx: { ...this.services.ctx, resolver }, resolver };
  }

  #spfOf(input: Sender): Shared<SpfResult> {
    const key = JSON.stringify(input);
    let asked = this.#spf.get(key);
    if (asked === undefined) {
      const { ctx, resolver } = this.#noted();
      asked = { answer: checkSpf(input, ctx), resolver };
      if (this.#spf.size >= maxSpf) this.#spf.clear();
      this.#spf.set(key, asked);
    }
    return asked;
  }

  #authenticationOf(sender: Sender): Shared<Authentication> {
    if (this.#authentication === undefined) {
      const { ctx, resolver } = this.#noted();
      const work = async () => authenticate(this.#openMessage(), sender, ctx, this.#spfOf(sender).answer);
      const answer = work().catch((error: unknown) => {
        this.#authentication = undefined; // the next call reads the message again
        throw error;
      });
      this.#authentication = { answer, resolver };
    }
    return this.#authentication;
  }

  #record(record: FactRecord): void {
    if (this.trace.length >= maxTrace) this.trace.shift();
    this.trace.push(record);
    this.services.onRecord?.(record);
  }

  #withDeadline(asked: Promise<Outputs>): Promise<Outputs> {
    const deadlineMs = this.services.deadlineMs ?? 10_000;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new FactError(`no answer within ${deadlineMs} ms`)), deadlineMs);
      asked.then(resolve, reject).finally(() => clearTimeout(timer));
    });
  }
}

/** A session of many messages keeps this many answers, SPF results and trace records. */
const maxAnswers = 1_000;
const maxSpf = 100;
const maxTrace = 1_000;

/** Facts of one session. */
export function createFactSource(services: FactServices): SenderFacts {
  return new SenderFacts(services);
}
