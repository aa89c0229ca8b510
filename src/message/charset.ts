/**
 * Octets to text by MIME charset name (RFC 2045 §5.2, names as the WHATWG Encoding Standard reads them).
 * Invariant: always answers a string; malformed sequences become U+FFFD. Failure: an unknown charset is read as UTF-8
 * when the octets are valid UTF-8 and as windows-1252 otherwise, as mail without a charset is.
 */

const aliases: Readonly<Record<string, string>> = {
  cp932: "shift_jis",
  "cp-850": "windows-1252",
  cp850: "windows-1252",
  "8bit": "windows-1252",
  ascii: "us-ascii",
  "utf-8mb4": "utf-8",
  cp936: "gbk",
  cp949: "euc-kr",
  cp950: "big5",
};

const decoders = new Map<string, TextDecoder | undefined>();
const decoderCacheSize = 256;
const strictUtf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const windows1252 = new TextDecoder("windows-1252");

function decoderFor(label: string): TextDecoder | undefined {
  if (decoders.has(label)) return decoders.get(label);
  let decoder: TextDecoder | undefined;
  try {
    decoder = new TextDecoder(aliases[label] ?? label);
  } catch {
    decoder = undefined; // RangeError: a name that the standard does not know
  }
  // Labels come from the network: names beyond the cache are looked up again each time.
  if (decoders.size < decoderCacheSize && label.length <= 40) decoders.set(label, decoder);
  return decoder;
}

/** Text of octets whose charset nobody declared. */
export function decodeUnlabelled(bytes: Uint8Array): string {
  if (isAscii(bytes)) return asBuffer(bytes).toString("latin1");
  try {
    return strictUtf8.decode(bytes);
  } catch {
    return windows1252.decode(bytes); // not UTF-8: the likeliest reading of stray 8-bit mail
  }
}

/** Text of `bytes` in `charset`; an empty charset means undeclared. */
export function decodeText(bytes: Uint8Array, charset: string): string {
  const label = charset.trim().toLowerCase();
  // "us-ascii" with 8-bit octets is a lie: guess as if nothing had been said.
  if (label === "" || label === "us-ascii" || label === "ascii") return decodeUnlabelled(bytes);
  if (label === "utf-7" || label === "unicode-1-1-utf-7") return decodeUtf7(asBuffer(bytes).toString("latin1"));
  const decoder = decoderFor(label);
  return decoder === undefined ? decodeUnlabelled(bytes) : decoder.decode(bytes);
}

/** RFC 2152 §3: runs of modified base64 between "+" and "-" hold UTF-16BE. */
function decodeUtf7(text: string): string {
  return text.replace(/\+([A-Za-z0-9+/]*)-?/g, (_, run: string) => {
    if (run === "") return "+";
    const bytes = Buffer.from(run, "base64");
    return bytes
      .subarray(0, bytes.length & ~1)
      .swap16()
      .toString("utf16le");
  });
}

export function isAscii(bytes: Uint8Array): boolean {
  for (let i = 0; i < bytes.length; i++) if (bytes[i]! > 0x7f) return false;
  return true;
}

/** The same octets as a Buffer, without copying. */
export function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
