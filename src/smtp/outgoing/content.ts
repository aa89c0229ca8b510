/**
 * Message content made legal for the wire (RFC 5321 §2.3.8, §4.5.2, §4.5.3.1.6), whatever came in.
 * Invariants: in what is emitted CR and LF stand only together, no line is longer than 998 octets, and for DATA each
 * line that starts with "." is stuffed, so no content can end the data early (smuggling).
 * Decisions: a bare LF is a line end and becomes CRLF; a bare CR becomes a space, since making it a line end could
 * forge header fields; a longer line is folded with CRLF SP, which keeps a header field one field.
 * Clean chunks, the usual case, are passed on without a copy.
 */

import { lineView, nextControl } from "../../message/line-scan.ts";

const NUL = 0;
const LF = 10;
const CR = 13;
const DOT = 46;
const SPACE = 32;

export interface ContentOptions {
  /** Dot-stuffing: on for DATA and LMTP, off for BDAT. */
  dots: boolean;
  /** Longest line, octets without CRLF. */
  maxLine: number;
}

export class ContentEncoder {
  readonly #dots: boolean;
  readonly #maxLine: number;
  /** Octets of the current line emitted so far (0 = at line start). */
  #column = 0;
  /** The last chunk ended in CR, which is held back until it is known whether LF follows. */
  #heldCr = false;

  constructor(options: ContentOptions) {
    this.#dots = options.dots;
    this.#maxLine = options.maxLine;
  }

  /** The legal form of the next chunk; the very same buffer when nothing had to change. */
  push(chunk: Uint8Array): Buffer {
    const data = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length);
    if (!this.#heldCr && this.#isClean(data)) return data;
    return this.#rewrite(data);
  }

  /** What is missing at the end: a held CR's replacement and the last line's CRLF. */
  end(): Buffer {
    const open = this.#column > 0 || this.#heldCr;
    const tail = this.#heldCr ? " \r\n" : open ? "\r\n" : "";
    this.#heldCr = false;
    this.#column = 0;
    return Buffer.from(tail);
  }

  /** Also moves `#column` to the chunk's end when it answers true; leaves it alone otherwise. */
  #isClean(data: Buffer): boolean {
    const view = lineView(data);
    let start = 0;
    let column = this.#column;
    while (start < data.length) {
      if (this.#dots && column === 0 && data[start] === DOT) return false;
      let end = nextControl(data, view, start, data.length);
      while (data[end] === NUL) end = nextControl(data, view, end + 1, data.length);
      column += end - start;
      if (column > this.#maxLine) return false;
      if (end === data.length) break;
      if (data[end] !== CR || data[end + 1] !== LF) return false;
      start = end + 2;
      column = 0;
    }
    this.#column = column;
    return true;
  }

  #rewrite(data: Buffer): Buffer {
    // Worst case: every octet becomes two ("\n" → CRLF, "." → ".."), plus folds and a held CR.
    const out = Buffer.allocUnsafe(data.length * 2 + Math.ceil(data.length / this.#maxLine) * 4 + 8);
    let at = 0;
    let column = this.#column;
    let heldCr = this.#heldCr;
    for (const byte of data) {
      if (byte === LF) {
        out[at++] = CR;
        out[at++] = LF;
        column = 0;
        heldCr = false;
        continue;
      }
      const emit = heldCr ? 2 : 1;
      for (let k = 0; k < emit; k++) {
        const octet = heldCr && k === 0 ? SPACE : byte;
        if (octet === CR) continue;
        // UTF-8 continuation octets stay with their first octet: fold a little earlier.
        const limit = octet >= 0xc0 ? this.#maxLine - 3 : this.#maxLine;
        if (column >= limit) {
          out[at++] = CR;
          out[at++] = LF;
          out[at++] = SPACE;
          column = 1;
        }
        if (column === 0 && octet === DOT && this.#dots) out[at++] = DOT;
        out[at++] = octet;
        column++;
      }
      heldCr = byte === CR;
    }
    this.#column = column;
    this.#heldCr = heldCr;
    return out.subarray(0, at);
  }
}
