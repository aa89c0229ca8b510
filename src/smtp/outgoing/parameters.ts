/**
 * MAIL and RCPT commands for one next hop: which ESMTP parameters the host's EHLO lets us pass on, and what can't be
 * sent to it at all (RFC 1870, 3030, 3461, 6152, 6531, 8689). Pure.
 * Invariants: no control byte reaches a command line; a message is never sent to a host that would have to garble it,
 * it is refused with the code its RFC names.
 */
import { domainToASCII } from "node:url";
import { type Envelope, localPartOf, type Recipient } from "../../message/envelope.ts";
import { type Outcome, outcome } from "../../message/outcome.ts";

/** What is known of the host for this decision. */
export interface Host {
  extensions: ReadonlyMap<string, string>;
  lmtp: boolean;
  /** TLS is on and the certificate was verified. */
  tlsVerified: boolean;
}

export interface Content {
  size: number;
  eightBit: boolean;
}

export type MailParameters = Pick<
  Envelope,
  "mailFrom" | "body" | "smtpUtf8" | "requireTls" | "ret" | "envid" | "deliverBy" | "priority"
>;

const control = /[\x00-\x1f\x7f]/;
const nonAscii = /[^\x00-\x7f]/;

function refuse(code: number, enhanced: string, text: string): Outcome {
  return outcome.reject({ code, enhanced, text, origin: "engine" });
}

/** RFC 3461 §4: everything outside "!".."~", and "+" and "=", as "+" and two hexadecimal digits. */
export function xtext(value: string): string {
  return value.replace(/[^!-*,-<>-~]/gu, (character) =>
    [...Buffer.from(character)].map((octet) => `+${octet.toString(16).toUpperCase().padStart(2, "0")}`).join(""),
  );
}

/** The address as this host can take it, or why it can't. */
function pathFor(address: string, host: Host): string | Outcome {
  if (control.test(address)) return refuse(553, "5.1.3", "control character in an address");
  if (!nonAscii.test(address) || host.extensions.has("SMTPUTF8")) return address;
  // RFC 6531 §3.2 leaves a host without SMTPUTF8 reachable for ASCII local parts: the domain has an A-label form.
  const local = localPartOf(address);
  const domain = domainToASCII(address.slice(local.length + 1));
  if (nonAscii.test(local) || domain === "") {
    return refuse(553, "5.6.7", "the next hop does not take non-ASCII addresses (SMTPUTF8)");
  }
  return `${local}@${domain}`;
}

/** The MAIL command without CRLF, or the outcome for the whole message. */
export function mailCommand(mail: MailParameters, content: Content, host: Host): string | Outcome {
  const { extensions } = host;
  const path = pathFor(mail.mailFrom, host);
  if (typeof path !== "string") return path;
  let command = `MAIL FROM:<${path}>`;
  const size = extensions.get("SIZE");
  if (size !== undefined) {
    const limit = Number(size);
    // RFC 1870 §6.1: no need to ask when the limit is known to be smaller; "0" means no fixed limit.
    if (limit > 0 && content.size > limit) {
      return refuse(552, "5.3.4", `message of ${content.size} octets is larger than the next hop's limit of ${limit}`);
    }
    command += ` SIZE=${content.size}`;
  }
  if (content.eightBit && extensions.has("8BITMIME")) command += " BODY=8BITMIME";
  if (mail.smtpUtf8 && extensions.has("SMTPUTF8")) command += " SMTPUTF8";
  if (mail.requireTls) {
    // RFC 8689 §4.2.1: TLS, a verified certificate and a host that will keep the promise, or no delivery.
    if (!host.tlsVerified) return refuse(550, "5.7.10", "REQUIRETLS: the next hop has no verified TLS");
    if (!extensions.has("REQUIRETLS")) return refuse(550, "5.7.30", "REQUIRETLS is not supported by the next hop");
    command += " REQUIRETLS";
  }
  if (extensions.has("DSN")) {
    if (mail.ret) command += ` RET=${mail.ret}`;
    if (mail.envid) command += ` ENVID=${xtext(mail.envid)}`;
  }
  if (mail.deliverBy && extensions.has("DELIVERBY")) {
    const seconds = Math.ceil((mail.deliverBy.deadline - Date.now()) / 1_000);
    command += ` BY=${seconds};${mail.deliverBy.mode}${mail.deliverBy.trace ? "T" : ""}`;
  }
  if (mail.priority !== undefined && extensions.has("MT-PRIORITY")) command += ` MT-PRIORITY=${mail.priority}`;
  return command;
}

/** The RCPT command without CRLF, or the outcome for this recipient. */
export function rcptCommand(recipient: Recipient, host: Host): string | Outcome {
  const path = pathFor(recipient.address, host);
  if (typeof path !== "string") return path;
  let command = `RCPT TO:<${path}>`;
  if (host.extensions.has("DSN")) {
    if (recipient.notify && recipient.notify.length > 0) command += ` NOTIFY=${recipient.notify.join(",")}`;
    if (recipient.orcpt) {
      const semicolon = recipient.orcpt.indexOf(";");
      command += ` ORCPT=${recipient.orcpt.slice(0, semicolon + 1)}${xtext(recipient.orcpt.slice(semicolon + 1))}`;
    }
  }
  return control.test(command) ? refuse(553, "5.1.3", "control character in an address parameter") : command;
}
