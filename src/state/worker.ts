/**
 * The database thread of the embedded shared state: one table of values, one of counters, both with expiry.
 * Invariants: a value past its expiry is as absent as one never set; the sweep only frees space.
 * Failure: SQLite's error goes back to the caller.
 */
import { serveDatabase } from "../store/database-thread.ts";
import { openSharedDatabase } from "../store/shared-database.ts";

export interface StateData {
  path: string;
  maxEntries: number;
}

export interface KeyArgument {
  key: string;
  now: number;
}
export interface SetArgument extends KeyArgument {
  value: string;
  expires: number;
}
export interface IncrementArgument extends KeyArgument {
  amount: number;
  windowMs: number;
}

const schema = `
  CREATE TABLE IF NOT EXISTS value (key TEXT PRIMARY KEY, value TEXT NOT NULL, expires INTEGER NOT NULL) WITHOUT ROWID;
  CREATE INDEX IF NOT EXISTS value_expires ON value (expires);
  CREATE TABLE IF NOT EXISTS counter (
    key TEXT PRIMARY KEY, begun INTEGER NOT NULL, before REAL NOT NULL, current REAL NOT NULL, expires INTEGER NOT NULL
  ) WITHOUT ROWID;
  CREATE INDEX IF NOT EXISTS counter_expires ON counter (expires);
`;

serveDatabase((data: StateData) => {
  // NORMAL: a crash of the machine may lose the last moments, never consistency.
  const pragmas = "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;";
  const database = openSharedDatabase(data.path, `${pragmas} ${schema}`);
  const get = database.prepare("SELECT value FROM value WHERE key = ? AND expires > ?");
  const set = database.prepare(
    "INSERT INTO value VALUES (?, ?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value, expires = excluded.expires",
  );
  const add = database.prepare(
    `INSERT INTO value VALUES (?, ?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value, expires = excluded.expires
     WHERE value.expires <= ?`,
  );
  const remove = database.prepare("DELETE FROM value WHERE key = ?");
  const counter = database.prepare("SELECT begun, before, current FROM counter WHERE key = ?");
  const setCounter = database.prepare("INSERT OR REPLACE INTO counter VALUES (?, ?, ?, ?, ?)");
  const removeCounter = database.prepare("DELETE FROM counter WHERE key = ?");
  const sweepValues = database.prepare("DELETE FROM value WHERE expires <= ?");
  const sweepCounters = database.prepare("DELETE FROM counter WHERE expires <= ?");
  const entries = database.prepare("SELECT count(*) AS n FROM value");
  const oldest = database.prepare(
    "DELETE FROM value WHERE key IN (SELECT key FROM value ORDER BY expires LIMIT max(0, ?))",
  );

  return {
    database,
    alone: [],
    handlers: {
      get: ({ key, now }: KeyArgument) => get.get(key, now)?.value,
      set: ({ key, value, expires }: SetArgument) => {
        set.run(key, value, expires);
      },
      add: ({ key, value, expires, now }: SetArgument) => add.run(key, value, expires, now).changes === 1,
      delete: ({ key }: KeyArgument) => {
        remove.run(key);
        removeCounter.run(key);
      },
      /** Sliding window by two buckets: the one before counts by the share of it that the window still covers. */
      increment: ({ key, amount, windowMs, now }: IncrementArgument) => {
        const begun = Math.floor(now / windowMs) * windowMs;
        const row = counter.get(key) as { begun: number; before: number; current: number } | undefined;
        const same = row?.begun === begun;
        const before = same ? row.before : row?.begun === begun - windowMs ? row.current : 0;
        const current = (same ? row.current : 0) + amount;
        setCounter.run(key, begun, before, current, begun + 2 * windowMs);
        return current + Math.floor(before * (1 - (now - begun) / windowMs));
      },
      /** Frees what has expired; above the limit of entries, what expires soonest goes too. */
      sweep: ({ now }: { now: number }) => {
        let freed = Number(sweepValues.run(now).changes) + Number(sweepCounters.run(now).changes);
        freed += Number(oldest.run(Number(entries.get()?.n) - data.maxEntries).changes);
        return freed;
      },
    },
  };
});
