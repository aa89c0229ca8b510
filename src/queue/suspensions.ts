/**
 * Destinations an administrator has suspended: one small file each in a folder that all shards of the queue share, so
 * that a suspension outlives a restart and holds for workers added later.
 * Invariants: a file is whole or not there. Failure: `open` rejects when the folder can't be read or a file in it says
 * nothing; `suspend` and `resume` reject with the file system's error and then leave all as it was.
 */
import { createHash } from "node:crypto";
import { mkdir, open, readdir, readFile, rename, rm } from "node:fs/promises";
import { join } from "node:path";

export interface Suspension {
  destination: string;
  who: string;
  why: string;
  /** ms since epoch */
  since: number;
}

const suffix = ".json";

export class Suspensions {
  readonly #folder: string;
  readonly #known: Map<string, Suspension>;

  private constructor(folder: string, known: Map<string, Suspension>) {
    this.#folder = folder;
    this.#known = known;
  }

  /** `dir` is the queue's folder. */
  static async open(dir: string): Promise<Suspensions> {
    const folder = join(dir, "suspended");
    await mkdir(folder, { recursive: true, mode: 0o700 });
    const known = new Map<string, Suspension>();
    for (const name of await readdir(folder)) {
      if (!name.endsWith(suffix)) continue;
      const suspension = await read(join(folder, name));
      if (suspension !== undefined) known.set(suspension.destination, suspension);
    }
    return new Suspensions(folder, known);
  }

  all(): Iterable<Suspension> {
    return this.#known.values();
  }

  async suspend(suspension: Suspension): Promise<void> {
    const path = this.#path(suspension.destination);
    const draft = `${path}.${process.pid}`;
    const file = await open(draft, "w", 0o600);
    try {
      await file.writeFile(JSON.stringify(suspension));
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(draft, path);
    this.#known.set(suspension.destination, suspension);
  }

  async resume(destination: string): Promise<void> {
    await rm(this.#path(destination), { force: true });
    this.#known.delete(destination);
  }

  #path(destination: string): string {
    return join(this.#folder, `${createHash("sha256").update(destination).digest("hex").slice(0, 32)}${suffix}`);
  }
}

/** Undefined when another shard's worker has just removed it. */
async function read(path: string): Promise<Suspension | undefined> {
  try {
    return JSON.parse(await readFile(path, "utf8")) as Suspension;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw new Error(`${path} says no destination: ${(error as Error).message}`, { cause: error });
  }
}
