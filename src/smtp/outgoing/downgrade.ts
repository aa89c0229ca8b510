/**
 * A message made 7-bit for a host without 8BITMIME (RFC 6152 §3), or line-oriented after BINARYMIME (RFC 3030 §3).
 * Invariants: only bodies of leaf parts and their Content-Transfer-Encoding change, all other octets stay; a message
 * under a MIME signature is not touched (RFC 1847 §2.1). Failure: undefined when the message can't be converted so: it
 * is signed, holds raw 8-bit header fields (that is SMTPUTF8's matter, RFC 6532), or is beyond the MIME budget.
 */
import { isAscii } from "node:buffer";
import { BudgetExceeded } from "../../config/budget.ts";
import type { MimeBudget, MimePart } from "../../message/mime.ts";
import { parseMessage } from "../../message/parse.ts";
import { applySplices, encodeQuotedPrintable, type Splice, setField } from "./splice.ts";

const encodingField = "Content-Transfer-Encoding";

export function toSevenBit(message: Buffer, budget: MimeBudget): Buffer | undefined {
  try {
    const splices: Splice[] = [];
    const { root } = parseMessage(message, budget);
    if (!convert(root, message, splices)) return undefined;
    // RFC 2045 §4: without this field the encodings would mean nothing.
    if (!root.headers.first("mime-version")) splices.push(setField(root, "MIME-Version", "1.0"));
    const converted = applySplices(message, splices);
    return isAscii(converted) ? converted : undefined;
  } catch (error) {
    if (error instanceof BudgetExceeded) return undefined;
    throw error;
  }
}

function convert(part: MimePart, message: Buffer, splices: Splice[]): boolean {
  if (part.mediaType === "multipart/signed" || part.source !== message) return false;
  if (!isAscii(message.subarray(part.start, part.bodyStart))) return false;
  const inner = part.nested ? [part.nested] : part.children;
  const raw = part.encoding === "8bit" || part.encoding === "binary";
  if (inner.length > 0) {
    if (raw) splices.push(setField(part, encodingField, "7bit"));
    return inner.every((child) => convert(child, message, splices));
  }
  if (isAscii(part.body) && part.encoding !== "binary") {
    if (raw) splices.push(setField(part, encodingField, "7bit"));
    return true;
  }
  const text = part.type === "text" && part.encoding !== "binary";
  splices.push(setField(part, encodingField, text ? "quoted-printable" : "base64"));
  const body = text ? encodeQuotedPrintable(part.body) : part.body.toString("base64").replace(/.{76}/g, "$&\r\n");
  splices.push({ start: part.bodyStart, end: part.end, text: Buffer.from(body) });
  return true;
}
