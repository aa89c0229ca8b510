/**
 * The predefined check methods of smtpFilters (smtpfilters.md §6) over the checks of this folder: one FactSource a
 * session. Each fact has a deadline, is kept for the session (or the message), and leaves a trace record.
 * Invariants: the same question (method and inputs) is asked once; a verdict about a message is dropped with it.
 * Failure: `call` rejects with FactError after the deadline or when a check could not run; the policy runtime then
 * takes the method's declared failure values.
 */
import type { Budget } from "../config/budget.ts";
import { printable } from "../message/outcome.ts";
import { parseMessage } from "../message/parse.ts";
import type { SharedState } from "../state/types.ts";
import type { Network } from "./address.ts";
import { type Authentication, authenticate, summariseDkim } from "./authenticate.ts";
import { checkDnsbl, checkDnsLists, type DnsList } from "./dnsbl.ts";
import { verifyDomainKeys } from "./domainkeys.ts";
import type { GeoIp } from "./geoip/geoip.ts";
import { checkGreylist, type GreylistOptions } from "./greylist.ts";
import { type MessageSource, readMessage } from "./message.ts";
import { checkSenderMx } from "./mx.ts";
import { checkReverseDns } from "./rdns.ts";
import { checkSpf, type SpfResult } from "./spf/check.ts";
import { receivedSpf, spfExplanation } from "./spf/received.ts";
import type { CheckContext } from "./types.ts";
import { checkUriLists } from "./uribl.ts";

export interface FactServices {
  ctx: CheckContext;
  state: SharedState;
  geoip: GeoIp | undefined;
  /** undefined: greylisting is off and everybody passes. */
  greylist: GreylistOptions | undefined;
  /** What checkDNSLists and checkURILists ask; absent: nothing. */
  dnsLists?: DnsListSettings;
  /** Historic DomainKeys (RFC 4870): off unless true; checkDomainKey then answers "none". */
  domainKeys?: boolean;
  /** Told of each fact when it is there. */
  onRecord?: (record: FactRecord) => void;
  /** Whole time one fact may take, ms. Default 10,000. */
  deadlineMs?: number;
}

/** The configured lists. */
export interface DnsListSettings {
  zones: readonly DnsList[];
  /** Networks that are not asked about. */
  skip: readonly Network[];
  uriZones: readonly string[];
}

/** One line of where a fact came from, for logs and `postern explain`. */
export interface FactRecord {
  name: string;
  source: "dns" | "memory" | "message" | "session";
  elapsedMs: number;
  outputs: Readonly<Record<string, string>>;
  /** Why there is no answer; "" when there is one. */
  failure: string;
}

export class FactError extends Error {
  constructor(message: string) {
    super(message);
    this.name = "FactError";
  }
}

/** What checks have found about one message. */
export interface Findings {
  spf?: SpfResult;
  /** Value of a Received-SPF field. */
  receivedSpf?: string;
  authentication?: Authentication;
}

interface SpfQuestion {
  ip: string;
  helo: string;
  mailFrom: string;
}

type Outputs = Record<string, string>;
type Read = (variable: string) => string;

interface Method {
  source: FactRecord["source"];
  /** Variables that make up the question. */
  reads: readonly string[];
  run(facts: SenderFacts, read: Read): Promise<Outputs> | Outputs;
}

const sender = ["remoteSmtpIp", "ehloHost", "mailFrom"] as const;

const methods: Readonly<Record<string, Method>> = {
  checkSPF: { source: "dns", reads: sender, run: (facts, read) => facts.spfFacts(read) },
  checkReverseDNS: {
    source: "dns",
    reads: ["remoteSmtpIp"],
    async run({ services }, read) {
      const { result, name } = await checkReverseDns(read("remoteSmtpIp"), services.ctx);
      return { ReverseDNSResult: result, ReverseDNSName: printable(name) };
    },
  },
  checkDNSBL: {
    source: "dns",
    reads: ["remoteSmtpIp", "DNSBLServer", "authUser"],
    async run({ services }, read) {
      // An authenticated sender often sits on a dial-up address that lists name (smtpfilters.md §6).
      if (read("authUser") !== "") return { DNSBLResult: "", DNSBLExplanation: "" };
      const entry = await checkDnsbl(read("remoteSmtpIp"), read("DNSBLServer"), services.ctx);
      if (entry.failed) throw new FactError("the list did not answer");
      return { DNSBLResult: entry.address, DNSBLExplanation: entry.explanation };
    },
  },
  checkDNSLists: {
    source: "dns",
    reads: ["remoteSmtpIp", "authUser"],
    async run({ services }, read) {
      const { zones, skip } = services.dnsLists ?? noLists;
      if (read("authUser") !== "") return { DNSListScore: "0", DNSListHits: "" };
      const { failed, hits, score } = await checkDnsLists(read("remoteSmtpIp"), zones, skip, services.ctx);
      if (failed.length > 0 && failed.length === zones.length) throw new FactError("no list answered");
      return { DNSListScore: String(score), DNSListHits: hits.map(({ zone }) => zone).join(" ") };
    },
  },
  checkURILists: {
    source: "message",
    reads: [],
    async run(facts) {
      const { ctx, dnsLists = noLists } = facts.services;
      if (dnsLists.uriZones.length === 0) return { URIListHits: "" };
      const hits = await checkUriLists(await textOf(facts.message(), ctx.budget), dnsLists.uriZones, ctx);
      return { URIListHits: [...new Set(hits.map(({ name }) => name))].join(" ") };
    },
  },
  checkSenderMX: {
    source: "dns",
    reads: ["mailFromDomain"],
    async run({ services }, read) {
      return { SenderMXCheckResult: await checkSenderMx(read("mailFromDomain"), services.ctx) };
    },
  },
  checkGeoIP: {
    source: "memory",
    reads: ["remoteSmtpIp"],
    run({ services }, read) {
      const answer = services.geoip?.lookup(read("remoteSmtpIp"));
      return { GeoIPResult: answer?.country ?? "" };
    },
  },
  checkGreylist: {
    source: "memory",
    reads: ["remoteSmtpIp", "mailFrom", "rcptTo", "authUser"],
    async run({ services }, read) {
      if (services.greylist === undefined) return { GreylistResult: "pass" };
      const input = {
        ip: read("remoteSmtpIp"),
        mailFrom: read("mailFrom"),
        rcptTo: read("rcptTo"),
        authUser: read("authUser"),
      };
      const { result } = await checkGreylist(input, services.greylist, services.state, services.ctx.now());
      return { GreylistResult: result };
    },
  },
  checkDKIM: {
    source: "message",
    reads: sender,
    run: async (facts, read) => ({ DKIMResult: summariseDkim((await facts.authentication(read)).dkim) }),
  },
  checkDMARC: {
    source: "message",
    reads: sender,
    async run(facts, read) {
      const { dmarc } = await facts.authentication(read);
      return { DMARCResult: dmarc.result, DMARCPolicy: dmarc.policy ?? "none" };
    },
  },
  checkARC: {
    source: "message",
    reads: sender,
    run: async (facts, read) => ({ ARCResult: (await facts.authentication(read)).arc.result }),
  },
  checkDomainKey: {
    source: "message",
    reads: [],
    async run(facts) {
      const { ctx, domainKeys } = facts.services;
      if (domainKeys !== true) return { DomainKeyResult: "none" };
      const message = await readMessage(facts.message(), ctx.budget);
      return { DomainKeyResult: (await verifyDomainKeys(message, ctx)).result };
    },
  },
};

const noLists: DnsListSettings = { zones: [], skip: [], uriZones: [] };

/** Octets of a message that are looked at for links. */
const maxLinkedOctets = 1024 * 1024;

/** The decoded text parts of a message, as far as its first octets go. */
async function textOf(source: MessageSource, budget: Budget): Promise<string> {
  const chunks: Uint8Array[] = [];
  let left = maxLinkedOctets;
  for await (const chunk of source instanceof Uint8Array ? [source] : source) {
    chunks.push(chunk.subarray(0, left));
    left -= chunk.length;
    if (left <= 0) break;
  }
  const texts = parseMessage(Buffer.concat(chunks), budget)
    .parts()
    .filter(({ mediaType }) => mediaType.startsWith("text/"));
  return texts.map(({ text }) => text).join("\n");
}

/** Names that `SenderFacts.call` knows. */
export const factMethods: ReadonlySet<string> = new Set(Object.keys(methods));

export class SenderFacts {
  readonly services: FactServices;
  /** Records in the order of the calls. */
  readonly trace: FactRecord[] = [];
  readonly #answers = new Map<string, Promise<Outputs>>();
  readonly #spf = new Map<string, Promise<SpfResult>>();
  #message: (() => MessageSource) | undefined;
  #authentication: Promise<Authentication> | undefined;

  constructor(services: FactServices) {
    this.services = services;
  }

  /** Sets the message at hand (each call of `open` reads it from its start), or undefined between messages. */
  setMessage(open: (() => MessageSource) | undefined): void {
    this.#message = open;
    this.#authentication = undefined;
    for (const key of this.#answers.keys()) {
      if (methods[key.split("\0", 1)[0]!]!.source === "message") this.#answers.delete(key);
    }
  }

  /** The message at hand, from its start. */
  message(): MessageSource {
    if (this.#message === undefined) throw new FactError("there is no message yet");
    return this.#message();
  }

  /** FactSource.call: output variables of method `name`. Rejects with FactError. */
  async call(name: string, read: Read): Promise<Outputs> {
    const method = methods[name];
    if (method === undefined) throw new FactError(`no such check: ${name}`);
    const key = [name, ...method.reads.map(read)].join("\0");
    const known = name === "checkGreylist" ? undefined : this.#answers.get(key);
    const started = performance.now();
    const asked = known ?? this.#withDeadline(Promise.resolve().then(() => method.run(this, read)));
    if (known === undefined) {
      if (this.#answers.size >= maxAnswers) this.#answers.clear();
      this.#answers.set(key, asked);
    }
    const source = known === undefined ? method.source : "session";
    try {
      const outputs = await asked;
      this.#record({ name, source, elapsedMs: performance.now() - started, outputs, failure: "" });
      return outputs;
    } catch (error) {
      this.#answers.delete(key); // a failure may be over at the next call
      const failure = printable((error as Error).message);
      this.#record({ name, source, elapsedMs: performance.now() - started, outputs: {}, failure });
      throw error instanceof FactError ? error : new FactError(failure);
    }
  }

  /**
   * What was found so far of the message at hand and its sender, without asking for anything: the whole authentication
   * when one was made, else SPF alone (of MAIL FROM, or of HELO when only that was checked).
   */
  async findings(mailFrom: string): Promise<Findings> {
    const asked = [...this.#spf].map(([key, result]) => ({ input: JSON.parse(key) as SpfQuestion, result }));
    const spf =
      asked.findLast(({ input }) => input.mailFrom === mailFrom) ??
      asked.findLast(({ input }) => input.mailFrom === "");
    const found: Findings = {};
    if (spf !== undefined) {
      const result = await spf.result;
      found.spf = result;
      found.receivedSpf = receivedSpf(result, spf.input, this.services.ctx.hostName);
    }
    // One that failed has been told to whoever asked for it.
    const all = await this.#authentication?.catch(() => undefined);
    if (all !== undefined) found.authentication = all;
    return found;
  }

  /** SPF, DKIM, ARC and DMARC of the message at hand; worked out once. Rejects when there is no message. */
  authentication(read: Read): Promise<Authentication> {
    this.#authentication ??= this.#authenticate(read).catch((error: unknown) => {
      this.#authentication = undefined; // the next call reads the message again
      throw error;
    });
    return this.#authentication;
  }

  async spfFacts(read: Read): Promise<Outputs> {
    const input = { ip: read("remoteSmtpIp"), helo: read("ehloHost"), mailFrom: read("mailFrom") };
    const spf = await this.#spfOf(input);
    const header = receivedSpf(spf, input, this.services.ctx.hostName);
    return { SPFResult: spf.result, SPFExplanation: spfExplanation(spf, input.ip), SPFHeader: header };
  }

  #spfOf(input: SpfQuestion): Promise<SpfResult> {
    const key = JSON.stringify(input);
    let asked = this.#spf.get(key);
    if (asked === undefined) {
      asked = checkSpf(input, this.services.ctx);
      if (this.#spf.size >= maxSpf) this.#spf.clear();
      this.#spf.set(key, asked);
    }
    return asked;
  }

  async #authenticate(read: Read): Promise<Authentication> {
    const input = { ip: read("remoteSmtpIp"), helo: read("ehloHost"), mailFrom: read("mailFrom") };
    return authenticate(this.message(), input, this.services.ctx, this.#spfOf(input));
  }

  #record(record: FactRecord): void {
    if (this.trace.length >= maxTrace) this.trace.shift();
    this.trace.push(record);
    this.services.onRecord?.(record);
  }

  #withDeadline(asked: Promise<Outputs>): Promise<Outputs> {
    const deadlineMs = this.services.deadlineMs ?? 10_000;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new FactError(`no answer within ${deadlineMs} ms`)), deadlineMs);
      asked.then(resolve, reject).finally(() => clearTimeout(timer));
    });
  }
}

/** A session of many messages keeps this many answers, SPF results and trace records. */
const maxAnswers = 1_000;
const maxSpf = 100;
const maxTrace = 1_000;

/** Facts of one session. */
export function createFactSource(services: FactServices): SenderFacts {
  return new SenderFacts(services);
}
