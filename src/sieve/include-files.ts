/**
 * Included scripts from a folder: personal ones in it, global ones in its sub-folder "global".
 * Invariants: names are checked before they get here (no path separators), so nothing outside the folder is read.
 * Failure: a script that can't be read is absent.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { IncludeLoader } from "./includes.ts";

/** @param read answers a file's text by its path; undefined when there is none. */
export function fileIncludes(folder: string, read = textOf): IncludeLoader {
  return (location, name) => read(join(folder, location === "global" ? "global" : "", `${name}.sieve`));
}

function textOf(file: string): string | undefined {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return undefined; // absent or unreadable: the include says so
  }
}
