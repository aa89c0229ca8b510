/**
 * The books of a chaos run: what got a 250, and what became of it. A message may arrive twice when a connection or a
 * process dies between delivery and its mark (RFC 5321 §6.1); none may be lost or damaged.
 */
import { createHash } from "node:crypto";

export interface Balance {
  sent: number;
  accepted: number;
  delivered: number;
  bounced: number;
  queued: number;
  twice: number;
  damaged: number;
  /** Messages with a 250 that are nowhere: number and the fault that was on when they were accepted. */
  lost: Array<{ number: number; during: string }>;
}

export class Ledger {
  /** What is being done to the gateway at the moment. */
  fault = "none";
  sent = 0;
  readonly #accepted = new Map<number, string>();
  readonly #delivered = new Map<number, number>();
  readonly #bounced = new Set<number>();
  #damaged = 0;

  get acceptedCount(): number {
    return this.#accepted.size;
  }

  accepted(number: number): void {
    this.#accepted.set(number, this.fault);
  }

  /** Books a message that the next hop took. */
  arrived(message: string): void {
    const number = numberOf(message);
    const [, check] = /^X-Check: ([0-9a-f]{40})\r$/m.exec(message) ?? [];
    const body = message.slice(message.indexOf("\r\n\r\n") + 4);
    if (number === undefined || check !== checkOf(body)) this.#damaged++;
    else this.#delivered.set(number, (this.#delivered.get(number) ?? 0) + 1);
  }

  /** Books a report, which quotes the message's header. */
  reported(report: string): void {
    const number = numberOf(report);
    if (number !== undefined) this.#bounced.add(number);
  }

  /** Messages with a 250 that have neither arrived nor bounced. */
  get open(): number {
    let open = 0;
    for (const number of this.#accepted.keys()) if (!this.#ended(number)) open++;
    return open;
  }

  /** `queued`: how many messages the queue says it holds; so many may be on their way. */
  balance(queued: number): Balance {
    const open = [...this.#accepted].filter(([number]) => !this.#ended(number));
    return {
      sent: this.sent,
      accepted: this.#accepted.size,
      delivered: [...this.#accepted.keys()].filter((number) => this.#delivered.has(number)).length,
      bounced: this.#bounced.size,
      queued,
      twice: [...this.#delivered.values()].filter((count) => count > 1).length,
      damaged: this.#damaged,
      lost: open.slice(0, Math.max(0, open.length - queued)).map(([number, during]) => ({ number, during })),
    };
  }

  #ended(number: number): boolean {
    return this.#delivered.has(number) || this.#bounced.has(number);
  }
}

/** The text of message `number`, its body CRLF lines. */
export function messageText(number: number, body = bodyText(number)): string {
  return `Subject: number ${number}\r\nX-Check: ${checkOf(body)}\r\nFrom: <a@sender.test>\r\n\r\n${body}`;
}

/** Sizes go from small to larger than what the queue keeps in its log. */
function bodyText(number: number): string {
  const octets = number % 50 === 49 ? 200_000 : 300 + ((number * 37) % 6_000);
  return `${`${number} `.repeat(12).slice(0, 70)}\r\n`.repeat(Math.ceil(octets / 72));
}

function checkOf(body: string): string {
  return createHash("sha1").update(body).digest("hex");
}

function numberOf(message: string): number | undefined {
  const digits = /^Subject: number (\d+)\r$/m.exec(message)?.[1];
  return digits === undefined ? undefined : Number(digits);
}

export function printed(balance: Balance): string {
  const { lost, ...counts } = balance;
  const columns = [...Object.entries(counts), ["lost", lost.length] as const];
  return columns.map(([name, value]) => `${name} ${value}`).join(", ");
}
