/**
 * Users' scripts in one SQLite file that all workers of a machine open.
 * Invariants: each change is one transaction, so a reader sees the script before or after it and never half of it; a
 * change raises the user's version. Queries are a few rows by primary key and run in the caller's thread; readers wait
 * for no writer (WAL). Failure: methods reject with the database's error.
 */
import { mkdirSync } from "node:fs";
import { dirname } from "node:path";
import type { DatabaseSync, StatementSync } from "node:sqlite";
import { openSharedDatabase } from "../../store/shared-database.ts";
import type { ScriptStorage } from "./storage.ts";

const schema = `
  PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA busy_timeout = 1000; PRAGMA foreign_keys = ON;
  CREATE TABLE IF NOT EXISTS scripts (
    user TEXT NOT NULL, name TEXT NOT NULL, text TEXT NOT NULL, PRIMARY KEY (user, name)) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS users (
    user TEXT PRIMARY KEY, version INTEGER NOT NULL, active TEXT,
    FOREIGN KEY (user, active) REFERENCES scripts (user, name) ON UPDATE CASCADE) WITHOUT ROWID;
`;

/** A user's scripts as far as a message needs them. */
export interface ActiveScript {
  name: string;
  text: string;
  /** Changes with any change to the user's scripts. */
  version: number;
}

export class ScriptDatabase implements ScriptStorage {
  readonly #database: DatabaseSync;
  readonly #statements = new Map<string, StatementSync>();

  /** @param file made with its folder when missing. */
  constructor(file: string) {
    mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
    this.#database = openSharedDatabase(file, schema);
  }

  async list(user: string): Promise<Array<{ name: string; active: boolean }>> {
    const rows = this.#sql(
      "SELECT name, name IS (SELECT active FROM users WHERE user = ?1) AS active FROM scripts WHERE user = ?1",
    ).all(user) as Array<{ name: string; active: number }>;
    return rows.map(({ name, active }) => ({ name, active: active === 1 }));
  }

  async get(user: string, name: string): Promise<string | undefined> {
    return this.textOf(user, name);
  }

  async put(user: string, name: string, text: string): Promise<void> {
    this.#change(user, () => {
      this.#sql("INSERT INTO scripts VALUES (?, ?, ?) ON CONFLICT (user, name) DO UPDATE SET text = excluded.text").run(
        user,
        name,
        text,
      );
    });
  }

  async delete(user: string, name: string): Promise<void> {
    this.#change(user, () => this.#sql("DELETE FROM scripts WHERE user = ? AND name = ?").run(user, name));
  }

  async rename(user: string, from: string, to: string): Promise<void> {
    this.#change(user, () => this.#sql("UPDATE scripts SET name = ? WHERE user = ? AND name = ?").run(to, user, from));
  }

  async activate(user: string, name: string): Promise<void> {
    const active = name === "" ? null : name;
    this.#change(user, () => this.#sql("UPDATE users SET active = ? WHERE user = ?").run(active, user));
  }

  /** The user's version, undefined when no script is active: a cheap question for each message. */
  activeVersion(user: string): number | undefined {
    const row = this.#sql("SELECT version FROM users WHERE user = ? AND active IS NOT NULL").get(user);
    return row?.version as number | undefined;
  }

  active(user: string): ActiveScript | undefined {
    return this.#sql(
      "SELECT name, text, version FROM users JOIN scripts ON scripts.user = users.user AND name = active WHERE users.user = ?",
    ).get(user) as ActiveScript | undefined;
  }

  textOf(user: string, name: string): string | undefined {
    return this.#sql("SELECT text FROM scripts WHERE user = ? AND name = ?").get(user, name)?.text as
      | string
      | undefined;
  }

  /** Writes a consistent copy into a new file while the database is in use. */
  backup(to: string): void {
    mkdirSync(dirname(to), { recursive: true, mode: 0o700 });
    this.#sql("VACUUM INTO ?").run(to);
  }

  close(): void {
    this.#database.close();
  }

  #change(user: string, change: () => unknown): void {
    this.#database.exec("BEGIN IMMEDIATE");
    try {
      this.#sql("INSERT INTO users VALUES (?, 1, NULL) ON CONFLICT (user) DO UPDATE SET version = version + 1").run(
        user,
      );
      change();
      this.#database.exec("COMMIT");
    } catch (error) {
      this.#database.exec("ROLLBACK");
      throw error;
    }
  }

  #sql(text: string): StatementSync {
    let statement = this.#statements.get(text);
    if (statement === undefined) this.#statements.set(text, (statement = this.#database.prepare(text)));
    return statement;
  }
}
