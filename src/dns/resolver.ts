/**
 * The stub resolver: asks recursive name servers, follows CNAMEs, remembers answers.
 * Servers are tried in the order given; one that failed is put behind the others for a while. The same question asked
 * twice at once goes out once. A name that can't exist in DNS (empty or over-long label) is answered as nxdomain.
 * Failure: `DnsError`; after all servers failed, the error of the last one. Limits: Budget fields `dns*`.
 */
import net from "node:net";
import { domainToASCII } from "node:url";
import type { Budget } from "../config/budget.ts";
import { DnsCache } from "./cache.ts";
import { type ExchangeLimits, exchange, type Server } from "./exchange.ts";
import { encodeName, type Response, rcode, recordData, typeCode } from "./packet.ts";
import { type DnsAnswer, DnsError, type QueryOptions, type RecordType, type Resolver } from "./types.ts";

export interface ResolverOptions {
  /** "address", "address:port" or "[v6]:port", most preferred first. */
  servers: readonly string[];
  budget: Budget;
  /** Wait for one server, ms. Default 1,500. */
  timeoutMs?: number;
  /** Rounds through the list of servers. Default 2. */
  tries?: number;
  /** Clock in ms; injected by tests. */
  now?: () => number;
}

const maxTtl = 86_400;
/** RFC 2308 §5: one to three hours are sensible for "no such name"; we take one. */
const maxNegativeTtl = 3_600;
/** RFC 9520 §3.2: failures are remembered for at least one second. */
const failureTtl = 1;
/** How long a server that failed stands behind the others, ms. */
const penaltyMs = 10_000;
const strayDatagrams = 10;

interface ServerState extends Server {
  penaltyUntil: number;
}

interface Found {
  answer: DnsAnswer<RecordType>;
  octets: number;
}

/** A response and the server that gave it. */
interface Answered {
  response: Response;
  source: string;
}

type Cached = { answer: DnsAnswer<RecordType> } | { error: DnsError };

export function parseServer(text: string): Server {
  const bracketed = /^\[([0-9a-fA-F:.%]+)\](?::(\d+))?$/.exec(text);
  const plain = /^([^:]+):(\d+)$/.exec(text);
  const address = bracketed?.[1] ?? plain?.[1] ?? text;
  const port = Number(bracketed?.[2] ?? plain?.[2] ?? 53);
  if (net.isIP(address) === 0 || port < 1 || port > 65_535) throw new TypeError(`not a name server address: ${text}`);
  return { address, port };
}

class StubResolver implements Resolver {
  readonly #budget: Budget;
  readonly #servers: ServerState[];
  readonly #timeoutMs: number;
  readonly #tries: number;
  readonly #now: () => number;
  readonly #cache: DnsCache<Cached>;
  readonly #flights = new Map<string, Promise<DnsAnswer<RecordType>>>();
  readonly #closed = new AbortController();
  readonly #waiting: Array<() => void> = [];
  #asking = 0;

  constructor(options: ResolverOptions) {
    if (options.servers.length === 0) throw new TypeError("a resolver needs at least one name server");
    this.#budget = options.budget;
    this.#servers = options.servers.map((text) => ({ ...parseServer(text), penaltyUntil: 0 }));
    this.#timeoutMs = options.timeoutMs ?? 1_500;
    this.#tries = options.tries ?? 2;
    this.#now = options.now ?? Date.now;
    this.#cache = new DnsCache(options.budget.dnsCacheEntries, options.budget.dnsCacheOctets, this.#now);
  }

  resolve<T extends RecordType>(name: string, type: T, options?: QueryOptions): Promise<DnsAnswer<T>> {
    const found = this.#lookUp(asciiName(name), type) as Promise<DnsAnswer<T>>;
    return options?.timeoutMs === undefined ? found : withDeadline(found, options.timeoutMs, name);
  }

  close(): void {
    this.#closed.abort();
  }

  async #lookUp(name: string, type: RecordType): Promise<DnsAnswer<RecordType>> {
    const key = `${type} ${name}`;
    const cached = this.#cache.get(key);
    if (cached !== undefined) {
      if ("error" in cached.value) throw cached.value.error;
      return { ...cached.value.answer, ttl: cached.ttl, source: "cache" };
    }
    const flying = this.#flights.get(key);
    if (flying !== undefined) return flying;
    const flight = this.#fetch(name, type, key).finally(() => this.#flights.delete(key));
    this.#flights.set(key, flight);
    return flight;
  }

  async #fetch(name: string, type: RecordType, key: string): Promise<DnsAnswer<RecordType>> {
    try {
      const { answer, octets } = await this.#follow(name, type);
      this.#cache.set(key, { answer }, answer.ttl, octets + 200);
      return answer;
    } catch (error) {
      if (error instanceof DnsError) this.#cache.set(key, { error }, failureTtl, 200);
      throw error;
    }
  }

  /** Asks, and asks again at the end of a CNAME chain that the server left open (RFC 1034 §3.6.2). */
  async #follow(name: string, type: RecordType): Promise<Found> {
    const deadline = this.#now() + this.#budget.dnsTimeoutMs;
    const limit = this.#budget.dnsCnameChain;
    let current = name;
    let ttl = maxTtl;
    let authenticated = true;
    let octets = 0;
    for (let hops = 0; ; ) {
      const wire = encodeName(current);
      if (wire === undefined) return { answer: noSuchName(current, maxNegativeTtl), octets };
      const { response, source } = await this.#ask(wire, type, deadline);
      octets += response.bytes.length;
      authenticated &&= response.authenticated;
      const aliases = new Map<string, { target: string; ttl: number }>();
      if (type !== "CNAME") {
        for (const record of response.answers) {
          if (record.type !== typeCode.CNAME) continue;
          aliases.set(record.name, { target: recordData(response, record, "CNAME"), ttl: record.ttl });
        }
      }
      const start = current;
      for (let alias = aliases.get(current); alias !== undefined; alias = aliases.get(current)) {
        if (++hops > limit) throw new DnsError("limit", `CNAME chain of ${name} is longer than ${limit}`);
        ttl = Math.min(ttl, alias.ttl);
        current = alias.target;
      }
      const matching = response.answers.filter((r) => r.name === current && r.type === typeCode[type]);
      if (matching.length === 0 && current !== start && response.rcode === rcode.noError && !hasSoa(response)) continue;
      const records = matching.map((record) => {
        ttl = Math.min(ttl, record.ttl);
        return recordData(response, record, type);
      });
      if (records.length === 0) ttl = Math.min(ttl, negativeTtl(response));
      const nxdomain = response.rcode === rcode.nxDomain;
      return { answer: { records, nxdomain, authenticated, ttl, canonicalName: current, source }, octets };
    }
  }

  async #ask(name: Buffer, type: RecordType, deadline: number): Promise<Answered> {
    await this.#slot();
    try {
      return await this.#askServers(name, type, deadline);
    } finally {
      this.#asking -= 1;
      this.#waiting.shift()?.();
    }
  }

  /** Waits until fewer than `dnsQueries` questions are out: each holds a socket. */
  async #slot(): Promise<void> {
    while (this.#asking >= this.#budget.dnsQueries) {
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
    this.#asking += 1;
  }

  async #askServers(name: Buffer, type: RecordType, deadline: number): Promise<Answered> {
    let failure = new DnsError("timeout", "no name server answered in time");
    for (let round = 0; round < this.#tries; round++) {
      const now = this.#now();
      const healthy = this.#servers.filter((server) => server.penaltyUntil <= now);
      const failing = this.#servers.filter((server) => server.penaltyUntil > now);
      for (const server of [...healthy, ...failing]) {
        const left = deadline - this.#now();
        if (this.#closed.signal.aborted) throw new DnsError("network", "resolver closed");
        if (left <= 0) throw failure;
        try {
          const response = await this.#askOne(server, name, type, Math.min(this.#timeoutMs, left));
          server.penaltyUntil = 0;
          return { response, source: sourceOf(server) };
        } catch (error) {
          if (!(error instanceof DnsError)) throw error;
          failure = error;
          // A bad answer may be the zone's fault; silence is the server's.
          if (error.kind === "timeout" || error.kind === "network") server.penaltyUntil = this.#now() + penaltyMs;
          if (error.kind === "limit") throw error;
        }
      }
    }
    throw failure;
  }

  async #askOne(server: Server, name: Buffer, type: RecordType, timeoutMs: number): Promise<Response> {
    const limits: ExchangeLimits = {
      timeoutMs,
      maxRecords: this.#budget.dnsAnswerRecords,
      strayDatagrams,
      signal: this.#closed.signal,
    };
    let response = await exchange(server, { name, type, edns: true }, limits);
    // RFC 6891 §7: a server that knows no EDNS says FORMERR or NOTIMP; ask it plainly.
    if (response.rcode === rcode.formErr || response.rcode === rcode.notImp) {
      response = await exchange(server, { name, type, edns: false }, limits);
    }
    if (response.rcode === rcode.noError || response.rcode === rcode.nxDomain) return response;
    const kind = response.rcode === rcode.refused ? "refused" : "servfail";
    throw new DnsError(kind, `${server.address} answered rcode ${response.rcode}`);
  }
}

function asciiName(name: string): string {
  const bare = name.endsWith(".") ? name.slice(0, -1) : name;
  if (/^[\x00-\x7f]*$/.test(bare)) return bare.toLowerCase();
  // RFC 5890: U-labels are asked as A-labels; what can't be converted doesn't exist.
  return domainToASCII(bare) || "..";
}

function noSuchName(name: string, ttl: number): DnsAnswer<RecordType> {
  return { records: [], nxdomain: true, authenticated: false, ttl, canonicalName: name };
}

function sourceOf({ address, port }: Server): string {
  return address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`;
}

function hasSoa(response: Response): boolean {
  return response.authorities.some((record) => record.type === typeCode.SOA);
}

/** RFC 2308 §5: the lesser of the SOA's TTL and its MINIMUM; without a SOA a negative answer isn't kept. */
function negativeTtl(response: Response): number {
  const soa = response.authorities.find((record) => record.type === typeCode.SOA);
  if (soa === undefined) return 0;
  return Math.min(soa.ttl, recordData(response, soa, "SOA").minimum, maxNegativeTtl);
}

function withDeadline<V>(promise: Promise<V>, timeoutMs: number, name: string): Promise<V> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new DnsError("timeout", `no answer for ${name} in time`)), timeoutMs);
    promise.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}

export function createResolver(options: ResolverOptions): Resolver {
  return new StubResolver(options);
}
