/**
 * SASL mechanisms, server side, as small state machines over octets: PLAIN (RFC 4616), LOGIN (draft-murchison),
 * CRAM-MD5 (RFC 2195), XOAUTH2 and OAUTHBEARER (RFC 7628). SCRAM is in scram.ts.
 * Invariants: mechanisms hold no secrets of the server but their challenge; who the user is decides the directory,
 * through `Credentials`. Failure: "malformed" for octets that aren't of the mechanism's form.
 */
import { createHmac, randomBytes, timingSafeEqual } from "node:crypto";
import type { Credentials, StoredSecret } from "./hooks.ts";

export type SaslStep =
  | { kind: "challenge"; data: Buffer }
  /** The mechanism needs the account's stored keys to go on. */
  | {
      kind: "lookup";
      username: string;
      scheme: StoredSecret["scheme"];
      found: (secret: StoredSecret | undefined) => SaslStep;
    }
  /** `confirm`: server's last word, sent when the directory says yes; `onFailure`: challenge sent before a 535. */
  | { kind: "credentials"; credentials: Credentials; confirm?: Buffer; onFailure?: Buffer }
  | { kind: "failed" }
  | { kind: "malformed" };

export interface SaslMechanism {
  /** `initial` is the client's first message, undefined when it sent none. */
  start(initial: Buffer | undefined): SaslStep;
  next(response: Buffer): SaslStep;
}

const malformed: SaslStep = { kind: "malformed" };
const empty = Buffer.alloc(0);
/** Longest user name or identity taken; the directory's own limits are smaller. */
const nameOctets = 320;

/** RFC 4616 §2 and RFC 5802 §5.1 want UTF-8 without NUL; other control bytes have no place in a name either. */
export function saslName(octets: Buffer): string | undefined {
  const text = octets.toString("utf8");
  if (octets.length > nameOctets || text.includes("\ufffd") || /[\x00-\x1f\x7f]/.test(text)) return undefined;
  return text;
}

export class PlainMechanism implements SaslMechanism {
  start(initial: Buffer | undefined): SaslStep {
    return initial === undefined ? { kind: "challenge", data: empty } : this.next(initial);
  }

  next(response: Buffer): SaslStep {
    const first = response.indexOf(0);
    const second = response.indexOf(0, first + 1);
    if (first < 0 || second < 0 || response.indexOf(0, second + 1) >= 0) return malformed;
    const authzid = saslName(response.subarray(0, first));
    const username = saslName(response.subarray(first + 1, second));
    const password = response.toString("utf8", second + 1);
    if (authzid === undefined || !username || password === "") return malformed;
    return { kind: "credentials", credentials: { mechanism: "PLAIN", username, authzid, password } };
  }
}

export class LoginMechanism implements SaslMechanism {
  private username: string | undefined;

  start(initial: Buffer | undefined): SaslStep {
    return initial === undefined ? { kind: "challenge", data: Buffer.from("Username:") } : this.next(initial);
  }

  next(response: Buffer): SaslStep {
    if (this.username === undefined) {
      this.username = saslName(response);
      return this.username ? { kind: "challenge", data: Buffer.from("Password:") } : malformed;
    }
    const password = response.toString("utf8");
    if (password === "" || password.includes("\0")) return malformed;
    return { kind: "credentials", credentials: { mechanism: "LOGIN", username: this.username, authzid: "", password } };
  }
}

/** RFC 2195; needs the plain password on the server's side, so it is offered only where the policy asks for it. */
export class CramMd5Mechanism implements SaslMechanism {
  private readonly challenge: Buffer;

  constructor(hostName: string) {
    this.challenge = Buffer.from(`<${randomBytes(12).toString("hex")}.${Date.now()}@${hostName}>`);
  }

  start(initial: Buffer | undefined): SaslStep {
    return initial === undefined ? { kind: "challenge", data: this.challenge } : malformed; // RFC 2195 §2: server speaks first
  }

  next(response: Buffer): SaslStep {
    const space = response.lastIndexOf(0x20);
    const username = saslName(response.subarray(0, Math.max(space, 0)));
    const digest = Buffer.from(response.toString("latin1", space + 1), "hex");
    if (!username || digest.length !== 16) return malformed;
    const verify = (secret: StoredSecret): boolean =>
      secret.scheme === "plain" &&
      timingSafeEqual(createHmac("md5", secret.value).update(this.challenge).digest(), digest);
    return { kind: "credentials", credentials: { mechanism: "CRAM-MD5", username, authzid: "", verify } };
  }
}

/** RFC 7628 §3.2.2: what a client is told before the 535. */
const tokenFailure = Buffer.from('{"status":"invalid_token"}');

/** "user=" or GS2 "a=", then "auth=Bearer <token>", fields separated by 0x01. */
export class BearerMechanism implements SaslMechanism {
  private readonly mechanism: "XOAUTH2" | "OAUTHBEARER";

  constructor(mechanism: "XOAUTH2" | "OAUTHBEARER") {
    this.mechanism = mechanism;
  }

  start(initial: Buffer | undefined): SaslStep {
    return initial === undefined ? { kind: "challenge", data: empty } : this.next(initial);
  }

  next(response: Buffer): SaslStep {
    const fields = response.toString("utf8").split("\x01");
    const token = fields.map((field) => /^auth=Bearer ([A-Za-z0-9._~+/-]+=*)$/i.exec(field)?.[1]).find(Boolean);
    const username = this.mechanism === "XOAUTH2" ? /^user=(.+)$/.exec(fields[0]!)?.[1] : gs2Name(fields[0]!);
    if (!token || username === undefined || saslName(Buffer.from(username)) === undefined) return malformed;
    const credentials: Credentials = { mechanism: this.mechanism, username, authzid: "", token };
    return { kind: "credentials", credentials, onFailure: tokenFailure };
  }
}

/** RFC 5801 §4 gs2-header "n,a=name,"; "" when no name is given. */
function gs2Name(header: string): string | undefined {
  const match = /^[ny],(?:a=([^,]*))?,$/.exec(header);
  return match ? (match[1] ?? "").replace(/=2C/g, ",").replace(/=3D/g, "=") : undefined;
}
