/**
 * Encoded words in header text (RFC 2047), read as leniently as mail writes them.
 * Invariant: never throws; what is no encoded word stays as it is. Neighbouring words of one charset are joined as
 * octets before decoding, because encoders split multi-byte characters.
 */
import { decodeText } from "./charset.ts";
import { decodeBase64, hexPair } from "./transfer-encoding.ts";

interface Word {
  charset: string;
  encoding: string;
  text: string;
  start: number;
  end: number;
}

/**
 * Encoded words in order (RFC 2047 §2). Blanks inside the text and words longer than 75 characters are common, so both
 * are read; each search begins where the last one ended, which keeps the work linear.
 */
function* words(text: string): Generator<Word> {
  for (let start = text.indexOf("=?"); start >= 0; start = text.indexOf("=?", start)) {
    const head = /^=\?([^?\s]{1,64})\?([BbQq])\?/.exec(text.slice(start, start + 80));
    if (head === null) {
      start += 2;
      continue;
    }
    const from = start + head[0].length;
    const end = text.indexOf("?=", from);
    if (end < 0) return;
    // RFC 2231 §5 allows a language after "*".
    const charset = head[1]!.replace(/\*.*$/, "").toLowerCase();
    yield { charset, encoding: head[2]!.toUpperCase(), text: text.slice(from, end), start, end: end + 2 };
    start = end + 2;
  }
}

/** Decodes every encoded word of an unfolded header value. */
export function decodeWords(text: string): string {
  if (!text.includes("=?")) return text;
  let result = "";
  let after = 0;
  let pendingCharset = "";
  let pending: Buffer[] = [];
  const flush = () => {
    if (pending.length > 0) result += decodeText(Buffer.concat(pending), pendingCharset);
    pending = [];
  };
  for (const word of words(text)) {
    const gap = text.slice(after, word.start);
    // RFC 2047 §6.2: white space between neighbouring words is not shown.
    const adjacent = after > 0 && gap.trim() === "";
    if (!adjacent || word.charset !== pendingCharset) flush();
    if (!adjacent) result += gap;
    pendingCharset = word.charset;
    pending.push(word.encoding === "B" ? decodeBase64(Buffer.from(word.text)) : decodeQ(word.text, word.charset));
    after = word.end;
  }
  flush();
  return result + text.slice(after);
}

/** RFC 2047 §4.2. Raw 8-bit characters inside a word are octets of its charset. */
function decodeQ(text: string, charset: string): Buffer {
  const bytes = Buffer.from(text, charset === "utf-8" || /[^\0-\xff]/.test(text) ? "utf8" : "latin1");
  let n = 0;
  for (let i = 0; i < bytes.length; i++) {
    const c = bytes[i]!;
    const value = c === 0x3d ? hexPair(bytes[i + 1], bytes[i + 2]) : -1;
    if (value >= 0) i += 2;
    bytes[n++] = value >= 0 ? value : c === 0x5f ? 0x20 : c;
  }
  return bytes.subarray(0, n);
}

/**
 * Writes `text` so that it may stand in a header as unstructured text: as it is when it is printable ASCII, else as
 * encoded words of at most 75 characters (RFC 2047 §2).
 */
export function encodeWords(text: string): string {
  if (/^[\x20-\x7e\t]*$/.test(text) && !text.includes("=?")) return text;
  const words: string[] = [];
  let chunk = "";
  let size = 0;
  for (const char of text) {
    const length = Buffer.byteLength(char);
    if (size + length > 45) {
      words.push(chunk);
      chunk = "";
      size = 0;
    }
    chunk += char;
    size += length;
  }
  words.push(chunk);
  return words.map((word) => `=?utf-8?B?${Buffer.from(word).toString("base64")}?=`).join(" ");
}
