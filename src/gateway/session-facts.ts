/**
 * The facts of one SMTP session: what checks, filters and the message at hand say, as far as the session has come.
 * Invariants: signatures are verified over the message as the client sent it, whatever policy has edited since; filters
 * see it as it stands in the spool. Failure: `call` rejects, which the policy runtime turns into declared values.
 */
import { createFactSource, type FactServices, type Findings, type SenderFacts } from "../checks/facts.ts";
import type { MessageSource } from "../checks/message.ts";
import type { Envelope } from "../message/envelope.ts";
import type { HeaderSection } from "../message/headers.ts";
import { type ParsedMessage, parseMessage } from "../message/parse.ts";
import type { FactSource, PolicyEffect } from "../policy/types.ts";
import { WorkingMessage } from "../processing/content.ts";
import type { BodySource } from "../queue/types.ts";
import type { EnvelopeChanges } from "../scanners/milter/edits.ts";
import type { SmtpClientInfo } from "../smtp/incoming/hooks.ts";
import type { Logger } from "../telemetry/log.ts";
import { FilterFacts } from "./filter-facts.ts";
import type { Live } from "./live.ts";
import { type NamedFilter, type NamedScanners, ScriptFilters } from "./script-filters.ts";

type Read = (variable: string) => string;

/** What is the same for sessions and queued messages. */
export type CommonFacts = Required<Pick<FactSource, "rate" | "ignored" | "inList">>;

export interface SessionFactsOptions {
  live: Live;
  client: SmtpClientInfo;
  services: FactServices;
  scanner: NamedScanners;
  log: Logger;
  common: CommonFacts;
}

/** A message at its end. */
export interface ArrivedMessage {
  /** As the client sent it, from its start at each call. */
  asReceived(): MessageSource;
  /** As it is in the spool: with our trace field and the edits so far. */
  spooled: BodySource;
  /** Some event looks at the message's parts. */
  parse: boolean;
}

export class SessionFacts implements FactSource {
  readonly rate: CommonFacts["rate"];
  readonly ignored: CommonFacts["ignored"];
  readonly inList: CommonFacts["inList"];
  readonly #options: SessionFactsOptions;
  readonly #sender: SenderFacts;
  readonly #filterFacts: FilterFacts;
  #envelope: Envelope | undefined;
  #headers: HeaderSection | undefined;
  #parsed: ParsedMessage | undefined;
  #spooled: BodySource | undefined;
  /** Made when the first filter is named. */
  #filters: ScriptFilters | undefined;
  #content: WorkingMessage | undefined;

  constructor(options: SessionFactsOptions) {
    this.#options = options;
    this.#sender = createFactSource(options.services);
    this.#filterFacts = new FilterFacts(options.services.onRecord);
    this.rate = options.common.rate;
    this.ignored = options.common.ignored;
    this.inList = options.common.inList;
  }

  /** MAIL was given, or (undefined) the transaction is over. */
  mailBegan(envelope: Envelope | undefined): void {
    this.#envelope = envelope;
    this.#headers = undefined;
    this.#parsed = undefined;
    this.#spooled = undefined;
    this.#content = undefined;
    this.#sender.setMessage(undefined);
    this.#filters?.begin(envelope);
  }

  headersArrived(headers: HeaderSection): void {
    this.#headers = headers;
  }

  async contentArrived({ asReceived, spooled, parse }: ArrivedMessage): Promise<void> {
    const { budget } = this.#options.live;
    this.#sender.setMessage(asReceived);
    this.#spooled = spooled;
    if (!parse) return;
    if (spooled.size <= budget.policyContent) this.#parsed = parseMessage(await octets(spooled), budget);
    else this.#options.log.warn({ size: spooled.size }, "message too large for its parts to be shown to the policy");
  }

  ended(): void {
    this.mailBegan(undefined);
    // An orderly goodbye; what goes wrong with it concerns nobody any more.
    this.#filters?.close().catch((error: unknown) => this.#options.log.debug({ err: error }, "filter session"));
    this.#filters = undefined;
  }

  filterNamed(filter: NamedFilter): void {
    if (this.#filters === undefined) {
      const { live, scanner } = this.#options;
      this.#filters = new ScriptFilters(live.config.server.name, live.budget, scanner);
      this.#filters.begin(this.#envelope);
    }
    this.#filters.name(filter);
  }

  /** Header section of the message at hand, once it has arrived. */
  get headers(): HeaderSection | undefined {
    return this.#headers;
  }

  /** What filters changed of the message at hand; undefined when none was run on it. */
  get filtered(): { content: WorkingMessage; changes: EnvelopeChanges } | undefined {
    return this.#content && this.#filters && { content: this.#content, changes: this.#filters.changes };
  }

  /** SPF, DKIM, ARC and DMARC of the message at hand; false when they could not be had. */
  async authenticate(read: Read): Promise<boolean> {
    try {
      await this.#sender.call("checkDMARC", read);
      return true;
    } catch {
      return false; // in the trace already
    }
  }

  findings(): Promise<Findings> {
    return this.#sender.findings(this.#envelope?.mailFrom ?? "");
  }

  call(name: string, read: Read, effects: readonly PolicyEffect[]): Promise<Record<string, string>> {
    return name === "executeFilters" ? this.#executeFilters(read, effects) : this.#sender.call(name, read);
  }

  origin(answer: Record<string, string>): readonly string[] {
    return [...this.#filterFacts.origin(answer), ...this.#sender.origin(answer)];
  }

  header(name: string): readonly string[] {
    return this.#headers?.all(name).map((field) => field.decoded) ?? [];
  }

  strings(variable: MessageStrings): readonly string[] {
    return this.#parsed ? stringsOf(this.#parsed, variable) : [];
  }

  async #executeFilters(read: Read, effects: readonly PolicyEffect[]): Promise<Record<string, string>> {
    for (const effect of effects) if (effect.kind === "filter") this.filterNamed(effect);
    if (this.#filters === undefined) return {};
    const { client, live } = this.#options;
    const rcptTo = read("rcptTo");
    if (this.#spooled) this.#content ??= await WorkingMessage.open(this.#spooled, live.budget);
    const executed = this.#filters.execute({
      client,
      clientName: read("ReverseDNSResult") === "pass" ? read("ReverseDNSName") : "",
      envelope: this.#envelope,
      ...(this.#envelope && !this.#headers && rcptTo !== "" ? { recipient: rcptTo } : {}),
      ...(this.#content ? { content: this.#content } : {}),
      id: client.sessionId,
    });
    return this.#filterFacts.outputs(executed, true);
  }
}

type MessageStrings = Parameters<NonNullable<FactSource["strings"]>>[0];

export function stringsOf(message: ParsedMessage, variable: MessageStrings): readonly string[] {
  const parts = message.parts();
  if (variable === "mimeTypes") return parts.map((part) => part.mediaType);
  const attached = parts.filter((part) => part.filename !== "");
  return attached.map((part) => (variable === "attachmentNames" ? part.filename : part.mediaType));
}

async function octets(body: BodySource): Promise<Uint8Array> {
  return body.inMemory() ?? Buffer.concat(await Array.fromAsync(body.stream()));
}
