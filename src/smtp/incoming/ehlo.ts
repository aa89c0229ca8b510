/**
 * The EHLO reply: which extensions are announced, from the session's settings at this moment (smtpfilters.md §7.3).
 * Pure; the same settings that `admit` holds commands to, so nothing is announced that is then refused.
 */
import { maxHoldSeconds, offersUserExtensions, type ProtocolState, type Terms } from "./protocol.ts";

/** RFC 6710 §5: the profile announced for MT-PRIORITY; "MIXER" maps to -4, 0 and 4. */
const priorityProfile = "MIXER";

/** Lines of the reply, the greeting first. */
export function ehloLines(state: ProtocolState, terms: Terms): string[] {
  const { settings } = terms;
  const lines = [`${settings.hostName} ESMTP hello`];
  if (settings.allowPipelining) lines.push("PIPELINING"); // RFC 2920
  if (terms.mechanisms.length > 0) {
    const list = terms.mechanisms.join(" ");
    lines.push(`AUTH ${list}`, `AUTH=${list}`); // RFC 4954; the second for clients older than it
  }
  if (settings.allow8bitMime) lines.push("8BITMIME"); // RFC 6152
  if (settings.allowBinary) lines.push("BINARYMIME", "CHUNKING"); // RFC 3030
  lines.push(`SIZE ${settings.maxMessageBytes}`); // RFC 1870
  if (!state.secure && terms.tlsAvailable && settings.allowStartTls) lines.push("STARTTLS"); // RFC 3207
  lines.push("ENHANCEDSTATUSCODES"); // RFC 2034
  if (settings.allowDsn) lines.push("DSN"); // RFC 3461
  if (settings.allowSmtpUtf8) lines.push("SMTPUTF8"); // RFC 6531
  if (state.secure && settings.allowRequireTls) lines.push("REQUIRETLS"); // RFC 8689
  lines.push(`LIMITS RCPTMAX=${settings.maxRecipients}`); // RFC 9422
  if (offersUserExtensions(state)) {
    const until = new Date(terms.now + maxHoldSeconds * 1000).toISOString().replace(/\.\d+Z$/, "Z");
    lines.push("DELIVERBY", `FUTURERELEASE ${maxHoldSeconds} ${until}`, `MT-PRIORITY ${priorityProfile}`);
  }
  if (terms.xclientTrusted) {
    lines.push("XCLIENT NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT");
    lines.push("XFORWARD NAME ADDR PORT PROTO HELO IDENT SOURCE");
  }
  lines.push("HELP");
  return lines;
}
