/**
 * Sender Rewriting Scheme: forwarded mail leaves with a reverse-path of ours that bounces can be led back from.
 * SRS0=hash=day=domain=local@us, and SRS1=hash=domain=rest@us for what another forwarder rewrote before.
 * Invariants: the hash (HMAC-SHA1, four base64 characters, compared without regard to case as mailers may change it)
 * is made with the newest key and accepted under any key given, so keys can be rotated; a day stamp is good for
 * `maxAgeDays`. Failure: `reverse` answers undefined for an address that is not ours, forged, or too old.
 */
import { createHmac } from "node:crypto";
import { domainOf, localPartOf } from "../message/envelope.ts";

export interface SrsSettings {
  /** Domain of rewritten addresses; bounces to it must reach us. */
  domain: string;
  /** Newest first; each at least 10 characters. */
  secrets: readonly string[];
  /** Default 21. */
  maxAgeDays?: number;
  now?: () => number;
}

const base32 = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const dayMs = 86_400_000;
/** Two base32 digits: days count modulo 1,024. */
const dayCycle = 1_024;
const hashLength = 4;
/** RFC 5321 §4.5.3.1.1: local parts are at most 64 octets; longer ones are accepted nearly everywhere up to this. */
const maxLocalPart = 256;

const srs0Form = /^SRS0[=+-]([A-Za-z0-9+/]{4,})=([A-Za-z2-7]{2})=([^=]+)=(.+)$/i;
const srs1Form = /^SRS1[=+-]([A-Za-z0-9+/]{4,})=([^=]+)=(.+)$/i;

export class Srs {
  readonly #settings: SrsSettings;
  readonly #now: () => number;

  constructor(settings: SrsSettings) {
    if (settings.secrets.length === 0 || settings.secrets.some((secret) => secret.length < 10)) {
      throw new RangeError("SRS needs secrets of at least 10 characters");
    }
    this.#settings = settings;
    this.#now = settings.now ?? Date.now;
  }

  /** The reverse-path to forward with; the address itself when it is null, ours already, or too long to rewrite. */
  forward(address: string): string {
    const domain = domainOf(address);
    const local = localPartOf(address);
    if (address === "" || domain === "" || domain === this.#settings.domain.toLowerCase()) return address;
    const rewritten = this.#rewrite(local, domain);
    return rewritten.length > maxLocalPart ? address : `${rewritten}@${this.#settings.domain}`;
  }

  /** The address a bounce to `address` belongs to: the original sender, or the forwarder before us (SRS1). */
  reverse(address: string): string | undefined {
    if (domainOf(address) !== this.#settings.domain.toLowerCase()) return undefined;
    const local = localPartOf(address);
    const first = srs0Form.exec(local);
    if (first) {
      const [, hash, stamp, domain, user] = first as unknown as [string, string, string, string, string];
      if (!this.#genuine(hash, `${stamp}${domain}${user}`) || !this.#fresh(stamp)) return undefined;
      return `${user}@${domain}`;
    }
    const second = srs1Form.exec(local);
    if (!second) return undefined;
    const [, hash, domain, rest] = second as unknown as [string, string, string, string];
    return this.#genuine(hash, `${domain}${rest}`) ? `SRS0${rest}@${domain}` : undefined;
  }

  #rewrite(local: string, domain: string): string {
    if (/^SRS0[=+-]/i.test(local)) {
      // The forwarder before us keeps its own hash; ours covers its domain and what follows.
      const rest = local.slice(4);
      return `SRS1=${this.#hash(this.#settings.secrets[0]!, `${domain}${rest}`)}=${domain}=${rest}`;
    }
    const chained = srs1Form.exec(local);
    if (chained) {
      const [, , firstDomain, rest] = chained as unknown as [string, string, string, string];
      return `SRS1=${this.#hash(this.#settings.secrets[0]!, `${firstDomain}${rest}`)}=${firstDomain}=${rest}`;
    }
    const stamp = this.#stamp();
    return `SRS0=${this.#hash(this.#settings.secrets[0]!, `${stamp}${domain}${local}`)}=${stamp}=${domain}=${local}`;
  }

  #stamp(): string {
    const day = Math.floor(this.#now() / dayMs) % dayCycle;
    return `${base32[day >> 5]}${base32[day & 31]}`;
  }

  #fresh(stamp: string): boolean {
    const upper = stamp.toUpperCase();
    const day = base32.indexOf(upper[0]!) * 32 + base32.indexOf(upper[1]!);
    const today = Math.floor(this.#now() / dayMs) % dayCycle;
    return (today - day + dayCycle) % dayCycle <= (this.#settings.maxAgeDays ?? 21);
  }

  #genuine(hash: string, text: string): boolean {
    return this.#settings.secrets.some((secret) => this.#hash(secret, text).toLowerCase() === hash.toLowerCase());
  }

  #hash(secret: string, text: string): string {
    return createHmac("sha1", secret).update(text.toLowerCase()).digest("base64").slice(0, hashLength);
  }
}
