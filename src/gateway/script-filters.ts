/**
 * The milters that a script names by addMilterFilter and runs by executeFilters (smtpfilters.md §5.8, G16), in an SMTP
 * session or in processing.
 * Invariants: a filter sees each SMTP stage once, in order, as far as the session has come when it is run: up to the
 * recipients before the message is there, the whole message from onDataReceived on; filters run in the order they were
 * named, each on the message as the one before left it. A filter named before MAIL serves the session, a later one the
 * message. Failure: `execute` rejects with ScannerError or BudgetExceeded, the filter's connection is given up, and the
 * script's onError (tmpreject unless it says otherwise) decides.
 */
import { type Budget, BudgetExceeded } from "../config/budget.ts";
import type { ClientInfo, Envelope } from "../message/envelope.ts";
import type { Outcome } from "../message/outcome.ts";
import type { PolicyEffect } from "../policy/types.ts";
import type { WorkingMessage } from "../processing/content.ts";
import type { Decision } from "../processing/filter.ts";
import { type ChainAnswer, MilterChain } from "../scanners/milter/chain.ts";
import type { EnvelopeChanges } from "../scanners/milter/edits.ts";
import { MilterClient, milterSettings } from "../scanners/milter/link.ts";
import { clientMacro } from "../scanners/milter/macros.ts";
import { parseSocketAddress } from "../scanners/stream.ts";

export type NamedFilter = Extract<PolicyEffect, { kind: "filter" }>;

/** Where the session or the queued message stands. */
export interface FilterScene {
  client: ClientInfo;
  /** Verified name of the client, "" when there is none. */
  clientName: string;
  /** From MAIL on. */
  envelope?: Envelope | undefined;
  /** The recipient at hand in onRcptTo. */
  recipient?: string;
  /** From the end of the message on; filters change it. */
  content?: WorkingMessage;
  /** Name of the message for the filter: session or queue id. */
  id: string;
}

export interface FilterVerdict {
  /** Values of filterResult: "" when no filter had an objection. */
  result: "" | "reject" | "tmpreject" | "discard";
  outcome?: Outcome;
}

interface Member {
  filter: NamedFilter;
  ofSession: boolean;
  chain: MilterChain | undefined;
  ehlo: string | undefined;
  /** Envelope whose MAIL the filter has seen. */
  envelope: Envelope | undefined;
  recipients: Set<string>;
  sawMessage: boolean;
}

/** A session names this many filters at most. */
const maxFilters = 20;

export class ScriptFilters {
  readonly #hostName: string;
  readonly #budget: Budget;
  #members: Member[] = [];
  #envelope: Envelope | undefined;
  #changes: EnvelopeChanges = { added: [], deleted: [], quarantine: "" };

  constructor(hostName: string, budget: Budget) {
    this.#hostName = hostName;
    this.#budget = budget;
  }

  /** The envelope of the transaction under way. */
  get envelope(): Envelope | undefined {
    return this.#envelope;
  }

  /** What the filters want of a queued message; `content` is its copy that they worked on. */
  decision(content: WorkingMessage): Decision {
    const { added, deleted, quarantine, mailFrom } = this.#changes;
    return {
      ...(content.changed ? { header: content.header } : {}),
      ...(content.replacedBody ? { body: content.replacedBody } : {}),
      ...(mailFrom === undefined ? {} : { mailFrom }),
      ...(quarantine === "" ? {} : { action: { kind: "quarantine", reason: quarantine } }),
      addRecipients: added.map(({ address }) => address),
      removeRecipients: deleted,
    };
  }

  /** What the filters asked for beside the message's octets, since MAIL. */
  get changes(): EnvelopeChanges {
    return this.#changes;
  }

  /** A script's addMilterFilter; the same filter twice is one. */
  name(filter: NamedFilter): void {
    if (this.#members.some(({ filter: known }) => known.name === filter.name && known.address === filter.address))
      return;
    if (this.#members.length >= maxFilters) return;
    const ofSession = this.#envelope === undefined;
    this.#members.push({
      ...{ filter, ofSession, chain: undefined, ehlo: undefined, envelope: undefined },
      ...{ recipients: new Set(), sawMessage: false },
    });
  }

  /** MAIL was given, or (undefined) the transaction has ended. */
  begin(envelope: Envelope | undefined): void {
    this.#envelope = envelope;
    this.#changes = { added: [], deleted: [], quarantine: "" };
    const ended = this.#members.filter(({ ofSession }) => !ofSession);
    this.#members = this.#members.filter(({ ofSession }) => ofSession);
    for (const { chain } of ended) void chain?.close();
  }

  async close(): Promise<void> {
    await Promise.all(this.#members.map(({ chain }) => chain?.close()));
    this.#members = [];
  }

  /** Shows every filter what it has not seen yet; the first objection decides. */
  async execute(scene: FilterScene): Promise<FilterVerdict> {
    for (const member of this.#members) {
      try {
        const verdict = await this.#show(member, scene);
        if (verdict.result !== "") return verdict;
      } catch (error) {
        const { chain } = member;
        Object.assign(member, { chain: undefined, ehlo: undefined, envelope: undefined });
        await chain?.close();
        throw error;
      }
    }
    return { result: "" };
  }

  async #show(member: Member, scene: FilterScene): Promise<FilterVerdict> {
    const { client, envelope, content } = scene;
    const peer = { host: scene.clientName || `[${client.remoteIp}]`, ip: client.remoteIp, port: client.remotePort };
    let answer: ChainAnswer = {};
    if (member.chain === undefined) {
      member.chain = this.#open(member.filter, scene);
      answer = await member.chain.connect(peer);
    }
    const { chain } = member;
    if (!answer.outcome && client.ehlo !== "" && member.ehlo !== client.ehlo) {
      member.ehlo = client.ehlo;
      answer = await chain.helo(client.ehlo);
    }
    if (!answer.outcome && envelope && member.envelope !== envelope) {
      Object.assign(member, { envelope, sawMessage: false });
      member.recipients.clear();
      answer = await chain.mail(envelope.mailFrom);
    }
    if (answer.outcome) return verdictOf(answer.outcome);
    if (!envelope) return { result: "" };
    for (const { address } of envelope.rcptTo) {
      if ((await this.#recipient(member, address)).outcome) this.#changes.deleted.push(address);
    }
    // In onRcptTo a refusal is for this recipient alone, which is what the event decides about.
    if (scene.recipient !== undefined) answer = await this.#recipient(member, scene.recipient);
    if (answer.outcome) return verdictOf(answer.outcome);
    return content && !member.sawMessage ? this.#showMessage(member, content) : { result: "" };
  }

  async #recipient(member: Member, address: string): Promise<ChainAnswer> {
    if (member.recipients.has(address)) return {};
    member.recipients.add(address);
    return member.chain!.rcpt(address);
  }

  async #showMessage(member: Member, content: WorkingMessage): Promise<FilterVerdict> {
    member.sawMessage = true;
    const chain = member.chain!;
    const data = await chain.data();
    if (data.outcome) return verdictOf(data.outcome);
    // Our Received field is the top one of every message that came in over SMTP.
    const result = await chain.message(content.header, 1, () => content.body());
    if (result.outcome) return verdictOf(result.outcome);
    if (result.discard) return { result: "discard" };
    if (result.header || result.body) content.replace(result.header, result.body);
    const { envelope } = result;
    this.#changes.added.push(...envelope.added);
    this.#changes.deleted.push(...envelope.deleted);
    this.#changes.quarantine ||= envelope.quarantine;
    if (envelope.mailFrom !== undefined) this.#changes.mailFrom = envelope.mailFrom;
    if (this.#changes.added.length > this.#budget.addedRecipients) {
      throw new BudgetExceeded("addedRecipients", this.#budget.addedRecipients);
    }
    return { result: "" };
  }

  #open({ name, address, timeoutMs }: NamedFilter, scene: FilterScene): MilterChain {
    const times = { connectMs: timeoutMs, commandMs: timeoutMs, contentMs: timeoutMs };
    const socket = parseSocketAddress(address);
    // "wait" passes failures through to the script's onError.
    const client = new MilterClient(milterSettings({ name, address: socket, failure: "wait", ...times }), this.#budget);
    const macros = (macro: string) => clientMacro(macro, scene.client, this.#envelope, this.#hostName, scene.id);
    return new MilterChain([client], macros, this.#budget, true);
  }
}

function verdictOf(outcome: Outcome): FilterVerdict {
  return { result: outcome.temporary ? "tmpreject" : "reject", outcome };
}
