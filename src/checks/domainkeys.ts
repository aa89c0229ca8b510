/**
 * DomainKeys (RFC 4870), historic: verification of the topmost signature only, for those who still want to know. It
 * signs with SHA-1, which proves nothing today; no other check looks at it.
 * Failure: never throws for what is in the message or in DNS.
 */
import { createVerify, type Verify } from "node:crypto";
import { printable } from "../message/outcome.ts";
import { type DkimKey, fetchKey, KeyProblem } from "./dkim/key.ts";
import { base64, colonList, parseTags, unfold } from "./dkim/tags.ts";
import { fieldValue, type HeaderField, type Message } from "./message.ts";
import type { CheckContext } from "./types.ts";

export interface DomainKeysResult {
  result: "none" | "pass" | "fail" | "neutral" | "temperror" | "permerror";
  domain: string;
  reason: string;
}

export async function verifyDomainKeys(message: Message, ctx: CheckContext): Promise<DomainKeysResult> {
  const at = message.fields.findIndex(({ name }) => name === "domainkey-signature");
  if (at < 0) return { result: "none", domain: "", reason: "" };
  const tags = parseTags(fieldValue(message.fields[at]!));
  const domain = unfold(tags?.get("d") ?? "").toLowerCase();
  const selector = unfold(tags?.get("s") ?? "").toLowerCase();
  const answer = (result: DomainKeysResult["result"], reason: string) => ({
    result,
    domain,
    reason: printable(reason),
  });
  const signature = base64(tags?.get("b") ?? "");
  const canonicalization = tags?.get("c") ?? "simple";
  if (tags === undefined || domain === "" || selector === "" || signature === undefined) {
    return answer("permerror", "malformed signature");
  }
  if ((tags.get("a") ?? "rsa-sha1") !== "rsa-sha1" || (canonicalization !== "simple" && canonicalization !== "nofws")) {
    return answer("permerror", "unknown algorithm");
  }
  let key: DkimKey;
  try {
    key = await fetchKey(selector, domain, ctx);
  } catch (error) {
    if (error instanceof KeyProblem) return answer(error.result, error.message);
    throw error;
  }
  const only = tags.has("h") ? new Set(colonList(tags.get("h")!)) : undefined;
  const text = new SignedText(canonicalization === "nofws");
  text.header(message.fields.slice(at + 1).filter(({ name }) => only === undefined || only.has(name)));
  await text.body(message.body);
  return text.verify(key, signature) ? answer("pass", "") : answer("fail", "signature did not verify");
}

const lineEnd = Buffer.from("\r\n");

/** §3.4.2: what is signed; "nofws" leaves out all blanks. Empty lines at the end don't count. */
class SignedText {
  readonly #verify: Verify = createVerify("sha1");
  readonly #stripped: boolean;
  /** Line ends held back; the first stands between header and body, and only a body brings it in. */
  #pendingLines = 1;
  #pendingCr = false;
  #content = false;

  constructor(stripped: boolean) {
    this.#stripped = stripped;
  }

  header(fields: readonly HeaderField[]): void {
    for (const { raw } of fields) {
      this.#verify.update(`${this.#stripped ? raw.replace(/[ \t\r\n]+/g, "") : raw}\r\n`, "latin1");
    }
  }

  async body(source: Message["body"]): Promise<void> {
    if (source instanceof Uint8Array) this.#chunk(source);
    else for await (const chunk of source) this.#chunk(chunk);
  }

  #chunk(chunk: Uint8Array): void {
    const out = Buffer.allocUnsafe(chunk.length + 1);
    let to = 0;
    for (const octet of chunk) {
      if (octet === 10 && this.#pendingCr) {
        this.#pendingCr = false;
        this.#pendingLines += 1;
        continue;
      }
      if (this.#stripped && (octet === 32 || octet === 9)) continue;
      if (octet === 13 && !this.#pendingCr) {
        this.#pendingCr = true;
        continue;
      }
      if (this.#pendingLines > 0) {
        this.#verify.update(out.subarray(0, to));
        to = 0;
        for (; this.#pendingLines > 0; this.#pendingLines--) this.#verify.update(lineEnd);
      }
      if (this.#pendingCr) out[to++] = 13;
      this.#pendingCr = octet === 13;
      if (octet !== 13) out[to++] = octet;
      this.#content = true;
    }
    this.#verify.update(out.subarray(0, to));
  }

  verify(key: DkimKey, signature: Buffer): boolean {
    if (this.#content) this.#verify.update(lineEnd);
    return this.#verify.verify(key.key, signature);
  }
}
