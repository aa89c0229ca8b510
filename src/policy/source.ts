/**
 * The text of a script: decoding its bytes, and turning offsets into positions. Pure; never throws.
 */
import type { Range } from "../../grammar/smtpfilters/ast.ts";
import type { Position, Span } from "../language/span.ts";

/** UTF-8; a line that isn't valid UTF-8 is read as Latin-1; a byte order mark is skipped (smtpfilters.md L12). */
export function decodeScript(bytes: Uint8Array): string {
  const utf8 = new TextDecoder("utf-8", { fatal: true });
  try {
    return utf8.decode(bytes);
  } catch {
    // Not UTF-8 as a whole: fall through to the lines.
  }
  const lines: string[] = [];
  for (let start = 0; start <= bytes.length; ) {
    const found = bytes.indexOf(0x0a, start);
    const end = found < 0 ? bytes.length : found;
    const line = bytes.subarray(start, end);
    try {
      lines.push(utf8.decode(line));
    } catch {
      lines.push(Buffer.from(line).toString("latin1"));
    }
    start = end + 1;
  }
  return lines.join("\n");
}

export class SourceText {
  readonly file: string;
  readonly text: string;
  private readonly lineStarts: number[] = [0];
  private last = 0;

  constructor(file: string, text: string) {
    this.file = file;
    this.text = text;
    // The same line breaks that formatDiagnostic splits at: LF, CRLF, CR.
    for (let i = 0; i < text.length; i++) {
      const code = text.charCodeAt(i);
      if (code === 10 || (code === 13 && text.charCodeAt(i + 1) !== 10)) this.lineStarts.push(i + 1);
    }
  }

  span(range: Range): Span {
    return { file: this.file, start: this.position(range.start), end: this.position(Math.max(range.start, range.end)) };
  }

  private position(wanted: number): Position {
    const offset = Math.min(Math.max(0, wanted), this.text.length);
    const line = this.lineOf(offset);
    return { offset, line: line + 1, column: offset - this.lineStarts[line]! + 1 };
  }

  /** Binary search; spans are mostly asked for in order, so the last answer is tried first. */
  private lineOf(offset: number): number {
    const starts = this.lineStarts;
    if (starts[this.last]! <= offset && offset < (starts[this.last + 1] ?? Number.POSITIVE_INFINITY)) return this.last;
    let low = 0;
    let high = starts.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (starts[middle]! <= offset) low = middle;
      else high = middle - 1;
    }
    this.last = low;
    return low;
  }
}
