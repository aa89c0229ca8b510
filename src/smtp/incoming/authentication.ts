/**
 * The AUTH dialogue of one attempt (RFC 4954 §4): base64 lines in, challenges out, the handler's verdict at the end.
 * Invariants: passwords leave this file only inside `Credentials`; a cancelled ("*") or malformed exchange asks the
 * handler nothing. Failure: every failed attempt is a `refused` step; `guess` tells those that may be guessing.
 */
import type { Socket } from "node:net";
import { TLSSocket } from "node:tls";
import type { Outcome } from "../../message/outcome.ts";
import type { MaybePromise, SessionHandler } from "./hooks.ts";
import { refusal } from "./protocol.ts";
import type { SaslStep } from "./sasl.ts";
import { BearerMechanism, CramMd5Mechanism, LoginMechanism, PlainMechanism, type SaslMechanism } from "./sasl.ts";
import { ScramMechanism } from "./scram.ts";

export type AuthStep =
  | { kind: "challenge"; data: string }
  | { kind: "accepted"; user: string }
  | { kind: "refused"; outcome: Outcome; guess: boolean };

const failed = refusal(535, "5.7.8", "Authentication failed"); // RFC 4954 §6
const malformed = refusal(501, "5.5.2", "Malformed authentication response");
const cancelled = refusal(501, "5.7.0", "Authentication cancelled");
const base64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;

function decode(text: string): Buffer | undefined {
  return base64.test(text) ? Buffer.from(text, "base64") : undefined;
}

const mechanisms: Record<string, (handler: SessionHandler, socket: Socket) => SaslMechanism> = {
  PLAIN: () => new PlainMechanism(),
  LOGIN: () => new LoginMechanism(),
  "CRAM-MD5": (handler) => new CramMd5Mechanism(handler.settings.hostName),
  "SCRAM-SHA-256": (_, socket) => new ScramMechanism(false, socket),
  "SCRAM-SHA-256-PLUS": (_, socket) => new ScramMechanism(true, socket),
  XOAUTH2: () => new BearerMechanism("XOAUTH2"),
  OAUTHBEARER: () => new BearerMechanism("OAUTHBEARER"),
};

const none: readonly string[] = [];

export class Authentication {
  private readonly handler: SessionHandler;
  private readonly mechanism: SaslMechanism;
  /** What the next line of the client means: the mechanism's data, or the end of an exchange already decided. */
  private decided: AuthStep | undefined;

  constructor(handler: SessionHandler, mechanism: string, socket: Socket) {
    this.handler = handler;
    this.mechanism = mechanisms[mechanism]!(handler, socket);
  }

  /** The mechanisms of the settings that can be carried out on this connection. */
  static offered(handler: SessionHandler, socket: Socket, secure: boolean): readonly string[] {
    const wanted = secure ? handler.settings.authSecure : handler.settings.authPlain;
    if (wanted.length === 0) return none;
    return wanted.filter((name) => {
      if (!Object.hasOwn(mechanisms, name)) return false;
      if (name.startsWith("SCRAM-") && !handler.lookupSecret) return false;
      return !name.endsWith("-PLUS") || socket instanceof TLSSocket;
    });
  }

  /** `initial` is the initial response as sent: base64, "=" for an empty one, undefined for none. */
  start(initial: string | undefined): MaybePromise<AuthStep> {
    if (initial === undefined) return this.advance(this.mechanism.start(undefined));
    const octets = initial === "=" ? Buffer.alloc(0) : decode(initial);
    return octets ? this.advance(this.mechanism.start(octets)) : refused(malformed);
  }

  next(line: string): MaybePromise<AuthStep> {
    if (this.decided) return this.decided;
    if (line === "*") return refused(cancelled);
    const octets = decode(line);
    return octets ? this.advance(this.mechanism.next(octets)) : refused(malformed);
  }

  private advance(step: SaslStep): MaybePromise<AuthStep> {
    switch (step.kind) {
      case "challenge":
        return { kind: "challenge", data: step.data.toString("base64") };
      case "malformed":
        return refused(malformed);
      case "failed":
        return refused(failed, true);
      case "lookup": {
        const secret = this.handler.lookupSecret!(step.username, step.scheme);
        if (secret instanceof Promise) return secret.then((found) => this.advance(step.found(found)));
        return this.advance(step.found(secret));
      }
      case "credentials": {
        const verdict = this.handler.onAuth(step.credentials);
        if (verdict instanceof Promise) return verdict.then((answer) => this.decide(answer, step));
        return this.decide(verdict, step);
      }
    }
  }

  private decide(
    verdict: { ok: boolean; user: string; outcome?: Outcome },
    step: SaslStep & { kind: "credentials" },
  ): AuthStep {
    const last: AuthStep = verdict.ok
      ? { kind: "accepted", user: verdict.user }
      : refused(verdict.outcome ?? failed, true);
    const data = verdict.ok ? step.confirm : step.onFailure;
    if (!data) return last;
    // RFC 5802 §5 and RFC 7628 §3.2.3: one more challenge, whose answer says nothing new.
    this.decided = last;
    return { kind: "challenge", data: data.toString("base64") };
  }
}

function refused(outcome: Outcome, guess = false): AuthStep {
  return { kind: "refused", outcome, guess };
}
