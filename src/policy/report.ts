/**
 * Words of delivery reports as the script set them (smtpfilters.md §5.7, §8.3): after onDeliveryFailure,
 * onTemporaryDeliveryFailure or onDeliverySuccess ran in a session, one text for the report with one entry a recipient.
 * Invariants: line breaks are CRLF; a recipient's values can't bring in further lines. Failure: none.
 */
import { printable } from "../message/outcome.ts";
import type { ReportText } from "../queue/types.ts";
import type { PolicySession } from "./types.ts";

export interface ReportRecipient {
  address: string;
  /** Failure info, or "delivered"/"relayed". */
  detail: string;
}

export type ReportKind = "permanent" | "temporary" | "success";

interface Words {
  subject: string;
  opening: string;
  recipient: string;
}

/** What a report says where the script says nothing. */
const defaults: Readonly<Record<ReportKind, Words>> = {
  permanent: {
    subject: "Your message could not be delivered",
    opening: "Your message could not be delivered to these recipients:\n\n",
    recipient: "\x01ndrRcptAddress\x02: \x01ndrRcptFailInfo\x02\n",
  },
  temporary: {
    subject: "Your message is delayed",
    opening: "Your message has not been delivered yet to these recipients. Delivery goes on being tried.\n\n",
    recipient: "\x01ndrRcptAddress\x02: \x01ndrRcptFailInfo\x02\n",
  },
  success: {
    subject: "Your message was delivered",
    opening: "Your message was delivered to these recipients:\n\n",
    recipient: "\x01dsnRcptAddress\x02: \x01dsnRcptStatus\x02\n",
  },
};

/**
 * The report, or undefined when the script decided against sending one (sendNdr). `sender` is the address used when
 * the script names none, e.g. MAILER-DAEMON@example.org.
 */
export function renderReport(
  session: PolicySession,
  kind: ReportKind,
  recipients: readonly ReportRecipient[],
  sender: string,
): ReportText | undefined {
  const prefix = kind === "success" ? "dsn" : "ndr";
  if (prefix === "ndr" && session.read("sendNdr") === "no") return undefined;
  const words = defaults[kind];
  const template = session.read(`${prefix}RcptMessage`) || words.recipient;
  const attach = session.read("ndrAttachSource");
  return {
    sender: printable(session.read(`${prefix}Sender`)) || sender,
    subject: printable(session.read(`${prefix}Subject`)) || words.subject,
    opening: crlf(session.read(`${prefix}Message`) || words.opening),
    perRecipient: recipients.map((recipient) => crlf(fill(template, recipient))),
    footer: crlf(session.read(`${prefix}MessageFooter`)),
    attach: attach === "none" || attach === "mail" ? attach : "header",
  };
}

const fill = (template: string, recipient: ReportRecipient): string =>
  template.replace(/\x01([A-Za-z]+)\x02/g, (_all, name: string) =>
    printable(name.endsWith("RcptAddress") ? recipient.address : recipient.detail),
  );

const crlf = (text: string): string => text.replace(/\r\n|\r|\n/g, "\r\n");
