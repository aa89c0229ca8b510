/**
 * The value of a Received-SPF header field (RFC 7208 §9.1).
 * Invariant: what the client sent is quoted or escaped, so that it can't end the field, a comment or a key's value.
 */
import { printable } from "../../message/outcome.ts";
import type { SpfInput, SpfResult } from "./check.ts";

/** dot-atom as it is, anything else as a quoted-string. */
function value(text: string): string {
  const clean = printable(text).replace(/[^\x20-\x7e]/g, "?");
  if (/^[\w!#$%&'*+\-/=?^`{|}~]+(?:\.[\w!#$%&'*+\-/=?^`{|}~]+)*$/.test(clean)) return clean;
  return `"${clean.replace(/["\\]/g, "\\$&")}"`;
}

function comment(text: string): string {
  return printable(text)
    .replace(/[^\x20-\x7e]/g, "?")
    .replace(/[()\\]/g, "\\$&");
}

/** What the result means, in words; holds what the client sent, so clean it before use. */
function sentence(spf: SpfResult, ip: string): string {
  const domain = spf.identity === "mailfrom" ? `domain of ${spf.sender}` : spf.domain;
  switch (spf.result) {
    case "pass":
      return `${domain} designates ${ip} as permitted sender`;
    case "fail":
      return `${domain} does not designate ${ip} as permitted sender`;
    case "softfail":
      return `transitioning ${domain} does not designate ${ip} as permitted sender`;
    case "neutral":
      return `${ip} is neither permitted nor denied by ${domain}`;
    case "none":
      return `${domain} does not provide an SPF record`;
    default:
      return `${spf.result === "temperror" ? "temporary" : "permanent"} error for ${domain}: ${spf.problem}`;
  }
}

export function receivedSpf(spf: SpfResult, input: SpfInput, hostName: string): string {
  const pairs = [
    `client-ip=${value(input.ip)}`,
    `envelope-from=${value(spf.identity === "mailfrom" ? spf.sender : (input.mailFrom ?? ""))}`,
    `helo=${value(input.helo)}`,
    ...(spf.mechanism === "" ? [] : [`mechanism=${value(spf.mechanism)}`]),
    ...(spf.problem === "" || !spf.result.endsWith("error") ? [] : [`problem=${value(spf.problem)}`]),
    `identity=${spf.identity}`,
    `receiver=${value(hostName)}`,
  ];
  return `${spf.result} (${comment(`${hostName}: ${sentence(spf, input.ip)}`)}) ${pairs.join("; ")};`;
}

/** Text for people: the owner's explanation when there is one, else ours; "" for a pass. Printable ASCII. */
export function spfExplanation(spf: SpfResult, ip: string): string {
  if (spf.result === "pass") return "";
  return spf.explanation || printable(sentence(spf, ip)).replace(/[^\x20-\x7e]/g, "?");
}
