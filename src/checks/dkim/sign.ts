/**
 * DKIM signing (RFC 6376 §5, RFC 8463), and the parts of it that ARC sealing shares.
 * Invariants: private keys are parsed once, by `signingKey`; the value returned is signed exactly as it stands, so it
 * must follow "DKIM-Signature: " unchanged; no value from outside can add a tag (domain and selector are checked).
 * Failure: TypeError for a key or name that can't be used, which is a configuration error.
 */
import { createHash, createPrivateKey, type KeyObject, sign } from "node:crypto";
import { promisify } from "node:util";
import type { HeaderField, Message } from "../message.ts";
import { BodyHashes } from "./canonical.ts";
import { signedHeaders } from "./signature.ts";

export interface SigningKey {
  domain: string;
  selector: string;
  key: KeyObject;
  algorithm: "rsa-sha256" | "ed25519-sha256";
  /** Modulus size; 256 for ed25519. */
  bits: number;
}

export interface SignOptions {
  /** Names of the fields to sign, any case. Default: `defaultHeaders` that are there, and From once more. */
  headers?: readonly string[];
  /** Seconds since the epoch for t=. */
  timestamp: number;
  /** Seconds after t= at which the signature ends (x=). */
  lifetime?: number;
}

/** RFC 6376 §5.4.1: fields that carry meaning to the reader, and those of lists and resending. */
const defaultHeaders = new Set(
  (
    "from sender reply-to subject date message-id to cc mime-version content-type content-transfer-encoding " +
    "content-id content-description resent-date resent-from resent-sender resent-to resent-cc resent-message-id " +
    "in-reply-to references list-id list-help list-unsubscribe list-unsubscribe-post list-subscribe list-post " +
    "list-owner list-archive"
  ).split(" "),
);

/** Parses a PEM private key; RFC 8301 §3.2 wants at least 1,024 bits of RSA for signing. */
export function signingKey(domain: string, selector: string, pem: string): SigningKey {
  for (const name of [domain, selector]) {
    if (!/^[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*$/.test(name)) throw new TypeError(`not a name to sign with: ${name}`);
  }
  const key = createPrivateKey(pem);
  if (key.asymmetricKeyType === "ed25519") return { domain, selector, key, algorithm: "ed25519-sha256", bits: 256 };
  const bits = key.asymmetricKeyDetails?.modulusLength ?? 0;
  if (key.asymmetricKeyType !== "rsa" || bits < 1024) {
    throw new TypeError("a DKIM key is RSA of 1,024 bits or more, or Ed25519");
  }
  return { domain, selector, key, algorithm: "rsa-sha256", bits };
}

/** Signs one message with each key; answers the values of the DKIM-Signature fields, in the order of `keys`. */
export async function signDkim(message: Message, keys: readonly SigningKey[], options: SignOptions): Promise<string[]> {
  const hashes = new BodyHashes();
  const body = hashes.get("relaxed", "sha256");
  await hashes.feed(message.body);
  const bodyHash = body.digest().toString("base64");
  const headers = options.headers?.map((name) => name.toLowerCase()) ?? headersToSign(message.fields);
  return Promise.all(
    keys.map((key) =>
      signTags("DKIM-Signature", message.fields, headers, key, [
        ["v", "1"],
        ["a", key.algorithm],
        ["c", "relaxed/relaxed"],
        ["d", key.domain],
        ["s", key.selector],
        ["t", String(options.timestamp)],
        ...(options.lifetime === undefined ? [] : [["x", String(options.timestamp + options.lifetime)] as const]),
        ["h", headers.join(":")],
        ["bh", bodyHash],
        ["b", ""],
      ]),
    ),
  );
}

/** §5.4, §8.15: each instance that is there, and From once more, so that a second From breaks the signature. */
export function headersToSign(fields: readonly HeaderField[]): string[] {
  const present = fields.map(({ name }) => name).filter((name) => defaultHeaders.has(name));
  return [...present.toReversed(), "from"];
}

/** Value of a field whose tags are signed together with `headers` of the message. */
export async function signTags(
  fieldName: string,
  fields: readonly HeaderField[],
  headers: readonly string[],
  key: SigningKey,
  tags: ReadonlyArray<readonly [string, string]>,
): Promise<string> {
  const unsigned = layOut(fieldName, tags, "");
  const data = signedHeaders(fields, headers, "relaxed", `${fieldName}: ${unsigned}`);
  return layOut(fieldName, tags, await signData(data, key));
}

const signElsewhere = promisify<string, Buffer, KeyObject, Buffer>(sign);

/**
 * Base64 of the signature over `data`. With 2,048 bits RSA takes a quarter of a millisecond, less than it is worth to
 * wake another thread for; longer keys, with up to some milliseconds, are left to the pool, so that the event loop
 * serves others meanwhile.
 */
export async function signData(data: Buffer, { algorithm, bits, key }: SigningKey): Promise<string> {
  // RFC 8463 §3: Ed25519 signs the SHA-256 of the data.
  if (algorithm === "ed25519-sha256") {
    return sign(null, createHash("sha256").update(data).digest(), key).toString("base64");
  }
  const signature = bits > 2048 ? await signElsewhere("sha256", data, key) : sign("sha256", data, key);
  return signature.toString("base64");
}

const width = 76;

/** Writes tags as a folded value; b= stands on lines of its own, so that filling it in moves nothing else. */
export function layOut(fieldName: string, tags: ReadonlyArray<readonly [string, string]>, signature: string): string {
  let text = "";
  let column = fieldName.length + 2;
  tags.forEach(([name, value], index) => {
    const end = index === tags.length - 1 ? "" : ";";
    if (name === "b") {
      // A seal covers the folds of the message signature's b=, and folds get lost under way: ARC has none there,
      // within the 998 octets of a line.
      const lines = `b=${signature}`.match(fieldName.startsWith("ARC-") ? /.{1,900}/g : /.{1,72}/g) ?? [];
      text += `${index === 0 ? "" : "\r\n\t"}${lines.join("\r\n\t")}${end}`;
      column = width;
      return;
    }
    const token = `${name}=${value.length <= width - 4 ? value : foldList(value)}${end}`;
    const fits = column + token.length < width;
    if (index > 0) text += fits ? " " : "\r\n\t";
    column = fits ? column + token.length + 1 : token.length - token.lastIndexOf("\n");
    text += token;
  });
  return text;
}

/** Long h= lists fold before a colon-separated name (§3.5 h=: FWS may stand around colons). */
function foldList(value: string): string {
  let line = 0;
  return value
    .split(":")
    .map((name, index) => {
      const first = index === 0;
      const fits = line + name.length + 1 < width - 4;
      line = fits ? line + name.length + 1 : name.length;
      return first ? name : fits ? `:${name}` : `:\r\n\t ${name}`;
    })
    .join("");
}
