/**
 * Watches a message go by and keeps its header section, for decisions while the body still arrives.
 * Invariants: after `push` answered true the section is complete and later chunks cost nothing; octets are copied,
 * since the chunks belong to the caller. Failure: BudgetExceeded "headerSection"; a line longer than `textLineRead`
 * inside the section counts towards it like any other.
 */
import { type Budget, BudgetExceeded } from "../config/budget.ts";
import { asBuffer } from "./charset.ts";
import { type HeaderSection, parseHeaders } from "./headers.ts";

export class HeaderScanner {
  readonly #budget: Pick<Budget, "headerSection" | "headerFields">;
  #chunks: Buffer[] = [];
  #size = 0;
  /** Last two octets seen, for a blank line that spans chunks: LF, or LF CR. */
  #tail = 0x0a;
  #section: Buffer | undefined;
  #headers: HeaderSection | undefined;

  constructor(budget: Pick<Budget, "headerSection" | "headerFields">) {
    this.#budget = budget;
  }

  get done(): boolean {
    return this.#section !== undefined;
  }

  /** Takes the next octets of the message; answers true once the blank line was seen. */
  push(chunk: Uint8Array): boolean {
    if (this.#section !== undefined) return true;
    const end = this.#sectionEnd(chunk);
    const part = end < 0 ? chunk : chunk.subarray(0, end);
    this.#size += part.length;
    if (this.#size > this.#budget.headerSection) {
      throw new BudgetExceeded("headerSection", this.#budget.headerSection);
    }
    this.#chunks.push(Buffer.from(part));
    if (end >= 0) this.finish();
    return end >= 0;
  }

  /** No more octets: a message may end without a blank line. */
  finish(): void {
    if (this.#section !== undefined) return;
    this.#section = this.#chunks.length === 1 ? this.#chunks[0]! : Buffer.concat(this.#chunks);
    this.#chunks = [];
  }

  /** Octets of the section with its blank line, once done. */
  get bytes(): Buffer {
    return this.#section ?? Buffer.concat(this.#chunks);
  }

  /** Fields of the section. Throws BudgetExceeded "headerFields". */
  get headers(): HeaderSection {
    this.#headers ??= parseHeaders(this.bytes, this.#budget);
    return this.#headers;
  }

  /** Received fields seen: the loop count of RFC 5321 §6.3. */
  get receivedCount(): number {
    return this.headers.all("received").length;
  }

  /** Index after the blank line within `chunk`, or -1. */
  #sectionEnd(chunk: Uint8Array): number {
    const buffer = asBuffer(chunk);
    let at = 0;
    // A blank line is LF, or CR LF, right after a line end; `#tail` carries what the last chunk ended with.
    if (this.#tail === 0x0a0d) {
      if (buffer[0] === 0x0a) return 1;
    } else if (this.#tail === 0x0a && buffer.length > 0) {
      if (buffer[0] === 0x0a) return 1;
      if (buffer[0] === 0x0d && buffer[1] === 0x0a) return 2;
    }
    while ((at = buffer.indexOf(0x0a, at)) >= 0) {
      if (buffer[at + 1] === 0x0a) return at + 2;
      if (buffer[at + 1] === 0x0d && buffer[at + 2] === 0x0a) return at + 3;
      at++;
    }
    this.#keepTail(buffer);
    return -1;
  }

  #keepTail(buffer: Buffer): void {
    const last = buffer.at(-1);
    if (last === undefined) return;
    const before = buffer.length > 1 ? buffer.at(-2) : this.#tail & 0xff;
    this.#tail = last === 0x0d && before === 0x0a ? 0x0a0d : last;
  }
}
