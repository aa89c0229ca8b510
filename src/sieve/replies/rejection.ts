/**
 * The report that refuses a message after it was accepted (RFC 5429 §2.2.1): an MDN (RFC 8098) to its sender.
 * Invariants: none to the null sender (RFC 5429 §2.2.2), so that no refusal ever bounces. Failure: none.
 */
import { type SieveEnvelope, withNested } from "../host.ts";
import type { RejectAction } from "../result.ts";
import type { SieveSettings } from "../settings.ts";
import { compose, type OutgoingMessage } from "./compose.ts";

/** Undefined when there is nobody to tell. */
export function rejectionReport(
  action: RejectAction,
  envelope: SieveEnvelope,
  settings: SieveSettings,
  now = new Date(),
): OutgoingMessage | undefined {
  if (envelope.from === "") return undefined;
  const { mail } = action;
  const recipient = envelope.originalTo ?? envelope.to;
  const boundary = `postern-${now.getTime().toString(36)}-${[...withNested(mail.root)].length}/${settings.hostname}`;
  const head = mail.fields.map((field) => field.bytes.toString("utf8")).join("");
  const id = mail.first("message-id")?.value;
  const body = `Content-Type: multipart/report; report-type=disposition-notification;
\tboundary="${boundary}"

This is a MIME-encapsulated message

--${boundary}
Content-Type: text/plain; charset=utf-8
Content-Disposition: inline
Content-Transfer-Encoding: 8bit

Your message to <${envelope.to}> was automatically rejected:
${action.reason}

--${boundary}
Content-Type: message/disposition-notification

Reporting-UA: ${settings.hostname}; Postern
${envelope.originalTo === undefined ? "" : `Original-Recipient: rfc822; ${recipient}\n`}Final-Recipient: rfc822; ${envelope.to}
${id === undefined ? "" : `Original-Message-ID: ${id}\n`}Disposition: automatic-action/MDN-sent-automatically; deleted

--${boundary}
Content-Type: text/rfc822-headers

${head}

--${boundary}--
`;
  const message = compose(
    [
      ["From", `Postmaster <${settings.postmaster}>`],
      ["To", `<${envelope.from}>`],
      ["Subject", "Automatically rejected mail"],
      ["Auto-Submitted", "auto-replied (rejected)"],
      ["Precedence", "bulk"],
    ],
    body,
    settings,
    now,
    true,
  );
  return { from: "", to: [envelope.from], message };
}
