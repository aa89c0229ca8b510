/**
 * Mail of `notify` (RFC 5436 §2.7) and of `report` (ARF, RFC 5965).
 * Invariants: an automatic message is never notified about (RFC 5436 §2.7.1 loop prevention); recipients and fields are
 * those of a checked mailto URI. Failure: none; undefined when nothing is to be sent.
 */

import { formatAddress, parseScriptAddress } from "../address.ts";
import type { SieveEnvelope } from "../host.ts";
import { parseMailto } from "../mailto.ts";
import type { NotifyAction, ReportAction } from "../result.ts";
import type { SieveSettings } from "../settings.ts";
import { compose, envelopeFrom, type Fields, type OutgoingMessage } from "./compose.ts";

const importances: Record<string, readonly [priority: string, importance: string]> = {
  "1": ["1 (Highest)", "High"],
  "2": ["3 (Normal)", "Normal"],
  "3": ["5 (Lowest)", "Low"],
};

export function notification(
  action: NotifyAction,
  envelope: SieveEnvelope,
  settings: SieveSettings,
  now = new Date(),
): OutgoingMessage | undefined {
  const { mail } = action;
  if (mail.all("auto-submitted").some((field) => !/^no\b/i.test(field.value))) return undefined;
  const parsed = parseMailto(action.method);
  if (!parsed.ok) return undefined;
  const { mailto } = parsed;
  const to = [...mailto.to, ...mailto.cc];
  if (to.length === 0) return undefined;
  const [priority, importance] = importances[action.importance] ?? importances["2"]!;
  const subject = action.message || mailto.subject || `Notification: ${mail.first("subject")?.decoded ?? "no subject"}`;
  const fields: Fields = [
    ["Subject", subject],
    ["From", action.from ?? `Postmaster <${settings.postmaster}>`],
    ["To", mailto.to.length > 0 ? mailto.to.join(", ") : undefined],
    ["Cc", mailto.cc.length > 0 ? mailto.cc.join(", ") : undefined],
    ["Auto-Submitted", `auto-notified; owner-email="${(settings.userEmail || envelope.to).replace(/["\\\r\n]/g, "")}"`],
    ["Precedence", "bulk"],
    ["X-Priority", priority],
    ["Importance", importance],
    ...mailto.fields.map(({ name, value }) => [name, value] as const),
  ];
  const message = compose(fields, mailto.body ?? "Notification of new message.", settings, now);
  return { from: reversePath(action, envelope, settings), to, message };
}

/** RFC 5436 §2.3: null for a message with a null sender, so that loops end. */
function reversePath(action: NotifyAction, envelope: SieveEnvelope, settings: SieveSettings): string {
  if (envelope.from === "") return "";
  if (settings.mailtoEnvelopeFrom !== "") return envelopeFrom(settings.mailtoEnvelopeFrom, envelope, settings);
  const parsed = action.from === undefined ? undefined : parseScriptAddress(action.from);
  return parsed?.ok ? formatAddress(parsed.address) : settings.postmaster;
}

/** RFC 5965 §3 */
export function abuseReport(
  action: ReportAction,
  envelope: SieveEnvelope,
  settings: SieveSettings,
  now = new Date(),
): OutgoingMessage {
  const { mail } = action;
  const boundary = `postern-report-${now.getTime().toString(36)}/${settings.hostname}`;
  const original = action.headersOnly ? Buffer.concat(mail.fields.map((field) => field.bytes)) : mail.bytes;
  const type = action.headersOnly ? "text/rfc822-headers" : "message/rfc822";
  const received = mail.first("date")?.value;
  const body = `Content-Type: multipart/report; report-type=feedback-report;
\tboundary="${boundary}"

This is a MIME-encapsulated message

--${boundary}
Content-Type: text/plain; charset=utf-8
Content-Disposition: inline
Content-Transfer-Encoding: 8bit

${action.text}

--${boundary}
Content-Type: message/feedback-report

Version: 1
Feedback-Type: ${action.feedbackType}
User-Agent: ${settings.implementation}/${settings.version}
${envelope.from === "" ? "" : `Original-Mail-From: <${envelope.from}>\n`}Original-Rcpt-To: <${envelope.to}>
${received === undefined ? "" : `Arrival-Date: ${received}\n`}
--${boundary}
Content-Type: ${type}

${original.toString("latin1")}

--${boundary}--
`;
  const from = settings.reportFrom === "" ? "postmaster" : settings.reportFrom;
  const path = envelopeFrom(from, envelope, settings);
  const sender = path === settings.postmaster ? `Postmaster <${path}>` : `<${path}>`;
  const message = compose(
    [
      ["Subject", `Report: ${mail.first("subject")?.decoded ?? "(message without subject)"}`],
      ["From", sender],
      ["To", `<${action.address}>`],
      ["Auto-Submitted", "auto-generated (report)"],
      ["Precedence", "bulk"],
    ],
    body,
    settings,
    now,
    true,
  );
  const parsed = parseScriptAddress(action.address);
  return { from: path, to: parsed.ok ? [formatAddress(parsed.address)] : [], message };
}
