/**
 * A header section (RFC 5322 §2.2) as fields with their places in the octets they were read from.
 * Invariants: fields keep their order; a field's octets are bytes[start, end) with its line end; texts are made when
 * first asked for. Reading is tolerant: LF line ends, a leading mbox "From " line, blanks before the colon, raw 8-bit
 * values, and a missing blank line (the first line that is no field begins the body, as MTAs read it).
 * Failure: BudgetExceeded "headerSection" or "headerFields".
 */
import { type Budget, BudgetExceeded } from "../config/budget.ts";
import { asBuffer, decodeUnlabelled } from "./charset.ts";
import { decodeWords } from "./encoded-word.ts";

export class HeaderField {
  /** Name as written. */
  readonly name: string;
  readonly lower: string;
  /** First octet of the name, first octet after the colon, octet after the line end. */
  readonly start: number;
  readonly valueStart: number;
  readonly end: number;
  readonly #bytes: Buffer;
  #raw: string | undefined;
  #value: string | undefined;
  #decoded: string | undefined;

  constructor(bytes: Buffer, name: string, start: number, valueStart: number, end: number) {
    this.#bytes = bytes;
    this.name = name;
    this.lower = name.toLowerCase();
    this.start = start;
    this.valueStart = valueStart;
    this.end = end;
  }

  /** Value as written: leading blank and folding kept, final line end removed. */
  get raw(): string {
    if (this.#raw !== undefined) return this.#raw;
    let end = this.end;
    if (end > this.valueStart && this.#bytes[end - 1] === 0x0a) end--;
    if (end > this.valueStart && this.#bytes[end - 1] === 0x0d) end--;
    this.#raw = decodeUnlabelled(this.#bytes.subarray(this.valueStart, end));
    return this.#raw;
  }

  /** Unfolded (RFC 5322 §2.2.3) and trimmed; encoded words left alone. */
  get value(): string {
    this.#value ??= this.raw.replace(/\r?\n(?=[ \t])|[\r\n]/g, "").trim();
    return this.#value;
  }

  /** Unfolded with RFC 2047 words decoded; line breaks and NUL that hid in a word become spaces. */
  get decoded(): string {
    this.#decoded ??= this.value.includes("=?") ? decodeWords(this.value).replace(/[\r\n\0]/g, " ") : this.value;
    return this.#decoded;
  }

  /** The field's octets with its line end. */
  get bytes(): Buffer {
    return this.#bytes.subarray(this.start, this.end);
  }
}

export class HeaderSection {
  readonly fields: readonly HeaderField[];
  /** Where the section began, and the first octet after the blank line that ended it. */
  readonly start: number;
  readonly bodyStart: number;
  #byName: Map<string, HeaderField[]> | undefined;

  constructor(fields: readonly HeaderField[], start: number, bodyStart: number) {
    this.fields = fields;
    this.start = start;
    this.bodyStart = bodyStart;
  }

  /** Fields of that name, top first. */
  all(name: string): readonly HeaderField[] {
    if (this.#byName === undefined) {
      this.#byName = new Map();
      for (const field of this.fields) {
        const same = this.#byName.get(field.lower);
        if (same) same.push(field);
        else this.#byName.set(field.lower, [field]);
      }
    }
    return this.#byName.get(name.toLowerCase()) ?? [];
  }

  first(name: string): HeaderField | undefined {
    return this.all(name)[0];
  }

  /** Decoded values of that name, top first. */
  values(name: string): string[] {
    return this.all(name).map((field) => field.decoded);
  }
}

/** Reads the header section of bytes[start, limit). */
export function parseHeaders(
  bytes: Uint8Array,
  budget: Pick<Budget, "headerSection" | "headerFields">,
  start = 0,
  limit = bytes.length,
): HeaderSection {
  const buffer = asBuffer(bytes);
  const fields: HeaderField[] = [];
  let at = start;
  // mbox separators that a forwarder left on top (Postfix and Sendmail skip them too).
  while (
    buffer
      .toString("latin1", at, Math.min(at + 6, limit))
      .replace(/^>/, "")
      .startsWith("From ")
  ) {
    const newline = buffer.indexOf(0x0a, at);
    if (newline < 0 || newline >= limit) break;
    at = newline + 1;
  }
  while (at < limit) {
    if (buffer[at] === 0x0a) return new HeaderSection(fields, start, at + 1);
    if (buffer[at] === 0x0d && buffer[at + 1] === 0x0a)
      return new HeaderSection(fields, start, Math.min(at + 2, limit));
    const nameEnd = fieldNameEnd(buffer, at, limit);
    if (nameEnd < 0) return new HeaderSection(fields, start, at);
    let end = at;
    do {
      const newline = buffer.indexOf(0x0a, end);
      end = newline < 0 || newline >= limit ? limit : newline + 1;
    } while (end < limit && isBlank(buffer[end]));
    if (end - start > budget.headerSection) throw new BudgetExceeded("headerSection", budget.headerSection);
    if (fields.length >= budget.headerFields) throw new BudgetExceeded("headerFields", budget.headerFields);
    const colon = buffer.indexOf(0x3a, nameEnd);
    fields.push(new HeaderField(buffer, buffer.toString("latin1", at, nameEnd), at, colon + 1, end));
    at = end;
  }
  return new HeaderSection(fields, start, limit);
}

/** End of the field name at `at` when the line is a field (RFC 5322 §3.6.8, §4.5: blanks may precede the colon), else -1. */
function fieldNameEnd(buffer: Buffer, at: number, limit: number): number {
  let end = at;
  while (end < limit && buffer[end]! > 0x20 && buffer[end] !== 0x3a && buffer[end] !== 0x7f) end++;
  let colon = end;
  while (isBlank(buffer[colon])) colon++;
  return end > at && colon < limit && buffer[colon] === 0x3a ? end : -1;
}

function isBlank(byte: number | undefined): boolean {
  return byte === 0x20 || byte === 0x09;
}
