/**
 * A redirected message (RFC 5228 §4.2) with the field that ends loops, and its reverse-path. SRS is the gateway's.
 * Failure: undefined when the message went through this recipient before.
 */
import type { SieveEnvelope } from "../host.ts";
import type { RedirectAction } from "../result.ts";
import type { SieveSettings } from "../settings.ts";
import { envelopeFrom, type OutgoingMessage } from "./compose.ts";

export const loopField = "X-Sieve-Redirected-From";

export function redirection(
  action: RedirectAction,
  envelope: SieveEnvelope,
  settings: SieveSettings,
): OutgoingMessage | undefined {
  const owner = envelope.to || settings.userEmail;
  const passed = action.mail
    .all(loopField.toLowerCase())
    .some((field) => field.value.toLowerCase() === owner.toLowerCase());
  if (passed) return undefined;
  // Trace of the last hop: the next server writes its own Return-Path (RFC 5321 §4.4).
  const mail = action.mail.withoutFields(new Set(action.mail.all("return-path")));
  const from = envelope.from === "" ? "" : envelopeFrom(settings.redirectEnvelopeFrom, envelope, settings);
  const trace = `X-Sieve: ${settings.implementation}\r\n${loopField}: ${owner.replace(/[\r\n]/g, "")}\r\n`;
  return {
    from,
    to: [...(action.members ?? [action.address])],
    message: Buffer.concat([Buffer.from(trace), mail.bytes]),
  };
}
