/**
 * Content transfer encodings (RFC 2045 §6): decoders that read what mail really contains.
 * Invariant: output is never longer than input. Failure: none; octets that fit no rule are kept (quoted-printable) or
 * skipped (base64), so that hidden content still reaches the scanners.
 */
import { asBuffer } from "./charset.ts";

/** Decodes `bytes` by the name of a Content-Transfer-Encoding; unknown names are identity. */
export function decodeTransfer(bytes: Uint8Array, encoding: string): Buffer {
  switch (encoding) {
    case "base64":
      return decodeBase64(bytes);
    case "quoted-printable":
      return decodeQuotedPrintable(bytes);
    default:
      return asBuffer(bytes);
  }
}

/** RFC 2045 §6.8. Padding in the middle begins a new run, as when encoders concatenate their outputs. */
export function decodeBase64(bytes: Uint8Array): Buffer {
  const text = asBuffer(bytes).toString("latin1");
  const padding = text.indexOf("=");
  if (padding < 0 || !/[A-Za-z0-9+/]/.test(text.slice(padding))) return Buffer.from(text, "base64");
  return Buffer.concat(text.split(/=+/).map((run) => Buffer.from(run, "base64")));
}

const hexValue = new Int8Array(256).fill(-1);
for (let i = 0; i < 16; i++) {
  hexValue["0123456789ABCDEF".charCodeAt(i)] = i;
  hexValue["0123456789abcdef".charCodeAt(i)] = i;
}

/** Value of two hexadecimal digits, or -1. */
export function hexPair(high: number | undefined, low: number | undefined): number {
  const a = hexValue[high ?? 0]!;
  const b = hexValue[low ?? 0]!;
  return a < 0 || b < 0 ? -1 : (a << 4) | b;
}

/** RFC 2045 §6.7: "=XX", soft line breaks, and white space before a line end removed. */
export function decodeQuotedPrintable(bytes: Uint8Array): Buffer {
  const out = Buffer.allocUnsafe(bytes.length);
  let n = 0;
  /** Output length without the blanks that may turn out to be trailing ones. */
  let solid = 0;
  for (let i = 0; i < bytes.length; i++) {
    const c = bytes[i]!;
    if (c === 0x3d) {
      const value = hexPair(bytes[i + 1], bytes[i + 2]);
      if (value >= 0) {
        out[n++] = value;
        solid = n;
        i += 2;
        continue;
      }
      let j = i + 1;
      while (bytes[j] === 0x20 || bytes[j] === 0x09) j++;
      if (bytes[j] === 0x0d && bytes[j + 1] === 0x0a) j++;
      if (bytes[j] === 0x0a || j >= bytes.length) {
        i = j;
        solid = n;
        continue;
      }
      out[n++] = c;
      solid = n;
    } else if (c === 0x0a || (c === 0x0d && bytes[i + 1] === 0x0a)) {
      n = solid;
      out[n++] = c;
      if (c === 0x0d) {
        out[n++] = 0x0a;
        i++;
      }
      solid = n;
    } else {
      out[n++] = c;
      if (c !== 0x20 && c !== 0x09) solid = n;
    }
  }
  return out.subarray(0, n);
}
