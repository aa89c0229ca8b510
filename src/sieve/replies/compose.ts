/**
 * What all messages that Sieve itself makes have in common: Message-ID, Date, X-Sieve, folding, a CRLF body.
 * Invariants: no value can begin a line of its own; text beyond ASCII is encoded in fields and marked 8bit in bodies.
 */
import { randomBytes } from "node:crypto";
import { formatDate } from "../../message/date.ts";
import { foldField } from "../../message/edit.ts";
import type { SieveSettings } from "../settings.ts";

/** A message to send: `from` "" is the null reverse-path. */
export interface OutgoingMessage {
  from: string;
  to: string[];
  message: Buffer;
}

/** Values are texts, or octets of a folded field that are taken as they are. */
export type Fields = ReadonlyArray<readonly [name: string, value: string | undefined]>;

/** @param body with its own line ends, which become CRLF; for `mime` it begins with header fields of the body. */
export function compose(fields: Fields, body: string, settings: SieveSettings, now: Date, mime = false): Buffer {
  const ascii = !/[^\x00-\x7f]/.test(body);
  const all: Fields = [
    ["X-Sieve", settings.implementation],
    [
      "Message-ID",
      `<postern-sieve-${now.getTime().toString(36)}-${randomBytes(8).toString("hex")}@${settings.hostname}>`,
    ],
    ["Date", formatDate(now.getTime())],
    ...fields,
    ["MIME-Version", "1.0"],
    ...(mime
      ? []
      : ([
          ["Content-Type", `text/plain; charset=${ascii ? "us-ascii" : "utf-8"}`],
          ["Content-Transfer-Encoding", ascii ? "7bit" : "8bit"],
        ] as const)),
  ];
  const head = all.filter(([, value]) => value !== undefined).map(([name, value]) => `${foldField(name, value!)}\r\n`);
  const text = body.replace(/\r\n|\r|\n/g, "\r\n");
  return Buffer.from(`${head.join("")}${mime ? "" : "\r\n"}${text}${text.endsWith("\r\n") ? "" : "\r\n"}`);
}

/** A reverse-path setting ("sender", "recipient", "<a@b>"…) as an address. */
export function envelopeFrom(
  setting: string,
  envelope: { from: string; to: string; originalTo?: string },
  settings: SieveSettings,
): string {
  switch (setting.trim().toLowerCase()) {
    case "sender":
      return envelope.from;
    case "recipient":
      return envelope.to;
    case "orig_recipient":
      return envelope.originalTo ?? envelope.to;
    case "user_email":
      return settings.userEmail || envelope.to;
    case "postmaster":
      return settings.postmaster;
    default:
      return setting.trim().replace(/^<|>$/g, "");
  }
}
