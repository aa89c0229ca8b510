/**
 * The lists that a policy names, read whole from the files beside its script.
 * Failure: a list that can't be read answers undefined, so that the record may know the answer.
 */
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import type { Budget } from "../../config/budget.ts";
import { buildList, kindOfName } from "../../language/lists/build.ts";
import { type Membership, membership } from "../../language/lists/query.ts";

export function openLists(
  names: readonly string[],
  folder: string,
  budget: Budget,
): (list: string, value: string) => boolean | undefined {
  const lists = new Map<string, Membership>();
  for (const name of names) {
    const path = resolve(folder, name.replace(/^file:/, ""));
    try {
      lists.set(name, membership(buildList(readFileSync(path), kindOfName(path), budget), budget));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    }
  }
  return (list, value) => lists.get(list)?.(value);
}
