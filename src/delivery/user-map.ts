/**
 * User maps: which back end serves an address (smtpfilters.md §12.2). A file of lines "<pattern> <blank> <host>"; the
 * pattern is an unanchored regular expression tested on the whole address, and the first matching line wins; lines that
 * start with "#" and blank lines say nothing. A host is connected to directly, whatever MX records its name has: they
 * may well lead back here.
 * Failure: `UserMapError` with file and line for a line that can't be used; the map is not loaded in part.
 */
import { readFile } from "node:fs/promises";
import type { Budget } from "../config/budget.ts";
import { BudgetExceeded } from "../config/budget.ts";
import { compileRegex, type Regex, RegexError } from "../language/regex.ts";
import { parseNextHop } from "./next-hop.ts";

export interface UserMap {
  /** Has no blanks. */
  readonly name: string;
  /** Next hop text for a full address, or undefined. A directory's answer comes later, and rejects when there is none. */
  find(address: string): string | undefined | Promise<string | undefined>;
}

/** A map whose answer is at hand. */
export interface FileUserMap extends UserMap {
  find(address: string): string | undefined;
}

export class UserMapError extends Error {
  constructor(name: string, line: number, message: string) {
    super(`${name}:${line}: ${message}`);
    this.name = "UserMapError";
  }
}

const withoutBrackets = /^((?:lmtp|smtps):)?([^[\]:]+)/;

interface Row {
  pattern: Regex;
  host: string;
}

/** @param text the file's content, @param name the map's name for logs and errors */
export function parseUserMap(
  text: string,
  name: string,
  budget: Pick<Budget, "regexBytes" | "userMapLines">,
): FileUserMap {
  const lines = text.split(/\r?\n/);
  if (lines.length > budget.userMapLines) throw new BudgetExceeded("userMapLines", budget.userMapLines, name);
  const rows: Row[] = [];
  for (const [index, raw] of lines.entries()) {
    const line = raw.trim();
    if (line === "" || line.startsWith("#")) continue;
    rows.push(parseRow(line, name, index + 1, budget));
  }
  return {
    name,
    find: (address) => rows.find((row) => row.pattern.test(address))?.host,
  };
}

/** Whether one of the maps has the address. */
export function isMapped(maps: readonly UserMap[], address: string): boolean | Promise<boolean> {
  for (const [index, map] of maps.entries()) {
    const host = map.find(address);
    if (host instanceof Promise) {
      return host.then((found) => found !== undefined || isMapped(maps.slice(index + 1), address));
    }
    if (host !== undefined) return true;
  }
  return false;
}

export async function loadUserMap(
  file: string,
  name: string,
  budget: Pick<Budget, "regexBytes" | "userMapLines">,
): Promise<UserMap> {
  return parseUserMap(await readFile(file, "utf8"), name, budget);
}

function parseRow(line: string, name: string, number: number, budget: Pick<Budget, "regexBytes">): Row {
  const parts = /^(\S+)\s+(\S+)$/.exec(line);
  if (!parts) throw new UserMapError(name, number, "write a pattern, a blank and a back-end host");
  const host = parts[2]!;
  try {
    // Addresses are compared without regard to case: local parts that differ only in case are one mailbox in practice.
    return { pattern: compileRegex(parts[1]!, "ascii", budget), host: backEndHop(host, name) };
  } catch (error) {
    if (error instanceof RangeError || error instanceof RegexError || error instanceof BudgetExceeded) {
      throw new UserMapError(name, number, error.message);
    }
    throw error;
  }
}

/** A back end's host as next hop text. Throws RangeError for what is none. */
export function backEndHop(host: string, map: string): string {
  parseNextHop(host, { domain: "", tls: "opportunistic", localAddress: "" }, map);
  return host.replace(withoutBrackets, "$1[$2]");
}
