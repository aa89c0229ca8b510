/**
 * DKIM key records (RFC 6376 §3.6.1, RFC 8301, RFC 8463): text → public key, cached.
 * Invariants: keys are parsed once per record text; at most `cacheSize` are held; RSA keys above `dkimKeyBits` are
 * never used, so that a verification has a bounded cost. Failure: `KeyProblem` with an RFC 8601 result.
 */
import { createPublicKey, type KeyObject } from "node:crypto";
import { type DnsAnswer, DnsError } from "../../dns/types.ts";
import type { CheckContext } from "../types.ts";
import { base64, colonList, parseTags, unfold } from "./tags.ts";

export interface DkimKey {
  algorithm: "rsa" | "ed25519";
  key: KeyObject;
  /** Modulus size; 256 for ed25519. */
  bits: number;
  /** h=: hash names allowed; undefined allows all. */
  hashes: readonly string[] | undefined;
  /** t=y: the domain is testing. */
  testing: boolean;
  /** t=s: i= must be exactly in d=. */
  strict: boolean;
}

export class KeyProblem extends Error {
  readonly result: "permerror" | "temperror";
  constructor(result: KeyProblem["result"], message: string) {
    super(message);
    this.name = "KeyProblem";
    this.result = result;
  }
}

const cacheSize = 2_000;
const cache = new Map<string, DkimKey | KeyProblem>();

/** Key of `selector` at `domain`. RSA keys may have up to `budget.dkimKeyBits`. */
export async function fetchKey(selector: string, domain: string, ctx: CheckContext): Promise<DkimKey> {
  const name = `${selector}._domainkey.${domain}`;
  let answer: DnsAnswer<"TXT">;
  try {
    answer = await ctx.resolver.resolve(name, "TXT");
  } catch (error) {
    if (error instanceof DnsError) throw new KeyProblem("temperror", `key query for ${name}: ${error.message}`);
    throw error;
  }
  if (answer.records.length === 0) throw new KeyProblem("permerror", `no key at ${name}`);
  let problem: KeyProblem | undefined;
  // §3.6.2.2: several records are undefined; the first that is a key is taken.
  for (const text of answer.records) {
    const key = parseKey(text, ctx.budget.dkimKeyBits);
    if (!(key instanceof KeyProblem)) return key;
    problem ??= key;
  }
  throw problem!;
}

export function parseKey(text: string, maxBits: number): DkimKey | KeyProblem {
  const known = cache.get(text);
  if (known !== undefined) return known;
  const parsed = readKey(text, maxBits);
  if (cache.size >= cacheSize) cache.delete(cache.keys().next().value!);
  cache.set(text, parsed);
  return parsed;
}

function readKey(text: string, maxBits: number): DkimKey | KeyProblem {
  const bad = (message: string) => new KeyProblem("permerror", message);
  const tags = parseTags(text);
  if (tags === undefined) return bad("key record is no tag list");
  const version = tags.get("v");
  // §3.6.1: v=, when there, is the first tag and DKIM1.
  if (version !== undefined && (version !== "DKIM1" || tags.keys().next().value !== "v"))
    return bad("unknown key version");
  const services = colonList(tags.get("s") ?? "*");
  if (!services.includes("*") && !services.includes("email")) return bad("key is not for email");
  const p = tags.get("p");
  if (p === undefined) return bad("key record without p=");
  if (unfold(p) === "") return bad("key revoked");
  const data = base64(p);
  if (data === undefined) return bad("p= is not base64");
  const algorithm = (tags.get("k") ?? "rsa").toLowerCase();
  if (algorithm !== "rsa" && algorithm !== "ed25519") return bad(`unknown key type`);
  const key = algorithm === "rsa" ? rsaKey(data) : ed25519Key(data);
  if (key === undefined) return bad(`p= is no ${algorithm} key`);
  const bits = algorithm === "rsa" ? (key.asymmetricKeyDetails?.modulusLength ?? 0) : 256;
  if (bits > maxBits) return bad(`key of ${bits} bits (limit ${maxBits})`);
  const flags = tags.has("t") ? colonList(tags.get("t")!) : [];
  return {
    algorithm,
    key,
    bits,
    hashes: tags.has("h") ? colonList(tags.get("h")!) : undefined,
    testing: flags.includes("y"),
    strict: flags.includes("s"),
  };
}

/** SubjectPublicKeyInfo as everybody publishes, or bare RSAPublicKey as §3.6.1 says (erratum 3017). */
function rsaKey(der: Buffer): KeyObject | undefined {
  for (const type of ["spki", "pkcs1"] as const) {
    try {
      const key = createPublicKey({ key: der, format: "der", type });
      if (key.asymmetricKeyType === "rsa") return key;
    } catch {
      // not of this form; the other one is tried next
    }
  }
  return undefined;
}

/** RFC 8463 §4: p= is the 32 octets of the key alone. */
function ed25519Key(octets: Buffer): KeyObject | undefined {
  if (octets.length !== 32) return undefined;
  try {
    return createPublicKey({ key: { kty: "OKP", crv: "Ed25519", x: octets.toString("base64url") }, format: "jwk" });
  } catch {
    return undefined; // not a point on the curve
  }
}
