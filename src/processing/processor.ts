/**
 * Processing: runs the filter chain over a queued message before its first delivery attempt (DESIGN §2,
 * smtpfilters.md §12.1).
 * Invariants: levels run server → domain → account, priorities low first; the last filter that decides wins, per
 * recipient; nothing is sent, split or remembered before the last filter has answered. Recipients with unlike fates or
 * contents are split into messages of their own.
 * Failure: a filter that fails defers the whole message (451 4.3.0), and the whole chain runs again later.
 */
import { type Budget, BudgetExceeded } from "../config/budget.ts";
import type { HeaderEdit } from "../message/edit.ts";
import { type Outcome, outcome } from "../message/outcome.ts";
import type {
  BodySource,
  NewMessage,
  ProcessingVerdict,
  Processor,
  QueuedMessage,
  QueuedRecipient,
  Spool,
} from "../queue/types.ts";
import type { SharedState } from "../state/types.ts";
import type { Logger } from "../telemetry/log.ts";
import { WorkingMessage } from "./content.ts";
import type { Decision, DeliveryMark, Filter, FilterLevel, FinalAction, OutgoingMessage } from "./filter.ts";

export interface ProcessorOptions {
  spool: Pick<Spool, "openBody" | "commit">;
  /** The filters that may concern a message, in any order: server ones, and those of its recipients. */
  filters: (message: QueuedMessage) => readonly Filter[] | Promise<readonly Filter[]>;
  state: Pick<SharedState, "add" | "set">;
  budget: Budget;
  log: Logger;
}

/** Marks that this module writes and reads. */
interface Marks {
  headerEdits?: readonly HeaderEdit[];
  deliveries?: readonly DeliveryMark[];
  quarantine?: { reason: string };
  tags?: readonly string[];
  signatures?: Decision["signatures"];
  /** Set on a message that was split off: its fate is decided. */
  decided?: FinalAction;
  wasHeld?: boolean;
}

const levels: readonly FilterLevel[] = ["server", "domain", "account"];

/** Recipients that share content and fate. */
interface Branch {
  recipients: QueuedRecipient[];
  content: WorkingMessage;
}

export function createProcessor(options: ProcessorOptions): Processor {
  return { process: (message, body) => new Run(options, message).process(body) };
}

class Run {
  readonly #options: ProcessorOptions;
  readonly #message: QueuedMessage;
  readonly #actions = new Map<string, FinalAction>();
  readonly #send: Array<OutgoingMessage & { content: WorkingMessage }> = [];
  readonly #remember: Array<{ key: string; ttlMs: number }> = [];
  #deliveries: DeliveryMark[] = [];
  #branches: Branch[] = [];

  constructor(options: ProcessorOptions, message: QueuedMessage) {
    this.#options = options;
    this.#message = message;
  }

  get #marks(): Marks {
    return this.#message.marks as Marks;
  }

  async process(body: BodySource): Promise<ProcessingVerdict> {
    const { decided, headerEdits } = this.#marks;
    if (decided !== undefined) return this.#verdict(decided);
    const filters = ordered(await this.#options.filters(this.#message));
    if (filters.length === 0 && headerEdits === undefined) {
      body.release?.(); // nobody has looked at it
      return { kind: "continue" };
    }
    const { recipients, envelope, exports, marks } = structuredClone(this.#message);
    try {
      const content = await WorkingMessage.open(body, this.#options.budget);
      if (headerEdits !== undefined) content.edit(headerEdits);
      this.#branches = [{ recipients: this.#message.recipients.filter((r) => r.state === "received"), content }];
      for (const filter of filters) await this.#apply(filter);
      const postponed = [...this.#actions.values()].find((action) => action.kind === "defer");
      if (postponed === undefined) return await this.#commit();
      // The chain runs again from the start: nothing that it changed may stay.
      Object.assign(this.#message, { recipients, envelope, exports, marks });
      return { kind: "defer", outcome: postponed.outcome };
    } catch (error) {
      Object.assign(this.#message, { recipients, envelope, exports, marks });
      return this.#deferred(error);
    }
  }

  async #apply(filter: Filter): Promise<void> {
    for (const branch of [...this.#branches]) {
      const concerned = branch.recipients.filter((recipient) => filter.applies?.(recipient.address) ?? true);
      if (concerned.length === 0) continue;
      if (filter.perRecipient) for (const recipient of concerned) await this.#ask(filter, [recipient], branch);
      else await this.#ask(filter, concerned, branch);
    }
  }

  async #ask(filter: Filter, concerned: QueuedRecipient[], branch: Branch): Promise<void> {
    const began = performance.now();
    const decision = await filter.run({ message: this.#message, content: branch.content, recipients: concerned });
    const ms = performance.now() - began;
    const action = decision.action?.kind;
    this.#options.log.debug({ queueId: this.#message.id, filter: filter.name, action, ms }, "filter ran");
    this.#take(decision, concerned, branch);
  }

  #take(decision: Decision, concerned: QueuedRecipient[], branch: Branch): void {
    const edits = decision.headerEdits ?? [];
    const changes = edits.length > 0 || decision.header !== undefined || decision.body !== undefined;
    const target = changes ? this.#branchOf(concerned, branch) : branch;
    if (decision.header !== undefined || decision.body !== undefined) {
      target.content.replace(decision.header, decision.body);
    }
    target.content.edit(edits);
    for (const { address } of concerned) if (decision.action) this.#actions.set(address, decision.action);
    if (decision.deliveries !== undefined) {
      const theirs = new Set(concerned.map((recipient) => recipient.address));
      this.#deliveries = this.#deliveries.filter((mark) => !theirs.has(mark.recipient)).concat(decision.deliveries);
    }
    for (const message of decision.send ?? []) this.#send.push({ ...message, content: target.content });
    this.#remember.push(...(decision.remember ?? []));
    if (decision.mailFrom !== undefined) this.#message.envelope.mailFrom = decision.mailFrom;
    Object.assign(this.#message.exports, decision.exports);
    if (decision.tags?.length) this.#message.marks.tags = [...(this.#marks.tags ?? []), ...decision.tags];
    if (decision.signatures?.length) {
      this.#message.marks.signatures = [...(this.#marks.signatures ?? []), ...decision.signatures];
    }
    this.#changeRecipients(decision, target);
  }

  /** The branch whose recipients are exactly those concerned: a new one when others share it. */
  #branchOf(concerned: QueuedRecipient[], branch: Branch): Branch {
    if (concerned.length === branch.recipients.length) return branch;
    branch.recipients = branch.recipients.filter((recipient) => !concerned.includes(recipient));
    const own = { recipients: concerned, content: branch.content.copy() };
    this.#branches.push(own);
    return own;
  }

  #changeRecipients(decision: Decision, branch: Branch): void {
    const removed = new Set(decision.removeRecipients?.map((address) => address.toLowerCase()));
    for (const recipient of branch.recipients) {
      if (removed.has(recipient.address.toLowerCase())) recipient.state = "discarded";
    }
    branch.recipients = branch.recipients.filter((recipient) => recipient.state === "received");
    const known = new Set(this.#message.recipients.map((recipient) => recipient.address));
    for (const address of decision.addRecipients ?? []) {
      if (known.has(address)) continue;
      if (this.#message.recipients.length >= this.#options.budget.recipients + this.#options.budget.addedRecipients) {
        throw new BudgetExceeded("addedRecipients", this.#options.budget.addedRecipients);
      }
      known.add(address);
      // RFC 3461 §5.2.7: an added recipient asks for no reports of its own.
      const added: QueuedRecipient = {
        address,
        notify: ["NEVER"],
        index: this.#message.recipients.length,
        state: "received",
        attempts: 0,
      };
      this.#message.recipients.push(added);
      this.#message.envelope.rcptTo.push({ address, notify: ["NEVER"] });
      branch.recipients.push(added);
    }
  }

  /** Every filter has answered: carry the result out. The message at hand keeps the first group, others are split off. */
  async #commit(): Promise<ProcessingVerdict> {
    const groups = this.#branches
      .flatMap((branch) => this.#byFate(branch))
      .filter((group) => group.recipients.length > 0);
    const [own, ...others] = togetherRefused(groups);
    for (const group of others) await this.#splitOff(group);
    for (const outgoing of this.#send) await this.#sendOne(outgoing);
    for (const { key, ttlMs } of this.#remember) await this.#options.state.set("sieve-duplicate", key, "", ttlMs);
    if (own === undefined) return { kind: "discard", reason: "no recipient left" };
    delete this.#message.marks.headerEdits;
    this.#setMarks(this.#message.marks, own);
    const verdict = this.#verdict(own.fate);
    if (verdict.kind !== "continue" || !own.content.changed) return verdict;
    const replacedBody = await own.content.write((prefix) => this.#options.spool.openBody(prefix));
    return { kind: "continue", replacedBody };
  }

  #byFate(branch: Branch): Group[] {
    const groups = new Map<string, Group>();
    for (const recipient of branch.recipients) {
      const fate = this.#actions.get(recipient.address) ?? { kind: "keep" };
      const key = JSON.stringify(fate);
      const group = groups.get(key);
      if (group) group.recipients.push(recipient);
      else groups.set(key, { fate, recipients: [recipient], content: branch.content });
    }
    return [...groups.values()];
  }

  async #splitOff(group: Group): Promise<void> {
    for (const recipient of group.recipients) recipient.state = "discarded";
    if (group.fate.kind === "discard") return;
    const decided = group.fate.kind === "reject" || group.fate.kind === "hold";
    const { id: _id, ...rest } = this.#message;
    const marks: Record<string, unknown> = { ...rest.marks, ...(decided ? { decided: group.fate } : {}) };
    delete marks.headerEdits;
    this.#setMarks(marks, group);
    const rcptTo = group.recipients.map(({ address, orcpt, notify, route }) => ({
      address,
      ...(orcpt === undefined ? {} : { orcpt }),
      ...(notify === undefined ? {} : { notify }),
      ...(route === undefined ? {} : { route }),
    }));
    const split: NewMessage = {
      envelope: { ...rest.envelope, rcptTo },
      client: rest.client,
      exports: rest.exports,
      marks,
      runFilters: decided,
    };
    const body = await group.content.write((prefix) => this.#options.spool.openBody(prefix));
    const id = await this.#options.spool.commit(body, split);
    this.#options.log.info({ queueId: this.#message.id, splitId: id, fate: group.fate.kind }, "recipients split off");
  }

  #setMarks(marks: Record<string, unknown>, group: Group): void {
    const addresses = new Set(group.recipients.map((recipient) => recipient.address));
    const deliveries = this.#deliveries.filter((mark) => addresses.has(mark.recipient));
    if (deliveries.length > 0) marks.deliveries = deliveries;
    if (group.fate.kind === "quarantine") marks.quarantine = { reason: group.fate.reason };
  }

  async #sendOne(outgoing: OutgoingMessage & { content: WorkingMessage }): Promise<void> {
    const { spool, state, log } = this.#options;
    if (outgoing.once && !(await state.add("once", outgoing.once.key, this.#message.id, outgoing.once.ttlMs))) return;
    const open = (prefix: Uint8Array) => spool.openBody(prefix);
    let body: ReturnType<typeof open>;
    if (outgoing.bytes !== undefined) body = open(outgoing.bytes);
    else {
      const content = outgoing.content.copy();
      if (outgoing.header !== undefined) content.replace(outgoing.header, undefined);
      body = await content.write(open);
    }
    const id = await spool.commit(body, {
      envelope: outgoing.envelope,
      client: this.#message.client,
      exports: {},
      marks: {},
      runFilters: false,
    });
    log.info(
      { queueId: this.#message.id, newId: id, rcptTo: outgoing.envelope.rcptTo[0]?.address },
      "message sent by a filter",
    );
    if (outgoing.copy !== undefined && outgoing.bytes !== undefined)
      await this.#fileCopy(outgoing.bytes, outgoing.copy);
  }

  /** RFC 8580: the copy is a message of its own for the mailbox that the mark names. */
  async #fileCopy(bytes: Buffer, mark: DeliveryMark): Promise<void> {
    const { spool } = this.#options;
    await spool.commit(spool.openBody(bytes), {
      envelope: {
        mailFrom: "",
        rcptTo: [{ address: mark.recipient, notify: ["NEVER"] }],
        declaredSize: 0,
        body: "8BITMIME",
        smtpUtf8: /[^\x00-\x7f]/.test(mark.recipient),
        requireTls: false,
      },
      client: this.#message.client,
      exports: {},
      marks: { deliveries: [mark] },
      runFilters: false,
    });
  }

  #verdict(fate: FinalAction): ProcessingVerdict {
    switch (fate.kind) {
      case "reject":
      case "defer":
        return { kind: fate.kind, outcome: fate.outcome };
      case "discard":
        return { kind: "discard", reason: fate.reason };
      case "hold":
        // Held once: whoever released the message has overruled the filter.
        if (this.#marks.wasHeld) return { kind: "continue" };
        this.#message.marks.wasHeld = true;
        return { kind: "hold", reason: fate.reason };
      default:
        return { kind: "continue" };
    }
  }

  #deferred(error: unknown): ProcessingVerdict {
    this.#options.log.warn({ queueId: this.#message.id, err: error }, "a filter failed; the message waits");
    const text = error instanceof Error ? error.message : String(error);
    return { kind: "defer", outcome: waiting(text) };
  }
}

interface Group extends Branch {
  fate: FinalAction;
}

/**
 * RFC 5429 §2.1.1: the message at hand may be refused to its client only when it is refused for every recipient; else
 * it goes on with those who take it, and refusals are split off and reported.
 */
function togetherRefused(groups: Group[]): Group[] {
  const first = groups.findIndex((group) => group.fate.kind !== "reject");
  if (first >= 0) return [groups[first]!, ...groups.slice(0, first), ...groups.slice(first + 1)];
  const [refused] = groups;
  return refused ? [{ ...refused, recipients: groups.flatMap((group) => group.recipients) }] : [];
}

function waiting(text: string): Outcome {
  return outcome.defer({ code: 451, enhanced: "4.3.0", text: `Processing failed: ${text}`, origin: "processing" });
}

function ordered(filters: readonly Filter[]): Filter[] {
  return [...filters].sort((a, b) => levels.indexOf(a.level) - levels.indexOf(b.level) || a.priority - b.priority);
}
