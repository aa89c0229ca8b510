/**
 * Included scripts from a folder: personal ones in it, global ones in its sub-folder "global".
 * Invariants: names are checked before they get here (no path separators), so nothing outside the folder is read.
 * Failure: a script that can't be read is absent.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { IncludeLoader } from "./includes.ts";

export function fileIncludes(folder: string): IncludeLoader {
  return (location, name) => {
    try {
      return readFileSync(join(folder, location === "global" ? "global" : "", `${name}.sieve`), "utf8");
    } catch {
      return undefined; // absent or unreadable: the include says so
    }
  };
}
