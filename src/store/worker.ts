/**
 * The database thread of the store. Tables: body (each distinct message once, by SHA-256), message (a body in a folder
 * of an account), account (octets used, limit), special_use (the folder for an RFC 6154 attribute).
 * Invariants: `account.octets` is the sum of its messages' sizes; a body without messages is deleted in the same
 * transaction. Failure: "OVERQUOTA" as error code when a delivery would pass a limit; SQLite's errors otherwise.
 */
import { serveDatabase } from "./database-thread.ts";
import { openSharedDatabase } from "./shared-database.ts";
import type { MessageMeta, StoreDelivery } from "./types.ts";

export interface StoreData {
  path: string;
  /** Octets an account may hold when it has no limit of its own. */
  defaultQuota: number | undefined;
}

export interface DeliverArgument {
  hash: string;
  size: number;
  /** The body's octets, or the name of its file. */
  body: Uint8Array | string;
  meta: MessageMeta;
  targets: StoreDelivery[];
  expires: number | undefined;
}

/** A message as its row tells it. */
export interface MessageRow {
  account: string;
  folder: string;
  uid: number;
  flags: string;
  size: number;
  received_at: number;
  queue_id: string;
  mail_from: string;
  subject: string;
  sender: string;
  reason: string | null;
  score: number | null;
  rcpt_to: string | null;
  expires: number | null;
}

export interface KeyArgument {
  account: string;
  folder: string;
  uid: number;
}

const schema = `
  CREATE TABLE IF NOT EXISTS body (
    id INTEGER PRIMARY KEY, hash TEXT NOT NULL UNIQUE, size INTEGER NOT NULL, data BLOB, file TEXT
  );
  CREATE TABLE IF NOT EXISTS message (
    account TEXT NOT NULL, folder TEXT NOT NULL, uid INTEGER NOT NULL, body INTEGER NOT NULL, flags TEXT NOT NULL,
    size INTEGER NOT NULL, received_at INTEGER NOT NULL, queue_id TEXT NOT NULL, mail_from TEXT NOT NULL,
    subject TEXT NOT NULL, sender TEXT NOT NULL, reason TEXT, score REAL, rcpt_to TEXT, expires INTEGER,
    PRIMARY KEY (account, folder, uid)
  ) WITHOUT ROWID;
  CREATE INDEX IF NOT EXISTS message_body ON message (body);
  CREATE INDEX IF NOT EXISTS message_expires ON message (expires) WHERE expires IS NOT NULL;
  CREATE TABLE IF NOT EXISTS folder (
    account TEXT NOT NULL, name TEXT NOT NULL, next_uid INTEGER NOT NULL, PRIMARY KEY (account, name)
  ) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS special_use (
    account TEXT NOT NULL, attribute TEXT NOT NULL, folder TEXT NOT NULL, PRIMARY KEY (account, attribute)
  ) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS account (
    account TEXT PRIMARY KEY, octets INTEGER NOT NULL DEFAULT 0, quota INTEGER
  ) WITHOUT ROWID;
`;

/** How many expired messages one sweep deletes, so that the transaction stays short. */
const expireAtOnce = 500;

serveDatabase((data: StoreData) => {
  // Autocheckpoint at 4,000 pages (16 MiB): fewer checkpoints under load than with the default of 1,000.
  const pragmas = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 4000;";
  const database = openSharedDatabase(data.path, `${pragmas} ${schema}`);
  const sql = (text: string) => database.prepare(text);

  const bodyByHash = sql("SELECT id FROM body WHERE hash = ?");
  const addBody = sql("INSERT INTO body (hash, size, data, file) VALUES (?, ?, ?, ?)");
  const nextUid = sql(
    `INSERT INTO folder VALUES (?, ?, 2) ON CONFLICT DO UPDATE SET next_uid = next_uid + 1 RETURNING next_uid - 1 AS uid`,
  );
  const addMessage = sql("INSERT INTO message VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
  const addOctets = sql(
    "INSERT INTO account (account, octets) VALUES (?, ?) ON CONFLICT DO UPDATE SET octets = octets + excluded.octets",
  );
  const quota = sql("SELECT octets, quota FROM account WHERE account = ?");
  const setQuota = sql(
    "INSERT INTO account (account, quota) VALUES (?, ?) ON CONFLICT DO UPDATE SET quota = excluded.quota",
  );
  const columns =
    "account, folder, uid, flags, size, received_at, queue_id, mail_from, subject, sender, reason, score, rcpt_to, expires";
  const listAll = sql(`SELECT ${columns} FROM message WHERE account = ? ORDER BY folder, uid`);
  const listFolder = sql(`SELECT ${columns} FROM message WHERE account = ? AND folder = ? ORDER BY uid`);
  const accounts = sql(
    "SELECT account, count(*) AS messages, sum(size) AS octets FROM message GROUP BY account ORDER BY account",
  );
  const mailboxes = sql(
    `SELECT name, attribute FROM folder
     LEFT JOIN special_use ON special_use.account = folder.account AND special_use.folder = name
     WHERE folder.account = ? ORDER BY name`,
  );
  const addSpecialUse = sql("INSERT OR IGNORE INTO special_use VALUES (?, ?, ?)");
  const read = sql(
    `SELECT body.data, body.file, body.size FROM message JOIN body ON body.id = message.body
     WHERE account = ? AND folder = ? AND uid = ?`,
  );
  const removeMessage = sql("DELETE FROM message WHERE account = ? AND folder = ? AND uid = ? RETURNING body, size");
  const inUse = sql("SELECT 1 FROM message WHERE body = ? LIMIT 1");
  const removeBody = sql("DELETE FROM body WHERE id = ? RETURNING file");
  const expired = sql("SELECT account, folder, uid FROM message WHERE expires <= ? LIMIT ?");

  const limitOf = (own: unknown): number | undefined =>
    own === null || own === undefined ? data.defaultQuota : Number(own);

  function deliver({ hash, size, body, meta, targets, expires }: DeliverArgument): { fileUsed: boolean } {
    let id = bodyByHash.get(hash)?.id as number | undefined;
    const fileUsed = id === undefined && typeof body === "string";
    if (id === undefined) {
      const [bytes, file] = typeof body === "string" ? [null, body] : [body, null];
      id = Number(addBody.run(hash, size, bytes, file).lastInsertRowid);
    }
    for (const { account, folder, flags, specialUse } of targets) {
      const used = quota.get(account);
      const limit = limitOf(used?.quota);
      if (limit !== undefined && Number(used?.octets ?? 0) + size > limit) {
        throw Object.assign(new Error(`account ${account} is over its quota`), { code: "OVERQUOTA" });
      }
      const uid = nextUid.get(account, folder)?.uid as number;
      const { queueId, mailFrom, receivedAt, subject, from, reason, score, rcptTo } = meta;
      const recipients = rcptTo === undefined ? null : JSON.stringify(rcptTo);
      addMessage.run(
        ...[account, folder, uid, id, flags.join(" "), size, receivedAt, queueId, mailFrom, subject, from],
        ...[reason ?? null, score ?? null, recipients, expires ?? null],
      );
      addOctets.run(account, size);
      if (specialUse !== undefined) addSpecialUse.run(account, specialUse.toLowerCase(), folder);
    }
    return { fileUsed };
  }

  /** Answers the files that nothing names any more. */
  function remove({ account, folder, uid }: KeyArgument): { found: boolean; files: string[] } {
    const row = removeMessage.get(account, folder, uid) as { body: number; size: number } | undefined;
    if (row === undefined) return { found: false, files: [] };
    addOctets.run(account, -row.size);
    if (inUse.get(row.body) !== undefined) return { found: true, files: [] };
    const file = removeBody.get(row.body)?.file as string | null;
    return { found: true, files: file === null ? [] : [file] };
  }

  function expire({ now }: { now: number }): { count: number; files: string[] } {
    const files: string[] = [];
    const rows = expired.all(now, expireAtOnce) as unknown as KeyArgument[];
    for (const row of rows) files.push(...remove(row).files);
    return { count: rows.length, files };
  }

  /** `present` are the files in the bodies folder, `young` those a delivery may be writing; answers those that may go. */
  function check({ present, young, repair }: { present: string[]; young: string[]; repair: boolean }) {
    const problems: string[] = [];
    for (const row of database.prepare("PRAGMA integrity_check").all()) {
      if (row.integrity_check !== "ok") problems.push(`database: ${String(row.integrity_check)}`);
    }
    const beyondRepair = problems.length;
    const files = new Set(present);
    for (const row of database.prepare("SELECT id, file, size FROM body WHERE file IS NOT NULL").all()) {
      if (files.delete(String(row.file))) continue;
      problems.push(`body ${row.id}: file ${row.file} is missing`);
      if (repair) database.prepare("DELETE FROM body WHERE id = ?").run(row.id as number);
    }
    for (const file of young) files.delete(file);
    for (const file of files) problems.push(`file ${file} belongs to no message`);
    const lost = "FROM message WHERE NOT EXISTS (SELECT 1 FROM body WHERE body.id = message.body)";
    for (const row of database.prepare(`SELECT account, folder, uid ${lost}`).all()) {
      problems.push(`message ${row.account} ${row.folder} ${row.uid}: its body is missing`);
    }
    if (repair) database.exec(`DELETE ${lost}`);
    const unused = "FROM body WHERE NOT EXISTS (SELECT 1 FROM message WHERE message.body = body.id)";
    for (const row of database.prepare(`SELECT id, file ${unused}`).all()) {
      problems.push(`body ${row.id} belongs to no message`);
      if (row.file !== null) files.add(String(row.file));
    }
    if (repair) database.exec(`DELETE ${unused}`);
    const sum = "coalesce((SELECT sum(size) FROM message WHERE message.account = account.account), 0)";
    for (const row of database.prepare(`SELECT account FROM account WHERE octets <> ${sum}`).all()) {
      problems.push(`account ${row.account}: octets used are wrong`);
    }
    if (repair) database.exec(`UPDATE account SET octets = ${sum} WHERE octets <> ${sum}`);
    return { problems, repaired: repair ? problems.length - beyondRepair : 0, files: repair ? [...files] : [] };
  }

  return {
    database,
    alone: ["snapshot"],
    handlers: {
      deliver,
      remove,
      expire,
      check,
      list: ({ account, folder }: { account: string; folder: string | undefined }) =>
        folder === undefined ? listAll.all(account) : listFolder.all(account, folder),
      accounts: () => accounts.all(),
      mailboxes: (account: string) => mailboxes.all(account),
      read: ({ account, folder, uid }: KeyArgument) => read.get(account, folder, uid),
      setQuota: ({ account, octets }: { account: string; octets: number | undefined }) => {
        setQuota.run(account, octets ?? null);
      },
      quota: (account: string) => {
        const row = quota.get(account);
        return { octets: Number(row?.octets ?? 0), limit: limitOf(row?.quota) };
      },
      /** A consistent copy of the database; answers the files it names. */
      snapshot: (path: string) => {
        database.prepare("VACUUM INTO ?").run(path);
        return database
          .prepare("SELECT file FROM body WHERE file IS NOT NULL")
          .all()
          .map((row) => row.file);
      },
    },
  };
});
