/**
 * SASL mechanisms of the client side (RFC 4954): SCRAM-SHA-256 (RFC 7677), CRAM-MD5 (RFC 2195), PLAIN (RFC 4616) and
 * LOGIN. Pure: challenge in, response out; the connection does the I/O.
 * Invariants: the strongest mechanism offered and allowed is chosen; PLAIN and LOGIN, which show the password, are
 * chosen only when `clearTextAllowed`. Failure: `AuthError` on a challenge that breaks the mechanism's rules, among
 * them a server that can't prove it knows the password (SCRAM).
 */
import { createHash, createHmac, pbkdf2, randomBytes, timingSafeEqual } from "node:crypto";
import { promisify } from "node:util";

export interface Credentials {
  user: string;
  password: string;
  /** Mechanism names allowed, upper case; empty = all. */
  mechanisms: readonly string[];
}

export interface SaslExchange {
  readonly mechanism: string;
  /** Initial response, or undefined when the server speaks first. */
  initial(): Buffer | undefined;
  /** Answer to a 334 challenge. */
  respond(challenge: Buffer): Buffer | Promise<Buffer>;
  /** True when the exchange may end in success now. */
  readonly complete: boolean;
}

export class AuthError extends Error {
  constructor(message: string) {
    super(message);
    this.name = "AuthError";
  }
}

/** A server may not make us hash for ever: RFC 7677 asks for at least 4,096 rounds, this is the most we do. */
const maxScramIterations = 200_000;

/** Off the main thread: a server that asks for many rounds must not stop the event loop. */
const derive = promisify(pbkdf2);

class Plain implements SaslExchange {
  readonly mechanism = "PLAIN";
  readonly complete = true;
  readonly #message: Buffer;
  constructor(credentials: Credentials) {
    this.#message = Buffer.from(`\0${credentials.user}\0${credentials.password}`);
  }
  initial(): Buffer {
    return this.#message;
  }
  respond(): Buffer {
    return this.#message;
  }
}

class Login implements SaslExchange {
  readonly mechanism = "LOGIN";
  readonly #answers: string[];
  constructor(credentials: Credentials) {
    this.#answers = [credentials.user, credentials.password];
  }
  get complete(): boolean {
    return this.#answers.length === 0;
  }
  initial(): undefined {
    return undefined;
  }
  respond(): Buffer {
    const answer = this.#answers.shift();
    if (answer === undefined) throw new AuthError("LOGIN asks a third question");
    return Buffer.from(answer);
  }
}

class CramMd5 implements SaslExchange {
  readonly mechanism = "CRAM-MD5";
  complete = false;
  readonly #credentials: Credentials;
  constructor(credentials: Credentials) {
    this.#credentials = credentials;
  }
  initial(): undefined {
    return undefined;
  }
  respond(challenge: Buffer): Buffer {
    if (this.complete) throw new AuthError("CRAM-MD5 sends a second challenge");
    this.complete = true;
    const digest = createHmac("md5", this.#credentials.password).update(challenge).digest("hex");
    return Buffer.from(`${this.#credentials.user} ${digest}`);
  }
}

class ScramSha256 implements SaslExchange {
  readonly mechanism = "SCRAM-SHA-256";
  complete = false;
  readonly #credentials: Credentials;
  readonly #nonce: string;
  readonly #bare: string;
  #serverSignature: Buffer | undefined;

  constructor(credentials: Credentials, nonce: string) {
    this.#credentials = credentials;
    this.#nonce = nonce;
    // RFC 5802 §5.1: "=" and "," in the user name are escaped.
    const name = credentials.user.replaceAll("=", "=3D").replaceAll(",", "=2C");
    this.#bare = `n=${name},r=${nonce}`;
  }

  initial(): Buffer {
    return Buffer.from(`n,,${this.#bare}`);
  }

  respond(challenge: Buffer): Buffer | Promise<Buffer> {
    return this.#serverSignature ? this.#verify(challenge) : this.#prove(challenge);
  }

  async #prove(challenge: Buffer): Promise<Buffer> {
    const first = challenge.toString();
    const form = /^r=([^,]+),s=([A-Za-z0-9+/=]+),i=(\d{1,9})(?:,|$)/.exec(first);
    if (!form) throw new AuthError("SCRAM: malformed server-first-message");
    const nonce = form[1]!;
    const iterations = Number(form[3]);
    if (!nonce.startsWith(this.#nonce) || nonce.length === this.#nonce.length) {
      throw new AuthError("SCRAM: the server's nonce does not extend ours");
    }
    if (iterations < 1 || iterations > maxScramIterations) throw new AuthError(`SCRAM: ${iterations} iterations`);
    const salted = await derive(this.#credentials.password, Buffer.from(form[2]!, "base64"), iterations, 32, "sha256");
    const clientKey = createHmac("sha256", salted).update("Client Key").digest();
    const storedKey = createHash("sha256").update(clientKey).digest();
    const withoutProof = `c=biws,r=${nonce}`;
    const authMessage = `${this.#bare},${first},${withoutProof}`;
    const signature = createHmac("sha256", storedKey).update(authMessage).digest();
    const proof = Buffer.alloc(32);
    for (let i = 0; i < 32; i++) proof[i] = clientKey[i]! ^ signature[i]!;
    const serverKey = createHmac("sha256", salted).update("Server Key").digest();
    this.#serverSignature = createHmac("sha256", serverKey).update(authMessage).digest();
    return Buffer.from(`${withoutProof},p=${proof.toString("base64")}`);
  }

  #verify(challenge: Buffer): Buffer {
    const given = /^v=([A-Za-z0-9+/=]+)/.exec(challenge.toString());
    const signature = Buffer.from(given?.[1] ?? "", "base64");
    const expected = this.#serverSignature!;
    if (signature.length !== expected.length || !timingSafeEqual(signature, expected)) {
      throw new AuthError("SCRAM: the server does not know the password");
    }
    this.complete = true;
    return Buffer.alloc(0);
  }
}

const byPreference: ReadonlyArray<{ name: string; clearText: boolean; make(c: Credentials): SaslExchange }> = [
  {
    name: "SCRAM-SHA-256",
    clearText: false,
    make: (credentials) => new ScramSha256(credentials, randomBytes(18).toString("base64")),
  },
  { name: "CRAM-MD5", clearText: false, make: (credentials) => new CramMd5(credentials) },
  { name: "PLAIN", clearText: true, make: (credentials) => new Plain(credentials) },
  { name: "LOGIN", clearText: true, make: (credentials) => new Login(credentials) },
];

/**
 * Starts the best exchange both sides know, or answers undefined.
 * @param offered mechanisms of the EHLO reply's AUTH line, upper case
 * @param clearTextAllowed whether the password may be shown to the server
 */
export function chooseMechanism(
  credentials: Credentials,
  offered: ReadonlySet<string>,
  clearTextAllowed: boolean,
): SaslExchange | undefined {
  const wanted = credentials.mechanisms;
  const choice = byPreference.find(
    (mechanism) =>
      offered.has(mechanism.name) &&
      (clearTextAllowed || !mechanism.clearText) &&
      (wanted.length === 0 || wanted.includes(mechanism.name)),
  );
  return choice?.make(credentials);
}
