/**
 * The SMTP session as a state machine without I/O: which command may come now, and what a refusal says.
 * `admit` is a pure function of (state, command, terms); the session applies what it allows. Reply texts are those of
 * smtpfilters.md §7.2 and §7.3 where it gives one. Failure: a refusal is an Outcome; undefined means "go on".
 */
import type { Envelope, Recipient } from "../../message/envelope.ts";
import { type Outcome, outcome } from "../../message/outcome.ts";
import type { Command } from "./commands.ts";
import type { SessionSettings } from "./hooks.ts";
import type { MailParameters, RcptParameters } from "./parameters.ts";

/** mx: RFC 5321; submission: RFC 6409; lmtp: RFC 2033. */
export type Profile = "mx" | "submission" | "lmtp";

export interface ProtocolState {
  greeted: "" | "EHLO" | "HELO" | "LHLO";
  secure: boolean;
  authUser: string;
  /** none → mail (sender given) → rcpt (a recipient given) → bdat (a chunk came); failed: a chunk was refused. */
  transaction: "none" | "mail" | "rcpt" | "bdat" | "failed";
  recipients: number;
  binary: boolean;
  smtpUtf8: boolean;
}

/** What the listener and the policy allow at this moment. */
export interface Terms {
  profile: Profile;
  settings: SessionSettings;
  tlsAvailable: boolean;
  /** AUTH mechanisms on offer now, upper case. */
  mechanisms: readonly string[];
  xclientTrusted: boolean;
  /** Time, ms since the epoch. */
  now: number;
}

/** FUTURERELEASE: the longest hold, seconds (RFC 4865 §4.2). */
export const maxHoldSeconds = 7 * 24 * 3600;

export function initialState(secure: boolean): ProtocolState {
  return {
    greeted: "",
    secure,
    authUser: "",
    transaction: "none",
    recipients: 0,
    binary: false,
    smtpUtf8: false,
  };
}

/** Refuses in one line: class 4 or 5 by the code. */
export function refusal(code: number, enhanced: string, text: string): Outcome {
  return outcome.of({ code, enhanced, text, origin: "engine" });
}

const badSequence = (text: string): Outcome => refusal(503, "5.5.1", text);
const notOffered = (verb: string): Outcome => refusal(502, "5.5.1", `${verb} is not available`);
const parameterNotOffered = (keyword: string): Outcome =>
  refusal(555, "5.5.4", `Parameter ${keyword} is not supported here`);

function esmtp(state: ProtocolState): boolean {
  return state.greeted === "EHLO" || state.greeted === "LHLO";
}

/** True when the extensions kept for known users are on offer (DELIVERBY, FUTURERELEASE, MT-PRIORITY). */
export function offersUserExtensions(state: ProtocolState): boolean {
  return state.authUser !== "";
}

function admitMailParameters(state: ProtocolState, p: MailParameters, terms: Terms): Outcome | undefined {
  const { settings, now } = terms;
  if (!esmtp(state) && Object.keys(p).length > 0) return refusal(555, "5.5.4", "Parameters need EHLO");
  if (p.unsupported) return parameterNotOffered(p.unsupported[0]!);
  if (p.size !== undefined && p.size > settings.maxMessageBytes) {
    return refusal(552, "5.3.4", `Message size exceeds the limit of ${settings.maxMessageBytes} octets`); // RFC 1870 §6.1
  }
  if (p.body === "8BITMIME" && !settings.allow8bitMime) return parameterNotOffered("BODY=8BITMIME");
  if (p.body === "BINARYMIME" && !settings.allowBinary) return parameterNotOffered("BODY=BINARYMIME");
  if (p.smtpUtf8 && !settings.allowSmtpUtf8) return parameterNotOffered("SMTPUTF8");
  if ((p.ret || p.envid !== undefined) && !settings.allowDsn) return parameterNotOffered(p.ret ? "RET" : "ENVID");
  if (p.requireTls && !(settings.allowRequireTls && state.secure)) return parameterNotOffered("REQUIRETLS");
  if (p.auth !== undefined && terms.mechanisms.length === 0) return parameterNotOffered("AUTH");
  if (!offersUserExtensions(state)) {
    if (p.by) return parameterNotOffered("BY");
    if (p.holdFor !== undefined || p.holdUntil !== undefined) return parameterNotOffered("HOLDFOR and HOLDUNTIL");
    if (p.priority !== undefined) return parameterNotOffered("MT-PRIORITY");
  }
  const hold = p.holdFor ?? (p.holdUntil === undefined ? 0 : (p.holdUntil - now) / 1000);
  if (hold > maxHoldSeconds) return refusal(501, "5.5.4", `Held for at most ${maxHoldSeconds} seconds`); // RFC 4865 §4.2
  if (p.by && p.by.mode === "R" && p.by.seconds <= 0) return refusal(501, "5.5.4", "BY time must be positive"); // RFC 2852 §4
  return undefined;
}

function admitMail(state: ProtocolState, command: Command & { verb: "MAIL" }, terms: Terms): Outcome | undefined {
  if (state.greeted === "") return badSequence(`Send ${terms.profile === "lmtp" ? "LHLO" : "EHLO"} first`);
  if (state.transaction !== "none") return badSequence("Sender already given");
  if (terms.profile === "submission" && state.authUser === "") {
    return refusal(530, "5.7.0", "Authentication required"); // RFC 6409 §4.3
  }
  if (command.path.utf8 && !command.parameters.smtpUtf8) {
    return refusal(553, "5.6.7", "Address needs SMTPUTF8"); // RFC 6531 §3.5
  }
  if (command.path.address !== "" && !command.path.address.includes("@")) {
    return refusal(553, "5.1.7", "Invalid mail address: no domain");
  }
  return admitMailParameters(state, command.parameters, terms);
}

function admitRcpt(state: ProtocolState, command: Command & { verb: "RCPT" }, terms: Terms): Outcome | undefined {
  if (state.transaction === "none") return badSequence("Send MAIL first");
  if (state.transaction !== "mail" && state.transaction !== "rcpt") return badSequence("Message already begun");
  if (command.path.address === "") return refusal(553, "5.1.3", "Invalid mail address: a recipient can't be empty");
  if (command.path.utf8 && !state.smtpUtf8) return refusal(553, "5.6.7", "Address needs SMTPUTF8");
  const { notify, orcpt, unsupported } = command.parameters;
  if (unsupported) return parameterNotOffered(unsupported[0]!);
  if ((notify || orcpt) && !(esmtp(state) && terms.settings.allowDsn)) {
    return parameterNotOffered(notify ? "NOTIFY" : "ORCPT");
  }
  if (state.recipients >= terms.settings.maxRecipients) {
    return refusal(452, "4.5.3", "Too many recipients"); // RFC 5321 §4.5.3.1.10
  }
  return undefined;
}

function admitAuth(state: ProtocolState, mechanism: string, terms: Terms): Outcome | undefined {
  const { settings } = terms;
  if (!esmtp(state)) return badSequence("Send EHLO first");
  if (state.authUser !== "") return badSequence("Already authenticated"); // RFC 4954 §4
  if (state.transaction !== "none") return badSequence("Not during a mail transaction");
  if (terms.mechanisms.includes(mechanism)) return undefined;
  if (!state.secure && terms.tlsAvailable && settings.authSecure.includes(mechanism)) {
    return refusal(538, "5.7.11", "Encryption required for this authentication mechanism"); // RFC 4954 §6
  }
  if (terms.mechanisms.length === 0) return notOffered("AUTH");
  return refusal(504, "5.5.4", "Unknown authentication mechanism");
}

/** Decides whether `command` may be carried out now. BDAT is asked too, but its octets must be read in any case. */
export function admit(state: ProtocolState, command: Command, terms: Terms): Outcome | undefined {
  const lmtp = terms.profile === "lmtp";
  switch (command.verb) {
    case "EHLO":
    case "HELO":
      return lmtp ? refusal(500, "5.5.1", "This is LMTP: send LHLO") : undefined; // RFC 2033 §4.1
    case "LHLO":
      return lmtp ? undefined : refusal(500, "5.5.1", "This is SMTP: send EHLO");
    case "MAIL":
      return admitMail(state, command, terms);
    case "RCPT":
      return admitRcpt(state, command, terms);
    case "DATA":
      if (state.transaction === "bdat" || state.transaction === "failed") return badSequence("BDAT already used");
      if (state.transaction !== "rcpt") return badSequence("No valid recipients");
      if (state.binary) return badSequence("BODY=BINARYMIME needs BDAT"); // RFC 3030 §3
      return undefined;
    case "BDAT":
      if (!terms.settings.allowBinary || !esmtp(state)) return notOffered("BDAT");
      if (state.transaction === "failed") return badSequence("An earlier chunk was refused");
      if (state.transaction !== "rcpt" && state.transaction !== "bdat") return badSequence("No valid recipients");
      return undefined;
    case "STARTTLS":
      if (state.secure) return badSequence("Already under TLS");
      if (!terms.tlsAvailable || !terms.settings.allowStartTls) return notOffered("STARTTLS");
      if (!esmtp(state)) return badSequence("Send EHLO first");
      return state.transaction === "none" ? undefined : badSequence("Not during a mail transaction");
    case "AUTH":
      return admitAuth(state, command.mechanism, terms);
    case "XCLIENT":
    case "XFORWARD":
      if (!terms.xclientTrusted) return refusal(550, "5.7.0", `${command.verb} is not allowed from your address`);
      return state.transaction === "none" ? undefined : badSequence("Not during a mail transaction");
    case "EXPN":
    case "ETRN":
    case "TURN":
    case "ATRN":
    case "BURL":
      return notOffered(command.verb);
    case "invalid":
      return outcome.reject({
        code: command.code,
        enhanced: command.enhanced,
        text: command.reason,
        origin: "engine",
      });
    default:
      return undefined;
  }
}

/** Commands after which a client must wait for the reply (RFC 2920 §3.1, RFC 3207 §4.2, RFC 4954 §4). */
export function endsPipelineGroup(command: Command): boolean {
  switch (command.verb) {
    case "EHLO":
    case "HELO":
    case "LHLO":
    case "DATA":
    case "STARTTLS":
    case "AUTH":
    case "XCLIENT":
      return true;
    default:
      return false;
  }
}

/** The envelope that MAIL begins. `now` (ms) anchors relative times of RFC 2852 and RFC 4865. */
export function newEnvelope(command: Command & { verb: "MAIL" }, now: number): Envelope {
  const p = command.parameters;
  const envelope: Envelope = {
    mailFrom: command.path.address,
    rcptTo: [],
    declaredSize: p.size ?? 0,
    body: p.body ?? "7BIT",
    smtpUtf8: p.smtpUtf8 ?? false,
    requireTls: p.requireTls ?? false,
  };
  if (p.ret) envelope.ret = p.ret;
  if (p.envid !== undefined) envelope.envid = p.envid;
  if (p.by) envelope.deliverBy = { deadline: now + p.by.seconds * 1000, mode: p.by.mode, trace: p.by.trace };
  if (p.holdFor !== undefined) envelope.holdUntil = now + p.holdFor * 1000;
  if (p.holdUntil !== undefined) envelope.holdUntil = p.holdUntil;
  if (p.priority !== undefined) envelope.priority = p.priority;
  return envelope;
}

export function newRecipient(address: string, parameters: RcptParameters): Recipient {
  const recipient: Recipient = { address };
  if (parameters.notify) recipient.notify = parameters.notify;
  if (parameters.orcpt !== undefined) recipient.orcpt = parameters.orcpt;
  return recipient;
}

/** RFC 3848 and RFC 6531 §4.3 "with" word of the Received field. */
export function protocolWord(state: ProtocolState, profile: Profile): string {
  if (profile !== "lmtp" && state.greeted !== "EHLO") return "SMTP";
  const flags = `${state.secure ? "S" : ""}${state.authUser === "" ? "" : "A"}`;
  if (state.smtpUtf8) return `UTF8${profile === "lmtp" ? "LMTP" : "SMTP"}${flags}`;
  return `${profile === "lmtp" ? "LMTP" : "ESMTP"}${flags}`;
}
