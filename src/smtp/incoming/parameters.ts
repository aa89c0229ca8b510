/**
 * ESMTP parameters of MAIL and RCPT (RFC 5321 §4.1.2 esmtp-param and the RFC named at each keyword).
 * Each keyword is one row of a table: its value's syntax and where it goes. Keywords of extensions that are known but
 * not offered are checked for syntax and reported as unsupported, so the client learns the truer of the two faults.
 * Invariants: a keyword may be given once (a repeated one is a syntax error: two readers could disagree on it).
 */
import type { Recipient } from "../../message/envelope.ts";

export interface MailParameters {
  size?: number;
  body?: "7BIT" | "8BITMIME" | "BINARYMIME";
  smtpUtf8?: boolean;
  requireTls?: boolean;
  ret?: "FULL" | "HDRS";
  envid?: string;
  /** RFC 2852: seconds from now, mode, trace. */
  by?: { seconds: number; mode: "N" | "R"; trace: boolean };
  /** RFC 4865: seconds from now, or an absolute time in ms. */
  holdFor?: number;
  holdUntil?: number;
  priority?: number;
  /** RFC 4954 §5: submitter identity, "" for <>. */
  auth?: string;
  /** Well-formed keywords of extensions that are not offered. */
  unsupported?: string[];
}

export interface RcptParameters {
  notify?: NonNullable<Recipient["notify"]>;
  orcpt?: string;
  unsupported?: string[];
}

export type Parameters<T> = { ok: true; value: T } | { ok: false; unsupported: boolean; reason: string };

/** Reads a value into `into`; answers false when the value is not of the keyword's syntax. */
type Rule<T> = (value: string | undefined, into: T) => boolean;

/** RFC 3461 §4: printable ASCII but "+" and "=", with "+HH" for the rest. Undefined when malformed. */
export function decodeXtext(text: string): string | undefined {
  if (!/^(?:[\x21-\x2a\x2c-\x3c\x3e-\x7e]|\+[0-9A-F]{2})*$/.test(text)) return undefined;
  return text.replace(/\+([0-9A-F]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
}

const controlBytes = /[\x00-\x1f\x7f]/;

/** Decoded xtext that goes into reports and log lines: control bytes are refused, not passed on. */
function cleanXtext(text: string): string | undefined {
  const decoded = decodeXtext(text);
  return decoded === undefined || controlBytes.test(decoded) ? undefined : decoded;
}

const dateTime = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)$/i;

/** RFC 3339 date-time in ms since the epoch, or NaN. */
function instant(text: string): number {
  return dateTime.test(text) ? Date.parse(text) : Number.NaN;
}

const mailRules: Record<string, Rule<MailParameters>> = {
  // RFC 1870 §3
  SIZE: (value, into) => {
    if (!value || !/^\d{1,20}$/.test(value)) return false;
    into.size = Number(value);
    return true;
  },
  // RFC 6152 §2, RFC 3030 §3
  BODY: (value, into) => {
    const body = value?.toUpperCase();
    if (body !== "7BIT" && body !== "8BITMIME" && body !== "BINARYMIME") return false;
    into.body = body;
    return true;
  },
  // RFC 6531 §3.4
  SMTPUTF8: (value, into) => {
    into.smtpUtf8 = true;
    return value === undefined;
  },
  // RFC 8689 §2
  REQUIRETLS: (value, into) => {
    into.requireTls = true;
    return value === undefined;
  },
  // RFC 3461 §4.3
  RET: (value, into) => {
    const ret = value?.toUpperCase();
    if (ret !== "FULL" && ret !== "HDRS") return false;
    into.ret = ret;
    return true;
  },
  // RFC 3461 §4.4: xtext of at most 100 characters
  ENVID: (value, into) => {
    const envid = value && value.length <= 100 ? cleanXtext(value) : undefined;
    if (envid === undefined) return false;
    into.envid = envid;
    return true;
  },
  // RFC 2852 §4
  BY: (value, into) => {
    const match = /^([+-]?\d{1,9});([NR])(T?)$/i.exec(value ?? "");
    if (!match) return false;
    into.by = { seconds: Number(match[1]), mode: match[2]!.toUpperCase() as "N" | "R", trace: match[3] !== "" };
    return true;
  },
  // RFC 4865 §4.1
  HOLDFOR: (value, into) => {
    if (!value || !/^\d{1,9}$/.test(value) || into.holdUntil !== undefined) return false;
    into.holdFor = Number(value);
    return true;
  },
  HOLDUNTIL: (value, into) => {
    const until = instant(value ?? "");
    if (Number.isNaN(until) || into.holdFor !== undefined) return false;
    into.holdUntil = until;
    return true;
  },
  // RFC 6710 §4.2
  "MT-PRIORITY": (value, into) => {
    if (!value || !/^-?[0-9]$/.test(value)) return false;
    into.priority = Number(value);
    return true;
  },
  // RFC 4954 §5: a mailbox in xtext, or <>
  AUTH: (value, into) => {
    const auth = value === "<>" ? "" : value && cleanXtext(value);
    if (auth === undefined) return false;
    into.auth = auth;
    return true;
  },
  SOLICIT: known(/^[A-Za-z0-9][A-Za-z0-9.:_-]*(?:,[A-Za-z0-9][A-Za-z0-9.:_-]*)*$/), // RFC 3865 §2.4
  TRANSID: known(/^<?[^<>\s]+>?$/), // RFC 1845 §4.1
  MTRK: known(/^[A-Za-z0-9+/=-]+(?::\d{1,9})?$/), // RFC 3885 §4.1
};

const notifyWords = new Set(["NEVER", "SUCCESS", "FAILURE", "DELAY"]);

const rcptRules: Record<string, Rule<RcptParameters>> = {
  // RFC 3461 §4.1: NEVER alone, or a list of the others
  NOTIFY: (value, into) => {
    const words = (value ?? "").toUpperCase().split(",");
    if (!words.every((word) => notifyWords.has(word))) return false;
    if (words.includes("NEVER") && words.length > 1) return false;
    into.notify = [...new Set(words)] as NonNullable<Recipient["notify"]>;
    return true;
  },
  // RFC 3461 §4.2: addr-type ";" xtext, at most 500 characters
  ORCPT: (value, into) => {
    const match = /^([A-Za-z0-9-]+);(.+)$/.exec(value ?? "");
    const original = match && value!.length <= 500 ? cleanOriginal(match[1]!, match[2]!) : undefined;
    if (original === undefined) return false;
    into.orcpt = original;
    return true;
  },
  RRVS: known(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)(?:;[CR])?$/i), // RFC 7293 §3.1
};

/** RFC 6533 §3: addr-type utf-8 may hold UTF-8 and \x{HH} escapes; every other type is xtext. */
function cleanOriginal(type: string, text: string): string | undefined {
  const value = type.toLowerCase() === "utf-8" && !controlBytes.test(text) ? text : cleanXtext(text);
  return value === undefined ? undefined : `${type};${value}`;
}

function known(syntax: RegExp): Rule<{ unsupported?: string[] }> {
  return (value) => value !== undefined && syntax.test(value);
}

const notOffered = new Set(["SOLICIT", "TRANSID", "MTRK", "RRVS"]);
const parameter = /^([A-Za-z0-9][A-Za-z0-9-]*)(?:=([^\x00-\x20=\x7f]+))?$/;

function read<T extends { unsupported?: string[] }>(text: string, rules: Record<string, Rule<T>>): Parameters<T> {
  const value = {} as T;
  if (text === "") return { ok: true, value };
  const seen = new Set<string>();
  for (const word of text.split(" ")) {
    if (word === "") continue;
    const match = parameter.exec(word);
    if (!match) return { ok: false, unsupported: false, reason: "Syntax error in parameters" };
    const keyword = match[1]!.toUpperCase();
    const rule = rules[keyword];
    if (!rule) return { ok: false, unsupported: true, reason: `Parameter ${keyword} not recognised` };
    if (seen.has(keyword)) return { ok: false, unsupported: false, reason: `Parameter ${keyword} given twice` };
    seen.add(keyword);
    if (!rule(match[2], value)) return { ok: false, unsupported: false, reason: `Bad value of parameter ${keyword}` };
    if (notOffered.has(keyword)) (value.unsupported ??= []).push(keyword);
  }
  return { ok: true, value };
}

/** Parameters after the path of MAIL FROM. */
export function readMailParameters(text: string): Parameters<MailParameters> {
  return read(text, mailRules);
}

/** Parameters after the path of RCPT TO. */
export function readRcptParameters(text: string): Parameters<RcptParameters> {
  return read(text, rcptRules);
}
