/**
 * A Sieve script as a filter of the chain: runs it and turns its actions into a Decision (RFC 5228 §2.10, §4).
 * Invariants: an implicit keep is "pass" and leaves earlier decisions alone; an explicit keep is a decision. A script
 * that fails leaves the implicit keep and a logged reason. One that asks for the recipient runs once for each, others
 * once for all whom they concern. What goes out is made by sieve-outgoing.ts.
 * Failure: none of the script's making; errors of the state store fail the filter.
 */
import type { Budget } from "../config/budget.ts";
import { domainOf, type Envelope } from "../message/envelope.ts";
import { parseHeaders } from "../message/headers.ts";
import { outcome } from "../message/outcome.ts";
import type { QueuedMessage, QueuedRecipient } from "../queue/types.ts";
import { type LevelHeaders, levelHeaders, sieveScores } from "../scanners/scores.ts";
import type { SieveScript } from "../sieve/compile.ts";
import type { SieveEnvelope, SieveLists } from "../sieve/host.ts";
import type { Action, FileTarget } from "../sieve/result.ts";
import { runSieve, type SieveResult } from "../sieve/run.ts";
import type { SieveSettings } from "../sieve/settings.ts";
import type { SharedState } from "../state/types.ts";
import type { Logger } from "../telemetry/log.ts";
import type { WorkingMessage } from "./content.ts";
import type {
  Decision,
  DeliveryMark,
  Filter,
  FilterContext,
  FilterLevel,
  FinalAction,
  OutgoingMessage,
} from "./filter.ts";
import { type AccountMailboxes, storeFolder } from "./sieve-mailboxes.ts";
import { digest, outgoingMessage, type Sending } from "./sieve-outgoing.ts";

export interface SieveFilterOptions {
  level: FilterLevel;
  priority: number;
  /** Domain or account whose mail the script sees; absent at server level. */
  owner?: string;
  settings: SieveSettings;
  budget: Budget;
  hostName: string;
  state: Pick<SharedState, "get">;
  log: Logger;
  /** Is told of each run. */
  ran?: (run: SieveRan) => void;
  /** Whether mail for this address is stored here. */
  isLocal: (address: string) => boolean;
  /** Folder hints for recipients stored elsewhere; off = a warning and keep. */
  relayFolders: boolean;
  /** The account that an address belongs to, lower case; its detail (RFC 5233) is no part of that. */
  accountOf: (address: string) => string;
  levelNames?: LevelHeaders;
  /** Named lists for `:list` (RFC 6134); none when absent. */
  lists?: SieveLists;
  /** What the store has for an account; asked only by scripts that ask about mailboxes. */
  mailboxes?: (account: string) => Promise<AccountMailboxes>;
}

export interface SieveRan {
  script: SieveScript;
  message: QueuedMessage;
  recipient: string;
  result: SieveResult;
}

/** Folder that a relayed message should go to at the next server. */
export const folderHeader = "X-Postern-Folder";

export function sieveFilter(script: SieveScript, options: SieveFilterOptions): Filter {
  const { level, owner = "" } = options;
  const wanted = owner.toLowerCase();
  const matches = (address: string) =>
    level === "domain" ? domainOf(address) === wanted : options.accountOf(address) === wanted;
  return {
    name: `sieve ${script.file}`,
    level,
    priority: options.priority,
    perRecipient: asksForRecipient(script),
    ...(level === "server" ? {} : { applies: matches }),
    run: (context) => new SieveRun(script, options, context).run(),
  };
}

/** RFC 5228 §5.4: "to" is the recipient at hand; with such a test a script has something of its own to say to each. */
const recipientCapabilities = ["envelope", "environment", "vacation", "enotify", "mailbox", "special-use"];

function asksForRecipient({ capabilities }: SieveScript): boolean {
  return recipientCapabilities.some((name) => capabilities.has(name));
}

function asksForMailboxes({ capabilities }: SieveScript): boolean {
  return capabilities.has("mailbox") || capabilities.has("special-use");
}

class SieveRun {
  readonly #script: SieveScript;
  readonly #options: SieveFilterOptions;
  readonly #message: QueuedMessage;
  readonly #content: WorkingMessage;
  readonly #recipients: readonly QueuedRecipient[];
  /** Of the recipient at hand, for scripts that ask. */
  #mailboxes: AccountMailboxes | undefined;

  constructor(script: SieveScript, options: SieveFilterOptions, context: FilterContext) {
    this.#script = script;
    this.#options = options;
    this.#message = context.message;
    this.#content = context.content;
    this.#recipients = context.recipients;
  }

  /** The script's word on the message, with the first recipient in its envelope. */
  async run(): Promise<Decision> {
    const recipient = this.#recipients[0]!;
    if (asksForMailboxes(this.#script) && this.#options.isLocal(recipient.address)) {
      this.#mailboxes = await this.#options.mailboxes?.(this.#options.accountOf(recipient.address));
    }
    const result = await this.#execute(recipient);
    for (const error of result.errors) {
      this.#options.log.warn(
        { queueId: this.#message.id, script: this.#script.file, line: error.line, reason: error.message },
        "Sieve script failed; implicit keep",
      );
    }
    this.#options.ran?.({ script: this.#script, message: this.#message, recipient: recipient.address, result });
    return this.#decide(result, recipient);
  }

  /** `duplicate` asks shared state while the script runs, so a first run collects the keys and a second has the answers. */
  async #execute(recipient: QueuedRecipient): Promise<SieveResult> {
    const known = new Map<string, boolean>();
    const first = await this.#runOnce(recipient, known);
    if (first.remember.length === 0) return first;
    for (const { key } of first.remember) {
      known.set(
        key,
        (await this.#options.state.get("sieve-duplicate", this.#duplicateKey(key, recipient))) !== undefined,
      );
    }
    return this.#runOnce(recipient, known);
  }

  #envelope(recipient: QueuedRecipient): SieveEnvelope {
    const { client, envelope } = this.#message;
    return {
      from: envelope.mailFrom,
      to: recipient.address,
      ...(recipient.orcpt === undefined ? {} : { originalTo: recipient.orcpt.replace(/^rfc822;/i, "") }),
      ...(client.authUser === "" ? {} : { auth: client.authUser }),
      parts: envelopeParts(envelope, recipient),
    };
  }

  async #runOnce(recipient: QueuedRecipient, known: ReadonlyMap<string, boolean>): Promise<SieveResult> {
    const { client } = this.#message;
    const { spamtest, virustest } = sieveScores(this.#content.headers, this.#options.levelNames ?? levelHeaders);
    return runSieve(
      this.#script,
      {
        message: await this.#content.parsed(),
        envelope: this.#envelope(recipient),
        environment: {
          "remote-ip": client.remoteIp,
          "remote-host": this.#message.exports.remoteHost ?? "",
          host: this.#options.hostName,
          domain: domainOf(recipient.address),
        },
        // RFC 5235 §2: levels 1–10 stand for 0–100 percent.
        scores: {
          ...(spamtest > 0 ? { spam: ((spamtest - 1) * 100) / 9 } : {}),
          ...(virustest > 0 ? { virus: virustest } : {}),
        },
        seen: (key) => known.get(key) ?? false,
        ...(this.#options.lists === undefined ? {} : { lists: this.#options.lists }),
        ...(this.#mailboxes === undefined ? {} : { mailboxes: this.#mailboxes }),
      },
      { settings: this.#options.settings, budget: this.#options.budget },
    );
  }

  #decide(result: SieveResult, recipient: QueuedRecipient): Decision {
    const decision: Mutable<Decision> = {
      remember: result.remember.map(({ key, seconds }) => ({
        key: this.#duplicateKey(key, recipient),
        ttlMs: seconds * 1_000,
      })),
    };
    if (result.editedMessage !== undefined) {
      const { bodyStart } = parseHeaders(result.editedMessage, this.#options.budget);
      decision.header = result.editedMessage.subarray(0, bodyStart);
      // The script saw only the beginning of a very large message: its body stays.
      if (!this.#content.truncated) decision.body = result.editedMessage.subarray(bodyStart);
    }
    const send: OutgoingMessage[] = [];
    const deliveries: DeliveryMark[] = [];
    let looped = false;
    const around: Sending = {
      ...{ options: this.#options, message: this.#message, content: this.#content, recipient: recipient.address },
      envelope: this.#envelope(recipient),
      target: (fcc) => this.#target(fcc, []),
    };
    for (const action of result.actions) {
      this.#store(action, result, deliveries, decision);
      const outgoing = outgoingMessage(action, around);
      if (outgoing !== undefined) send.push(outgoing);
      else if (action.action === "redirect") looped = true;
    }
    decision.send = send;
    if (result.implicitKeep && (result.keepFlags.length > 0 || deliveries.length > 0)) {
      deliveries.push(...this.#marks({ folder: "INBOX", flags: result.keepFlags }));
    }
    if (deliveries.length > 0) decision.deliveries = deliveries;
    const action = decision.action ?? this.#finalAction(result, deliveries.length > 0, looped);
    return action === undefined ? decision : { ...decision, action };
  }

  /** What becomes of the message itself; undefined is the implicit keep. */
  #finalAction(result: SieveResult, stored: boolean, looped: boolean): FinalAction | undefined {
    for (const action of result.actions) {
      if (action.action === "reject" || action.action === "ereject") {
        return {
          kind: "reject",
          outcome: outcome.reject({
            code: 550,
            enhanced: "5.7.1",
            text: action.reason,
            origin: `sieve ${this.#script.file}`,
          }),
        };
      }
    }
    if (stored) return { kind: "keep" };
    if (result.implicitKeep) return undefined;
    // A redirect that would loop must not lose the message.
    if (looped || result.actions.some((action) => action.action === "keep")) return { kind: "keep" };
    return { kind: "discard", reason: `sieve ${this.#script.file}` };
  }

  #store(action: Action, result: SieveResult, deliveries: DeliveryMark[], decision: Mutable<Decision>): void {
    if (action.action === "keep") {
      deliveries.push(...this.#marks({ folder: "INBOX", flags: action.flags ?? result.keepFlags }));
    } else if (action.action === "fileinto") {
      const target = this.#target(action, result.keepFlags);
      const { folder } = target;
      const elsewhere = this.#recipients.filter((recipient) => !this.#options.isLocal(recipient.address));
      deliveries.push(...this.#marks(target));
      if (elsewhere.length === 0) return;
      if (/^quarantine(\/|$)/i.test(folder)) decision.action = { kind: "quarantine", reason: `sieve: ${folder}` };
      else if (this.#options.relayFolders) {
        decision.headerEdits = [{ op: "add", name: folderHeader, value: folder, at: "top" }];
        decision.action = { kind: "keep" };
      } else {
        this.#options.log.warn(
          { queueId: this.#message.id, folder },
          "fileinto for a recipient stored elsewhere: kept",
        );
        decision.action = { kind: "keep" };
      }
    }
  }

  #marks(target: Omit<DeliveryMark, "recipient">): DeliveryMark[] {
    return this.#recipients
      .filter((recipient) => this.#options.isLocal(recipient.address))
      .map((recipient) => ({ recipient: recipient.address, ...target }));
  }

  /** RFC 8579 §4: the mailbox with the attribute, else the named one, which gets the attribute when it is made. */
  #target({ folder, specialUse, create, flags }: FileTarget, keepFlags: readonly string[]) {
    const used = specialUse === undefined ? undefined : this.#mailboxes?.folderFor(specialUse);
    const name = used ?? storeFolder(folder.replace(/[\x00-\x1f\x7f]/g, ""));
    const made = create && specialUse !== undefined && this.#mailboxes?.exists(name) === false;
    return { folder: name, flags: flags ?? keepFlags, ...(made ? { specialUse } : {}) };
  }

  #duplicateKey(key: string, recipient: QueuedRecipient): string {
    return digest(this.#options.level, this.#options.owner ?? recipient.address, key);
  }
}

/** RFC 6009 §2, §3: the DSN and DELIVERBY parameters as the envelope test sees them. */
function envelopeParts({ envid, ret, deliverBy }: Envelope, recipient: QueuedRecipient): Record<string, string> {
  const { notify, orcpt } = recipient;
  return {
    ...(notify === undefined ? {} : { notify: notify.join(",") }),
    ...(orcpt === undefined ? {} : { orcpt }),
    ...(ret === undefined ? {} : { ret }),
    ...(envid === undefined ? {} : { envid }),
    ...(deliverBy === undefined
      ? {}
      : {
          bytimeabsolute: new Date(deliverBy.deadline).toISOString(),
          bytimerelative: String(Math.round((deliverBy.deadline - Date.now()) / 1_000)),
          bymode: deliverBy.mode,
          bytrace: String(deliverBy.trace),
        }),
  };
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] };
