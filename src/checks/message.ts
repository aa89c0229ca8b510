/**
 * The message as signatures see it: header fields byte for byte, and the body as chunks.
 * Input has CRLF line ends (SMTP's form); `toCrlf` makes it so for files. Text is latin1: one code unit an octet.
 * Invariant: the header section is at most `headerSection` octets and `headerFields` fields, the body is never
 * gathered. Failure: BudgetExceeded; the error of the source.
 */
import { type Budget, BudgetExceeded } from "../config/budget.ts";

export interface HeaderField {
  /** Lower case, without blanks; "" for a line that is no field. */
  name: string;
  /** Whole field with its folds, without the final CRLF. */
  raw: string;
  /** Relaxed form (RFC 6376 §3.4.2), made when first needed. */
  relaxed?: string;
}

export type MessageSource = Uint8Array | AsyncIterable<Uint8Array>;

export interface Message {
  fields: HeaderField[];
  body: MessageSource;
}

const headerEnd = Buffer.from("\r\n\r\n");

function bufferOf(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** Splits a header section (without the empty line) into its fields. */
export function parseFields(header: string, budget: Budget): HeaderField[] {
  const fields: HeaderField[] = [];
  for (let start = 0; start < header.length; ) {
    let end = header.indexOf("\r\n", start);
    while (end >= 0 && (header[end + 2] === " " || header[end + 2] === "\t")) end = header.indexOf("\r\n", end + 2);
    if (end < 0) end = header.length;
    if (fields.length >= budget.headerFields) throw new BudgetExceeded("headerFields", budget.headerFields);
    const raw = header.slice(start, end);
    const colon = raw.indexOf(":");
    fields.push({ name: colon < 0 ? "" : raw.slice(0, colon).trim().toLowerCase(), raw });
    start = end + 2;
  }
  return fields;
}

/** Reads the header section; the rest of the source becomes the body. */
export async function readMessage(source: MessageSource, budget: Budget): Promise<Message> {
  if (source instanceof Uint8Array) return splitMessage(source, budget);
  const chunks = source[Symbol.asyncIterator]();
  let gathered: Buffer = Buffer.alloc(0);
  for (;;) {
    const next = await chunks.next();
    if (next.done) return splitMessage(gathered, budget);
    // The header of nearly every message comes in the first chunk; only a larger one is put together here.
    gathered = gathered.length === 0 ? bufferOf(next.value) : Buffer.concat([gathered, next.value]);
    if (endOfHeader(gathered) >= 0) break;
    if (gathered.length > budget.headerSection) throw new BudgetExceeded("headerSection", budget.headerSection);
  }
  const { fields, body } = splitMessage(gathered, budget);
  return { fields, body: rest(body as Buffer, chunks) };
}

/** The header section alone; the rest of the source is not read, and the source is closed. */
export async function readHeader(source: MessageSource, budget: Budget): Promise<HeaderField[]> {
  if (source instanceof Uint8Array) return splitMessage(source, budget).fields;
  const chunks = source[Symbol.asyncIterator]();
  try {
    return (await readMessage({ [Symbol.asyncIterator]: () => chunks }, budget)).fields;
  } finally {
    await chunks.return?.(undefined);
  }
}

async function* rest(first: Buffer, chunks: AsyncIterator<Uint8Array>): AsyncGenerator<Uint8Array> {
  yield first;
  for (let next = await chunks.next(); !next.done; next = await chunks.next()) yield next.value;
}

/** Offset of the CRLF that ends the last field, -1 when the empty line has not come yet. */
function endOfHeader(bytes: Buffer): number {
  return bytes[0] === 0x0d && bytes[1] === 0x0a ? 0 : bytes.indexOf(headerEnd);
}

function splitMessage(source: Uint8Array, budget: Budget): Message {
  const bytes = bufferOf(source);
  const end = endOfHeader(bytes);
  const headerLength = end < 0 ? bytes.length : end;
  if (headerLength > budget.headerSection) throw new BudgetExceeded("headerSection", budget.headerSection);
  const header = bytes.toString("latin1", 0, headerLength);
  const bodyStart = end < 0 ? bytes.length : end === 0 ? 2 : end + 4;
  return { fields: parseFields(header, budget), body: bytes.subarray(bodyStart) };
}

/** A copy with every bare LF turned into CRLF; the same bytes when there is none. */
export function toCrlf(source: Uint8Array): Buffer {
  const bytes = bufferOf(source);
  let bare = 0;
  for (let at = bytes.indexOf(10); at >= 0; at = bytes.indexOf(10, at + 1)) if (bytes[at - 1] !== 13) bare += 1;
  if (bare === 0) return bytes;
  const out = Buffer.allocUnsafe(bytes.length + bare);
  let to = 0;
  for (let at = 0; at < bytes.length; at++) {
    if (bytes[at] === 10 && bytes[at - 1] !== 13) out[to++] = 13;
    out[to++] = bytes[at]!;
  }
  return out;
}

/** Value of a field, unfolded, blanks trimmed. */
export function fieldValue(field: HeaderField): string {
  return field.raw
    .slice(field.raw.indexOf(":") + 1)
    .replace(/\r\n(?=[ \t])/g, "")
    .trim();
}
