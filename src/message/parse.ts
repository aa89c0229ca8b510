/**
 * Reads a whole message: header section at once, MIME structure when asked for.
 * Invariants: `bytes` is never changed or copied; offsets count in it. Failure: BudgetExceeded (see headers.ts and
 * mime.ts); any octets are otherwise a message.
 */

import { type AddressEntry, parseAddresses } from "./addresses.ts";
import { asBuffer } from "./charset.ts";
import { type MailDate, parseDate } from "./date.ts";
import { type HeaderSection, parseHeaders } from "./headers.ts";
import { type MimeBudget, MimePart } from "./mime.ts";

export class ParsedMessage {
  readonly bytes: Buffer;
  readonly headers: HeaderSection;
  readonly #budget: MimeBudget;
  #root: MimePart | undefined;

  constructor(bytes: Buffer, headers: HeaderSection, budget: MimeBudget) {
    this.bytes = bytes;
    this.headers = headers;
    this.#budget = budget;
  }

  get bodyStart(): number {
    return this.headers.bodyStart;
  }

  /** The top of the MIME tree; its headers are the message's own. */
  get root(): MimePart {
    this.#root ??= new MimePart(this.bytes, 0, this.bytes.length, this.#budget, {
      depth: 0,
      counter: { parts: 0 },
      headers: this.headers,
    });
    return this.#root;
  }

  /** All parts in order, top first, not those of nested messages. */
  parts(): MimePart[] {
    return [...this.root.walk()];
  }

  get subject(): string {
    return this.headers.first("subject")?.decoded ?? "";
  }

  /** Addresses of every field of that name, e.g. "from". */
  addresses(name: string): AddressEntry[] {
    return this.headers.all(name).flatMap((field) => parseAddresses(field.value));
  }

  get date(): MailDate | undefined {
    const field = this.headers.first("date");
    return field === undefined ? undefined : parseDate(field.value);
  }
}

/** Reads `bytes` as a message. Throws BudgetExceeded when the header section is beyond the budget. */
export function parseMessage(bytes: Uint8Array, budget: MimeBudget): ParsedMessage {
  const buffer = asBuffer(bytes);
  return new ParsedMessage(buffer, parseHeaders(buffer, budget), budget);
}
