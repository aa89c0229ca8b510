/**
 * XCLIENT and XFORWARD attributes (Postfix XCLIENT_README, XFORWARD_README), as pure functions.
 * Invariants: values are xtext-decoded and hold no control bytes; addresses and ports are checked. Failure: undefined
 * for an argument list that isn't well-formed.
 */
import { isIPv4, isIPv6 } from "node:net";
import type { SmtpClientInfo } from "./hooks.ts";
import { decodeXtext } from "./parameters.ts";

const xclientAttributes = new Set(["NAME", "ADDR", "PORT", "PROTO", "HELO", "LOGIN", "DESTADDR", "DESTPORT"]);
export const xforwardAttributes = new Set(["NAME", "ADDR", "PORT", "PROTO", "HELO", "IDENT", "SOURCE"]);

/** Values that mean "not known". */
const unavailable = /^\[(?:UNAVAILABLE|TEMPUNAVAIL)\]$/i;

function attributeValue(name: string, text: string): string | undefined {
  const value = decodeXtext(text);
  if (value === undefined || /[\x00-\x1f\x7f]/.test(value) || value.length > 255) return undefined;
  if (unavailable.test(value)) return "";
  if (name === "ADDR" || name === "DESTADDR") {
    const address = value.replace(/^IPV6:/i, "");
    return isIPv4(address) || isIPv6(address) ? address : undefined;
  }
  if (name === "PORT" || name === "DESTPORT")
    return /^\d{1,5}$/.test(value) && Number(value) < 65_536 ? value : undefined;
  if (name === "PROTO") return /^E?SMTP$/i.test(value) ? value.toUpperCase() : undefined;
  return value;
}

/** "NAME=value ADDR=value" → values by upper-case name; "" is a value not known. */
export function readXattributes(
  argument: string,
  names: ReadonlySet<string> = xclientAttributes,
): Record<string, string> | undefined {
  const attributes: Record<string, string> = {};
  for (const word of argument.split(" ").filter((part) => part !== "")) {
    const equals = word.indexOf("=");
    const name = word.slice(0, equals).toUpperCase();
    if (equals < 1 || !names.has(name)) return undefined;
    const value = attributeValue(name, word.slice(equals + 1));
    if (value === undefined) return undefined;
    attributes[name] = value;
  }
  return attributes;
}

/** Makes `client` the one that XCLIENT speaks of; answers its login, "" when none. */
export function applyXclient(client: SmtpClientInfo, attributes: Record<string, string>): string {
  if (attributes.ADDR) client.remoteIp = attributes.ADDR;
  if (attributes.PORT) client.remotePort = Number(attributes.PORT);
  if (attributes.DESTADDR) client.localIp = attributes.DESTADDR;
  if (attributes.DESTPORT) client.localPort = Number(attributes.DESTPORT);
  client.ehlo = attributes.HELO ?? "";
  client.esmtp = attributes.PROTO === "ESMTP";
  return attributes.LOGIN ?? "";
}
