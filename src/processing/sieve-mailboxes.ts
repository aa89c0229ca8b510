/**
 * An account's mailboxes as its scripts see them (RFC 5490, RFC 8579): what the store had when the run began.
 * Invariants: INBOX always exists and is written without regard to case. Failure: none.
 */
import type { SieveMailboxes } from "../sieve/host.ts";
import type { Mailbox } from "../store/types.ts";

/** The folder as the store names it; the empty name is INBOX. */
export function storeFolder(name: string): string {
  return name === "" || name.toUpperCase() === "INBOX" ? "INBOX" : name;
}

export class AccountMailboxes implements SieveMailboxes {
  readonly #uses: ReadonlyMap<string, readonly string[]>;
  readonly #folders = new Map<string, string>();

  /** @param usual folders that have an attribute when the store has no other for it: "\\Junk" → "Junk". */
  constructor(mailboxes: readonly Mailbox[], usual: Readonly<Record<string, string>>) {
    this.#uses = new Map(mailboxes.map(({ name, specialUse }) => [name, specialUse]));
    for (const [attribute, folder] of Object.entries(usual)) {
      if (this.#uses.has(folder)) this.#folders.set(attribute.toLowerCase(), folder);
    }
    for (const { name, specialUse } of mailboxes) for (const use of specialUse) this.#folders.set(use, name);
  }

  exists(folder: string): boolean {
    const name = storeFolder(folder);
    return name === "INBOX" || this.#uses.has(name);
  }

  /** The folder with a special-use attribute. */
  folderFor(attribute: string): string | undefined {
    return this.#folders.get(attribute.toLowerCase());
  }

  specialUse(folder: string | undefined, attribute: string): boolean {
    const found = this.folderFor(attribute);
    return found !== undefined && (folder === undefined || storeFolder(folder) === found);
  }

  /** The store keeps no annotations. */
  metadata(): undefined {
    return undefined;
  }
}
