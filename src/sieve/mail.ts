/**
 * A message as a Sieve script sees and changes it: fields from top to bottom, the MIME tree, edits (RFC 5293, 5703).
 * Invariants: the octets given are never changed; fields and structure are parsed once; an edit
 * makes a new Mail that shares all else, so an action keeps the message as it was at its time. Failure: BudgetExceeded from parsing a hostile message.
 */
import { type Budget, BudgetExceeded } from "../config/budget.ts";
import { foldField } from "../message/edit.ts";
import type { MimePart } from "../message/mime.ts";
import { type ParsedMessage, parseMessage } from "../message/parse.ts";

/** HeaderField of src/message has this shape too. */
export interface MailField {
  readonly name: string;
  readonly lower: string;
  readonly value: string;
  readonly decoded: string;
  readonly bytes: Buffer;
}

export class Mail {
  readonly #parsed: ParsedMessage;
  readonly #budget: Budget;
  readonly #fields: readonly MailField[];
  /** Edited fields by name; untouched messages use the parser's own index. */
  #index: Map<string, MailField[]> | undefined;
  readonly #edits: number;

  private constructor(parsed: ParsedMessage, budget: Budget, fields: readonly MailField[], edits: number) {
    this.#parsed = parsed;
    this.#budget = budget;
    this.#fields = fields;
    this.#edits = edits;
  }

  static of(message: Uint8Array | ParsedMessage, budget: Budget): Mail {
    const parsed = message instanceof Uint8Array ? parseMessage(message, budget) : message;
    return new Mail(parsed, budget, parsed.headers.fields, 0);
  }

  get edited(): boolean {
    return this.#fields !== this.#parsed.headers.fields;
  }

  get fields(): readonly MailField[] {
    return this.#fields;
  }

  /** Fields of a name, top first. */
  all(lower: string): readonly MailField[] {
    if (!this.edited) return this.#parsed.headers.all(lower);
    if (this.#index === undefined) {
      this.#index = new Map();
      for (const field of this.#fields) {
        const same = this.#index.get(field.lower);
        if (same) same.push(field);
        else this.#index.set(field.lower, [field]);
      }
    }
    return this.#index.get(lower) ?? [];
  }

  first(lower: string): MailField | undefined {
    return this.all(lower)[0];
  }

  /** The top of the MIME tree as it came in; header edits don't change the structure. */
  get root(): MimePart {
    return this.#parsed.root;
  }

  /** Body octets. */
  get body(): Buffer {
    return this.#parsed.bytes.subarray(this.#parsed.bodyStart);
  }

  /** Octets on the wire, line ends counted as CRLF (RFC 5228 §5.9). */
  get size(): number {
    const bytes = this.#parsed.bytes;
    let bare = 0;
    for (let at = bytes.indexOf(0x0a); at >= 0; at = bytes.indexOf(0x0a, at + 1)) if (bytes[at - 1] !== 0x0d) bare++;
    return bytes.length + bare;
  }

  get bytes(): Buffer {
    if (!this.edited) return this.#parsed.bytes;
    return Buffer.concat([...this.#fields.map((field) => field.bytes), Buffer.from("\r\n"), this.body]);
  }

  /** RFC 5293 §4: the message with one more field on top, or last. */
  withField(name: string, value: string, last: boolean): Mail {
    const field = madeField(name, value);
    return this.#with(last ? [...this.#fields, field] : [field, ...this.#fields]);
  }

  /** RFC 5293 §5: the message without some of its fields. */
  withoutFields(gone: ReadonlySet<MailField>): Mail {
    return this.#with(this.#fields.filter((field) => !gone.has(field)));
  }

  #with(fields: readonly MailField[]): Mail {
    if (this.#edits + 1 > this.#budget.headerEdits) throw new BudgetExceeded("headerEdits", this.#budget.headerEdits);
    return new Mail(this.#parsed, this.#budget, fields, this.#edits + 1);
  }

  /** A whole new message in place of this one (RFC 5703 §5, §6). */
  rewritten(bytes: Buffer): Mail {
    return Mail.of(bytes, this.#budget);
  }

  /** The message with body octets [start, end) replaced; header edits are kept. */
  spliced(start: number, end: number, replacement: Buffer): Mail {
    const old = this.#parsed.bytes;
    const head = this.bytes.subarray(0, this.bytes.length - this.body.length);
    const before = old.subarray(this.#parsed.bodyStart, start);
    return this.rewritten(Buffer.concat([head, before, replacement, old.subarray(end)]));
  }
}

function madeField(name: string, value: string): MailField {
  const text = value.replace(/\s*[\r\n]+\s*/g, " ").trim();
  return {
    name,
    lower: name.toLowerCase(),
    value: text,
    decoded: text,
    bytes: Buffer.from(`${foldField(name, text)}\r\n`),
  };
}
