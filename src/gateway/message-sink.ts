/**
 * Takes one message's octets from the SMTP session into the spool and asks the policy on the way: onHeadersReceived
 * when the header section is complete, onBodyChunk, onDataReceived after the last octet.
 * Invariants: the body goes to the spool as it comes (constant memory); without header or body events in the program no
 * octet is looked at here; a refusal before the end is remembered and given at the final dot (smtpfilters.md §7.2).
 * Failure: commit errors become the QueueError's outcome; an aborted message leaves nothing.
 */
import { countForAggregate } from "../checks/dmarc/aggregate.ts";
import type { MessageSource } from "../checks/message.ts";
import { editHeaders, editOfEffect, type HeaderEdit } from "../message/edit.ts";
import type { Envelope } from "../message/envelope.ts";
import { HeaderScanner } from "../message/header-scanner.ts";
import { type Outcome, outcome } from "../message/outcome.ts";
import { buildReceived } from "../message/received.ts";
import type { EventName, EventResult, PolicyEffect, PolicySession } from "../policy/types.ts";
import { type BodySource, type BodyWriter, type NewMessage, QueueError, type Spool } from "../queue/types.ts";
import type { MaybePromise, MessageSink, SmtpClientInfo } from "../smtp/incoming/hooks.ts";
import type { Counts } from "../state/tally.ts";
import type { Logger } from "../telemetry/log.ts";
import type { Metrics } from "../telemetry/metrics.ts";
import { findingEdits, withoutForgedFields } from "./authentication.ts";
import type { Live } from "./live.ts";
import type { TransactionMarks } from "./reception.ts";
import type { SessionFacts } from "./session-facts.ts";
import { replyOf } from "./verdict.ts";

export interface MessageServices {
  spool: Spool;
  log: Logger;
  metrics: Metrics;
  facts(live: Live, client: SmtpClientInfo): SessionFacts;
  /** Counts results for the domains' owners; undefined when no reports are sent. */
  dmarcReports?: Counts | undefined;
  /** Resolves with the verdict of processing, or undefined when `timeoutMs` passed first (smtpfilters.md §7.4). */
  processed(id: string, timeoutMs: number): Promise<Outcome | undefined>;
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
  const watched =
    live.config.authentication.results ||
    (readsLevels(live) && !live.trusts(client.remoteIp)) ||
    context.marks.effects.some((effect) => editOfEffect(effect) !== undefined) ||
    (["onHeadersReceived", "onBodyChunk", "onDataReceived"] as const).some((event) => !live.program.isEmpty(event));
  return watched ? new WatchedSink(services, context, body) : new PlainSink(services, context, body);
}

/** Scanners or Sieve scripts act on levels in the header, which not everyone may have written. */
function readsLevels({ config, sieve }: Live): boolean {
  return sieve.length > 0 || config.scanners.length > 0 || config.managesieve !== null;
}

/** No event looks at the message: octets go straight to the spool. */
class PlainSink implements MessageSink {
  protected readonly services: MessageServices;
  protected readonly context: MessageContext;
  protected body: BodyWriter;

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
      if (error instanceof QueueError) return this.refused(error.outcome);
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
      if (verdict && verdict.code >= 500) return this.refused(verdict);
    }
    return this.#queued(id);
  }

  protected refused(verdict: Outcome): Outcome {
    this.services.metrics.add("postern_messages_refused_total");
    return verdict;
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
  /** What policy asked for before the body came. */
  #written: readonly PolicyEffect[] = [];
  /** Our trace field, and the header section as written. */
  #headerOctets: number;

  constructor(services: MessageServices, context: MessageContext, body: BodyWriter) {
    super(services, context, body);
    this.#headers = new HeaderScanner(context.live.budget);
    this.#headerOctets = body.size;
  }

  override write(chunk: Uint8Array): Promise<void> | undefined {
    if (this.#refusal) return undefined;
    // The pieces of one read come at once, whether or not an event still thinks about the one before.
    if (this.#chain) return this.#inTurn(this.#chain.then(this.#later(chunk)));
    if (this.#headers.done) return this.#bodyChunk(chunk);
    const before = this.#headers.bytes.length;
    if (!this.#headers.push(chunk)) return undefined;
    const rest = Buffer.from(chunk.subarray(this.#headers.bytes.length - before));
    return this.#inTurn(this.#headersComplete(rest));
  }

  /** Takes a copy of the piece; what is fed is used again. */
  #later(chunk: Uint8Array): () => Promise<void> | undefined {
    const copy = Buffer.from(chunk);
    return () => (this.#refusal ? undefined : this.#showChunk(copy));
  }

  /** Pieces wait for `work` until it is done. */
  #inTurn(work: Promise<void>): Promise<void> {
    const chain = work.finally(() => {
      if (this.#chain === chain) this.#chain = undefined;
    });
    this.#chain = chain;
    return chain;
  }

  override abort(): void {
    this.context.facts.mailBegan(undefined);
    super.abort();
  }

  override async end(): Promise<Outcome> {
    try {
      return await this.#finish();
    } finally {
      this.context.facts.mailBegan(undefined);
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
      const failed = await this.#contentComplete();
      this.#judge("onDataReceived", await context.run("onDataReceived"));
      await this.#countForReport();
      if (!this.#refusal && !this.#discard) {
        const effects = context.marks.effects.slice(kept);
        const found = await this.#findings(failed, effects);
        await this.#takeFiltered();
        return this.commit([...found, ...editsOf(effects)]);
      }
    }
    this.abort();
    if (this.#refusal) return this.refused(this.#refusal);
    return outcome.accept({ code: 250, enhanced: "2.0.0", text: "Mail queued for delivery", origin: "policy discard" });
  }

  /** Shows the whole message to the facts; answers true when an authentication that was wanted could not be made. */
  async #contentComplete(): Promise<boolean> {
    const { facts, live, client, policy } = this.context;
    const event = !live.program.isEmpty("onDataReceived");
    // A submitter is known by his password; there is nothing to authenticate.
    const results = live.config.authentication.results && client.authUser === "";
    if (!event && !results) return false;
    const spooled = await this.body.content();
    const header = this.#headers.bytes;
    const from = this.#headerOctets;
    await facts.contentArrived({ asReceived: () => asReceived(header, spooled, from), spooled, parse: event });
    return results && !(await facts.authenticate((variable) => policy.read(variable)));
  }

  async #countForReport(): Promise<void> {
    const { dmarcReports } = this.services;
    if (dmarcReports === undefined) return;
    const { client, envelope, facts, marks } = this.context;
    const { authentication } = await facts.findings();
    if (authentication === undefined) return;
    const quarantined = marks.effects.some((effect) => effect.kind === "quarantine");
    const passed = authentication.dmarc.result === "pass" ? "pass" : "none";
    const disposition = this.#refusal ? "reject" : quarantined ? "quarantine" : passed;
    const sourceIp = client.remoteIp;
    const message = { sourceIp, envelopeFrom: envelope.mailFrom, disposition, authentication } as const;
    countForAggregate(message, dmarcReports);
  }

  /** The fields that say what was found. */
  async #findings(failed: boolean, late: readonly PolicyEffect[]): Promise<HeaderEdit[]> {
    const { facts, live, marks } = this.context;
    const written = [...marks.effects, ...late, ...this.#written].some(
      (effect) => "name" in effect && effect.name.toLowerCase() === "received-spf",
    );
    return findingEdits(await facts.findings(), live.config.server.name, { failed, spfWritten: written });
  }

  /** What filters that the script ran have made of the message takes its place. */
  async #takeFiltered(): Promise<void> {
    const { filtered } = this.context.facts;
    if (filtered === undefined) return;
    const { envelope, marks } = this.context;
    const { added, deleted, quarantine, mailFrom } = filtered.changes;
    for (const { address } of added) marks.effects.push({ kind: "addRcpt", address });
    for (const address of deleted) marks.discarded.add(address);
    if (quarantine !== "") marks.effects.push({ kind: "quarantine", text: quarantine });
    if (mailFrom !== undefined) envelope.mailFrom = mailFrom;
    if (!filtered.content.changed) return;
    const before = this.body;
    this.body = await filtered.content.write((prefix) => this.services.spool.openBody(prefix));
    before.abort();
  }

  async #headersComplete(rest: Buffer): Promise<void> {
    const { context } = this;
    context.facts.headersArrived(this.#headers.headers);
    this.#judge("onHeadersReceived", await context.run("onHeadersReceived"));
    if (this.#refusal) return;
    this.#written = [...context.sessionEffects, ...context.marks.effects];
    const edits = editsOf(this.#written);
    context.marks.effects = context.marks.effects.filter((effect) => editOfEffect(effect) === undefined);
    const { budget, config } = context.live;
    const trusted = context.live.trusts(context.client.remoteIp);
    const section = withoutForgedFields(this.#headers.bytes, this.#headers.headers, config.server.name, trusted);
    const header = edits.length === 0 ? section : editHeaders(section, edits, budget).header;
    this.#headerOctets += header.length;
    await this.body.write(header);
    if (rest.length > 0) await this.#showChunk(rest);
  }

  #bodyChunk(chunk: Uint8Array): Promise<void> | undefined {
    if (this.context.live.program.isEmpty("onBodyChunk")) return this.body.write(chunk);
    return this.#inTurn(this.#showChunk(Buffer.from(chunk)));
  }

  async #showChunk(chunk: Buffer): Promise<void> {
    this.#judge("onBodyChunk", await this.context.run("onBodyChunk"));
    if (!this.#refusal) await this.body.write(chunk);
  }

  #judge(event: EventName, result: EventResult | undefined): void {
    if (!result) return;
    this.#discard ||= result.action === "discard";
    const reply = replyOf(event, result);
    if (reply && reply.code >= 400) this.#refusal = reply;
  }
}

/** The client's own header, and the spooled octets from `bodyStart` on. */
function asReceived(header: Buffer, spooled: BodySource, bodyStart: number): MessageSource {
  const memory = spooled.inMemory();
  if (memory) return Buffer.concat([header, memory.subarray(bodyStart)]);
  return (async function* () {
    yield header;
    let skip = bodyStart;
    for await (const chunk of spooled.stream()) {
      if (skip < chunk.length) yield chunk.subarray(skip);
      skip = Math.max(0, skip - chunk.length);
    }
  })();
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
