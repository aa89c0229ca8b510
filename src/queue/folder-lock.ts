/**
 * One process at a time has a shard's folder. Invariants: the operating system frees the lock when the process dies,
 * however it dies. Failure: throws an Error that names the folder when another process has it.
 */
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";

/** Held until `close()` of what it answers. */
export function lockFolder(folder: string): DatabaseSync {
  const lock = new DatabaseSync(join(folder, "lock"), { timeout: 0 });
  try {
    lock.exec("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE;");
    return lock;
  } catch (error) {
    lock.close();
    throw new Error(`queue folder ${folder} is in use by another process`, { cause: error });
  }
}
