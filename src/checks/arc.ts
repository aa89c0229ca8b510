/**
 * ARC (RFC 8617): validating a chain and adding a set to it.
 * Invariants: a chain has at most 50 sets (§4.2.1); every set is whole and every seal is verified, the newest message
 * signature too (§5.2). Failure: none thrown for what is in the message; trouble with DNS makes "fail" with
 * `temporary` set, since ARC has no word of its own for it.
 */
import { setImmediate } from "node:timers/promises";
import { printable } from "../message/outcome.ts";
import { type BodyHash, BodyHashes, relaxedField, relaxText } from "./dkim/canonical.ts";
import { type DkimKey, fetchKey, KeyProblem } from "./dkim/key.ts";
import { headersToSign, layOut, type SigningKey, signData, signTags } from "./dkim/sign.ts";
import { parseSignature, type Signature, withoutSignature } from "./dkim/signature.ts";
import { base64, parseTags, type Tags, unfold } from "./dkim/tags.ts";
import { verifyData, verifyHeaders } from "./dkim/verify.ts";
import { fieldValue, type HeaderField, type Message } from "./message.ts";
import type { CheckContext } from "./types.ts";

export interface ArcResult {
  result: "none" | "pass" | "fail";
  reason: string;
  /** The failure may go away: a key could not be asked for. */
  temporary: boolean;
  /** Number of sets; 0 when there is no chain. */
  instances: number;
  /** d= of the seals, oldest first, for those who trust certain sealers. */
  sealers: string[];
  /** ARC-Authentication-Results values, oldest first, without "i=N;". */
  authenticationResults: string[];
}

interface ArcSet {
  aar: HeaderField;
  ams: HeaderField;
  seal: HeaderField;
}

interface Seal {
  tags: Tags;
  signature: Buffer;
  domain: string;
  selector: string;
  keyType: "rsa" | "ed25519";
  cv: string;
}

const maxSets = 50;
const minimumBits = 1024;

class ChainFailure extends Error {
  readonly temporary: boolean;
  constructor(message: string, temporary = false) {
    super(message);
    this.temporary = temporary;
  }
}

/** Checks structure, seals and the newest header signature; the caller feeds `hashes` and then calls the answer. */
export async function beginArc(
  fields: readonly HeaderField[],
  hashes: BodyHashes,
  ctx: CheckContext,
): Promise<() => ArcResult> {
  const found = { result: "none", reason: "", temporary: false, instances: 0 } as const;
  const result: ArcResult = { ...found, sealers: [], authenticationResults: [] };
  const failed = (error: unknown): ArcResult => {
    if (!(error instanceof ChainFailure)) throw error;
    return { ...result, result: "fail", reason: printable(error.message), temporary: error.temporary };
  };
  try {
    const sets = collectSets(fields);
    if (sets.length === 0) return () => result;
    result.instances = sets.length;
    result.authenticationResults = sets.map(({ aar }) => fieldValue(aar).replace(/^[^;]*;\s*/, ""));
    const seals = sets.map(({ seal }, index) => parseSeal(seal, index + 1, sets.length));
    result.sealers = seals.map(({ domain }) => domain);
    const newest = parseSignature(sets.at(-1)!.ams, "arc");
    if (typeof newest === "string") throw new ChainFailure(`ARC-Message-Signature: ${newest}`);
    const key = await arcKey(newest, ctx);
    await verifySeals(sets, seals, ctx);
    const bodyHash = hashes.get(newest.bodyCanonicalization, newest.hash, newest.length);
    return () => {
      try {
        concludeMessageSignature(fields, newest, key, bodyHash);
        return { ...result, result: "pass" };
      } catch (error) {
        return failed(error);
      }
    };
  } catch (error) {
    const answer = failed(error);
    return () => answer;
  }
}

/** Validates the chain of a message, reading its body. */
export async function validateArc(message: Message, ctx: CheckContext): Promise<ArcResult> {
  const hashes = new BodyHashes();
  const finish = await beginArc(message.fields, hashes, ctx);
  await hashes.feed(message.body);
  return finish();
}

/** §5.2 step 3: instances 1…N, each with exactly one field of each kind. */
function collectSets(fields: readonly HeaderField[]): ArcSet[] {
  const kinds = ["arc-authentication-results", "arc-message-signature", "arc-seal"] as const;
  const byKind = kinds.map((kind) => {
    const found = new Map<number, HeaderField>();
    for (const field of fields) {
      if (field.name !== kind) continue;
      const instance = instanceOf(field);
      if (found.has(instance)) throw new ChainFailure(`two ${kind} fields of instance ${instance}`);
      found.set(instance, field);
    }
    return found;
  });
  const count = Math.max(...byKind.map((found) => found.size));
  return Array.from({ length: count }, (_, index) => {
    const [aar, ams, seal] = byKind.map((found) => found.get(index + 1));
    if (aar === undefined || ams === undefined || seal === undefined) {
      throw new ChainFailure(`ARC set ${index + 1} is not whole`);
    }
    return { aar, ams, seal };
  });
}

/** §4.2.1: 1 to 50; in an AAR the tag stands first (§4.1.1). */
function instanceOf(field: HeaderField): number {
  const value = fieldValue(field);
  const text =
    field.name === "arc-authentication-results" ? /^i\s*=\s*(\d+)\s*;/.exec(value)?.[1] : parseTags(value)?.get("i");
  if (text === undefined || !/^[1-9]\d?$/.test(text) || Number(text) > maxSets) {
    throw new ChainFailure(`${field.name} without a usable instance`);
  }
  return Number(text);
}

/** §4.1.3: tags of a seal, and §5.2 step 3.C: cv= is "none" in the first, "pass" in the others. */
function parseSeal(field: HeaderField, instance: number, last: number): Seal {
  const bad = (what: string) => new ChainFailure(`ARC-Seal ${instance}: ${what}`);
  const tags = parseTags(fieldValue(field));
  if (tags === undefined) throw bad("no tag list");
  for (const name of ["a", "b", "cv", "d", "s"]) if (!tags.get(name)) throw bad(`tag ${name}= is missing`);
  if (tags.has("h")) throw bad("h= is not allowed");
  const timestamp = tags.get("t");
  if (timestamp !== undefined && !/^\d{1,12}$/.test(timestamp)) throw bad("t= is no number");
  const algorithm = /^(rsa|ed25519)-sha256$/.exec(tags.get("a")!.toLowerCase());
  if (algorithm === null) throw bad("unknown algorithm");
  const signature = base64(tags.get("b")!);
  if (signature === undefined) throw bad("b= is not base64");
  const cv = tags.get("cv")!.toLowerCase();
  // §5.2 step 2: a chain that was sealed as failed stays failed.
  if (instance === last && cv === "fail") throw bad("the chain was already failed");
  if (cv !== (instance === 1 ? "none" : "pass")) throw bad(`cv=${cv}`);
  const domain = unfold(tags.get("d")!).toLowerCase();
  const selector = unfold(tags.get("s")!).toLowerCase();
  return { tags, signature, domain, selector, keyType: algorithm[1] as Seal["keyType"], cv };
}

async function arcKey(
  signer: { selector: string; domain: string; keyType: string; hash?: string },
  ctx: CheckContext,
): Promise<DkimKey> {
  if (signer.hash === "sha1") throw new ChainFailure("rsa-sha1 is not accepted"); // RFC 8301 §3.1
  try {
    const key = await fetchKey(signer.selector, signer.domain, ctx);
    if (key.algorithm !== signer.keyType) throw new ChainFailure("key is of another algorithm");
    if (key.algorithm === "rsa" && key.bits < minimumBits)
      throw new ChainFailure(`key of ${key.bits} bits is too short`);
    return key;
  } catch (error) {
    if (error instanceof KeyProblem) throw new ChainFailure(error.message, error.result === "temperror");
    throw error;
  }
}

/** Octets of seals' data hashed before other work gets a turn. */
const turn = 512 * 1024;

/** §5.2 step 5: each seal covers all sets up to its own. Cost grows with the square of at most 50 sets. */
async function verifySeals(sets: readonly ArcSet[], seals: readonly Seal[], ctx: CheckContext): Promise<void> {
  const keys = await Promise.all(seals.map((seal) => arcKey(seal, ctx)));
  let hashed = 0;
  for (const [index, seal] of seals.entries()) {
    const data = sealedData(sets.slice(0, index), sets[index]!);
    hashed += data.length;
    if (hashed > turn) {
      await setImmediate();
      hashed = 0;
    }
    if (!verifyData(data, seal.signature, "sha256", keys[index]!)) {
      throw new ChainFailure(`ARC-Seal ${index + 1} did not verify`);
    }
  }
}

/** §5.1.1: the sets in order, each as AAR, AMS, AS, relaxed; the last seal without b= and CRLF. */
function sealedData(earlier: readonly ArcSet[], own: ArcSet): Buffer {
  const lines = earlier.flatMap(({ aar, ams, seal }) => [aar, ams, seal].map(relaxedField));
  lines.push(relaxedField(own.aar), relaxedField(own.ams), relaxText(withoutSignature(own.seal.raw)));
  return Buffer.from(lines.join("\r\n"), "latin1");
}

function concludeMessageSignature(
  fields: readonly HeaderField[],
  signature: Signature,
  key: DkimKey,
  bodyHash: BodyHash,
): void {
  if (!bodyHash.digest().equals(signature.bodyHash)) throw new ChainFailure("body hash did not verify");
  if (signature.length !== Number.POSITIVE_INFINITY && signature.length > bodyHash.length) {
    throw new ChainFailure("l= is beyond the end of the body");
  }
  if (!verifyHeaders(fields, signature, key)) throw new ChainFailure("ARC-Message-Signature did not verify");
}

export interface SealOptions {
  key: SigningKey;
  /** Result of validating the chain that is there. */
  chain: ArcResult;
  /** Body of the new AAR: "authserv-id; method=result …". */
  authenticationResults: string;
  /** Base64 of the relaxed SHA-256 body hash. */
  bodyHash: string;
  /** Names to sign, lower case; no ARC or Authentication-Results field (§4.1.2). */
  headers: readonly string[];
  /** Seconds since the epoch. */
  timestamp: number;
}

export interface NewArcSet {
  authenticationResults: string;
  messageSignature: string;
  seal: string;
}

/**
 * Makes the next set (§5.1); the three values go above the message in the order seal, signature, results.
 * Answers undefined when the chain must not grow: it was already sealed as failed, or has 50 sets.
 */
export async function sealArc(fields: readonly HeaderField[], options: SealOptions): Promise<NewArcSet | undefined> {
  const { key, chain, timestamp } = options;
  const newest = fields.filter(({ name }) => name === "arc-seal").map((field) => parseTags(fieldValue(field)));
  if (newest.some((tags) => tags?.get("cv")?.toLowerCase() === "fail")) return undefined; // §5.1 step 2
  const instance = highestInstance(fields) + 1;
  if (instance > maxSets) return undefined;
  const i = String(instance);
  const common = { d: key.domain, s: key.selector, t: String(timestamp) };
  const aar = `i=${i}; ${options.authenticationResults.replace(/[\r\n]+[ \t]*/g, " ").trim()}`;
  const ams = await signTags("ARC-Message-Signature", fields, options.headers, key, [
    ["a", key.algorithm],
    ["b", ""],
    ["bh", options.bodyHash],
    ["c", "relaxed/relaxed"],
    ["d", common.d],
    ["h", options.headers.join(":")],
    ["i", i],
    ["s", common.s],
    ["t", common.t],
  ]);
  const cv = chain.result;
  const tags = Object.entries({ a: key.algorithm, b: "", cv, d: common.d, i, s: common.s, t: common.t });
  const field = (name: string, value: string): HeaderField => ({ name: name.toLowerCase(), raw: `${name}: ${value}` });
  const own = {
    aar: field("ARC-Authentication-Results", aar),
    ams: field("ARC-Message-Signature", ams),
    seal: field("ARC-Seal", layOut("ARC-Seal", tags, "")),
  };
  // §5.1.2: the seal over a failed chain covers its own set alone, since the others may be anything.
  const earlier = cv === "pass" ? collectSets(fields) : [];
  const seal = layOut("ARC-Seal", tags, await signData(sealedData(earlier, own), key));
  return { authenticationResults: aar, messageSignature: ams, seal };
}

/**
 * Validates the chain of a message and seals it, reading the body once. `authenticationResults` as in SealOptions.
 * Answers undefined when the chain must not grow.
 */
export async function sealMessage(
  message: Message,
  key: SigningKey,
  authenticationResults: string,
  ctx: CheckContext,
): Promise<NewArcSet | undefined> {
  const hashes = new BodyHashes();
  const own = hashes.get("relaxed", "sha256");
  const finish = await beginArc(message.fields, hashes, ctx);
  await hashes.feed(message.body);
  // §4.1.2: DKIM signatures are covered, so that their removal shows.
  const signatures = message.fields.filter(({ name }) => name === "dkim-signature").map(({ name }) => name);
  return sealArc(message.fields, {
    key,
    chain: finish(),
    authenticationResults,
    bodyHash: own.digest().toString("base64"),
    headers: [...headersToSign(message.fields), ...signatures],
    timestamp: Math.floor(ctx.now() / 1000),
  });
}

/** Highest instance number that any ARC field claims; broken chains too get the next one. */
function highestInstance(fields: readonly HeaderField[]): number {
  let highest = 0;
  for (const { name, raw } of fields) {
    if (!name.startsWith("arc-")) continue;
    const instance = Number(/[:;]\s*i\s*=\s*(\d{1,2})\s*(?:;|$)/.exec(raw)?.[1] ?? 0);
    highest = Math.max(highest, instance);
  }
  return highest;
}
