/**
 * Commands of ManageSieve as octets become words (RFC 5804 §4): atoms, numbers, quoted strings and literals.
 * Invariants: pure; a command is answered only when all of it is there. Failure: ProtocolError for what can never
 * become a command; its connection is ended, since the rest of the stream can't be trusted.
 */

export class ProtocolError extends Error {}

export interface Word {
  /** Atoms and numbers are bare, the others strings. */
  kind: "atom" | "string";
  text: string;
}

export interface ReadCommand {
  words: Word[];
  /** Octets of the command with its line end. */
  length: number;
}

export interface CommandLimits {
  /** Octets of all of a command. */
  command: number;
  words: number;
}

const quote = 0x22;
const backslash = 0x5c;

/** Reads one command from the start of `input`, undefined when it isn't complete. */
export function readCommand(input: Buffer, limits: CommandLimits): ReadCommand | undefined {
  const words: Word[] = [];
  let at = 0;
  for (;;) {
    while (input[at] === 0x20) at++;
    if (at >= input.length) return more(input, limits);
    const byte = input[at]!;
    if (byte === 0x0a || (byte === 0x0d && input[at + 1] === 0x0a))
      return { words, length: at + (byte === 0x0a ? 1 : 2) };
    if (byte === 0x0d && at + 1 >= input.length) return more(input, limits);
    if (words.length >= limits.words) throw new ProtocolError("too many arguments");
    const end =
      byte === quote
        ? quoted(input, at, words)
        : byte === 0x7b
          ? literal(input, at, words, limits)
          : atom(input, at, words);
    if (end === undefined) return more(input, limits);
    at = end;
  }
}

function more(input: Buffer, limits: CommandLimits): undefined {
  if (input.length > limits.command) throw new ProtocolError("command is too long");
  return undefined;
}

/** §4 quoted: a backslash before a quote or backslash; no line ends. */
function quoted(input: Buffer, from: number, words: Word[]): number | undefined {
  for (let at = from + 1; at < input.length; at++) {
    const byte = input[at];
    if (byte === 0x0d || byte === 0x0a || byte === 0) throw new ProtocolError("bad octet in a quoted string");
    if (byte === backslash) at++;
    else if (byte === quote) {
      words.push({ kind: "string", text: input.toString("utf8", from + 1, at).replace(/\\(["\\])/g, "$1") });
      return at + 1;
    }
  }
  return undefined;
}

/** §4 literal-c2s: {octets+} and a line end, then the octets. */
function literal(input: Buffer, from: number, words: Word[], limits: CommandLimits): number | undefined {
  const newline = input.indexOf(0x0a, from);
  if (newline < 0) {
    if (input.length - from > 32) throw new ProtocolError("bad literal");
    return undefined;
  }
  const size = /^\{(\d{1,10})\+\}\r?\n$/.exec(input.toString("latin1", from, newline + 1))?.[1];
  if (size === undefined) throw new ProtocolError("bad literal");
  if (Number(size) > limits.command) throw new ProtocolError("literal is too long");
  const end = newline + 1 + Number(size);
  if (end > input.length) return undefined;
  words.push({ kind: "string", text: input.toString("utf8", newline + 1, end) });
  return end;
}

function atom(input: Buffer, from: number, words: Word[]): number | undefined {
  let at = from;
  while (at < input.length && input[at]! > 0x20 && input[at] !== quote && input[at] !== 0x7f) at++;
  if (at === from) throw new ProtocolError("bad octet");
  if (at >= input.length) return undefined;
  words.push({ kind: "atom", text: input.toString("latin1", from, at) });
  return at;
}

/** A string for a reply: quoted where that is possible, else a literal (§4 string). */
export function written(text: string): string {
  if (text.length <= 1_024 && !/[\x00-\x1f\x7f]/.test(text)) return `"${text.replace(/["\\]/g, "\\$&")}"`;
  return `{${Buffer.byteLength(text)}}\r\n${text}`;
}
