/**
 * Black and white lists: addresses, domains, networks and account names in one text, one entry a line, "#" comments.
 * "user@example.org" is one address, "example.org" a domain, ".example.org" whatever is below it, "192.0.2.0/24" a
 * network; any other word (an account) matches itself. Cost of a look-up: one hash probe for each label or prefix
 * length, however long the list. Failure: reading rejects when the file can't be read.
 */
import { readFile } from "node:fs/promises";
import { networkKey, parseAddress, parseNetwork } from "./address.ts";

export class MatchList {
  readonly #words = new Set<string>();
  readonly #networks = new Set<string>();
  /** Prefix lengths that occur, by family. */
  readonly #prefixes: Record<4 | 6, Set<number>> = { 4: new Set(), 6: new Set() };

  static parse(text: string): MatchList {
    const list = new MatchList();
    for (const line of text.split(/\r?\n/)) {
      const entry = line
        .replace(/(?:^|\s)#.*$/, "")
        .trim()
        .toLowerCase();
      if (entry !== "") list.#add(entry);
    }
    return list;
  }

  static async read(path: string): Promise<MatchList> {
    return MatchList.parse(await readFile(path, "utf8"));
  }

  get size(): number {
    return this.#words.size + this.#networks.size;
  }

  #add(entry: string): void {
    const network = parseNetwork(entry);
    if (network === undefined) {
      this.#words.add(entry);
      return;
    }
    this.#networks.add(networkKey(network.address, network.prefix));
    this.#prefixes[network.address.family].add(network.prefix);
  }

  /** Whether an address, domain, IP or account is in the list; an address also by its domain. */
  has(value: string): boolean {
    const word = value.toLowerCase();
    if (this.#words.has(word)) return true;
    const address = parseAddress(word);
    if (address !== undefined) {
      for (const prefix of this.#prefixes[address.family]) {
        if (this.#networks.has(networkKey(address, prefix))) return true;
      }
      return false;
    }
    const domain = word.slice(word.lastIndexOf("@") + 1);
    if (this.#words.has(domain)) return true;
    for (let dot = domain.indexOf("."); dot >= 0; dot = domain.indexOf(".", dot + 1)) {
      if (this.#words.has(domain.slice(dot))) return true;
    }
    return false;
  }
}
