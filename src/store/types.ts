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
  /** Quarantine only. */
  reason?: string;
  score?: number;
}

export interface MessageMeta {
  queueId: string;
  mailFrom: string;
  receivedAt: number;
  subject: string;
  from: string;
  reason?: string;
  score?: number;
}

export interface Store {
  deliver(body: AsyncIterable<Uint8Array> | Uint8Array, meta: MessageMeta, targets: StoreDelivery[]): Promise<void>;
  list(account: string, folder?: string): Promise<StoredMessage[]>;
  accounts(): Promise<Array<{ account: string; messages: number; octets: number }>>;
  folders(account: string): Promise<string[]>;
  read(account: string, folder: string, uid: number): Promise<AsyncIterable<Uint8Array> | undefined>;
  remove(account: string, folder: string, uid: number): Promise<boolean>;
  close(): Promise<void>;
}

export class StoreError extends Error {
  readonly outcome: Outcome;
  constructor(outcome: Outcome) {
    super(outcome.text);
    this.name = "StoreError";
    this.outcome = outcome;
  }
}
