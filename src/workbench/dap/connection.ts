/**
 * Framing of the Debug Adapter Protocol: `Content-Length` headers and JSON (its base protocol). Invariants: a message is
 * at most the budget's `debugMessageBytes`; what is sent is numbered. Failure: bytes that are no message end the session,
 * since what follows them can't be found.
 */
import type { DebugProtocol } from "@vscode/debugprotocol";
import { budgetDefaults } from "../../config/budget.ts";

/** Header bytes of one message. */
const headerBytes = 4_096;

export class ProtocolError extends Error {}

/** Splits a stream of bytes into requests. */
export class Framing {
  private pending: Buffer = Buffer.alloc(0);

  /** Requests that are complete with these bytes. Throws ProtocolError on bytes that are no message. */
  push(bytes: Uint8Array): DebugProtocol.Request[] {
    this.pending = Buffer.concat([this.pending, bytes]);
    const found: DebugProtocol.Request[] = [];
    for (let next = this.next(); next !== undefined; next = this.next()) found.push(next);
    return found;
  }

  private next(): DebugProtocol.Request | undefined {
    const end = this.pending.indexOf("\r\n\r\n");
    if (end > headerBytes || (end < 0 && this.pending.length > headerBytes)) throw new ProtocolError("header too long");
    if (end < 0) return undefined;
    const length = Number(/^Content-Length: (\d{1,9})$/im.exec(this.pending.toString("latin1", 0, end))?.[1]);
    if (Number.isNaN(length)) throw new ProtocolError("no Content-Length");
    if (length > budgetDefaults.debugMessageBytes) throw new ProtocolError("message too long");
    const from = end + 4;
    if (this.pending.length < from + length) return undefined;
    const text = this.pending.toString("utf8", from, from + length);
    this.pending = this.pending.subarray(from + length);
    return requestOf(text);
  }
}

function requestOf(text: string): DebugProtocol.Request {
  let message: unknown;
  try {
    message = JSON.parse(text);
  } catch {
    throw new ProtocolError("not JSON");
  }
  const { seq, type, command } = (message ?? {}) as Partial<DebugProtocol.Request>;
  if (type !== "request" || typeof command !== "string" || typeof seq !== "number") {
    throw new ProtocolError("not a request");
  }
  return message as DebugProtocol.Request;
}

export function framed(message: object): string {
  const text = JSON.stringify(message);
  return `Content-Length: ${Buffer.byteLength(text)}\r\n\r\n${text}`;
}
