/**
 * The milters and configured scanners that a script names by addMilterFilter and runs by executeFilters (smtpfilters.md
 * §5.8, G16), in an SMTP session or in processing.
 * Invariants: a filter sees each SMTP stage once, in order, as far as the session has come when it is run: up to the
 * recipients before the message is there, the whole message from onDataReceived on; filters run in the order they were
 * named, each on the message as the one before left it. A filter named before MAIL serves the session, a later one the
 * message. A scanner sees the whole message alone. Failure: `execute` rejects with ScannerError or BudgetExceeded, the
 * filter's connection is given up, and the script's onError (tmpreject unless it says otherwise) decides.
 */
import { type Budget, BudgetExceeded } from "../config/budget.ts";
import type { ClientInfo, Envelope } from "../message/envelope.ts";
import { type Outcome, outcome, printable } from "../message/outcome.ts";
import type { PolicyEffect } from "../policy/types.ts";
import type { WorkingMessage } from "../processing/content.ts";
import type { Decision } from "../processing/filter.ts";
import type { Judge } from "../processing/scanner-filter.ts";
import { type ChainAnswer, MilterChain } from "../scanners/milter/chain.ts";
import type { EnvelopeChanges } from "../scanners/milter/edits.ts";
import { MilterClient, milterSettings } from "../scanners/milter/link.ts";
import { clientMacro } from "../scanners/milter/macros.ts";
import { spamLevel } from "../scanners/scores.ts";
import { parseSocketAddress } from "../scanners/stream.ts";
import { type ScanInput, ScannerError, type ScanVerdict } from "../scanners/types.ts";

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
  /** What the scanners asked so far found in the message. */
  found: Found;
  /** Who was asked this time, what each said, and how long it took. */
  asked: readonly string[];
}

export interface Found {
  virus: string;
  /** As X-AxigenSpam-Level, the highest of the scanners; 0 = none gave a score. */
  spamLevel: number;
  symbols: readonly string[];
}

/** What one filter says. */
type Objection = Omit<FilterVerdict, "found" | "asked">;

const nothingFound: Found = { virus: "", spamLevel: 0, symbols: [] };

/** The configured scanner of a name. */
export type NamedScanners = (name: string) => Judge | undefined;

/** How a script names a configured scanner in filterAddress. */
const scannerAddress = /^scanner:(.+)$/;

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
const maxSymbols = 1_000;

export class ScriptFilters {
  readonly #hostName: string;
  readonly #budget: Budget;
  readonly #scanners: NamedScanners;
  #members: Member[] = [];
  #envelope: Envelope | undefined;
  #changes: EnvelopeChanges = { added: [], deleted: [], quarantine: "" };
  #found = nothingFound;

  constructor(hostName: string, budget: Budget, scanners: NamedScanners = () => undefined) {
    this.#hostName = hostName;
    this.#budget = budget;
    this.#scanners = scanners;
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
    this.#found = nothingFound;
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
    const asked: string[] = [];
    for (const member of this.#members) {
      const { name, address } = member.filter;
      const began = performance.now();
      try {
        const [, scanner] = scannerAddress.exec(address) ?? [];
        const shown = scanner === undefined ? this.#show(member, scene) : this.#scan(member, scanner, scene);
        const objection = await shown;
        if (!objection) continue;
        const ms = Math.round((performance.now() - began) * 10) / 10;
        asked.push(printable(`${name} at ${address} says ${objection.result || "nothing against it"}, ${ms} ms`));
        if (objection.result !== "") return { ...objection, found: this.#found, asked };
      } catch (error) {
        const { chain } = member;
        Object.assign(member, { chain: undefined, ehlo: undefined, envelope: undefined });
        await chain?.close();
        throw error;
      }
    }
    return { result: "", found: this.#found, asked };
  }

  /** Undefined when there is nothing new to show. */
  async #scan(member: Member, name: string, scene: FilterScene): Promise<Objection | undefined> {
    const { client, envelope, content } = scene;
    const judge = this.#scanners(name);
    if (judge === undefined) throw new RangeError(`no scanner is called ${name}`);
    // A scanner belongs to the message it was named for or, named before MAIL, to each.
    if (!envelope || !content || member.envelope === envelope) return undefined;
    member.envelope = envelope;
    const input: ScanInput = {
      bytes: () => content.bytes(),
      size: content.size,
      mailFrom: envelope.mailFrom,
      rcptTo: envelope.rcptTo.map(({ address }) => address),
      remoteIp: client.remoteIp,
      remotePort: client.remotePort,
      remoteHost: scene.clientName,
      ehlo: client.ehlo,
      authUser: client.authUser,
      queueId: scene.id,
    };
    const { decision, verdict } = await within(member.filter.timeoutMs, judge(input, content, refused));
    if (verdict) this.#keep(verdict);
    return this.#obey(decision, content);
  }

  #keep(verdict: ScanVerdict): void {
    const { virus, spamLevel: before, symbols } = this.#found;
    this.#found = {
      virus: virus || verdict.virus,
      spamLevel: Math.max(before, spamLevel(verdict) ?? 0),
      symbols: [...symbols, ...verdict.symbols.map((symbol) => printable(symbol))].slice(0, maxSymbols),
    };
  }

  #obey({ action, headerEdits = [], header, body, ...envelope }: Decision, content: WorkingMessage): Objection {
    content.edit(headerEdits);
    if (header || body) content.replace(header, body);
    const added = (envelope.addRecipients ?? []).map((address) => ({ address, args: "" }));
    const { mailFrom } = envelope;
    this.#change({
      ...{ added, deleted: [...(envelope.removeRecipients ?? [])] },
      quarantine: action?.kind === "quarantine" ? action.reason : "",
      ...(mailFrom === undefined ? {} : { mailFrom }),
    });
    if (action?.kind === "reject" || action?.kind === "defer") return verdictOf(action.outcome);
    return { result: action?.kind === "discard" ? "discard" : "" };
  }

  #change({ added, deleted, quarantine, mailFrom }: EnvelopeChanges): void {
    this.#changes.added.push(...added);
    this.#changes.deleted.push(...deleted);
    this.#changes.quarantine ||= quarantine;
    if (mailFrom !== undefined) this.#changes.mailFrom = mailFrom;
    if (this.#changes.added.length > this.#budget.addedRecipients) {
      throw new BudgetExceeded("addedRecipients", this.#budget.addedRecipients);
    }
  }

  async #show(member: Member, scene: FilterScene): Promise<Objection> {
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

  async #showMessage(member: Member, content: WorkingMessage): Promise<Objection> {
    member.sawMessage = true;
    const chain = member.chain!;
    const data = await chain.data();
    if (data.outcome) return verdictOf(data.outcome);
    // Our Received field is the top one of every message that came in over SMTP.
    const result = await chain.message(content.header, 1, () => content.body());
    if (result.outcome) return verdictOf(result.outcome);
    if (result.discard) return { result: "discard" };
    if (result.header || result.body) content.replace(result.header, result.body);
    this.#change(result.envelope);
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

/** A scanner's refusal in a reply of its own. */
function refused(reason: string, origin: string): Outcome {
  return outcome.reject({ code: 550, enhanced: "5.7.1", text: reason, origin });
}

/** The script's own patience, which may be shorter than the configured one. */
async function within<T>(timeoutMs: number, work: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new ScannerError("timeout", `no answer within ${timeoutMs} ms`)), timeoutMs);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}

function verdictOf(outcome: Outcome): Objection {
  return { result: outcome.temporary ? "tmpreject" : "reject", outcome };
}
