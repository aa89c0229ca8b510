/**
 * Private keys by file, parsed once and again when the file changes, so that keys rotate without a restart.
 * Failure: `load` rejects when the file can't be read or holds no usable key.
 */
import { readFile, stat } from "node:fs/promises";
import { type SigningKey, signingKey } from "./sign.ts";

const maxKeys = 1_000;

export class Keyring {
  readonly #keys = new Map<string, { modified: number; key: SigningKey }>();

  /** Key in the PEM file at `path`, to sign for `domain` under `selector`. */
  async load(domain: string, selector: string, path: string): Promise<SigningKey> {
    const id = JSON.stringify([domain, selector, path]);
    const { mtimeMs } = await stat(path);
    const held = this.#keys.get(id);
    if (held !== undefined && held.modified === mtimeMs) return held.key;
    const key = signingKey(domain, selector, await readFile(path, "utf8"));
    if (this.#keys.size >= maxKeys) this.#keys.delete(this.#keys.keys().next().value!);
    this.#keys.set(id, { modified: mtimeMs, key });
    return key;
  }
}
