/**
 * The database thread of the tally: subjects of a period, and the counted rows of each.
 * Failure: SQLite's error goes back to the caller.
 */
import { serveDatabase } from "../store/database-thread.ts";
import { openSharedDatabase } from "../store/shared-database.ts";
import type { CountArgument, TakeArgument, Taken } from "./tally.ts";

const schema = `
  CREATE TABLE IF NOT EXISTS subject (
    id INTEGER PRIMARY KEY, kind TEXT NOT NULL, begins INTEGER NOT NULL, ends INTEGER NOT NULL,
    domain TEXT NOT NULL, about TEXT NOT NULL, rows INTEGER NOT NULL DEFAULT 0, UNIQUE (kind, begins, domain, about)
  );
  CREATE INDEX IF NOT EXISTS subject_ends ON subject (kind, ends);
  CREATE TABLE IF NOT EXISTS counted (
    subject INTEGER NOT NULL, row TEXT NOT NULL, count INTEGER NOT NULL, PRIMARY KEY (subject, row)
  ) WITHOUT ROWID;
`;

type SubjectRow = Omit<Taken, "rows"> & { id: number };

serveDatabase((data: { path: string }) => {
  const database = openSharedDatabase(data.path, `PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; ${schema}`);
  const find = database.prepare(
    "SELECT id, rows FROM subject WHERE kind = ? AND begins = ? AND domain = ? AND about = ?",
  );
  const subjects = database.prepare("SELECT count(*) AS n FROM subject WHERE kind = ? AND begins = ?");
  const addSubject = database.prepare(
    "INSERT INTO subject (kind, begins, ends, domain, about) VALUES (?, ?, ?, ?, ?) RETURNING id, rows",
  );
  const raise = database.prepare("UPDATE counted SET count = count + ? WHERE subject = ? AND row = ?");
  const addRow = database.prepare("INSERT INTO counted VALUES (?, ?, ?)");
  const oneMore = database.prepare("UPDATE subject SET rows = rows + 1 WHERE id = ?");
  const ended = database.prepare(
    "SELECT id, domain, about, begins, ends FROM subject WHERE kind = ? AND ends <= ? ORDER BY ends LIMIT 1",
  );
  const rowsOf = database.prepare("SELECT row, count FROM counted WHERE subject = ?");
  const removeRows = database.prepare("DELETE FROM counted WHERE subject = ?");
  const removeSubject = database.prepare("DELETE FROM subject WHERE id = ?");

  /** Whether it was counted: not beyond the limits. */
  function count(argument: CountArgument): boolean {
    const { kind, begins, ends, domain, about, row } = argument;
    let subject = find.get(kind, begins, domain, about) as { id: number; rows: number } | undefined;
    if (subject === undefined) {
      if (Number(subjects.get(kind, begins)!.n) >= argument.subjects) return false;
      subject = addSubject.get(kind, begins, ends, domain, about) as { id: number; rows: number };
    }
    if (raise.run(argument.count, subject.id, row).changes > 0) return true;
    if (subject.rows >= argument.perSubject) return false;
    addRow.run(subject.id, row, argument.count);
    oneMore.run(subject.id);
    return true;
  }

  return {
    database,
    alone: [],
    handlers: {
      /** Answers how many were beyond the limits. */
      count: (all: CountArgument[]): number => all.filter((argument) => !count(argument)).length,
      take: ({ kind, until }: TakeArgument): Taken | undefined => {
        const subject = ended.get(kind, until) as SubjectRow | undefined;
        if (subject === undefined) return undefined;
        const rows = rowsOf.all(subject.id) as unknown as Taken["rows"];
        removeRows.run(subject.id);
        removeSubject.run(subject.id);
        const { domain, about, begins, ends } = subject;
        return { domain, about, begins, ends, rows: rows.map(({ row, count: times }) => ({ row, count: times })) };
      },
    },
  };
});
