/**
 * Edits of a message by octet ranges: all that is not named stays as it is. Also the MIME fields and encodings such
 * edits need (RFC 2045).
 */
import type { MimePart } from "../../message/mime.ts";

export interface Splice {
  start: number;
  end: number;
  text: Buffer;
}

/** The message with the ranges replaced; ranges do not overlap. */
export function applySplices(message: Buffer, splices: readonly Splice[]): Buffer {
  const ordered = [...splices].sort((one, other) => one.start - other.start);
  const pieces: Buffer[] = [];
  let at = 0;
  for (const { start, end, text } of ordered) {
    pieces.push(message.subarray(at, start), text);
    at = end;
  }
  pieces.push(message.subarray(at));
  return Buffer.concat(pieces);
}

/** Replaces the first field of that name in the part's header, or adds one at its end. */
export function setField(part: MimePart, name: string, value: string): Splice {
  const text = Buffer.from(`${name}: ${value}\r\n`);
  const [field] = part.headers.all(name);
  const last = part.headers.fields.at(-1)?.end ?? part.headers.start;
  return field ? { start: field.start, end: field.end, text } : { start: last, end: last, text };
}

/** RFC 2045 §6.7: lines of at most 76 characters; CRLF are line ends and stay. */
export function encodeQuotedPrintable(body: Buffer): string {
  return body.toString("latin1").split("\r\n").map(quotedLine).join("\r\n");
}

function quotedLine(line: string): string {
  const coded = line
    .replace(/[^\t\x20-\x3c\x3e-\x7e]/g, code)
    // Rule 3: a blank at the end of a line would be lost.
    .replace(/[\t ]$/, code);
  if (coded.length <= 76) return coded;
  let out = "";
  let width = 0;
  for (const token of coded.match(/=[0-9A-F]{2}|[^=]/g) ?? []) {
    if (width + token.length > 75) {
      out += "=\r\n";
      width = 0;
    }
    out += token;
    width += token.length;
  }
  return out;
}

function code(character: string): string {
  return `=${character.charCodeAt(0).toString(16).toUpperCase().padStart(2, "0")}`;
}
