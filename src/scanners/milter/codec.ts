/**
 * The milter protocol's packets, version 6 (Sendmail's libmilter/mfdef.h): a pure encoder and decoder.
 * A packet is a 32-bit big-endian length, one command octet, and data; strings end with NUL.
 * Invariants: strings written hold no NUL; what is read stays within the packet. Failure: ScannerError "protocol" for
 * a reply that is malformed or unknown.
 */
import { ScannerError } from "../types.ts";

export const protocolVersion = 6;
export const chunkSize = 65_535;

/** SMFIF_*: what a filter may do. */
export const Action = {
  addHeaders: 0x1,
  changeBody: 0x2,
  addRecipient: 0x4,
  deleteRecipient: 0x8,
  changeHeaders: 0x10,
  quarantine: 0x20,
  changeFrom: 0x40,
  addRecipientArgs: 0x80,
  setSymbols: 0x100,
} as const;

export const allActions = 0x1ff;

/** SMFIP_*: steps a filter does not want, or does not answer. */
export const Step = {
  noConnect: 0x1,
  noHelo: 0x2,
  noMail: 0x4,
  noRcpt: 0x8,
  noBody: 0x10,
  noHeaders: 0x20,
  noEoh: 0x40,
  noReplyHeader: 0x80,
  noUnknown: 0x100,
  noData: 0x200,
  skip: 0x400,
  noReplyConnect: 0x1000,
  noReplyHelo: 0x2000,
  noReplyMail: 0x4000,
  noReplyRcpt: 0x8000,
  noReplyData: 0x10000,
  noReplyUnknown: 0x20000,
  noReplyEoh: 0x40000,
  noReplyBody: 0x80000,
  headerLeadingSpace: 0x100000,
} as const;

/** All steps but SMFIP_RCPT_REJ (0x800): rejected recipients are not shown to filters. */
export const offeredSteps = 0x1ff7ff;

/** SMFIC_*: commands of the MTA. */
export const Command = {
  abort: "A",
  body: "B",
  connect: "C",
  macro: "D",
  endOfBody: "E",
  helo: "H",
  quitNewConnection: "K",
  header: "L",
  mail: "M",
  endOfHeaders: "N",
  negotiate: "O",
  quit: "Q",
  rcpt: "R",
  data: "T",
  unknown: "U",
} as const;

/** SMFIM_*: macro stages as numbered in SETSYMLIST. */
export const stages = ["connect", "helo", "mail", "rcpt", "data", "eom", "eoh"] as const;
export type Stage = (typeof stages)[number];

export interface Negotiation {
  version: number;
  actions: number;
  steps: number;
  /** Macros asked for by stage (SETSYMLIST); absent stages keep the default. */
  symbols: Map<Stage, string[]>;
}

/** For what was asked for outside a milter session: all actions, no special steps. */
export const everything: Negotiation = { version: 6, actions: allActions, steps: 0, symbols: new Map() };

export type Verdict = "accept" | "continue" | "discard" | "reject" | "tempfail" | "shutdown" | "connFail" | "skip";

/** What a filter wants done with the message. Header names and values are octets as Latin-1 text. */
export type Modification =
  | { kind: "addHeader"; name: string; value: string }
  | { kind: "insertHeader" | "changeHeader"; index: number; name: string; value: string }
  | { kind: "addRecipient"; address: string; args: string }
  | { kind: "deleteRecipient"; address: string }
  | { kind: "changeFrom"; address: string; args: string }
  | { kind: "quarantine"; reason: string }
  | { kind: "replaceBody"; chunk: Buffer };

export type Reply =
  | { kind: "verdict"; verdict: Verdict }
  | { kind: "replyCode"; text: string }
  | { kind: "progress" }
  | { kind: "modification"; modification: Modification };

/** Frames one packet. */
export function packet(command: string, ...parts: Uint8Array[]): Buffer {
  let size = 1;
  for (const part of parts) size += part.length;
  const out = Buffer.allocUnsafe(4 + size);
  out.writeUInt32BE(size, 0);
  out[4] = command.charCodeAt(0);
  let at = 5;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

/** NUL-terminated strings, one after the other. */
export function strings(...values: string[]): Buffer {
  return Buffer.from(`${values.map((value) => value.replace(/\0/g, "")).join("\0")}\0`);
}

export function negotiatePacket(): Buffer {
  const body = Buffer.alloc(12);
  body.writeUInt32BE(protocolVersion, 0);
  body.writeUInt32BE(allActions, 4);
  body.writeUInt32BE(offeredSteps, 8);
  return packet(Command.negotiate, body);
}

/** `family` "4", "6", "L" (Unix socket) or "U" (unknown); port and address only for the first three. */
export function connectPacket(hostName: string, family: "4" | "6" | "L" | "U", port: number, address: string): Buffer {
  const host = strings(hostName);
  if (family === "U") return packet(Command.connect, host, Buffer.from("U"));
  const portBytes = Buffer.alloc(2);
  portBytes.writeUInt16BE(port, 0);
  return packet(Command.connect, host, Buffer.from(family), portBytes, strings(address));
}

/** Macro values for the command that follows. */
export function macroPacket(command: string, values: ReadonlyArray<readonly [string, string]>): Buffer {
  return packet(Command.macro, Buffer.from(command), values.length > 0 ? strings(...values.flat()) : Buffer.alloc(0));
}

/** Decodes the filter's answer to `negotiatePacket`. */
export function decodeNegotiation(command: string, data: Buffer): Negotiation {
  if (command !== Command.negotiate || data.length < 12) throw malformed("negotiation reply");
  const version = data.readUInt32BE(0);
  const actions = data.readUInt32BE(4);
  const steps = data.readUInt32BE(8);
  if (version < 2 || version > protocolVersion) throw malformed(`protocol version ${version}`);
  if ((actions & ~allActions) !== 0 || (steps & ~offeredSteps) !== 0) throw malformed("steps or actions never offered");
  const symbols = new Map<Stage, string[]>();
  let at = 12;
  while (at + 4 < data.length) {
    const stage = stages[data.readUInt32BE(at)];
    const end = data.indexOf(0, at + 4);
    if (stage === undefined || end < 0) throw malformed("symbol list");
    symbols.set(
      stage,
      data
        .toString("latin1", at + 4, end)
        .split(/[\s,]+/)
        .filter(Boolean),
    );
    at = end + 1;
  }
  return { version, actions, steps, symbols };
}

const verdicts: Readonly<Record<string, Verdict>> = {
  a: "accept",
  c: "continue",
  d: "discard",
  r: "reject",
  t: "tempfail",
  "4": "shutdown",
  f: "connFail",
  s: "skip",
};

/** Decodes any reply but the one to the negotiation. */
export function decodeReply(command: string, data: Buffer): Reply {
  const verdict = verdicts[command];
  if (verdict !== undefined) return { kind: "verdict", verdict };
  switch (command) {
    case "p":
      return { kind: "progress" };
    case "y":
      return { kind: "replyCode", text: cString(data, 0).text };
    case "b":
      return { kind: "modification", modification: { kind: "replaceBody", chunk: data } };
    case "h": {
      const name = cString(data, 0, "latin1");
      const value = cString(data, name.next, "latin1");
      return { kind: "modification", modification: { kind: "addHeader", name: name.text, value: value.text } };
    }
    case "i":
    case "m": {
      if (data.length < 4) throw malformed("header index");
      const name = cString(data, 4, "latin1");
      const value = cString(data, name.next, "latin1");
      const kind = command === "i" ? "insertHeader" : "changeHeader";
      return {
        kind: "modification",
        modification: { kind, index: data.readUInt32BE(0), name: name.text, value: value.text },
      };
    }
    case "+":
    case "2":
    case "e": {
      const address = cString(data, 0);
      const args = address.next < data.length ? cString(data, address.next).text : "";
      const kind = command === "e" ? "changeFrom" : "addRecipient";
      return { kind: "modification", modification: { kind, address: addressOf(address.text), args } };
    }
    case "-":
      return {
        kind: "modification",
        modification: { kind: "deleteRecipient", address: addressOf(cString(data, 0).text) },
      };
    case "q":
      return { kind: "modification", modification: { kind: "quarantine", reason: cString(data, 0).text } };
    default:
      throw malformed(`reply ${JSON.stringify(command)}`);
  }
}

/** Header text stays octet for octet (Latin-1); addresses and replies are UTF-8. */
function cString(data: Buffer, from: number, encoding: "utf8" | "latin1" = "utf8"): { text: string; next: number } {
  const end = data.indexOf(0, from);
  if (end < 0) throw malformed("string without an end");
  return { text: data.toString(encoding, from, end), next: end + 1 };
}

/** Without its angle brackets; nothing that could end a command or begin a parameter. */
function addressOf(text: string): string {
  const address = text.trim().replace(/^<|>$/g, "");
  if (/[\x00-\x1f\x7f<>]/.test(address)) throw malformed("address");
  return address;
}

function malformed(what: string): ScannerError {
  return new ScannerError("protocol", `milter: malformed or unexpected ${what}`);
}
