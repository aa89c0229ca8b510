/**
 * The MIME structure of a message (RFC 2045–2047, 2183, 2231): a tree of parts over the message's own octets.
 * Invariants: nothing is parsed before it is asked for; a part's range never reaches beyond its parent's; decoded
 * content is kept once made. Failure: BudgetExceeded "mimeDepth", "mimeParts", "headerSection" or "headerFields",
 * thrown when the part at fault is reached.
 */
import { type Budget, BudgetExceeded } from "../config/budget.ts";
import { decodeText } from "./charset.ts";
import { type HeaderSection, parseHeaders } from "./headers.ts";
import { type ParameterizedValue, parseParameterized } from "./parameters.ts";
import { decodeTransfer } from "./transfer-encoding.ts";

export type MimeBudget = Pick<Budget, "headerSection" | "headerFields" | "mimeDepth" | "mimeParts">;

/** Counts parts over the whole message, nested messages included. */
export interface PartCounter {
  parts: number;
}

export class MimePart {
  readonly headers: HeaderSection;
  /** Octets that the offsets count in: the message's, or the decoded content of an encoded message/rfc822. */
  readonly source: Buffer;
  readonly start: number;
  readonly end: number;
  readonly depth: number;
  readonly #budget: MimeBudget;
  readonly #counter: PartCounter;
  readonly #defaultType: string;
  #contentType: ParameterizedValue | undefined;
  #disposition: ParameterizedValue | undefined;
  #children: readonly MimePart[] | undefined;
  #nested: MimePart | undefined | null = null;
  #content: Buffer | undefined;
  #text: string | undefined;

  constructor(
    source: Buffer,
    start: number,
    end: number,
    budget: MimeBudget,
    options: {
      depth: number;
      counter: PartCounter;
      defaultType?: string;
      headers?: HeaderSection;
      headersEnd?: number;
    },
  ) {
    if (options.depth > budget.mimeDepth) throw new BudgetExceeded("mimeDepth", budget.mimeDepth);
    if (++options.counter.parts > budget.mimeParts) throw new BudgetExceeded("mimeParts", budget.mimeParts);
    this.source = source;
    this.start = start;
    this.depth = options.depth;
    this.#budget = budget;
    this.#counter = options.counter;
    this.#defaultType = options.defaultType ?? "text/plain";
    this.headers = options.headers ?? parseHeaders(source, budget, start, options.headersEnd ?? end);
    this.end = Math.max(end, Math.min(this.headers.bodyStart, options.headersEnd ?? end));
  }

  get bodyStart(): number {
    return Math.min(this.headers.bodyStart, this.end);
  }

  /** Body octets as they are in the message. */
  get body(): Buffer {
    return this.source.subarray(this.bodyStart, this.end);
  }

  get #parsedType(): ParameterizedValue {
    if (this.#contentType === undefined) {
      const field = this.headers.first("content-type");
      const parsed = field === undefined ? undefined : parseParameterized(field.value);
      // RFC 2045 §5.2: a type that can't be read is text/plain; but a boundary says what was meant.
      this.#contentType =
        parsed !== undefined && /^[^\s/]+\/[^\s/]/.test(parsed.value)
          ? parsed
          : { value: this.#defaultType, parameters: parsed?.parameters ?? new Map() };
    }
    return this.#contentType;
  }

  /** "text/plain", lower case. */
  get mediaType(): string {
    return this.#parsedType.value.toLowerCase().replace(/\s+/g, "");
  }

  get type(): string {
    return this.mediaType.split("/")[0]!;
  }

  get subtype(): string {
    return this.mediaType.split("/")[1] ?? "";
  }

  /** Content-Type parameters, names lower case. */
  get parameters(): ReadonlyMap<string, string> {
    return this.#parsedType.parameters;
  }

  get charset(): string {
    return this.parameters.get("charset") ?? "";
  }

  get #parsedDisposition(): ParameterizedValue {
    this.#disposition ??= parseParameterized(this.headers.first("content-disposition")?.value ?? "");
    return this.#disposition;
  }

  /** "attachment", "inline", … in lower case, "" when not given. */
  get disposition(): string {
    return this.#parsedDisposition.value.toLowerCase();
  }

  get dispositionParameters(): ReadonlyMap<string, string> {
    return this.#parsedDisposition.parameters;
  }

  /** RFC 2183 §2.3, or the older name parameter of the type. */
  get filename(): string {
    return this.dispositionParameters.get("filename") ?? this.parameters.get("name") ?? "";
  }

  /** Content-Transfer-Encoding in lower case, "7bit" when not given. */
  get encoding(): string {
    const field = this.headers.first("content-transfer-encoding");
    return field === undefined ? "7bit" : parseParameterized(field.value).value.toLowerCase();
  }

  /** A multipart whose boundary occurs; without one its body is a leaf like any other. */
  get isMultipart(): boolean {
    return this.children.length > 0;
  }

  /** Parts of a multipart, in order; none for any other type. */
  get children(): readonly MimePart[] {
    if (this.#children === undefined) {
      const boundary = this.type === "multipart" ? (this.parameters.get("boundary") ?? "") : "";
      this.#children = boundary === "" ? [] : this.#split(boundary);
    }
    return this.#children;
  }

  /** The message inside message/rfc822 (or message/global), as a part of its own. */
  get nested(): MimePart | undefined {
    if (this.#nested === null) {
      this.#nested = undefined;
      if (this.mediaType === "message/rfc822" || this.mediaType === "message/global") {
        const encoded = this.encoding === "base64" || this.encoding === "quoted-printable";
        const source = encoded ? this.content : this.source;
        const [start, end] = encoded ? [0, source.length] : [this.bodyStart, this.end];
        this.#nested = new MimePart(source, start, end, this.#budget, {
          depth: this.depth + 1,
          counter: this.#counter,
        });
      }
    }
    return this.#nested;
  }

  /** Body with its transfer encoding removed. */
  get content(): Buffer {
    this.#content ??= decodeTransfer(this.body, this.encoding);
    return this.#content;
  }

  /** Content as text in its charset. */
  get text(): string {
    this.#text ??= decodeText(this.content, this.charset);
    return this.#text;
  }

  /** This part and all below it in order, not those of nested messages. */
  *walk(): Generator<MimePart> {
    yield this;
    for (const child of this.children) yield* child.walk();
  }

  /** RFC 2046 §5.1.1: the line break before a delimiter belongs to the delimiter. */
  #split(boundary: string): MimePart[] {
    const parts: MimePart[] = [];
    let from = -1;
    const add = (end: number, headersEnd: number) => {
      if (from >= 0) parts.push(this.#child(from, Math.max(from, end), headersEnd));
    };
    for (const delimiter of delimiters(this.source, boundary, this.bodyStart, this.end)) {
      add(delimiter.start, delimiter.line);
      from = delimiter.closing ? -1 : delimiter.end;
      if (delimiter.closing) break;
    }
    // A delimiter that ends the message announces nothing.
    if (from < this.end) add(this.end, this.end);
    return parts;
  }

  /** A part without a body ends with its blank line, which the delimiter then shares. */
  #child(start: number, end: number, headersEnd: number): MimePart {
    return new MimePart(this.source, start, end, this.#budget, {
      depth: this.depth + 1,
      counter: this.#counter,
      headersEnd,
      // RFC 2046 §5.1.5
      defaultType: this.subtype === "digest" ? "message/rfc822" : "text/plain",
    });
  }
}

interface Delimiter {
  /** First octet of the line break before the delimiter line. */
  start: number;
  /** First octet of the delimiter line, and first octet after it. */
  line: number;
  end: number;
  closing: boolean;
}

/** Delimiter lines of `boundary` in source[from, to). */
function* delimiters(source: Buffer, boundary: string, from: number, to: number): Generator<Delimiter> {
  const needle = Buffer.from(`--${boundary}`, "latin1");
  const area = source.subarray(0, to);
  let at = from;
  while ((at = area.indexOf(needle, at)) >= 0) {
    const lineStart = at === from || source[at - 1] === 0x0a;
    let i = at + needle.length;
    if (!lineStart) {
      at = i;
      continue;
    }
    const closing = area[i] === 0x2d && area[i + 1] === 0x2d;
    if (closing) i += 2;
    while (area[i] === 0x20 || area[i] === 0x09) i++;
    if (area[i] === 0x0d && area[i + 1] === 0x0a) i++;
    if (i >= to || area[i] === 0x0a || closing) {
      let start = at;
      if (start > from && area[start - 1] === 0x0a) start--;
      if (start > from && area[start - 1] === 0x0d) start--;
      yield { start, line: at, end: Math.min(i + 1, to), closing };
      at = i;
    } else {
      at += needle.length; // a longer boundary that begins alike
    }
  }
}
