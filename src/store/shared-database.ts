/**
 * Opens a SQLite file that several processes open at the same time. Switching to WAL needs the file for oneself for a
 * moment and does not heed SQLite's own busy time-out, so workers that start together must try again.
 * Blocks its thread while it waits. Failure: throws the database's error, "database is locked" after `patienceMs`.
 */
import { DatabaseSync } from "node:sqlite";

const patienceMs = 15_000;
const pauseMs = 20;
/** SQLITE_BUSY */
const busy = 5;

/** `sql`: pragmas and schema, safe to run again. */
export function openSharedDatabase(path: string, sql: string): DatabaseSync {
  const end = Date.now() + patienceMs;
  for (;;) {
    const database = new DatabaseSync(path, { timeout: 10_000 });
    try {
      database.exec(sql);
      return database;
    } catch (error) {
      database.close();
      if ((error as { errcode?: number }).errcode !== busy || Date.now() > end) throw error;
    }
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, pauseMs);
  }
}
