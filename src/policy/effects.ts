/**
 * From an effect of the program to what the gateway is asked to do. Values are made safe here: no line break reaches a
 * header field, an address or a log line. Undefined: the inputs make no sense, and the effect is ignored as in the
 * original (smtpfilters.md §6).
 */
import { printable } from "../message/outcome.ts";
import type { PolicyEffect } from "./types.ts";
import { maxDelaySeconds } from "./vocabulary.ts";

/** RFC 5322 §2.2: printable ASCII but the colon. */
const fieldName = /^[!-9;-~]{1,200}$/;

export function effectOf(kind: string, args: readonly string[]): PolicyEffect | undefined {
  const [first = "", second = "", third = ""] = args;
  switch (kind) {
    case "addHeader":
    case "addIfNotExistsHeader":
    case "modifyHeader":
    case "modifyIfExistsHeader":
      return fieldName.test(first) ? { kind, name: first, value: printable(second) } : undefined;
    case "removeFirstHeader":
    case "removeHeader":
      return fieldName.test(first) ? { kind, name: first } : undefined;
    case "addRcpt":
    case "addBcc":
      return withAddress(kind, first);
    case "discardRcpt":
      return withAddress(kind, first || second);
    case "quarantine":
    case "hold":
    case "tag":
    case "log":
      return { kind, text: printable(first) };
    case "delay": {
      const seconds = Number(first);
      return seconds > 0 ? { kind, seconds: Math.min(seconds, maxDelaySeconds) } : undefined;
    }
    case "signDKIM":
      return { kind: "signDkim", domain: first, selector: second, keyPath: third };
    case "addMilterFilter":
      return second ? { kind: "filter", name: first, address: second, timeoutMs: Number(third) * 1_000 } : undefined;
    default:
      throw new Error(`no such effect: ${kind}`);
  }
}

function withAddress(kind: "addRcpt" | "addBcc" | "discardRcpt", text: string): PolicyEffect | undefined {
  const address = text.trim().replace(/^<(.*)>$/, "$1");
  return /^[^\s<>\x00-\x1f\x7f]{1,320}$/.test(address) ? { kind, address } : undefined;
}
