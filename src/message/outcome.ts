/**
 * The one value that every decision and every delivery attempt ends in.
 * Invariants: `code` is 2xx/4xx/5xx and agrees in class with `enhanced` and `temporary`; `text` is free of CR, LF
 * and control bytes except "\n" between the lines of a multi-line reply. Failure: constructors throw RangeError on a
 * code outside its class, which is a programming error and never caused by network input.
 */

export interface Outcome {
  /** SMTP reply code, e.g. 250, 451, 550. */
  readonly code: number;
  /** Enhanced status code (RFC 3463), e.g. "5.7.1". Class digit equals the code's. */
  readonly enhanced: string;
  /** Reply text without the codes; "\n" separates lines. Never holds CR or other control bytes. */
  readonly text: string;
  /** True for 4xx: worth trying again. */
  readonly temporary: boolean;
  /** Who decided: "engine", a rule name, a check, "remote mx.example [192.0.2.1]:25"... For logs and explain. */
  readonly origin: string;
}

export interface OutcomeParts {
  code: number;
  enhanced: string;
  text: string;
  origin: string;
}

const control = /[\x00-\x1f\x7f]/;

/** Removes what may not stand in a reply, header or log line; "\n" is kept only where `multiline` is true. */
export function printable(text: string, multiline = false): string {
  if (!control.test(text)) return text; // nearly always
  const unified = multiline ? text.replace(/\r\n?/g, "\n") : text.replace(/[\r\n]+/g, " ");
  return unified.replace(/[\x00-\x09\x0b-\x1f\x7f]/g, " ");
}

function make(parts: OutcomeParts, classDigit: 2 | 4 | 5): Outcome {
  if (Math.floor(parts.code / 100) !== classDigit && !(classDigit === 2 && Math.floor(parts.code / 100) === 3)) {
    throw new RangeError(`code ${parts.code} is not of class ${classDigit}`);
  }
  const enhanced = parts.enhanced.startsWith(`${classDigit}.`) ? parts.enhanced : `${classDigit}.0.0`;
  return {
    code: parts.code,
    enhanced,
    text: printable(parts.text, true),
    temporary: classDigit === 4,
    origin: parts.origin,
  };
}

export const outcome = {
  accept: (parts: OutcomeParts): Outcome => make(parts, 2),
  defer: (parts: OutcomeParts): Outcome => make(parts, 4),
  reject: (parts: OutcomeParts): Outcome => make(parts, 5),
  /** From a code of any class; 3xx counts as success. */
  of: (parts: OutcomeParts): Outcome => make(parts, parts.code < 400 ? 2 : parts.code < 500 ? 4 : 5),
};
