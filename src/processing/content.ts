/**
 * A queued message while filters work on it: header section in memory, body streamed from the spool.
 * Invariants: the queued body is never changed; the edited message exists only here until `write`; at most
 * `filteredBytes` of it are held for parsing. Failure: BudgetExceeded "headerSection" when the header has no end.
 */
import type { Budget } from "../config/budget.ts";
import { editHeaders, type HeaderEdit } from "../message/edit.ts";
import { HeaderScanner } from "../message/header-scanner.ts";
import { type HeaderSection, parseHeaders } from "../message/headers.ts";
import { type ParsedMessage, parseMessage } from "../message/parse.ts";
import type { BodySource, BodyWriter } from "../queue/types.ts";

export class WorkingMessage {
  readonly #budget: Budget;
  readonly #source: BodySource;
  #header: Buffer;
  /** Where the body begins in the queued octets. */
  readonly #bodyStart: number;
  #body: Buffer | undefined;
  #changed = false;
  #headers: HeaderSection | undefined;
  #parsed: ParsedMessage | undefined;

  private constructor(source: BodySource, header: Buffer, bodyStart: number, budget: Budget) {
    this.#source = source;
    this.#header = header;
    this.#bodyStart = bodyStart;
    this.#budget = budget;
  }

  static async open(source: BodySource, budget: Budget): Promise<WorkingMessage> {
    const scanner = new HeaderScanner(budget);
    for await (const chunk of source.stream()) if (scanner.push(chunk)) break;
    scanner.finish();
    return new WorkingMessage(source, scanner.bytes, scanner.bytes.length, budget);
  }

  /** True once the message differs from what the queue holds. */
  get changed(): boolean {
    return this.#changed;
  }

  /** Header section with its blank line. */
  get header(): Buffer {
    return this.#header;
  }

  /** The new body when it was replaced. */
  get replacedBody(): Buffer | undefined {
    return this.#body;
  }

  get headers(): HeaderSection {
    this.#headers ??= parseHeaders(this.#header, this.#budget);
    return this.#headers;
  }

  get size(): number {
    return this.#header.length + (this.#body?.length ?? this.#source.size - this.#bodyStart);
  }

  /** The body alone; may be called many times. */
  body(): AsyncIterable<Uint8Array> | Iterable<Uint8Array> {
    return this.#body === undefined ? skip(this.#source.stream(), this.#bodyStart) : [this.#body];
  }

  /** The whole message as it is now. */
  async *bytes(): AsyncGenerator<Uint8Array> {
    yield this.#header;
    yield* this.body();
  }

  /** True when the message is larger than what `parsed` shows of it. */
  get truncated(): boolean {
    return this.size > this.#budget.filteredBytes;
  }

  /** The message parsed; of one beyond the budget's `filteredBytes` only so much of it. */
  async parsed(): Promise<ParsedMessage> {
    if (this.#parsed === undefined) {
      const chunks: Uint8Array[] = [];
      let left = this.#budget.filteredBytes;
      for await (const chunk of this.bytes()) {
        chunks.push(chunk.subarray(0, left));
        left -= chunk.length;
        if (left <= 0) break;
      }
      this.#parsed = parseMessage(chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks), this.#budget);
    }
    return this.#parsed;
  }

  edit(edits: readonly HeaderEdit[]): void {
    if (edits.length === 0) return;
    const result = editHeaders(this.#header, edits, this.#budget);
    if (result.changed) this.replace(result.header, undefined);
  }

  /** Sets a new header section or body; undefined keeps the present one. */
  replace(header: Buffer | undefined, body: Buffer | undefined): void {
    this.#header = header ?? this.#header;
    this.#body = body ?? this.#body;
    this.#headers = undefined;
    this.#parsed = undefined;
    this.#changed = true;
  }

  /** A message of its own that begins as this one is now. */
  copy(): WorkingMessage {
    const twin = new WorkingMessage(this.#source, this.#header, this.#bodyStart, this.#budget);
    twin.#body = this.#body;
    twin.#changed = this.#changed;
    return twin;
  }

  /** Writes the message as it is now into a new spool body. */
  async write(open: (prefix: Uint8Array) => BodyWriter): Promise<BodyWriter> {
    const writer = open(this.#header);
    try {
      for await (const chunk of this.body()) await writer.write(chunk);
    } catch (error) {
      writer.abort();
      throw error;
    }
    return writer;
  }
}

async function* skip(stream: AsyncIterable<Uint8Array>, count: number): AsyncGenerator<Uint8Array> {
  let left = count;
  for await (const chunk of stream) {
    if (left >= chunk.length) left -= chunk.length;
    else {
      yield left > 0 ? chunk.subarray(left) : chunk;
      left = 0;
    }
  }
}
