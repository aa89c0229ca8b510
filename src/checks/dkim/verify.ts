/**
 * DKIM verification (RFC 6376 §6, RFC 8301, RFC 8463): every signature of a message, within the budget.
 * Results are RFC 8601 §2.7.1 words. Limits: Budget `dkimSignatures` signatures are looked at, the topmost first;
 * further ones get "policy". Failure: never throws for what is in the message or in DNS.
 */
import { createHash, verify } from "node:crypto";
import { printable } from "../../message/outcome.ts";
import type { HeaderField, Message } from "../message.ts";
import type { CheckContext } from "../types.ts";
import { type BodyHash, BodyHashes } from "./canonical.ts";
import { type DkimKey, fetchKey, KeyProblem } from "./key.ts";
import { parseSignature, type Signature, signedHeaders } from "./signature.ts";

export type DkimResultToken = "none" | "pass" | "fail" | "policy" | "neutral" | "temperror" | "permerror";

export interface DkimResult {
  result: DkimResultToken;
  /** d=, "" when it could not be read. */
  domain: string;
  selector: string;
  /** i= */
  identity: string;
  algorithm: string;
  /** First 8 characters of b=, which tell signatures apart in reports (RFC 6008). */
  signature: string;
  /** Why not pass; printable. */
  reason: string;
  /** The key says t=y. */
  testing: boolean;
  /** Octets at the end of the body that l= left unsigned. */
  unsignedOctets: number;
  keyBits: number;
}

/** A signature on its way: to be called when the body hashes have seen the body. */
export type FinishVerification = () => DkimResult;

/** RFC 8301 §3.2: shorter RSA keys do not count. */
const minimumBits = 1024;

/** Verifies all signatures of a message, reading its body once. */
export async function verifyDkim(message: Message, ctx: CheckContext): Promise<DkimResult[]> {
  const hashes = new BodyHashes();
  const finish = await beginVerification(message.fields, hashes, ctx);
  await hashes.feed(message.body);
  return finish.map((conclude) => conclude());
}

/** Looks at the fields and fetches the keys; the caller feeds `hashes` and then calls what is answered. */
export function beginVerification(
  fields: readonly HeaderField[],
  hashes: BodyHashes,
  ctx: CheckContext,
): Promise<FinishVerification[]> {
  const signatures = fields.filter((field) => field.name === "dkim-signature");
  return Promise.all(
    signatures.map((field, index) => {
      if (index >= ctx.budget.dkimSignatures) {
        return settled(refused("policy", `more than ${ctx.budget.dkimSignatures} signatures`));
      }
      const parsed = parseSignature(field, "dkim");
      if (typeof parsed === "string") return settled(refused("permerror", parsed));
      return beginOne(fields, parsed, hashes, ctx);
    }),
  );
}

function settled(result: DkimResult): FinishVerification {
  return () => result;
}

function refused(result: DkimResultToken, reason: string, signature?: Signature, key?: DkimKey): DkimResult {
  return {
    result,
    domain: signature?.domain ?? "",
    selector: signature?.selector ?? "",
    identity: signature?.identity ?? "",
    algorithm: signature?.algorithm ?? "",
    signature: signature?.signature.toString("base64").slice(0, 8) ?? "",
    reason: printable(reason),
    testing: key?.testing ?? false,
    unsignedOctets: 0,
    keyBits: key?.bits ?? 0,
  };
}

async function beginOne(
  fields: readonly HeaderField[],
  signature: Signature,
  hashes: BodyHashes,
  ctx: CheckContext,
): Promise<FinishVerification> {
  if (signature.expires !== undefined && signature.expires * 1000 < ctx.now()) {
    return settled(refused("permerror", "signature expired", signature));
  }
  let key: DkimKey;
  try {
    key = await fetchKey(signature.selector, signature.domain, ctx);
  } catch (error) {
    if (error instanceof KeyProblem) return settled(refused(error.result, error.message, signature));
    throw error;
  }
  const mismatch = keyMismatch(signature, key);
  if (mismatch !== "") return settled(refused("permerror", mismatch, signature, key));
  const bodyHash = hashes.get(signature.bodyCanonicalization, signature.hash, signature.length);
  return () => conclude(fields, signature, key, bodyHash);
}

/** §6.1.2: the key must allow what the signature uses. */
function keyMismatch(signature: Signature, key: DkimKey): string {
  if (key.algorithm !== signature.keyType) return "key is of another algorithm";
  if (key.hashes !== undefined && !key.hashes.includes(signature.hash)) return "key does not allow this hash";
  const host = signature.identity.slice(signature.identity.lastIndexOf("@") + 1).toLowerCase();
  if (key.strict && host !== signature.domain) return "key allows no subdomain in i=";
  return "";
}

function conclude(fields: readonly HeaderField[], signature: Signature, key: DkimKey, bodyHash: BodyHash): DkimResult {
  const answer = (result: DkimResultToken, reason: string) => refused(result, reason, signature, key);
  const hashed = bodyHash.digest();
  // §3.5 l=: a length beyond the body is an error, never "all of it".
  if (signature.length !== Number.POSITIVE_INFINITY && signature.length > bodyHash.length) {
    return answer("permerror", "l= is beyond the end of the body");
  }
  if (!hashed.equals(signature.bodyHash)) return answer("fail", "body hash did not verify");
  if (!verifyHeaders(fields, signature, key)) return answer("fail", "signature did not verify");
  // §6.1.1: without v=1 and a registered q= it must not count, though some still like to know that it would.
  if (signature.draft) return answer("permerror", "signature of a draft before the RFC");
  // RFC 8301 §3.1, §3.2: these must not count as valid, however well they verify.
  if (signature.hash === "sha1") return answer("policy", "rsa-sha1 is not accepted");
  if (key.bits < minimumBits && key.algorithm === "rsa")
    return answer("policy", `key of ${key.bits} bits is too short`);
  return { ...answer("pass", ""), unsignedOctets: Math.max(0, bodyHash.length - signature.length) };
}

/** The cryptographic step, shared with ARC. */
export function verifyHeaders(fields: readonly HeaderField[], signature: Signature, key: DkimKey): boolean {
  const data = signedHeaders(fields, signature.headers, signature.headerCanonicalization, signature.field.raw);
  return verifyData(data, signature.signature, signature.hash, key);
}

export function verifyData(data: Buffer, signature: Buffer, hash: "sha256" | "sha1", key: DkimKey): boolean {
  // RFC 8463 §3: Ed25519 signs the SHA-256 of the data.
  if (key.algorithm === "ed25519") return verify(null, createHash("sha256").update(data).digest(), key.key, signature);
  return verify(hash, data, key.key, signature);
}
