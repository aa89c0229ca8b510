/**
 * A Sieve script as a filter of the chain: runs it and turns its actions into a Decision (RFC 5228 §2.10, §4).
 * Invariants: an implicit keep is "pass" and leaves earlier decisions alone; an explicit keep is a decision. A script
 * that fails leaves the implicit keep and a logged reason. Below server level a script runs once for each recipient.
 * Failure: none of the script's making; errors of the state store fail the filter.
 */
import type { Budget } from "../config/budget.ts";
import { domainOf, type Envelope } from "../message/envelope.ts";
import { parseHeaders } from "../message/headers.ts";
import { outcome } from "../message/outcome.ts";
import type { QueuedMessage, QueuedRecipient } from "../queue/types.ts";
import { type LevelHeaders, levelHeaders, sieveScores } from "../scanners/scores.ts";
import type { SieveScript } from "../sieve/compile.ts";
import type { Action, RedirectAction } from "../sieve/result.ts";
import { runSieve, type SieveResult } from "../sieve/run.ts";
import type { SieveSettings } from "../sieve/settings.ts";
import type { SharedState } from "../state/types.ts";
import type { Logger } from "../telemetry/log.ts";
import { digest, mailtoNotification, type ReplyContext, vacationReply } from "./automatic-reply.ts";
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
  /** Whether mail for this address is stored here. */
  isLocal: (address: string) => boolean;
  /** Folder hints for recipients stored elsewhere; off = a warning and keep. */
  relayFolders: boolean;
  levelNames?: LevelHeaders;
}

/** Marks a redirected copy with whose script sent it, so that a loop ends at its second round. */
export const redirectedHeader = "X-Postern-Redirected-By";
/** Folder that a relayed message should go to at the next server. */
export const folderHeader = "X-Postern-Folder";

export function sieveFilter(script: SieveScript, options: SieveFilterOptions): Filter {
  const { level, owner = "" } = options;
  const matches = (address: string) =>
    level === "domain" ? domainOf(address) === owner.toLowerCase() : address.toLowerCase() === owner.toLowerCase();
  return {
    name: `sieve ${script.file}`,
    level,
    priority: options.priority,
    ...(level === "server" ? {} : { applies: matches }),
    run: (context) => new SieveRun(script, options, context).run(),
  };
}

class SieveRun {
  readonly #script: SieveScript;
  readonly #options: SieveFilterOptions;
  readonly #message: QueuedMessage;
  readonly #content: WorkingMessage;
  readonly #recipients: readonly QueuedRecipient[];

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
    const result = await this.#execute(recipient);
    for (const error of result.errors) {
      this.#options.log.warn(
        { queueId: this.#message.id, script: this.#script.file, line: error.line, reason: error.message },
        "Sieve script failed; implicit keep",
      );
    }
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

  async #runOnce(recipient: QueuedRecipient, known: ReadonlyMap<string, boolean>): Promise<SieveResult> {
    const { client, envelope } = this.#message;
    const { spamtest, virustest } = sieveScores(this.#content.headers, this.#options.levelNames ?? levelHeaders);
    return runSieve(
      this.#script,
      {
        message: await this.#content.parsed(),
        envelope: {
          from: envelope.mailFrom,
          to: recipient.address,
          ...(recipient.orcpt === undefined ? {} : { originalTo: recipient.orcpt.replace(/^rfc822;/i, "") }),
          ...(client.authUser === "" ? {} : { auth: client.authUser }),
        },
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
    for (const action of result.actions) {
      this.#store(action, result, deliveries, decision);
      const outgoing = this.#outgoing(action, recipient);
      if (outgoing !== undefined) send.push(outgoing);
      else if (action.action === "redirect") looped = true;
    }
    decision.send = send;
    if (result.implicitKeep && (result.keepFlags.length > 0 || deliveries.length > 0)) {
      deliveries.push(...this.#marks("INBOX", result.keepFlags));
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
      deliveries.push(...this.#marks("INBOX", action.flags ?? result.keepFlags));
    } else if (action.action === "fileinto") {
      const folder = action.folder.replace(/[\x00-\x1f\x7f]/g, "");
      const elsewhere = this.#recipients.filter((recipient) => !this.#options.isLocal(recipient.address));
      deliveries.push(...this.#marks(folder, action.flags ?? result.keepFlags));
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

  #marks(folder: string, flags: readonly string[]): DeliveryMark[] {
    return this.#recipients
      .filter((recipient) => this.#options.isLocal(recipient.address))
      .map((recipient) => ({ recipient: recipient.address, folder, flags }));
  }

  #outgoing(action: Action, recipient: QueuedRecipient): OutgoingMessage | undefined {
    const context: ReplyContext = {
      headers: this.#content.headers,
      mailFrom: this.#message.envelope.mailFrom,
      recipient: recipient.address,
      hostName: this.#options.hostName,
      now: Date.now(),
    };
    switch (action.action) {
      case "redirect":
        return this.#redirect(action, recipient);
      case "vacation":
        return vacationReply(action, context);
      case "notify":
        return mailtoNotification(action, context);
      case "report":
        this.#options.log.warn({ queueId: this.#message.id }, "Sieve report action: not supported here");
        return undefined;
      default:
        return undefined;
    }
  }

  /** RFC 5228 §4.2, §10: a copy that has been through this script before is a loop. */
  #redirect(action: RedirectAction, recipient: QueuedRecipient): OutgoingMessage | undefined {
    const headers = this.#content.headers;
    const mine = recipient.address.toLowerCase();
    const looped =
      headers.all(redirectedHeader).some((field) => field.value.toLowerCase() === mine) ||
      headers.all("received").length >= this.#options.budget.receivedHeaders;
    if (looped) {
      this.#options.log.warn({ queueId: this.#message.id, to: action.address }, "Sieve redirect would loop: kept");
      return undefined;
    }
    const notify = action.notify?.split(",") as Envelope["rcptTo"][number]["notify"];
    return {
      envelope: {
        ...this.#message.envelope,
        rcptTo: [{ address: action.address, ...(notify === undefined ? {} : { notify }) }],
      },
      headerEdits: [{ op: "add", name: redirectedHeader, value: recipient.address, at: "top" }],
    };
  }

  #duplicateKey(key: string, recipient: QueuedRecipient): string {
    return digest(this.#options.level, this.#options.owner ?? recipient.address, key);
  }
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] };
