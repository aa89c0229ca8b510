/**
 * SMTP command lines → typed commands, as one pure function (RFC 5321 §4.1.1 and the extensions' own RFCs).
 * Recognised but not offered verbs (EXPN, ETRN, TURN, ATRN, BURL) parse too, so that they get 502 and not 500
 * (RFC 5321 §4.2.4). Blanks around the colon of MAIL and RCPT and at the end of a line are tolerated (§4.1.1).
 * Failure: a line that doesn't parse is an `invalid` command with the reply code and reason; nothing throws.
 */
import { type Path, readPath } from "./address.ts";
import { type MailParameters, type RcptParameters, readMailParameters, readRcptParameters } from "./parameters.ts";

export type Command =
  | { verb: "EHLO" | "HELO" | "LHLO"; domain: string }
  | { verb: "MAIL"; path: Path; parameters: MailParameters }
  | { verb: "RCPT"; path: Path; parameters: RcptParameters }
  | { verb: "BDAT"; size: number; last: boolean }
  | { verb: "AUTH"; mechanism: string; initial: string | undefined }
  | { verb: "VRFY" | "HELP" | "NOOP" | "XCLIENT" | "XFORWARD"; argument: string }
  | { verb: "EXPN" | "ETRN" | "TURN" | "ATRN" | "BURL"; argument: string }
  | { verb: "DATA" | "RSET" | "QUIT" | "STARTTLS" }
  | InvalidCommand;

export interface InvalidCommand {
  verb: "invalid";
  /** unknown: no such verb; http: another protocol's request; syntax, path, parameter: what is wrong with the line. */
  kind: "unknown" | "http" | "syntax" | "path" | "parameter";
  code: number;
  enhanced: string;
  reason: string;
}

function invalid(kind: InvalidCommand["kind"], code: number, enhanced: string, reason: string): InvalidCommand {
  return { verb: "invalid", kind, code, enhanced, reason };
}

const syntax = (reason: string): InvalidCommand => invalid("syntax", 501, "5.5.4", `Syntax error: ${reason}`);

/** Verbs that begin a request of another protocol; a browser made to post mail is cut off at once. */
const httpVerbs = new Set(["GET", "POST", "PUT", "HEAD", "CONNECT", "OPTIONS", "DELETE", "PATCH", "TRACE", "PRI"]);

const printableWord = /^[\x21-\x7e]+$/;
const nonEmptyString = /^(?:[^\s"]|"(?:[^"\\]|\\.)+"(?=\s|$)).*$/;

function greeting(verb: "EHLO" | "HELO" | "LHLO", argument: string): Command {
  // The policy judges the name; here only what could not be a name or literal at all is refused.
  if (argument === "") return syntax(`${verb} needs a host name`);
  if (!printableWord.test(argument) || argument.length > 255) return syntax("bad host name");
  return { verb, domain: argument };
}

const mailColon = /^FROM *: */i;
const rcptColon = /^TO *: */i;

function mailOrRcpt(verb: "MAIL" | "RCPT", argument: string): Command {
  const keyword = (verb === "MAIL" ? mailColon : rcptColon).exec(argument);
  if (!keyword) return syntax(verb === "MAIL" ? "MAIL FROM:<address>" : "RCPT TO:<address>");
  const read = readPath(argument, keyword[0].length);
  if (!read.ok) {
    // RFC 3463 §3.2: X.1.3 bad destination mailbox address syntax, X.1.7 bad sender's mailbox address syntax.
    return invalid("path", 553, verb === "MAIL" ? "5.1.7" : "5.1.3", `Invalid mail address: ${read.reason}`);
  }
  const rest = argument.slice(read.end);
  if (verb === "MAIL") {
    const parameters = readMailParameters(rest);
    return parameters.ok ? { verb, path: read.path, parameters: parameters.value } : parameterError(parameters);
  }
  const parameters = readRcptParameters(rest);
  return parameters.ok ? { verb, path: read.path, parameters: parameters.value } : parameterError(parameters);
}

function parameterError(failure: { unsupported: boolean; reason: string }): InvalidCommand {
  // RFC 5321 §4.1.1.11: 555 for parameters not recognised or not implemented, 501 for a bad value.
  return failure.unsupported
    ? invalid("parameter", 555, "5.5.4", failure.reason)
    : invalid("parameter", 501, "5.5.4", failure.reason);
}

/** RFC 3030 §2: chunk-size of at most 20 digits, LAST as its own word. */
function bdat(argument: string): Command {
  const match = /^(\d{1,20})(?: +(LAST))?$/i.exec(argument);
  const size = Number(match?.[1]);
  if (!match || !Number.isSafeInteger(size)) return syntax("BDAT size [LAST]");
  return { verb: "BDAT", size, last: match[2] !== undefined };
}

/** RFC 4954 §4: mechanism name of 1 to 20 characters, optional initial response. */
function auth(argument: string): Command {
  const match = /^([A-Za-z0-9_-]{1,20})(?: +([\x21-\x7e]+))?$/.exec(argument);
  if (!match) return syntax("AUTH mechanism [initial-response]");
  return { verb: "AUTH", mechanism: match[1]!.toUpperCase(), initial: match[2] };
}

/** Reads one command line without its CRLF. The text is already decoded (ASCII, or UTF-8 as RFC 6531 §3.3 allows). */
export function parseCommand(line: string): Command {
  const trimmed = line.trimEnd();
  const space = trimmed.indexOf(" ");
  const verb = (space < 0 ? trimmed : trimmed.slice(0, space)).toUpperCase();
  const argument = space < 0 ? "" : trimmed.slice(space + 1).trimStart();
  switch (verb) {
    case "MAIL":
    case "RCPT":
      return mailOrRcpt(verb, argument);
    case "DATA":
    case "RSET":
    case "QUIT":
    case "STARTTLS":
      return argument === "" ? { verb } : syntax(`${verb} takes no argument`); // RFC 5321 §4.1.1, RFC 3207 §4
    case "EHLO":
    case "HELO":
    case "LHLO":
      return greeting(verb, argument);
    case "BDAT":
      return bdat(argument);
    case "AUTH":
      return auth(argument);
    case "NOOP":
    case "HELP":
      return { verb, argument };
    case "VRFY":
    case "XCLIENT":
    case "XFORWARD":
    case "EXPN":
    case "ETRN":
    case "ATRN":
    case "BURL":
      return nonEmptyString.test(argument) ? { verb, argument } : syntax(`${verb} needs an argument`);
    case "TURN":
      return { verb, argument };
    default:
      return httpVerbs.has(verb)
        ? invalid("http", 502, "5.7.0", "This is a mail server")
        : invalid("unknown", 500, "5.5.1", "Unknown command");
  }
}
