/**
 * Takes one message's octets from the SMTP session into the spool and asks the policy on the way: onHeadersReceived
 * when the header section is complete, onBodyChunk, onDataReceived after the last octet.
 * Invariants: the body goes to the spool as it comes (constant memory); without header or body events in the program no
 * octet is looked at here; a refusal before the end is remembered and given at the final dot (smtpfilters.md §7.2).
 * Failure: commit errors become the QueueError's outcome; an aborted message leaves nothing.
 */
import { editHeaders, editOfEffect, type HeaderEdit } from "../message/edit.ts";
import type { Envelope } from "../message/envelope.ts";
import { HeaderScanner } from "../message/header-scanner.ts";
import type { HeaderSection } from "../message/headers.ts";
import { type Outcome, outcome } from "../message/outcome.ts";
import { buildReceived } from "../message/received.ts";
import type { EventName, EventResult, FactSource, PolicyEffect, PolicySession } from "../policy/types.ts";
import { type BodySource, type BodyWriter, type NewMessage, QueueError, type Spool } from "../queue/types.ts";
import type { MaybePromise, MessageSink, SmtpClientInfo } from "../smtp/incoming/hooks.ts";
import type { Logger } from "../telemetry/log.ts";
import type { Metrics } from "../telemetry/metrics.ts";
import type { Live } from "./live.ts";
import type { TransactionMarks } from "./reception.ts";
import { replyOf } from "./verdict.ts";

export interface MessageServices {
  spool: Spool;
  log: Logger;
  metrics: Metrics;
  facts(live: Live): SessionFacts;
  /** Resolves with the verdict of processing, or undefined when `timeoutMs` passed first (smtpfilters.md §7.4). */
  processed(id: string, timeoutMs: number): Promise<Outcome | undefined>;
}

/** The facts of one session, told what of a message is at hand. */
export interface SessionFacts extends FactSource {
  headersArrived(headers: HeaderSection): void;
  contentArrived(body: BodySource): Promise<void>;
  messageEnded(): void;
}

export interface MessageContext {
  envelope: Envelope;
  client: SmtpClientInfo;
  live: Live;
  policy: PolicySession;
  facts: SessionFacts;
  marks: TransactionMarks;
  sessionEffects: readonly PolicyEffect[];
  run(event: EventName): MaybePromise<EventResult | undefined>;
  accepted(size: number): void;
}

export function openMessage(services: MessageServices, context: MessageContext): MessageSink {
  const { client, envelope, live } = context;
  const [only, ...others] = envelope.rcptTo;
  const received = buildReceived({
    client,
    hostName: live.config.server.name,
    queueId: client.sessionId,
    ...(only && others.length === 0 ? { recipient: only.address } : {}),
    remoteHost: "",
    now: Date.now(),
  });
  const body = services.spool.openBody(Buffer.from(received, "latin1"));
  const watched = (["onHeadersReceived", "onBodyChunk", "onDataReceived"] as const).some(
    (event) => !context.live.program.isEmpty(event),
  );
  return watched ? new WatchedSink(services, context, body) : new PlainSink(services, context, body);
}

/** No event looks at the message: octets go straight to the spool. */
class PlainSink implements MessageSink {
  protected readonly services: MessageServices;
  protected readonly context: MessageContext;
  protected readonly body: BodyWriter;

  constructor(services: MessageServices, context: MessageContext, body: BodyWriter) {
    this.services = services;
    this.context = context;
    this.body = body;
  }

  write(chunk: Uint8Array): Promise<void> | undefined {
    return this.body.write(chunk);
  }

  end(): MaybePromise<Outcome> {
    return this.commit([]);
  }

  abort(): void {
    this.body.abort();
  }

  protected async commit(lateEdits: readonly HeaderEdit[]): Promise<Outcome> {
    const { context, services } = this;
    const { envelope, policy } = context;
    const message = newMessage(context, lateEdits);
    if (message.envelope.rcptTo.length === 0) {
      this.body.abort();
      return this.#queued("discarded by policy");
    }
    let id: string;
    try {
      id = await services.spool.commit(this.body, message);
    } catch (error) {
      if (error instanceof QueueError) return error.outcome;
      throw error;
    }
    context.accepted(this.body.size);
    services.metrics.add("postern_messages_received_total");
    services.log.info(
      {
        session: context.client.sessionId,
        queueId: id,
        mailFrom: envelope.mailFrom,
        recipients: envelope.rcptTo.length,
        size: this.body.size,
        remoteIp: context.client.remoteIp,
      },
      "message queued",
    );
    const wait = Number(policy.read("waitProcessingTimeout")) || 0;
    if (wait > 0) {
      const verdict = await services.processed(id, wait * 1_000);
      if (verdict && verdict.code >= 400) return verdict;
    }
    return this.#queued(id);
  }

  #queued(detail: string): Outcome {
    return outcome.accept({
      code: 250,
      enhanced: "2.0.0",
      text: `Mail queued for delivery (${detail})`,
      origin: "engine",
    });
  }
}

/** Header or body events are in the program. */
class WatchedSink extends PlainSink {
  readonly #headers: HeaderScanner;
  #refusal: Outcome | undefined;
  #discard = false;
  #chain: Promise<void> | undefined;

  constructor(services: MessageServices, context: MessageContext, body: BodyWriter) {
    super(services, context, body);
    this.#headers = new HeaderScanner(context.live.budget);
  }

  override write(chunk: Uint8Array): Promise<void> | undefined {
    if (this.#refusal) return undefined;
    if (this.#headers.done) return this.#bodyChunk(chunk);
    const before = this.#headers.bytes.length;
    if (!this.#headers.push(chunk)) return undefined;
    const rest = Buffer.from(chunk.subarray(this.#headers.bytes.length - before));
    this.#chain = this.#headersComplete(rest);
    return this.#chain;
  }

  override abort(): void {
    this.context.facts.messageEnded();
    super.abort();
  }

  override async end(): Promise<Outcome> {
    try {
      return await this.#finish();
    } finally {
      this.context.facts.messageEnded();
    }
  }

  async #finish(): Promise<Outcome> {
    await this.#chain;
    if (!this.#headers.done) {
      this.#headers.finish();
      await this.#headersComplete(Buffer.alloc(0));
    }
    const { context } = this;
    if (!this.#refusal) {
      context.policy.input("mailSize", String(this.body.size));
      const kept = context.marks.effects.length;
      if (!context.live.program.isEmpty("onDataReceived")) {
        await context.facts.contentArrived(await this.body.content());
      }
      const result = await context.run("onDataReceived");
      this.#judge("onDataReceived", result);
      if (!this.#refusal && !this.#discard) return this.commit(editsOf(context.marks.effects.slice(kept)));
    }
    this.abort();
    return (
      this.#refusal ??
      outcome.accept({ code: 250, enhanced: "2.0.0", text: "Mail queued for delivery", origin: "policy discard" })
    );
  }

  async #headersComplete(rest: Buffer): Promise<void> {
    const { context } = this;
    context.facts.headersArrived(this.#headers.headers);
    this.#judge("onHeadersReceived", await context.run("onHeadersReceived"));
    if (this.#refusal) return;
    const edits = editsOf([...context.sessionEffects, ...context.marks.effects]);
    context.marks.effects = context.marks.effects.filter((effect) => editOfEffect(effect) === undefined);
    const section = this.#headers.bytes;
    const header = edits.length === 0 ? section : editHeaders(section, edits, context.live.budget).header;
    await this.body.write(header);
    if (rest.length > 0) await this.#bodyChunk(rest);
  }

  #bodyChunk(chunk: Uint8Array): Promise<void> | undefined {
    const { context } = this;
    if (context.live.program.isEmpty("onBodyChunk")) return this.body.write(chunk);
    const copy = Buffer.from(chunk);
    const run = async (): Promise<void> => {
      this.#judge("onBodyChunk", await context.run("onBodyChunk"));
      if (!this.#refusal) await this.body.write(copy);
    };
    this.#chain = run();
    return this.#chain;
  }

  #judge(event: EventName, result: EventResult | undefined): void {
    if (!result) return;
    this.#discard ||= result.action === "discard";
    const reply = replyOf(event, result);
    if (reply && reply.code >= 400) this.#refusal = reply;
  }
}

function editsOf(effects: readonly PolicyEffect[]): HeaderEdit[] {
  return effects.map(editOfEffect).filter((edit) => edit !== undefined);
}

/** The queue's view of the transaction, with everything that policy decided on the way. */
function newMessage(context: MessageContext, lateEdits: readonly HeaderEdit[]): NewMessage {
  const { envelope, client, policy, marks, live } = context;
  const effects = [...context.sessionEffects, ...marks.effects];
  const recipients = envelope.rcptTo.filter((recipient) => !marks.discarded.has(recipient.address));
  const text = (kind: "quarantine" | "hold" | "tag"): string[] =>
    effects.filter((effect) => effect.kind === kind).map((effect) => (effect as { text: string }).text);
  const seen = new Set(recipients.map((recipient) => recipient.address));
  for (const effect of effects) {
    if ((effect.kind === "addRcpt" || effect.kind === "addBcc") && !seen.has(effect.address)) {
      seen.add(effect.address);
      if (seen.size > live.budget.recipients + live.budget.addedRecipients) break;
      // RFC 3461 §5.2.7: an added recipient asks for no reports of its own.
      recipients.push({ address: effect.address, notify: ["NEVER"] });
    }
  }
  for (const address of live.rewriting.copiesFor(envelope.mailFrom, recipients)) {
    if (!seen.has(address)) recipients.push({ address, notify: ["NEVER"] });
    seen.add(address);
  }
  const quarantine = text("quarantine").at(-1);
  const hold = text("hold").at(-1);
  const delay = Math.max(0, ...effects.map((effect) => (effect.kind === "delay" ? effect.seconds : 0)));
  const notBefore = Math.max(envelope.holdUntil ?? 0, delay > 0 ? Date.now() + delay * 1_000 : 0);
  const tags = text("tag");
  const signatures = effects.filter((effect) => effect.kind === "signDkim");
  return {
    envelope: { ...envelope, rcptTo: recipients },
    client: { ...client },
    exports: policy.exports(),
    marks: {
      ...(lateEdits.length > 0 ? { headerEdits: lateEdits } : {}),
      ...(tags.length > 0 ? { tags } : {}),
      ...(quarantine !== undefined ? { quarantine: { reason: quarantine } } : {}),
      ...(signatures.length > 0 ? { signatures } : {}),
    },
    ...(notBefore > 0 ? { notBefore } : {}),
    ...(hold !== undefined ? { held: hold } : {}),
    runFilters: true,
  };
}
