/**
 * The DNS tree walk (RFC 9989 §4.10): from a domain up to its top label, at most eight queries, looking for DMARC
 * records; and what it is for: the organizational domain and the policy that applies.
 * Failure: DnsError goes through; the caller makes it a temperror.
 */
import type { CheckContext } from "../types.ts";
import { type DmarcRecord, isDmarcRecord, parseDmarcRecord } from "./record.ts";

export interface Found {
  domain: string;
  record: DmarcRecord | undefined;
  /** More than one record: none of them counts (§4.10 step 2). */
  ambiguous: boolean;
}

/** Names of the walk, the domain itself first: beyond eight labels it jumps to the last seven (§4.10 step 3). */
export function walkNames(domain: string): string[] {
  const labels = domain.split(".");
  const names = [domain];
  for (let keep = Math.min(labels.length - 1, 7); keep > 0; keep--) names.push(labels.slice(-keep).join("."));
  return names;
}

/** One walker serves one message: each name is asked once. */
export class TreeWalk {
  readonly #ctx: CheckContext;
  readonly #asked = new Map<string, Promise<Found>>();

  constructor(ctx: CheckContext) {
    this.#ctx = ctx;
  }

  /** The record at `_dmarc.` of one domain. */
  at(domain: string): Promise<Found> {
    let asked = this.#asked.get(domain);
    if (asked === undefined) {
      asked = this.#ask(domain);
      this.#asked.set(domain, asked);
    }
    return asked;
  }

  async #ask(domain: string): Promise<Found> {
    const { records } = await this.#ctx.resolver.resolve(`_dmarc.${domain}`, "TXT");
    const candidates = records.filter(isDmarcRecord);
    const record = candidates.length === 1 ? parseDmarcRecord(candidates[0]!) : undefined;
    return { domain, record, ambiguous: candidates.length > 1 };
  }

  /** Records on the way up, nearest first; stops where psd= is said (§4.10 steps 2 and 4). */
  async #records(domain: string): Promise<Array<{ domain: string; record: DmarcRecord }>> {
    const [first, ...others] = walkNames(domain);
    const start = await this.at(first!);
    const found = [start];
    if (start.record === undefined || start.record.psd === "u") {
      found.push(...(await Promise.all(others.map((name) => this.at(name)))));
    }
    const held: Array<{ domain: string; record: DmarcRecord }> = [];
    for (const { domain: name, record } of found) {
      if (record === undefined) continue;
      held.push({ domain: name, record });
      if (record.psd !== "u") break;
    }
    return held;
  }

  /** §4.10.2: the organizational domain; the domain itself when nobody published a record. */
  async organizationalDomain(domain: string): Promise<string> {
    const records = await this.#records(domain);
    const last = records.at(-1);
    if (last === undefined) return domain;
    if (last.record.psd === "y" && last.domain !== domain) return childTowards(last.domain, domain);
    // psd=n names it; otherwise it is the record with the fewest labels.
    return last.domain;
  }

  /** §4.10.1: record of the author domain, else of its organizational domain, else of the public suffix above. */
  async policy(domain: string): Promise<{ domain: string; record: DmarcRecord } | undefined> {
    const own = await this.at(domain);
    if (own.record !== undefined) return { domain, record: own.record };
    if (own.ambiguous) return undefined;
    const records = await this.#records(domain);
    const organizational = await this.organizationalDomain(domain);
    return records.find((entry) => entry.domain === organizational) ?? records.find(({ record }) => record.psd === "y");
  }
}

/** The name one label below `parent` on the way to `domain`. */
function childTowards(parent: string, domain: string): string {
  const depth = parent.split(".").length + 1;
  return domain.split(".").slice(-depth).join(".");
}
