/**
 * When a sender gets a report: what NOTIFY asks for (RFC 3461 §5.2), nothing about reports and null senders (RFC 5321
 * §6.1), no delay warning for automatic and list mail (RFC 3834 §2), and no flood to an address that may be forged.
 * Invariants: a report asked for by NOTIFY is not kept back for being about automatic mail; failures always count, since
 * a list learns of dead subscribers by them. Failure: none.
 */
import type { Budget } from "../config/budget.ts";
import { domainOf, localPartOf } from "../message/envelope.ts";
import type { DeliveryResult, QueuedMessage } from "./types.ts";

export type ReportKind = "failure" | "delay" | "success";

/** The results a report of this kind may speak of. */
export function reportable(kind: ReportKind, message: QueuedMessage, results: DeliveryResult[]): DeliveryResult[] {
  if (message.envelope.mailFrom === "" || message.marks.report === true) return [];
  // One warning is enough; what became of the message is told at its end.
  if (kind === "delay" && message.delayNotified) return [];
  return results.filter(({ recipient, dsnPassedOn }) => {
    const { notify } = recipient;
    if (kind === "success") return notify?.includes("SUCCESS") === true && dsnPassedOn !== true;
    if (notify === undefined) return true; // RFC 3461 §4.1: failures by default, delays as we see fit
    return notify.includes(kind === "failure" ? "FAILURE" : "DELAY");
  });
}

const automaticFields =
  /^(?:auto-submitted:(?![ \t]*no\b)|precedence:[ \t]*(?:bulk|list|junk)\b|list-(?:id|post|unsubscribe):)/im;
const automaticSenders = /^(?:mailer-daemon|owner-.*|.*-(?:request|owner|bounces?)|.*-bounces?[+=].*)$/i;

/** The message was written by a program or came over a list: nobody waits for word of its delay. */
export function isAutomatic(mailFrom: string, headerSection: Uint8Array): boolean {
  if (automaticSenders.test(localPartOf(mailFrom))) return true;
  return automaticFields.test(Buffer.from(headerSection).toString("latin1"));
}

const hourMs = 3_600_000;

/**
 * Counts reports by the address and the domain they go to, an hour at a time: mail with forged senders must not make us
 * flood whoever they belong to. Of addresses beyond `reportAddresses` an hour only the domain counts.
 */
export class ReportLimits {
  readonly #budget: Pick<Budget, "reportsPerAddress" | "reportsPerDomain" | "reportAddresses">;
  readonly #counts = new Map<string, number>();
  #hour = 0;

  constructor(budget: Pick<Budget, "reportsPerAddress" | "reportsPerDomain" | "reportAddresses">) {
    this.#budget = budget;
  }

  /** Whether one more report may go to the address; it is counted. */
  allows(address: string, now: number): boolean {
    const hour = Math.floor(now / hourMs);
    if (hour !== this.#hour) {
      this.#hour = hour;
      this.#counts.clear();
    }
    const { reportsPerAddress, reportsPerDomain } = this.#budget;
    const domain = domainOf(address);
    const own = this.#count(`${localPartOf(address)}@${domain}`);
    const all = this.#count(domain);
    return own <= reportsPerAddress && all <= reportsPerDomain;
  }

  #count(key: string): number {
    const count = (this.#counts.get(key) ?? 0) + 1;
    if (count > 1 || this.#counts.size < this.#budget.reportAddresses) this.#counts.set(key, count);
    return count;
  }
}
