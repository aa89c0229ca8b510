/**
 * External lists of a test suite (RFC 6134): dictionary files named by settings `sieve_extlists_list/<n>/…`. A file
 * has a key and a value on alternating lines. Failure: a file that can't be read is an empty list.
 */
import { readFileSync } from "node:fs";
import { isAbsolute, join } from "node:path";
import type { SieveInput } from "../host.ts";

export class NamedLists implements NonNullable<SieveInput["lists"]> {
  readonly #settings: () => ReadonlyMap<string, string>;
  readonly #directory: string;

  constructor(settings: () => ReadonlyMap<string, string>, directory: string) {
    this.#settings = settings;
    this.#directory = directory;
  }

  known(list: string): boolean {
    return this.#path(list) !== undefined;
  }

  has(list: string, value: string): boolean {
    const path = this.#path(list);
    if (path === undefined) return false;
    let text: string;
    try {
      text = readFileSync(isAbsolute(path) ? path : join(this.#directory, path), "utf8");
    } catch {
      return false; // unreadable: nobody is on it
    }
    const lines = text.split(/\r?\n/);
    return lines.some((key, i) => i % 2 === 0 && (key === value || key.endsWith(`/${value}`)));
  }

  /** RFC 6134 §2.2: ":name" is short for the server's own tag URI. */
  #path(list: string): string | undefined {
    const settings = this.#settings();
    for (const [key, name] of settings) {
      const prefix = /^(sieve_extlists_list\/[^/]+)\/name$/.exec(key)?.[1];
      if (prefix === undefined || name !== list) continue;
      return settings.get(`${prefix}/dict/file/path`) ?? settings.get(`${prefix}/dict`)?.replace(/^file:/, "");
    }
    return undefined;
  }
}
