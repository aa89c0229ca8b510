/**
 * The message content on the wire: finds its end, removes dot-stuffing and holds it to the rules, in one pass
 * (RFC 5321 §4.1.1.4, §4.5.2; for BDAT RFC 3030 §2).
 * Invariants: a line ends in CRLF and in nothing else; only CRLF "." CRLF ends the content; a CR or LF outside CRLF, or
 * a NUL, is a violation wherever it stands, so no other server can see a second end of data in what is passed on.
 * Nothing is kept of the content but a few counters, whatever its size. Failure: the first violation is in
 * `violation`; after it nothing more is emitted, but the end is still looked for so that the session stays in step.
 */
import { isAscii } from "node:buffer";
import type { Budget } from "../../config/budget.ts";
import { lineView, nextControl } from "../../message/line-scan.ts";

const tab = 0x09;
const lf = 0x0a;
const cr = 0x0d;
const space = 0x20;
const dot = 0x2e;
const crlf = Buffer.from("\r\n");
const colon = 0x3a;
const receivedField = Buffer.from("received:");

export type Violation =
  | "bareLf"
  | "bareCr"
  | "nul"
  | "lineTooLong"
  | "headerSection"
  | "headerFields"
  | "receivedHeaders"
  | "tooBig";

export interface ContentLimits {
  /** Octets of content after dot-unstuffing. */
  messageBytes: number;
  receivedHeaders: number;
  budget: Pick<Budget, "textLineRead" | "headerSection" | "headerFields">;
}

/** lines: BODY=7BIT or 8BITMIME; binary: after the header section any octet may come (RFC 3030 §3). */
export type ContentKind = "dotted" | "lines" | "binary";

// Where the next octet stands.
const atLineStart = 0;
const inLine = 1;
const afterCr = 2;
const afterDot = 3; // a dot that opened a line and was taken off
const afterDotCr = 4;

export class ContentScanner {
  violation: Violation | undefined;
  /** Octets emitted. */
  size = 0;
  /** True when an octet above 127 was seen. */
  eightBit = false;
  private state = atLineStart;
  private line = 0;
  private inHeader = true;
  private fields = 0;
  private received = 0;
  /** How much of "received:" the current header line matched; -1 when it can't match any more. */
  private match = -1;
  /** False while the header line at hand has shown no colon and continues no other line. */
  private isField = true;
  private readonly kind: ContentKind;
  private readonly limits: ContentLimits;
  private readonly emit: (piece: Buffer) => void;

  /** `emit` gets each piece of content; a piece is a view of the fed chunk and must be copied to be kept. */
  constructor(kind: ContentKind, limits: ContentLimits, emit: (piece: Buffer) => void) {
    this.kind = kind;
    this.limits = limits;
    this.emit = emit;
  }

  /** The last BDAT chunk is in: an unfinished line gets its CRLF, so that the sink always sees whole lines. */
  finish(): void {
    if (this.state === afterCr) this.violate("bareCr");
    if (this.state === inLine && (this.kind === "lines" || this.inHeader)) this.pass(crlf, 0, crlf.length);
    this.state = atLineStart;
  }

  /**
   * Takes octets `from` up to `to` of `chunk`. For dotted content it answers the index after the end of data, or -1
   * when the end is not in this chunk; for BDAT content always -1.
   */
  feed(chunk: Buffer, from = 0, to = chunk.length): number {
    const dotted = this.kind === "dotted";
    const view = lineView(chunk);
    let run = from;
    let i = from;
    while (i < to) {
      switch (this.state) {
        case atLineStart: {
          const octet = chunk[i]!;
          if (dotted && octet === dot) {
            this.pass(chunk, run, i);
            run = ++i;
            this.state = afterDot;
            break;
          }
          if (this.inHeader) this.headerLine(octet);
          this.line = 0;
          this.state = inLine;
          break;
        }
        case inLine: {
          if (this.kind === "binary" && !this.inHeader) {
            i = to;
            break;
          }
          const start = i;
          if (this.match >= 0) i = this.matchReceived(chunk, i, to);
          i = nextControl(chunk, view, i, to);
          this.line += i - start;
          if (!this.isField) this.isField = chunk.subarray(start, i).includes(colon);
          if (this.line > this.limits.budget.textLineRead) this.violate("lineTooLong");
          if (i >= to) break;
          const octet = chunk[i++]!;
          if (octet === cr) {
            // Fast path: the LF is in the same chunk.
            if (i < to && chunk[i] === lf) {
              i++;
              this.lineEnd(i - run);
            } else this.state = afterCr;
          } else this.violate(octet === lf ? "bareLf" : "nul");
          break;
        }
        case afterCr:
          if (chunk[i] === lf) {
            i++;
            this.lineEnd(i - run);
          } else {
            this.violate("bareCr");
            this.state = inLine;
          }
          break;
        case afterDot:
          if (chunk[i] === cr) {
            run = ++i;
            this.state = afterDotCr;
            break;
          }
          // RFC 5321 §4.5.2: the first of the dots goes, the rest of the line stays.
          if (this.inHeader) this.headerLine(chunk[i]!);
          this.line = 0;
          this.state = inLine;
          break;
        default: // afterDotCr
          if (chunk[i] === lf) {
            this.state = atLineStart;
            return i + 1;
          }
          this.violate("bareCr");
          this.state = inLine;
      }
    }
    this.pass(chunk, run, to);
    return -1;
  }

  /** A CRLF ended a line; `pending` octets of this chunk, CRLF included, were not emitted yet. */
  private lineEnd(pending: number): void {
    this.state = atLineStart;
    if (!this.inHeader) return;
    if (this.size + pending > this.limits.budget.headerSection) this.violate("headerSection");
    // The empty line ends the header; so does one that is no field, as mail without a header has.
    if (this.line === 0 || !this.isField) {
      this.inHeader = false;
      this.isField = true;
    }
    this.match = -1;
  }

  /** First octet of a header line: counts fields, begins to look for Received (RFC 5321 §6.3 loop detection). */
  private headerLine(octet: number): void {
    if (octet === space || octet === tab || octet === cr) return;
    this.match = 0;
    this.isField = false;
    if (++this.fields > this.limits.budget.headerFields) this.violate("headerFields");
  }

  private matchReceived(chunk: Buffer, from: number, to: number): number {
    let i = from;
    while (i < to && (chunk[i]! | 0x20) === receivedField[this.match]) {
      i++;
      if (++this.match === receivedField.length) {
        this.match = -1;
        if (++this.received > this.limits.receivedHeaders) this.violate("receivedHeaders");
        return i;
      }
    }
    if (i < to) this.match = -1;
    return i;
  }

  private violate(violation: Violation): void {
    // Line endings outrank sizes: they decide whether the session may go on.
    const framing = violation === "bareLf" || violation === "bareCr" || violation === "nul";
    const known = this.violation;
    if (known === undefined || (framing && known !== "bareLf" && known !== "bareCr" && known !== "nul")) {
      this.violation = violation;
    }
  }

  private pass(chunk: Buffer, from: number, to: number): void {
    if (to <= from) return;
    this.size += to - from;
    if (this.size > this.limits.messageBytes) this.violate("tooBig");
    if (this.violation !== undefined) return;
    if (this.inHeader && this.size > this.limits.budget.headerSection) {
      this.violate("headerSection");
      return;
    }
    const piece = from === 0 && to === chunk.length ? chunk : chunk.subarray(from, to);
    if (!this.eightBit) this.eightBit = !isAscii(piece);
    this.emit(piece);
  }
}
