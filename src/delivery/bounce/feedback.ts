/**
 * Abuse reports (RFC 5965): the recipients who complained.
 */
import type { ParsedMessage } from "../../message/parse.ts";

/** Addresses of the complainants; undefined when the message is no feedback report. */
export function feedbackRecipients(message: ParsedMessage): string[] | undefined {
  const parts = message.parts();
  const report = parts.find((part) => part.mediaType === "message/feedback-report");
  const returned = parts.find((part) => part.mediaType === "message/rfc822")?.nested;
  if (report) {
    const text = report.content.toString("latin1", 0, 65_536);
    const named = [...text.matchAll(/^(?:Original-Rcpt-To|Removal-Recipient)[ \t]*:[ \t]*<?([^\s<>]+)>?/gim)];
    const addresses = [...new Set(named.map((match) => match[1]!))];
    if (addresses.length > 0) return addresses;
    return [returned?.headers.first("to")?.value ?? ""];
  }
  // Hotmail's complaint form before RFC 5965: the original with an extra field.
  const complainant = returned?.headers.first("x-hmxmroriginalrecipient")?.value;
  return complainant === undefined ? undefined : [complainant];
}
