/**
 * SCRAM-SHA-256 and SCRAM-SHA-256-PLUS, server side (RFC 5802, RFC 7677; channel bindings RFC 5929 and RFC 9266).
 * Stored keys have the form of RFC 5803: "SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>".
 * Invariants: an unknown user gets a salt made from the name and a secret of this process, so that names can't be
 * told apart; proofs are compared in constant time. Failure: malformed messages and wrong proofs are steps.
 */
import { createHash, createHmac, pbkdf2, randomBytes, timingSafeEqual } from "node:crypto";
import type { Socket } from "node:net";
import { TLSSocket } from "node:tls";
import { promisify } from "node:util";
import type { StoredSecret } from "./hooks.ts";
import { type SaslMechanism, type SaslStep, saslName } from "./sasl.ts";

const derive = promisify(pbkdf2);
const hmac = (key: Buffer | string, data: Buffer | string): Buffer => createHmac("sha256", key).update(data).digest();
const sha256 = (data: Buffer): Buffer => createHash("sha256").update(data).digest();
const malformed: SaslStep = { kind: "malformed" };

/** Iterations for new keys and for the salt shown to unknown users (RFC 7677 §4 asks for 4,096 at least). */
const iterations = 15_000;
const unknownUserSecret = randomBytes(32);

interface Keys {
  iterations: number;
  salt: Buffer;
  storedKey: Buffer;
  serverKey: Buffer;
}

/** Makes the stored form from a password; `salt` for tests. */
export async function scramKeys(password: string, salt: Buffer = randomBytes(16)): Promise<string> {
  const salted = await derive(password.normalize("NFKC"), salt, iterations, 32, "sha256");
  const stored = sha256(hmac(salted, "Client Key")).toString("base64");
  const server = hmac(salted, "Server Key").toString("base64");
  return `SCRAM-SHA-256$${iterations}:${salt.toString("base64")}$${stored}:${server}`;
}

function readKeys(secret: StoredSecret | undefined): Keys | undefined {
  if (secret?.scheme !== "scram-sha-256") return undefined;
  const match = /^SCRAM-SHA-256\$(\d{1,8}):([A-Za-z0-9+/=]+)\$([A-Za-z0-9+/=]+):([A-Za-z0-9+/=]+)$/.exec(secret.value);
  if (!match) return undefined;
  const keys = {
    iterations: Number(match[1]),
    salt: Buffer.from(match[2]!, "base64"),
    storedKey: Buffer.from(match[3]!, "base64"),
    serverKey: Buffer.from(match[4]!, "base64"),
  };
  return keys.storedKey.length === 32 && keys.serverKey.length === 32 ? keys : undefined;
}

/** Keys that no proof fits, the same each time for one name. */
function decoyKeys(username: string): Keys {
  const salt = hmac(unknownUserSecret, username).subarray(0, 16);
  return { iterations, salt, storedKey: randomBytes(32), serverKey: randomBytes(32) };
}

/** Channel binding data of a TLS connection, by name; undefined when the name isn't supported on it. */
export function channelBinding(name: string, socket: Socket): Buffer | undefined {
  if (!(socket instanceof TLSSocket)) return undefined;
  if (name === "tls-exporter" && socket.getProtocol() === "TLSv1.3") {
    return socket.exportKeyingMaterial(32, "EXPORTER-Channel-Binding", Buffer.alloc(0)); // RFC 9266 §2
  }
  if (name === "tls-server-end-point") {
    const certificate = socket.getX509Certificate();
    return certificate ? sha256(certificate.raw) : undefined; // RFC 5929 §4; SHA-256 for our own certificates
  }
  return undefined;
}

export class ScramMechanism implements SaslMechanism {
  private readonly plus: boolean;
  private readonly socket: Socket;
  private gs2Header = "";
  private binding = "";
  private clientFirst = "";
  private serverFirst = "";
  private nonce = "";
  private username = "";
  private authzid = "";
  private keys: Keys | undefined;
  private known = false;

  constructor(plus: boolean, socket: Socket) {
    this.plus = plus;
    this.socket = socket;
  }

  start(initial: Buffer | undefined): SaslStep {
    return initial === undefined ? { kind: "challenge", data: Buffer.alloc(0) } : this.next(initial);
  }

  next(response: Buffer): SaslStep {
    const message = saslName(response.subarray(0, 2_048)) ?? longMessage(response);
    if (message === undefined) return malformed;
    return this.serverFirst === "" ? this.first(message) : this.final(message);
  }

  /** client-first-message: gs2-header, then n=user,r=nonce (RFC 5802 §7). */
  private first(message: string): SaslStep {
    const match = /^((?:(n|y)|p=([A-Za-z0-9.-]+)),(?:a=([^,]*))?,)(n=([^,]+),r=([\x21-\x2b\x2d-\x7e]+)(?:,.*)?)$/.exec(
      message,
    );
    if (!match) return malformed;
    const [, header = "", flag, binding, authzid, bare = "", name = "", nonce = ""] = match;
    // RFC 5802 §6: "y" says the client thinks we don't offer PLUS; if we did, somebody took it off the list.
    if (this.plus !== (binding !== undefined)) return { kind: "failed" };
    if (flag === "y" && this.socket instanceof TLSSocket) return { kind: "failed" };
    if (binding !== undefined && channelBinding(binding, this.socket) === undefined) return { kind: "failed" };
    this.gs2Header = header;
    this.binding = binding ?? "";
    this.clientFirst = bare;
    this.username = plainName(name);
    this.authzid = plainName(authzid ?? "");
    this.nonce = nonce + randomBytes(18).toString("base64");
    return {
      kind: "lookup",
      username: this.username,
      scheme: "scram-sha-256",
      found: (secret) => this.challenge(secret),
    };
  }

  private challenge(secret: StoredSecret | undefined): SaslStep {
    const keys = readKeys(secret);
    this.known = keys !== undefined;
    this.keys = keys ?? decoyKeys(this.username);
    this.serverFirst = `r=${this.nonce},s=${this.keys.salt.toString("base64")},i=${this.keys.iterations}`;
    return { kind: "challenge", data: Buffer.from(this.serverFirst) };
  }

  /** client-final-message: c=binding,r=nonce,p=proof. */
  private final(message: string): SaslStep {
    const match = /^(c=([A-Za-z0-9+/=]+),r=([^,]+)(?:,[^p].*?)?),p=([A-Za-z0-9+/=]+)$/.exec(message);
    const proof = Buffer.from(match?.[4] ?? "", "base64");
    if (!match || proof.length !== 32) return malformed;
    const data = this.binding === "" ? Buffer.alloc(0) : channelBinding(this.binding, this.socket)!;
    const expected = Buffer.concat([Buffer.from(this.gs2Header), data]);
    const bound = Buffer.from(match[2]!, "base64").equals(expected) && match[3] === this.nonce;
    const signed = `${this.clientFirst},${this.serverFirst},${match[1]}`;
    const keys = this.keys!;
    if (!bound || !this.known || !proves(keys.storedKey, signed, proof)) return { kind: "failed" };
    return {
      kind: "credentials",
      credentials: {
        mechanism: this.plus ? "SCRAM-SHA-256-PLUS" : "SCRAM-SHA-256",
        username: this.username,
        authzid: this.authzid,
        verify: (secret) => {
          const now = readKeys(secret);
          return now !== undefined && proves(now.storedKey, signed, proof);
        },
      },
      confirm: Buffer.from(`v=${hmac(keys.serverKey, signed).toString("base64")}`),
    };
  }
}

/** RFC 5802 §3: StoredKey = H(ClientProof XOR HMAC(StoredKey, AuthMessage)). */
function proves(storedKey: Buffer, signed: string, proof: Buffer): boolean {
  const signature = hmac(storedKey, signed);
  const clientKey = Buffer.from(proof.map((octet, index) => octet ^ signature[index]!));
  return timingSafeEqual(sha256(clientKey), storedKey);
}

function plainName(name: string): string {
  return name.replace(/=2C/g, ",").replace(/=3D/g, "=");
}

/** SCRAM messages may be longer than a name, but are printable ASCII or UTF-8 all the same. */
function longMessage(response: Buffer): string | undefined {
  const text = response.toString("utf8");
  return response.length > 2_048 || /[\x00-\x1f\x7f\ufffd]/.test(text) ? undefined : text;
}
