/**
 * Macros that go with each milter command: the lists that Sendmail and Postfix send by default, replaced stage by stage
 * by what a filter asked for in the negotiation (SETSYMLIST).
 * Invariant: names are looked up without braces; values without one are left out.
 */
import type { ClientInfo, Envelope } from "../../message/envelope.ts";
import { printable } from "../../message/outcome.ts";
import type { Negotiation, Stage } from "./codec.ts";

/** Answers a macro's value by its name without braces, e.g. "auth_authen", "i"; undefined when there is none. */
export type MacroSource = (name: string) => string | undefined;

/** The value of a macro from what is known of a client and its message. */
export function clientMacro(
  name: string,
  client: ClientInfo,
  envelope: Envelope | undefined,
  hostName: string,
  id: string,
): string | undefined {
  switch (name) {
    case "i":
      return id;
    case "j":
      return hostName;
    case "_":
      return `[${client.remoteIp}]`;
    case "auth_authen":
      return client.authUser;
    case "mail_addr":
      return envelope?.mailFrom;
    case "tls_version":
      return client.tls.split(" ")[0];
    case "cipher":
      return client.tls.split(" ")[1];
    default:
      return undefined;
  }
}

const defaults: Readonly<Record<Stage, readonly string[]>> = {
  connect: ["j", "daemon_name", "daemon_addr", "v", "_"],
  helo: ["tls_version", "cipher", "cipher_bits", "cert_subject", "cert_issuer"],
  mail: ["i", "auth_type", "auth_authen", "auth_author", "mail_addr", "mail_host", "mail_mailer"],
  rcpt: ["i", "rcpt_addr", "rcpt_host", "rcpt_mailer"],
  data: ["i"],
  eoh: ["i"],
  eom: ["i"],
};

/** Macro names and values of one stage, in the order of the list. */
export function macrosOf(
  stage: Stage,
  negotiation: Negotiation,
  source: MacroSource,
): Array<readonly [string, string]> {
  const pairs: Array<readonly [string, string]> = [];
  for (const listed of negotiation.symbols.get(stage) ?? defaults[stage]) {
    const name = listed.replace(/^\{|\}$/g, "");
    const value = source(name);
    if (value !== undefined && value !== "") pairs.push([name.length === 1 ? name : `{${name}}`, printable(value)]);
  }
  return pairs;
}
