/**
 * The world around a test suite, in memory: an SMTP out-box, mailboxes with flags and annotations, stored programs.
 * Invariants: INBOX always exists; the hierarchy separator is "."; nothing leaves the process.
 */
import type { SieveMailboxes } from "../host.ts";

/** One record per recipient. */
export interface SentMessage {
  from: string;
  to: string;
  message: Buffer;
}

export interface StoredMessage {
  message: Buffer;
  flags: string[];
}

const inbox = "INBOX";

export class World implements SieveMailboxes {
  outbox: SentMessage[] = [];
  readonly binaries = new Map<string, string>();
  readonly #folders = new Map<string, StoredMessage[]>([[inbox, []]]);
  readonly #annotations = new Map<string, string>();
  /** Special-use attributes by folder. */
  readonly #uses = new Map<string, Set<string>>();

  exists(folder: string): boolean {
    return this.#folders.has(canonical(folder));
  }

  specialUse(folder: string | undefined, attribute: string): boolean {
    const wanted = attribute.toLowerCase();
    if (folder !== undefined) return this.#uses.get(canonical(folder))?.has(wanted) ?? false;
    return [...this.#uses.values()].some((uses) => uses.has(wanted));
  }

  /** The folder with a special-use attribute. */
  folderFor(attribute: string): string | undefined {
    const wanted = attribute.toLowerCase();
    return [...this.#uses].find(([, uses]) => uses.has(wanted))?.[0];
  }

  /** RFC 5464: entry names are compared without case. */
  metadata(folder: string | undefined, entry: string): string | undefined {
    if (folder !== undefined && !this.exists(folder)) return undefined;
    return this.#annotations.get(annotationKey(folder, entry));
  }

  setMetadata(folder: string | undefined, entry: string, value: string): void {
    this.#annotations.set(annotationKey(folder, entry), value);
  }

  setSpecialUse(folder: string, attribute: string): void {
    const uses = this.#uses.get(canonical(folder)) ?? new Set();
    uses.add(attribute.toLowerCase());
    this.#uses.set(canonical(folder), uses);
  }

  create(folder: string): void {
    const name = canonical(folder);
    if (!this.#folders.has(name)) this.#folders.set(name, []);
  }

  messages(folder: string): readonly StoredMessage[] | undefined {
    return this.#folders.get(canonical(folder));
  }

  /** Why a message can't be stored, undefined when it was. */
  store(folder: string, message: Buffer, flags: readonly string[], create: boolean): string | undefined {
    const name = canonical(folder);
    if (!isMailboxName(name)) return `invalid folder name: ${name}`;
    let box = this.#folders.get(name);
    if (box === undefined) {
      if (!create) return `Mailbox doesn't exist: ${name}`;
      this.#folders.set(name, (box = []));
    }
    box.push({ message, flags: [...flags] });
    return undefined;
  }
}

function canonical(folder: string): string {
  return folder === "" || folder.toUpperCase() === inbox ? inbox : folder;
}

/** Names that the usual stores refuse: "/" and "~", empty levels, control characters. */
function isMailboxName(name: string): boolean {
  return !/[\x00-\x1f\x7f/]|^~|^\.|\.$|\.\./.test(name) && name.length <= 255;
}

function annotationKey(folder: string | undefined, entry: string): string {
  return `${folder === undefined ? "" : canonical(folder)}\n${entry.toLowerCase()}`;
}
