/**
 * Bearer tokens that are JWTs (RFC 7519), verified with the issuer's JWKS (RFC 7517): RS256, PS256, ES256, EdDSA.
 * Invariants: the algorithm is taken from the key, never from the token alone (RFC 8725 §3.1); issuer, audience and
 * times are checked; keys are fetched anew at most once in `refreshMs`, so that tokens with unknown key ids can't make
 * us ask the issuer at will. Failure: a token that doesn't verify is undefined; an issuer that can't be asked rejects.
 */
import { constants, createPublicKey, type KeyObject, verify } from "node:crypto";
import type { TokenVerifier } from "./types.ts";

export interface Jwk {
  kty: string;
  kid?: string;
  alg?: string;
  crv?: string;
  [member: string]: unknown;
}

export interface JwtOptions {
  issuer: string;
  audience: string;
  /** Reads the issuer's key set: from a URL or a file. */
  keys: () => Promise<readonly Jwk[]>;
  /** Claim that names the account. Default "email". */
  userClaim?: string;
  refreshMs?: number;
  now?: () => number;
}

/** Longest token read, octets. */
const tokenOctets = 8_192;
/** Clocks may differ by this much, s. */
const leeway = 60;
/** Most keys that one set may hold. */
const maxKeys = 100;

/** A key of the set with its parsed form: parsing costs more than verifying. */
interface ReadyKey {
  jwk: Jwk;
  key: KeyObject;
}

interface Header {
  alg?: unknown;
  kid?: unknown;
}

function readJson(part: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(Buffer.from(part, "base64url").toString("utf8"));
    return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined; // not JSON: not a token
  }
}

function signatureFits(alg: unknown, jwk: Jwk, key: KeyObject, data: Buffer, signature: Buffer): boolean {
  if (jwk.alg !== undefined && jwk.alg !== alg) return false;
  switch (alg) {
    case "RS256":
      return jwk.kty === "RSA" && verify("sha256", data, key, signature);
    case "PS256":
      return (
        jwk.kty === "RSA" &&
        verify("sha256", data, { key, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 }, signature)
      );
    case "ES256":
      return (
        jwk.kty === "EC" && jwk.crv === "P-256" && verify("sha256", data, { key, dsaEncoding: "ieee-p1363" }, signature)
      );
    case "EdDSA":
      return jwk.kty === "OKP" && verify(null, data, key, signature);
    default:
      return false; // "none" and the HMAC family among them
  }
}

export class JwtVerifier implements TokenVerifier {
  private readonly options: JwtOptions;
  private keys: readonly ReadyKey[] = [];
  private fetched = Number.NEGATIVE_INFINITY;
  private fetching: Promise<void> | undefined;

  constructor(options: JwtOptions) {
    this.options = options;
  }

  private now(): number {
    return (this.options.now ?? Date.now)();
  }

  async verify(token: string): Promise<string | undefined> {
    const parts = token.split(".");
    if (token.length > tokenOctets || parts.length !== 3) return undefined;
    const [head = "", body = "", signature = ""] = parts;
    const header: Header | undefined = readJson(head);
    const claims = readJson(body);
    if (!header || !claims || !this.claimsFit(claims)) return undefined;
    const data = Buffer.from(`${head}.${body}`);
    const octets = Buffer.from(signature, "base64url");
    for (const { jwk, key } of await this.candidates(header.kid)) {
      if (!signatureFits(header.alg, jwk, key, data, octets)) continue;
      const user = claims[this.options.userClaim ?? "email"];
      return typeof user === "string" && user !== "" ? user : undefined;
    }
    return undefined;
  }

  /** RFC 7519 §4.1: iss, aud, exp (required), nbf. */
  private claimsFit(claims: Record<string, unknown>): boolean {
    const { iss, aud, exp, nbf } = claims;
    const seconds = this.now() / 1000;
    if (iss !== this.options.issuer) return false;
    if (aud !== this.options.audience && !(Array.isArray(aud) && aud.includes(this.options.audience))) return false;
    if (typeof exp !== "number" || exp + leeway < seconds) return false;
    return nbf === undefined || (typeof nbf === "number" && nbf - leeway <= seconds);
  }

  /** Keys by the token's key id; asks the issuer when the id is new and the last asking is long enough ago. */
  private async candidates(kid: unknown): Promise<readonly ReadyKey[]> {
    const matching = (): readonly ReadyKey[] => this.keys.filter(({ jwk }) => kid === undefined || jwk.kid === kid);
    const known = matching();
    if (known.length > 0 || this.now() - this.fetched < (this.options.refreshMs ?? 300_000)) return known;
    this.fetching ??= this.fetch().finally(() => {
      this.fetching = undefined;
    });
    await this.fetching;
    return matching();
  }

  private async fetch(): Promise<void> {
    this.fetched = this.now();
    this.keys = (await this.options.keys()).slice(0, maxKeys).flatMap(ready);
  }
}

/** [] for a key of a kind that we don't know: the set may hold others. */
function ready(jwk: Jwk): ReadyKey[] {
  try {
    return [{ jwk, key: createPublicKey({ key: jwk, format: "jwk" }) }];
  } catch {
    return []; // no public key of ours; tokens that name it don't verify
  }
}
