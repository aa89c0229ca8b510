/**
 * Password hashes: "$scrypt$ln=<log2 N>,r=<r>,p=<p>$<salt>$<key>" (base64 without padding), as in postern.yaml.
 * Invariants: hashing runs on the thread pool, never on the event loop; keys are compared in constant time; cost
 * parameters of a stored hash are bounded, so that a bad one can't take the machine. Failure: a hash that can't be
 * read verifies nothing.
 */
import { randomBytes, scrypt, timingSafeEqual } from "node:crypto";

/** OWASP's floor for scrypt: N = 2^15, r = 8, p = 1 takes 32 MiB. */
const logN = 15;
const blockSize = 8;
const parallel = 1;
const keyOctets = 32;
const maxLogN = 17;
const form = /^\$scrypt\$ln=(\d{1,2}),r=(\d{1,2}),p=(\d)\$([A-Za-z0-9+/]{8,88})\$([A-Za-z0-9+/]{22,88})$/;

interface Cost {
  logN: number;
  r: number;
  p: number;
}

function derive(password: string, salt: Buffer, length: number, { logN: ln, r, p }: Cost): Promise<Buffer> {
  const N = 2 ** ln;
  return new Promise((resolve, reject) => {
    // maxmem must exceed the 128·N·r octets that scrypt itself takes.
    scrypt(password.normalize("NFC"), salt, length, { N, r, p, maxmem: 256 * N * r }, (error, key) =>
      error ? reject(error) : resolve(key),
    );
  });
}

const unpadded = (octets: Buffer): string => octets.toString("base64").replace(/=+$/, "");

/** The hash to put into the configuration. */
export async function hashPassword(password: string): Promise<string> {
  const salt = randomBytes(16);
  const key = await derive(password, salt, keyOctets, { logN, r: blockSize, p: parallel });
  return `$scrypt$ln=${logN},r=${blockSize},p=${parallel}$${unpadded(salt)}$${unpadded(key)}`;
}

/** True when `text` is a hash that `verifyPassword` can read. */
export function isPasswordHash(text: string): boolean {
  const match = form.exec(text);
  return match !== null && Number(match[1]) <= maxLogN && Number(match[1]) > 0 && Number(match[2]) <= 16;
}

export async function verifyPassword(password: string, hash: string): Promise<boolean> {
  const match = form.exec(hash);
  if (!match || !isPasswordHash(hash)) return false;
  const [, ln, r, p, salt = "", stored = ""] = match;
  const expected = Buffer.from(stored, "base64");
  const cost = { logN: Number(ln), r: Number(r), p: Number(p) };
  const key = await derive(password, Buffer.from(salt, "base64"), expected.length, cost);
  return timingSafeEqual(key, expected);
}

/** A hash that nobody knows the password of: unknown users cost as much time as known ones. */
export const decoyHash = `$scrypt$ln=${logN},r=${blockSize},p=${parallel}$${unpadded(randomBytes(16))}$${unpadded(randomBytes(keyOctets))}`;
