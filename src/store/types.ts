/**
 * The lean local store: mailboxes (accounts), folders, single-instance messages, quotas, quarantine.
 * Invariants: a body is stored once however many mailboxes hold it; `deliver` resolves after fsync.
 * Failure: StoreError carries an Outcome (452 4.2.2 over quota, 451 4.3.0 I/O).
 */
import type { Outcome } from "../message/outcome.ts";

export interface StoreDelivery {
  /** Account address, lower case. */
  account: string;
  /** Folder path with "/" between levels; "INBOX" by default. */
  folder: string;
  flags: readonly string[];
  /** RFC 6154 attribute that the folder gets when no other folder of the account has it: "\\Junk". */
  specialUse?: string;
}

/** A folder of an account. */
export interface Mailbox {
  name: string;
  /** RFC 6154 attributes, lower case. */
  specialUse: readonly string[];
}

export interface StoredMessage {
  uid: number;
  account: string;
  folder: string;
  flags: string[];
  size: number;
  receivedAt: number;
  queueId: string;
  subject: string;
  from: string;
  /** Reverse-path it came with. */
  mailFrom?: string;
  /** Quarantine only: why, how bad, whom it was for, and when it is deleted (ms since epoch). */
  reason?: string;
  score?: number;
  rcptTo?: string[];
  expires?: number;
}

export interface MessageMeta {
  queueId: string;
  mailFrom: string;
  receivedAt: number;
  subject: string;
  from: string;
  /** Quarantine only. */
  reason?: string;
  score?: number;
  /** Quarantine only: the envelope's recipients, needed to release the message. */
  rcptTo?: string[];
}

/** The account that holds quarantined messages: `deliver` to it with `reason`, `score` and `rcptTo` in the meta. */
export const quarantineAccount = "@quarantine";

export interface StoreCheck {
  /** One line for each inconsistency found. */
  problems: string[];
  /** How many of them were put right. */
  repaired: number;
}

export interface Store {
  deliver(body: AsyncIterable<Uint8Array> | Uint8Array, meta: MessageMeta, targets: StoreDelivery[]): Promise<void>;
  list(account: string, folder?: string): Promise<StoredMessage[]>;
  accounts(): Promise<Array<{ account: string; messages: number; octets: number }>>;
  /** The folders with what they are for. */
  mailboxes(account: string): Promise<Mailbox[]>;
  read(account: string, folder: string, uid: number): Promise<AsyncIterable<Uint8Array> | undefined>;
  remove(account: string, folder: string, uid: number): Promise<boolean>;
  close(): Promise<void>;
}

/** The store as its administrators see it. */
export interface ManagedStore extends Store {
  /** Sets an account's limit in octets; undefined = the store's default. */
  setQuota(account: string, octets: number | undefined): Promise<void>;
  /** Octets used and allowed (undefined = no limit). */
  quota(account: string): Promise<{ octets: number; limit: number | undefined }>;
  /** Deletes quarantined messages past their time; answers how many. */
  expire(): Promise<number>;
  /** Looks for inconsistencies between database and body files; puts them right when `repair`. */
  check(repair: boolean): Promise<StoreCheck>;
  /** Writes a consistent copy into the folder `to`, which must not exist yet, while the store is in use. */
  backup(to: string): Promise<{ messages: number; files: number }>;
}

export class StoreError extends Error {
  readonly outcome: Outcome;
  constructor(outcome: Outcome) {
    super(outcome.text);
    this.name = "StoreError";
    this.outcome = outcome;
  }
}
