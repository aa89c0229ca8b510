/**
 * Structured MIME fields with parameters: Content-Type and Content-Disposition (RFC 2045 §5.1, RFC 2183), with
 * continuations and charsets of RFC 2231. Invariant: names are lower case, values decoded text. Failure: none; what
 * can't be read is left out, at most `maxParameters` parameters are kept.
 */
import { decodeText } from "./charset.ts";
import { decodeWords } from "./encoded-word.ts";

export interface ParameterizedValue {
  /** Value before the first ";", as written without comments and quotes, trimmed. */
  value: string;
  parameters: Map<string, string>;
}

const maxParameters = 200;

/** Parses an unfolded field value. */
export function parseParameterized(text: string): ParameterizedValue {
  const [first = "", ...rest] = splitParameters(text);
  const plain = new Map<string, string>();
  const extended = new Map<string, Array<{ index: number; coded: boolean; value: string }>>();
  for (const item of rest.slice(0, maxParameters)) {
    const equals = item.indexOf("=");
    if (equals <= 0) continue;
    const name = item.slice(0, equals).trim().toLowerCase();
    const value = unquote(item.slice(equals + 1).trim());
    // RFC 2231 §3: name*0, name*0*; §4: name*.
    const match = /^([^*]+)\*(?:(\d{1,4})(\*)?)?$/.exec(name);
    if (match === null) {
      if (!plain.get(name)) plain.set(name, value.includes("=?") ? decodeWords(value) : value);
      continue;
    }
    const segment = { index: Number(match[2] ?? 0), coded: match[2] === undefined || match[3] === "*", value };
    const segments = extended.get(match[1]!);
    if (segments) segments.push(segment);
    else {
      extended.set(match[1]!, [segment]);
      if (!plain.has(match[1]!)) plain.set(match[1]!, ""); // keeps the order of first appearance
    }
  }
  for (const [name, segments] of extended) plain.set(name, joinSegments(segments));
  return { value: unquote(first.trim()), parameters: plain };
}

function joinSegments(segments: Array<{ index: number; coded: boolean; value: string }>): string {
  segments.sort((a, b) => a.index - b.index);
  let charset = "";
  const octets: Buffer[] = [];
  for (const [position, segment] of segments.entries()) {
    let value = segment.value;
    if (position === 0 && segment.coded) {
      // RFC 2231 §4: charset'language'text
      const match = /^([^']*)'([^']*)'(.*)$/s.exec(value);
      if (match !== null) {
        charset = match[1]!;
        value = match[3]!;
      }
    }
    octets.push(segment.coded ? percentDecode(value) : Buffer.from(value));
  }
  return decodeText(Buffer.concat(octets), charset);
}

function percentDecode(text: string): Buffer {
  const parts = text.split(/%([0-9a-fA-F]{2})/);
  return Buffer.concat(
    parts.map((part, i) => (i % 2 === 1 ? Buffer.of(Number.parseInt(part, 16)) : Buffer.from(part))),
  );
}

/** Splits at ";" outside quoted strings; comments are removed (RFC 2045 §5.1 allows them between tokens). */
function splitParameters(text: string): string[] {
  const items: string[] = [];
  let item = "";
  let quoted = false;
  /** A quoted string ended: what follows without ";" is the next parameter. */
  let closed = false;
  let depth = 0;
  for (let i = 0; i < text.length; i++) {
    const c = text[i]!;
    if (c === "\\" && (quoted || depth > 0)) {
      if (quoted) item += c + (text[i + 1] ?? "");
      i++;
    } else if (quoted) {
      item += c;
      if (c === '"') quoted = false;
      closed = !quoted;
    } else if (depth > 0) {
      if (c === "(") depth++;
      else if (c === ")") depth--;
    } else if (c === "(") depth = 1;
    else if (c === ";") {
      items.push(item);
      item = "";
      closed = false;
    } else {
      if (closed && /\S/.test(c)) {
        items.push(item);
        item = "";
        closed = false;
      }
      item += c;
      if (c === '"') quoted = true;
    }
  }
  items.push(item);
  return items;
}

function unquote(text: string): string {
  if (!text.startsWith('"')) return text;
  const body = text.length > 1 && text.endsWith('"') ? text.slice(1, -1) : text.slice(1);
  return body.replace(/\\(.)/gs, "$1");
}
