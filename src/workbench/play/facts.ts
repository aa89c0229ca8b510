/**
 * Facts from a session file instead of the network: the same answers every time. A check without an answer fails, as it
 * would when the network is silent; the names of such checks are kept for the explanation.
 */
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { budgetDefaults } from "../../config/budget.ts";
import { buildList, kindOfName } from "../../language/lists/build.ts";
import { type Membership, membership } from "../../language/lists/query.ts";
import { ListUnavailable } from "../../language/lists/registry.ts";
import { type ParsedMessage, parseMessage } from "../../message/parse.ts";
import { parseRate } from "../../policy/rate.ts";
import type { FactSource } from "../../policy/types.ts";
import type { PlaySession } from "./session.ts";

type Answer = Record<string, string> | "error";

export class PlayFacts implements FactSource {
  /** Checks that were called and have no answer in the session file. */
  readonly missing = new Set<string>();
  private readonly session: PlaySession;
  private message: ParsedMessage | undefined;
  private readonly calls = new Map<string, number>();
  private readonly hits = new Map<string, number>();

  private readonly lists = new Map<string, Membership>();
  /** Where relative names of lists begin. */
  private readonly folder: string;

  constructor(session: PlaySession, folder: string) {
    this.session = session;
    this.folder = folder;
  }

  /** From now on the header fields and parts of this message are known. */
  arrived(message: Uint8Array): void {
    this.message = parseMessage(message, budgetDefaults);
  }

  call(name: string, read: (variable: string) => string): Record<string, string> {
    const answer = this.answerFor(name, read);
    // The country of most addresses is unknown: no fault of the session file.
    if (answer === undefined && name === "checkGeoIP") return {};
    if (answer === undefined) {
      this.missing.add(name);
      throw new Error(`no answer for ${name}`);
    }
    if (answer === "error") throw new Error(`${name} fails in this session`);
    return answer;
  }

  private answerFor(name: string, read: (variable: string) => string): Answer | undefined {
    const key = Object.keys(this.session.facts).find((known) => known.toLowerCase() === name.toLowerCase());
    const fact = key === undefined ? undefined : this.session.facts[key];
    if (fact === undefined || fact === "error") return fact;
    if (Array.isArray(fact)) {
      const nth = this.calls.get(name) ?? 0;
      this.calls.set(name, nth + 1);
      return fact[Math.min(nth, fact.length - 1)];
    }
    // {"zen.example": {...}}: one answer for each block list.
    const byZone = Object.values(fact).some((value) => typeof value === "object" || value === "error");
    return byZone ? ((fact as Record<string, Answer>)[read("DNSBLServer")] ?? { DNSBLResult: "" }) : (fact as Answer);
  }

  inList(list: string, value: string): boolean {
    let has = this.lists.get(list);
    if (!has) {
      has = this.openList(list);
      this.lists.set(list, has);
    }
    return has(value);
  }

  /** The session's own entries, or the file beside the script. Both are read as a list file is. */
  private openList(list: string): Membership {
    const path = resolve(this.folder, list.replace(/^file:/, ""));
    const own = this.session.lists[list];
    try {
      const bytes = own ? Buffer.from(own.join("\n")) : readFileSync(path);
      return membership(buildList(bytes, kindOfName(path), budgetDefaults), budgetDefaults);
    } catch (error) {
      this.missing.add(`list ${list}`);
      throw new ListUnavailable(list, error instanceof Error ? error.message : String(error));
    }
  }

  header(name: string): readonly string[] {
    return this.message?.headers.values(name) ?? [];
  }

  strings(variable: "attachmentNames" | "attachmentTypes" | "mimeTypes"): readonly string[] {
    const parts = this.message?.parts() ?? [];
    if (variable === "mimeTypes") return parts.map((part) => part.mediaType);
    const attached = parts.filter((part) => part.filename !== "");
    return attached.map((part) => (variable === "attachmentNames" ? part.filename : part.mediaType));
  }

  /** Counts within this one session; the fact {"rate": {"over": "yes"}} settles it for every key. */
  rate(key: string, limit: string): boolean {
    const settled = this.answerFor("rate", () => "");
    if (typeof settled === "object" && settled.over !== undefined) return settled.over === "yes";
    const id = `${limit} ${key}`;
    const hits = (this.hits.get(id) ?? 0) + 1;
    this.hits.set(id, hits);
    return hits > (parseRate(limit)?.count ?? Number.POSITIVE_INFINITY);
  }
}
