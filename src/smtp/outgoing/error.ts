/**
 * Why a connection to a next hop failed, with the outcome it means for the messages that wanted to use it.
 * Invariants: `outcome` is never a success; an established host that says no is told apart from a host not reached,
 * because only the latter is a reason to count the destination as down.
 */
import { type Outcome, outcome } from "../../message/outcome.ts";

export type ConnectStage = "connect" | "greeting" | "ehlo" | "tls" | "auth" | "transaction";

export class SmtpError extends Error {
  readonly stage: ConnectStage;
  readonly outcome: Outcome;
  /** TLS failures carry the RFC 8460 §4.3 result type for reports. */
  readonly tlsResult: string | undefined;
  /** The code of a host that refused, 0 when it did not get to say anything. */
  readonly replyCode: number;

  constructor(stage: ConnectStage, result: Outcome, tlsResult?: string, replyCode = 0) {
    super(result.text);
    this.name = "SmtpError";
    this.stage = stage;
    this.outcome = result;
    this.tlsResult = tlsResult;
    this.replyCode = replyCode;
  }
}

/** Network trouble: RFC 3463 4.4.1 (no answer) or 4.4.2 (bad connection). */
export function networkError(stage: ConnectStage, detail: string, origin: string): SmtpError {
  const enhanced = stage === "connect" ? "4.4.1" : "4.4.2";
  return new SmtpError(stage, outcome.defer({ code: 451, enhanced, text: detail, origin }));
}
