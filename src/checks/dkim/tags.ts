/**
 * Tag lists: "a=1; b=2" of DKIM signatures and keys, ARC sets and DMARC records (RFC 6376 §3.2).
 * Invariant: names are unique and case-sensitive; values have outer white space removed. Failure: undefined for text
 * that is no tag list.
 */
export type Tags = ReadonlyMap<string, string>;

const tagName = /^[A-Za-z][A-Za-z0-9_]*$/;

export function parseTags(text: string): Tags | undefined {
  const tags = new Map<string, string>();
  const specs = text.split(";");
  if (specs.length > 1 && specs.at(-1)!.trim() === "") specs.pop(); // one final ";" is allowed
  for (const spec of specs) {
    const equals = spec.indexOf("=");
    if (equals < 0) return undefined;
    const name = spec.slice(0, equals).trim();
    if (!tagName.test(name) || tags.has(name)) return undefined;
    const value = spec.slice(equals + 1).trim();
    // FWS may stand inside a value, other control characters may not.
    if (/[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]/.test(value)) return undefined;
    tags.set(name, value);
  }
  return tags;
}

/** Removes all white space: base64 values and lists may be folded anywhere. */
export function unfold(value: string): string {
  return value.replace(/[ \t\r\n]+/g, "");
}

/** Colon-separated list in lower case. */
export function colonList(value: string): string[] {
  return unfold(value).toLowerCase().split(":");
}

/** Base64 with optional white space, or undefined when it is none or empty. */
export function base64(value: string): Buffer | undefined {
  const text = unfold(value);
  if (!/^[A-Za-z0-9+/]+={0,2}$/.test(text) || text.length % 4 === 1) return undefined;
  return Buffer.from(text, "base64");
}
