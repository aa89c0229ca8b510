/**
 * SPF macros (RFC 7208 §7): parsing a macro-string and expanding it.
 * Invariants: parsing accepts exactly the ABNF of §7.1; letters c, r and t are only taken in explanations; an expanded
 * domain name has at most 253 characters. Failure: `SpfSyntaxError`.
 */
import { type Address, addressLabels, addressText } from "../address.ts";

export class SpfSyntaxError extends Error {
  constructor(message: string) {
    super(message);
    this.name = "SpfSyntaxError";
  }
}

interface Expand {
  letter: string;
  urlEscape: boolean;
  /** Right-hand labels to keep; 0 keeps all. */
  keep: number;
  reverse: boolean;
  delimiters: string;
}

export type MacroString = ReadonlyArray<string | Expand>;

export interface MacroValues {
  sender: string;
  localPart: string;
  senderDomain: string;
  domain: string;
  ip: Address;
  helo: string;
  receiver: string;
  /** Seconds since the epoch. */
  timestamp: number;
  /** Validated name of the client; asked only when the macro needs it. */
  clientName(): Promise<string>;
}

const expandPattern = /^\{([slodiphvcrt])(\d*)(r?)([.\-+,/_=]*)\}/i;

/** Parses a macro-string. `explanation` allows spaces and the letters c, r, t. */
export function parseMacroString(text: string, explanation: boolean): MacroString {
  const parts: Array<string | Expand> = [];
  let literal = "";
  for (let at = 0; at < text.length; at++) {
    const char = text[at]!;
    if (char !== "%") {
      const code = char.charCodeAt(0);
      if (code < (explanation ? 0x20 : 0x21) || code > 0x7e)
        throw new SpfSyntaxError("character outside macro-literal");
      literal += char;
      continue;
    }
    const next = text[++at];
    if (next === "%") literal += "%";
    else if (next === "_") literal += " ";
    else if (next === "-") literal += "%20";
    else {
      const found = expandPattern.exec(text.slice(at, at + 140));
      if (found === null) throw new SpfSyntaxError("malformed macro");
      const [whole, letter = "", digits = "", reverse = "", delimiters = ""] = found;
      if (!explanation && /[crt]/i.test(letter)) throw new SpfSyntaxError(`macro ${letter} outside an explanation`);
      // §7.3: the number must be nonzero when given.
      if (digits !== "" && Number(digits) === 0) throw new SpfSyntaxError("macro keeps zero labels");
      if (literal !== "") parts.push(literal);
      literal = "";
      parts.push({
        letter: letter.toLowerCase(),
        urlEscape: letter !== letter.toLowerCase(),
        keep: Math.min(Number(digits), 255),
        reverse: reverse !== "",
        delimiters: delimiters || ".",
      });
      at += whole.length - 1;
    }
  }
  if (literal !== "") parts.push(literal);
  return parts;
}

/** Parses a domain-spec: a macro-string that ends in "." toplabel or in a macro (§7.1 domain-end). */
export function parseDomainSpec(text: string): MacroString {
  const parsed = parseMacroString(text, false);
  const last = parsed.at(-1);
  if (last === undefined) throw new SpfSyntaxError("empty domain-spec");
  if (typeof last === "string" && !endsInTopLabel(text)) throw new SpfSyntaxError("domain-spec without a top label");
  return parsed;
}

/** toplabel: letters, digits and inner hyphens, not digits alone; "%%", "%_", "%-" are no domain-end. */
function endsInTopLabel(text: string): boolean {
  const found = /\.([a-z0-9]|[a-z0-9][a-z0-9-]*[a-z0-9])\.?$/i.exec(text);
  return found !== null && !/^\d+$/.test(found[1]!);
}

function needsClientName(macro: MacroString): boolean {
  return macro.some((part) => typeof part !== "string" && part.letter === "p");
}

function macroValue(letter: string, values: MacroValues, clientName: string): string {
  switch (letter) {
    case "s":
      return values.sender;
    case "l":
      return values.localPart;
    case "o":
      return values.senderDomain;
    case "d":
      return values.domain;
    case "i":
      return addressLabels(values.ip).join(".");
    case "p":
      return clientName;
    case "h":
      return values.helo;
    case "v":
      return values.ip.family === 4 ? "in-addr" : "ip6";
    case "c":
      return addressText(values.ip);
    case "r":
      return values.receiver;
    default:
      return String(values.timestamp);
  }
}

function transform(expand: Expand, value: string): string {
  let labels = [value];
  for (const delimiter of expand.delimiters) labels = labels.flatMap((label) => label.split(delimiter));
  if (expand.reverse) labels.reverse();
  if (expand.keep > 0) labels = labels.slice(-expand.keep);
  const joined = labels.join(".");
  if (!expand.urlEscape) return joined;
  // §7.3: everything outside RFC 3986's unreserved set, of which encodeURIComponent leaves five too many.
  return encodeURIComponent(joined.toWellFormed()).replace(
    /[!'()*]/g,
    (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}

export async function expandMacro(macro: MacroString, values: MacroValues): Promise<string> {
  const clientName = needsClientName(macro) ? await values.clientName() : "";
  let text = "";
  for (const part of macro) {
    text += typeof part === "string" ? part : transform(part, macroValue(part.letter, values, clientName));
  }
  return text;
}

/** Expands a domain-spec; §7.3: longer than 253 characters loses labels on the left until it fits. */
export async function expandDomain(macro: MacroString, values: MacroValues): Promise<string> {
  let name = (await expandMacro(macro, values)).replace(/\.$/, "");
  while (name.length > 253) {
    const dot = name.indexOf(".");
    if (dot < 0) return "";
    name = name.slice(dot + 1);
  }
  return name;
}
