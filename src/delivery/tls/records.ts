/**
 * Parsers of what domains publish about mail over TLS: the `_mta-sts` and `_smtp._tls` TXT records and the MTA-STS
 * policy file (RFC 8461 §3.1, §3.2; RFC 8460 §3). Strict: undefined for anything outside the grammar. Pure, linear.
 */

export interface StsRecord {
  id: string;
}

export interface StsPolicy {
  mode: "enforce" | "testing" | "none";
  /** Host names or "*.domain", lower case. */
  mx: readonly string[];
  /** Seconds. */
  maxAge: number;
}

export interface TlsRptRecord {
  /** "mailto:" and "https:" addresses, in order. */
  rua: readonly string[];
}

const fieldName = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,31}$/;
/** sts-ext-value: printable, no blank, "=" or ";". */
const fieldValue = /^[\x21-\x3a\x3c\x3e-\x7e]+$/;
const domain = /^(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)*[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?$/;
const maxRecord = 1_024;

/** The fields of "v=X; name=value; …" after the version; undefined when the form is broken. */
function recordFields(text: string, version: string): Array<[string, string]> | undefined {
  if (text.length > maxRecord) return undefined;
  const parts = text.split(/[ \t]*;[ \t]*/);
  if (parts[0] !== `v=${version}`) return undefined;
  if (parts.at(-1) === "") parts.pop();
  const fields: Array<[string, string]> = [];
  for (const part of parts.slice(1)) {
    const equals = part.indexOf("=");
    const name = part.slice(0, equals);
    if (equals < 1 || !fieldName.test(name)) return undefined;
    fields.push([name, part.slice(equals + 1)]);
  }
  return fields;
}

/** RFC 8461 §3.1. */
export function parseStsRecord(text: string): StsRecord | undefined {
  const fields = recordFields(text, "STSv1");
  if (!fields?.every(([name, value]) => name === "id" || fieldValue.test(value))) return undefined;
  const id = fields.find(([name]) => name === "id")?.[1];
  return id !== undefined && /^[A-Za-z0-9]{1,32}$/.test(id) ? { id } : undefined;
}

/** RFC 8461 §3.2. Of a key given twice (mx aside) the first counts. */
export function parseStsPolicy(text: string): StsPolicy | undefined {
  const lines = text.replace(/\r?\n$/, "").split(/\r?\n/);
  const first = new Map<string, string>();
  const mx: string[] = [];
  for (const line of lines) {
    const parts = /^([^:]+):[ \t]*(.*?)[ \t]*$/.exec(line);
    if (!parts) return undefined;
    const [, name, value] = parts as unknown as [string, string, string];
    if (!fieldName.test(name) || value === "" || !/^[\x20-\x7e\x80-\uffff]+$/.test(value)) return undefined;
    if (name === "mx") {
      if (!domain.test(value.replace(/^\*\./, ""))) return undefined;
      mx.push(value.toLowerCase());
    } else if (!first.has(name)) first.set(name, value);
  }
  const mode = first.get("mode");
  const maxAge = first.get("max_age") ?? "";
  if (first.get("version") !== "STSv1" || !/^\d{1,10}$/.test(maxAge)) return undefined;
  if (mode !== "enforce" && mode !== "testing" && mode !== "none") return undefined;
  if (mode !== "none" && mx.length === 0) return undefined;
  return { mode, mx, maxAge: Math.min(Number(maxAge), 31_557_600) };
}

/** RFC 8461 §4.1: a wildcard stands for exactly one label. */
export function stsAllows(policy: StsPolicy, host: string): boolean {
  const name = host.toLowerCase().replace(/\.$/, "");
  const parent = name.slice(name.indexOf(".") + 1);
  return policy.mx.some((pattern) => (pattern.startsWith("*.") ? pattern.slice(2) === parent : pattern === name));
}

/** RFC 8460 §3. */
export function parseTlsRptRecord(text: string): TlsRptRecord | undefined {
  const fields = recordFields(text, "TLSRPTv1");
  if (!fields?.every(([name, value]) => name === "rua" || fieldValue.test(value))) return undefined;
  const value = fields.find(([name]) => name === "rua")?.[1];
  if (value === undefined) return undefined;
  const rua = value.split(",").map((uri) => uri.trim());
  // RFC 3986 without ",", "!" and ";", which must be encoded here.
  return rua.every((uri) => /^(?:mailto|https):[\x21-\x2b\x2d-\x3a\x3c-\x7e]+$/i.test(uri)) ? { rua } : undefined;
}
