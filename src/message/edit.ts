/**
 * Header edits: operations on a header section that leave every other octet as it was.
 * Invariants: names compare case-insensitively; written fields are folded at 78, hold no CR, LF or NUL of the caller's,
 * and end lines as the section does (CRLF, or LF where the section uses it). Indexes count fields of one name from 1 at
 * the top, negative ones from the bottom. Failure: BudgetExceeded "headerEdits" or "headerFields"; an edit of a field
 * that isn't there does nothing.
 */
import { type Budget, BudgetExceeded } from "../config/budget.ts";
import { asBuffer } from "./charset.ts";
import { encodeWords } from "./encoded-word.ts";
import { parseHeaders } from "./headers.ts";

export type HeaderEdit =
  | { op: "add" | "addIfMissing"; name: string; value: string; at: "top" | "bottom" }
  | { op: "remove"; name: string; which: number | "all" }
  | { op: "modify"; name: string; value: string; which: number; missing: "add" | "skip" };

interface Field {
  lower: string;
  bytes: Buffer;
}

type EditBudget = Pick<Budget, "headerSection" | "headerFields" | "headerEdits">;

export class HeaderEditor {
  readonly #budget: EditBudget;
  readonly #fields: Field[];
  readonly #lead: Buffer;
  readonly #tail: Buffer;
  readonly #lineEnd: string;
  readonly #bodyStart: number;
  #edits = 0;
  #onTop = 0;

  /** `message`: octets that begin with a header section; may go on with the body. */
  constructor(message: Uint8Array, budget: EditBudget) {
    const bytes = asBuffer(message);
    const section = parseHeaders(bytes, budget);
    const first = section.fields[0]?.start ?? section.bodyStart;
    const last = section.fields.at(-1)?.end ?? first;
    this.#budget = budget;
    this.#fields = section.fields.map((field) => ({ lower: field.lower, bytes: field.bytes }));
    this.#bodyStart = section.bodyStart;
    const newline = bytes.subarray(0, section.bodyStart).indexOf(0x0a);
    this.#lineEnd = newline < 0 || bytes[newline - 1] === 0x0d ? "\r\n" : "\n";
    this.#lead = section.fields.length > 0 ? bytes.subarray(0, first) : Buffer.alloc(0);
    // A section that ended without a blank line gets one: the next reader may be less tolerant.
    const blank = bytes.subarray(last, section.bodyStart);
    this.#tail = blank.length > 0 ? blank : Buffer.from(this.#lineEnd);
    const final = this.#fields.at(-1);
    if (final !== undefined && final.bytes.at(-1) !== 0x0a) {
      final.bytes = Buffer.concat([final.bytes, Buffer.from(this.#lineEnd)]);
    }
  }

  /** Octets of the old header section: the body begins there in the message given. */
  get bodyStart(): number {
    return this.#bodyStart;
  }

  /** True once an edit changed something. */
  changed = false;

  /** The new header section with its blank line. */
  toBytes(): Buffer {
    return Buffer.concat([this.#lead, ...this.#fields.map((field) => field.bytes), this.#tail]);
  }

  apply(edit: HeaderEdit): void {
    if (++this.#edits > this.#budget.headerEdits) throw new BudgetExceeded("headerEdits", this.#budget.headerEdits);
    switch (edit.op) {
      case "addIfMissing":
        if (!this.has(edit.name)) this.#add(edit.name, edit.value, edit.at);
        break;
      case "add":
        this.#add(edit.name, edit.value, edit.at);
        break;
      case "remove":
        this.#remove(edit.name, edit.which);
        break;
      case "modify":
        this.#modify(edit);
        break;
    }
  }

  has(name: string): boolean {
    const lower = name.toLowerCase();
    return this.#fields.some((field) => field.lower === lower);
  }

  /**
   * Writes a field at a position among all fields, 0 = above the first. With `verbatim` the value is octets as Latin-1
   * text whose blanks and folds are kept, as milters want; a line break that is no fold becomes one.
   */
  insert(position: number, name: string, value: string, verbatim = false): void {
    if (this.#fields.length >= this.#budget.headerFields) {
      throw new BudgetExceeded("headerFields", this.#budget.headerFields);
    }
    this.#fields.splice(position, 0, this.#field(name, value, verbatim));
    this.changed = true;
  }

  /** Position among all fields of the field named so, or -1. */
  position(name: string, which: number): number {
    return this.positions(name).at(which > 0 ? which - 1 : which) ?? -1;
  }

  /** Positions of all fields named so, top first. */
  positions(name: string): number[] {
    const lower = name.toLowerCase();
    const places: number[] = [];
    for (const [at, field] of this.#fields.entries()) if (field.lower === lower) places.push(at);
    return places;
  }

  /** Replaces the field at a position, or removes it when `value` is undefined. */
  replace(position: number, name: string, value: string | undefined, verbatim = false): void {
    if (position < 0 || position >= this.#fields.length) return;
    if (value === undefined) {
      this.#fields.splice(position, 1);
      if (position < this.#onTop) this.#onTop--;
    } else this.#fields[position] = this.#field(name, value, verbatim);
    this.changed = true;
  }

  get count(): number {
    return this.#fields.length;
  }

  /** Fields added on top keep the order of the calls (smtpfilters.md §6). */
  #add(name: string, value: string, at: "top" | "bottom"): void {
    this.insert(at === "top" ? this.#onTop++ : this.#fields.length, name, value);
  }

  #remove(name: string, which: number | "all"): void {
    if (which === "all") {
      const lower = name.toLowerCase();
      for (let i = this.#fields.length - 1; i >= 0; i--) {
        if (this.#fields[i]!.lower === lower) this.replace(i, name, undefined);
      }
    } else if (which !== 0) this.replace(this.position(name, which), name, undefined);
  }

  #modify(edit: HeaderEdit & { op: "modify" }): void {
    const position = edit.which === 0 ? -1 : this.position(edit.name, edit.which);
    if (position >= 0) this.replace(position, edit.name, edit.value);
    else if (edit.missing === "add" && !this.has(edit.name)) this.#add(edit.name, edit.value, "top");
  }

  #field(name: string, value: string, verbatim: boolean): Field {
    // RFC 5322 §2.2.3: a line that does not begin with a blank would be a field of its own.
    const text = verbatim
      ? `${fieldName(name)}:${refold(value, this.#lineEnd)}`
      : foldField(name, value, this.#lineEnd);
    return {
      lower: fieldName(name).toLowerCase(),
      bytes: Buffer.from(text + this.#lineEnd, verbatim ? "latin1" : "utf8"),
    };
  }
}

/** A milter's value with its folds in the section's line ends; a line break that is no fold becomes one. */
function refold(value: string, lineEnd: string): string {
  let end = value.length;
  while (end > 0 && (value[end - 1] === "\n" || value[end - 1] === "\r")) end--;
  return value
    .slice(0, end)
    .replace(/\0/g, "")
    .replace(/[\r\n]+([ \t]?)/g, (_, blank: string) => lineEnd + (blank || "\t"));
}

/** A name reduced to what RFC 5322 §3.6.8 allows; "X-Invalid" when nothing is left. */
function fieldName(name: string): string {
  return name.replace(/[^\x21-\x39\x3b-\x7e]/g, "") || "X-Invalid";
}

/**
 * "Name: value" folded at white space so that lines stay within 78 characters where they can (RFC 5322 §2.1.1),
 * without the final line end. Line breaks of the value become spaces; text beyond ASCII becomes encoded words.
 */
export function foldField(name: string, value: string, lineEnd = "\r\n"): string {
  const clean = encodeWords(
    value
      .replace(/[\r\n]+[ \t]*/g, " ")
      .replace(/\0/g, "")
      .trim(),
  );
  const lines: string[] = [];
  let line = `${fieldName(name)}:`;
  for (const word of clean.split(/(?<=\S)(?=[ \t])/)) {
    const piece = lines.length === 0 && line.endsWith(":") && !/^[ \t]/.test(word) ? ` ${word}` : word;
    if (line.length + piece.length > 78 && line.trim() !== "" && !line.endsWith(":")) {
      lines.push(line);
      line = piece;
    } else line += piece;
  }
  lines.push(line);
  return lines.join(lineEnd);
}

/** Applies `edits` in order; answers the new header section and where the body begins in `message`. */
export function editHeaders(
  message: Uint8Array,
  edits: readonly HeaderEdit[],
  budget: EditBudget,
): { header: Buffer; bodyStart: number; changed: boolean } {
  const editor = new HeaderEditor(message, budget);
  for (const edit of edits) editor.apply(edit);
  return { header: editor.toBytes(), bodyStart: editor.bodyStart, changed: editor.changed };
}

/**
 * The header edit that a policy effect asks for by its `kind`, undefined for effects of another kind (smtpfilters.md
 * §6).
 */
export function editOfEffect(effect: { kind: string; name?: string; value?: string }): HeaderEdit | undefined {
  const { name = "", value = "" } = effect;
  switch (effect.kind) {
    case "addHeader":
      return { op: "add", name, value, at: "top" };
    case "addIfNotExistsHeader":
      return { op: "addIfMissing", name, value, at: "top" };
    case "modifyHeader":
      return { op: "modify", name, value, which: 1, missing: "add" };
    case "modifyIfExistsHeader":
      return { op: "modify", name, value, which: 1, missing: "skip" };
    case "removeFirstHeader":
      return { op: "remove", name, which: 1 };
    case "removeHeader":
      return { op: "remove", name, which: "all" };
    default:
      return undefined;
  }
}
