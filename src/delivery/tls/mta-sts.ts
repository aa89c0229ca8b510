/**
 * MTA-STS (RFC 8461): which policy a recipient domain has now. Policies are fetched over HTTPS with a valid
 * certificate and kept for their max_age, so a later failure of DNS or HTTPS does not switch protection off.
 * Invariants: no redirects, answers bounded by `stsPolicyBytes`, one fetch at a time for a domain, a failed fetch is
 * not repeated for five minutes; at most `stsPolicies` domains are kept. Failure: no policy, never an exception.
 */
import { request } from "node:https";
import type { Budget } from "../../config/budget.ts";
import { DnsError, type Resolver } from "../../dns/types.ts";
import type { SharedState } from "../../state/types.ts";
import { parseStsPolicy, parseStsRecord, type StsPolicy } from "./records.ts";

export type StsBudget = Pick<Budget, "stsPolicyBytes" | "stsFetchMs" | "stsPolicies">;

export interface StsSettings {
  resolver: Resolver;
  budget: StsBudget;
  /** Trusted roots in PEM instead of the built-in ones. */
  ca?: readonly string[];
  /** HTTPS port; anything but 443 is for tests. */
  port?: number;
  /** Keeps policies over restarts and for all workers; without it they live in memory. */
  state?: Pick<SharedState, "get" | "set">;
  now?: () => number;
}

interface Kept {
  id: string;
  policy: StsPolicy;
  /** ms since epoch */
  expires: number;
}

const namespace = "mta-sts";

const retryFetchMs = 300_000;

export class StsPolicies {
  readonly #settings: StsSettings;
  readonly #now: () => number;
  readonly #kept = new Map<string, Kept>();
  readonly #failed = new Map<string, number>();
  readonly #running = new Map<string, Promise<StsPolicy | undefined>>();

  constructor(settings: StsSettings) {
    this.#settings = settings;
    this.#now = settings.now ?? Date.now;
  }

  /** The domain's policy, or undefined when it has none (or mode "none"). */
  async policyFor(domain: string): Promise<StsPolicy | undefined> {
    let running = this.#running.get(domain);
    if (!running) {
      running = this.#find(domain).finally(() => this.#running.delete(domain));
      this.#running.set(domain, running);
    }
    return running;
  }

  async #find(domain: string): Promise<StsPolicy | undefined> {
    const kept = await this.#live(domain);
    const id = await this.#publishedId(domain);
    // RFC 8461 §3.1: without a (readable) record there is no new policy, but one that is kept stays in force.
    if (id === undefined || id === kept?.id) return active(kept?.policy);
    if ((this.#failed.get(domain) ?? 0) > this.#now()) return active(kept?.policy);
    const text = await this.#fetch(domain);
    const policy = text === undefined ? undefined : parseStsPolicy(text);
    if (!policy) {
      bounded(this.#failed, this.#settings.budget.stsPolicies).set(domain, this.#now() + retryFetchMs);
      return active(kept?.policy);
    }
    const expires = this.#now() + policy.maxAge * 1_000;
    const fresh: Kept = { id, policy, expires };
    bounded(this.#kept, this.#settings.budget.stsPolicies).set(domain, fresh);
    await this.#settings.state?.set(namespace, domain, JSON.stringify(fresh), expires - this.#now());
    return active(policy);
  }

  async #live(domain: string): Promise<Kept | undefined> {
    const kept = this.#kept.get(domain);
    if (kept && kept.expires > this.#now()) return kept;
    this.#kept.delete(domain);
    const stored = await this.#settings.state?.get(namespace, domain);
    if (stored === undefined) return undefined;
    const found = JSON.parse(stored) as Kept;
    if (found.expires <= this.#now()) return undefined;
    bounded(this.#kept, this.#settings.budget.stsPolicies).set(domain, found);
    return found;
  }

  async #publishedId(domain: string): Promise<string | undefined> {
    try {
      const answer = await this.#settings.resolver.resolve(`_mta-sts.${domain}`, "TXT");
      const records = answer.records.filter((text) => text.startsWith("v=STSv1"));
      // RFC 8461 §3.1: several records mean none.
      return records.length === 1 ? parseStsRecord(records[0]!)?.id : undefined;
    } catch (error) {
      if (error instanceof DnsError) return undefined;
      throw error;
    }
  }

  /** RFC 8461 §3.3: GET with a valid certificate, 200, text/plain, no redirect. */
  async #fetch(domain: string): Promise<string | undefined> {
    const { resolver, budget, ca, port } = this.#settings;
    const host = `mta-sts.${domain}`;
    let address: string | undefined;
    try {
      address = (await resolver.resolve(host, "A")).records[0] ?? (await resolver.resolve(host, "AAAA")).records[0];
    } catch (error) {
      if (!(error instanceof DnsError)) throw error;
    }
    if (address === undefined) return undefined;
    return new Promise((resolve) => {
      const get = request({
        host: address,
        port: port ?? 443,
        servername: host,
        path: "/.well-known/mta-sts.txt",
        headers: { host },
        ...(ca ? { ca: [...ca] } : {}),
        agent: false,
        signal: AbortSignal.timeout(budget.stsFetchMs),
      });
      get.on("error", () => resolve(undefined)); // RFC 8461 §3.3: a failed fetch is the absence of a new policy
      get.on("response", (response) => {
        const type = response.headers["content-type"] ?? "";
        const parts: Buffer[] = [];
        let size = 0;
        if (response.statusCode !== 200 || !/^text\/plain\b/i.test(type)) get.destroy(new Error("not a policy"));
        response.on("data", (chunk: Buffer) => {
          size += chunk.length;
          if (size > budget.stsPolicyBytes) get.destroy(new Error("policy too long"));
          else parts.push(chunk);
        });
        response.on("end", () => resolve(Buffer.concat(parts).toString("utf8")));
        response.on("error", () => resolve(undefined)); // as above
        response.on("close", () => resolve(undefined));
      });
      get.end();
    });
  }
}

function active(policy: StsPolicy | undefined): StsPolicy | undefined {
  return policy?.mode === "none" ? undefined : policy;
}

/** The map, with its oldest entry dropped when it is full. */
function bounded<T>(map: Map<string, T>, limit: number): Map<string, T> {
  if (map.size >= limit) map.delete(map.keys().next().value!);
  return map;
}
