/**
 * Replies of the server as text: code, enhanced code, lines (RFC 5321 §4.2, RFC 2034).
 * Invariants: every line ends in CRLF and holds at most 512 octets (RFC 5321 §4.5.3.1.5); bytes that come from
 * elsewhere can't end a line; non-ASCII is written only where the client asked for SMTPUTF8 (RFC 6531 §3.7.4.1).
 */
import { type Outcome, printable } from "../../message/outcome.ts";

/** Octets of text on one reply line, leaving room for "250-", an enhanced code and CRLF. */
const textOctets = 480;
const plainText = /^[\x20-\x7e]*$/;
const plainLines = new RegExp(`^[\\x20-\\x7e]{0,${textOctets}}(?:\\n[\\x20-\\x7e]{0,${textOctets}})*$`);

function foldLine(line: string): string[] {
  const pieces: string[] = [];
  for (let rest = line; ; rest = rest.slice(textOctets)) {
    pieces.push(rest.slice(0, textOctets));
    if (rest.length <= textOctets) return pieces;
  }
}

/** Lines that need neither cleaning nor folding, as in EHLO and QUIT of every session. */
function plainReply(code: number, prefix: string, text: string): string {
  let reply = "";
  for (let from = 0; ; ) {
    const end = text.indexOf("\n", from);
    if (end < 0) return `${reply}${code} ${prefix}${text.slice(from)}\r\n`;
    reply += `${code}-${prefix}${text.slice(from, end)}\r\n`;
    from = end + 1;
  }
}

/** One reply. `enhanced` is "" where RFC 2034 §4 forbids it (greeting, HELO/EHLO, 3xx). */
export function formatReply(code: number, enhanced: string, text: string, utf8 = false): string {
  const prefix = enhanced === "" ? "" : `${enhanced} `;
  if (text.length <= textOctets && plainText.test(text)) return `${code} ${prefix}${text}\r\n`;
  if (plainLines.test(text)) return plainReply(code, prefix, text);
  let clean = printable(text, true);
  if (!utf8) clean = clean.replace(/[^\n\x20-\x7e]/g, "?");
  const lines = clean.split("\n").flatMap(foldLine);
  const last = lines.length - 1;
  return lines.map((line, index) => `${code}${index === last ? " " : "-"}${prefix}${line}\r\n`).join("");
}

/** The reply that an outcome gives; a 3xx or greeting outcome has no enhanced code. */
export function outcomeReply(outcome: Outcome, utf8 = false): string {
  const enhanced = outcome.code >= 300 && outcome.code < 400 ? "" : outcome.enhanced;
  return formatReply(outcome.code, enhanced, outcome.text, utf8);
}
