/**
 * Our trace header (RFC 5321 §4.4), put on top of every message received.
 * Invariants: no octet of the client's reaches the header unless it is printable ASCII; lines fold at clause borders.
 */

import { formatDate } from "./date.ts";
import type { ClientInfo } from "./envelope.ts";

export interface ReceivedParts {
  client: ClientInfo;
  /** Our own host name (the "by" clause). */
  hostName: string;
  queueId: string;
  /** The recipient when there is exactly one, else undefined: others must not be revealed (RFC 5321 §7.2). */
  recipient?: string;
  /** Verified reverse DNS name of the client, "" when unknown. */
  remoteHost: string;
  /** Milliseconds since epoch. */
  now: number;
}

/** The whole field with CRLF line ends. */
export function buildReceived(parts: ReceivedParts): string {
  const { client } = parts;
  // RFC 5321 §4.1.3: IPv6 literals carry a tag.
  const literal = client.remoteIp.includes(":") ? `[IPv6:${safe(client.remoteIp)}]` : `[${safe(client.remoteIp)}]`;
  const from = client.ehlo === "" ? literal : safe(client.ehlo);
  const known = parts.remoteHost === "" ? literal : `${safe(parts.remoteHost)} ${literal}`;
  const lines = [`Received: from ${from} (${known})`];
  if (client.tls !== "") lines.push(`\t(using ${safeText(client.tls)})`);
  if (client.authUser !== "") lines.push("\t(authenticated)");
  // RFC 3848 words come in `protocol`.
  lines.push(`\tby ${safe(parts.hostName)} with ${safe(client.protocol)} id ${safe(parts.queueId)}`);
  if (parts.recipient !== undefined) lines.push(`\tfor <${safe(parts.recipient)}>`);
  return `${lines.join("\r\n")};\r\n\t${formatDate(parts.now)}\r\n`;
}

/** A word for a trace clause: what could end the clause or the line becomes "?". */
function safe(word: string): string {
  return word.slice(0, 255).replace(/[^\x21-\x7e]|[();<>,]/g, "?");
}

function safeText(text: string): string {
  return text.slice(0, 255).replace(/[^\x20-\x7e]|[();<>]/g, "?");
}
