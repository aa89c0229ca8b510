/**
 * Replies of a next hop, parsed strictly (RFC 5321 §4.2, RFC 2034).
 * Invariants: a reply has one code on all its lines; every line ends in CRLF; bytes and lines are bounded by
 * `replyBytes` and `replyLines`; text holds no control bytes. Failure: `push` throws `ReplyError`; the connection it
 * came from can't be trusted any more and must be closed.
 */
import { type Budget, BudgetExceeded } from "../../config/budget.ts";
import { type Outcome, outcome, printable } from "../../message/outcome.ts";

export interface Reply {
  readonly code: number;
  /** Enhanced status code (RFC 3463) of the first line when its class agrees with the code, else "". */
  readonly enhanced: string;
  /** Text of each line, without code and enhanced code. */
  readonly lines: readonly string[];
}

export class ReplyError extends Error {
  constructor(message: string) {
    super(message);
    this.name = "ReplyError";
  }
}

const LF = 10;
const CR = 13;
const DASH = 45;
const SPACE = 32;
const enhancedForm = /^([245])\.(\d{1,3})\.(\d{1,3})(?:[ \t]+|$)/;

export class ReplyParser {
  readonly #maxBytes: number;
  readonly #maxLines: number;
  /** Bytes of a line whose end has not come yet. */
  #carry: Buffer | undefined;
  #bytes = 0;
  #code = 0;
  #enhanced = "";
  #lines: string[] = [];

  constructor(budget: Pick<Budget, "replyBytes" | "replyLines">) {
    this.#maxBytes = budget.replyBytes;
    this.#maxLines = budget.replyLines;
  }

  /** True between replies: nothing of a next reply has been read. */
  get idle(): boolean {
    return this.#bytes === 0;
  }

  /** Takes bytes from the wire and calls `onReply` for each reply they complete. */
  push(chunk: Buffer, onReply: (reply: Reply) => void): void {
    let data = chunk;
    if (this.#carry) {
      data = Buffer.concat([this.#carry, chunk]);
      this.#carry = undefined;
    }
    let start = 0;
    for (;;) {
      const lf = data.indexOf(LF, start);
      if (lf < 0) break;
      if (lf === start || data[lf - 1] !== CR) throw new ReplyError("reply line does not end in CRLF");
      this.#count(lf + 1 - start);
      const reply = this.#line(data.subarray(start, lf - 1));
      start = lf + 1;
      if (reply) {
        this.#reset();
        onReply(reply);
      }
    }
    if (start < data.length) {
      this.#carry = start === 0 ? data : data.subarray(start);
      if (this.#bytes + this.#carry.length > this.#maxBytes) this.#tooLong();
    }
  }

  /** True when bytes of an unfinished line are waiting: after STARTTLS they would be an injection (RFC 3207 §4.2). */
  get pending(): boolean {
    return this.#carry !== undefined || this.#bytes > 0;
  }

  #count(length: number): void {
    this.#bytes += length;
    if (this.#bytes > this.#maxBytes) this.#tooLong();
  }

  #tooLong(): never {
    throw new BudgetExceeded("replyBytes", this.#maxBytes);
  }

  #reset(): void {
    this.#bytes = 0;
    this.#code = 0;
    this.#enhanced = "";
    this.#lines = [];
  }

  #line(line: Buffer): Reply | undefined {
    if (line.includes(CR)) throw new ReplyError("bare CR in a reply");
    // RFC 5321 §4.2: Reply-code = %x32-35 %x30-35 %x30-39; codes such as 591 are seen in the field.
    const a = line[0]! - 48;
    const b = line[1]! - 48;
    const c = line[2]! - 48;
    const valid = line.length >= 3 && a >= 2 && a <= 5 && b >= 0 && b <= 9 && c >= 0 && c <= 9;
    const separator = line.length > 3 ? line[3]! : SPACE;
    if (!valid || (separator !== SPACE && separator !== DASH)) {
      throw new ReplyError(`not a reply: ${printable(line.subarray(0, 60).toString("latin1"))}`);
    }
    const code = a * 100 + b * 10 + c;
    if (this.#code !== 0 && this.#code !== code)
      throw new ReplyError(`reply code changes from ${this.#code} to ${code}`);
    if (this.#lines.length >= this.#maxLines) throw new BudgetExceeded("replyLines", this.#maxLines);
    let text = printable(line.toString("utf8", 4));
    const enhanced = enhancedForm.exec(text);
    if (enhanced && Number(enhanced[1]) === a) {
      if (this.#code === 0) this.#enhanced = enhanced[0].trimEnd();
      text = text.slice(enhanced[0].length);
    }
    this.#code = code;
    this.#lines.push(text);
    return separator === DASH ? undefined : { code, enhanced: this.#enhanced, lines: this.#lines };
  }
}

/** The reply as an Outcome; `origin` names who answered ("remote mx.example [192.0.2.1]:25"). */
export function replyOutcome(reply: Reply, origin: string): Outcome {
  const digit = reply.code < 400 ? "2" : reply.code < 500 ? "4" : "5";
  return outcome.of({
    code: reply.code,
    enhanced: reply.enhanced || `${digit}.0.0`,
    text: reply.lines.join("\n"),
    origin,
  });
}
