/**
 * The predefined check methods of smtpFilters (smtpfilters.md §6): for each the variables that make up the question, where
 * the answer comes from, and how it is had. Failure: FactError when a check could not run.
 */
import type { Budget } from "../config/budget.ts";
import { printable } from "../message/outcome.ts";
import { parseMessage } from "../message/parse.ts";
import type { SharedState } from "../state/types.ts";
import { inNetwork, type Network, parseAddress } from "./address.ts";
import { type Authentication, summariseDkim } from "./authenticate.ts";
import { checkBimi } from "./bimi.ts";
import { checkDnsbl, checkDnsLists, type DnsList } from "./dnsbl.ts";
import { verifyDomainKeys } from "./domainkeys.ts";
import type { GeoIp } from "./geoip/geoip.ts";
import { checkGreylist, type GreylistOptions } from "./greylist.ts";
import { type MessageSource, readHeader, readMessage } from "./message.ts";
import { checkSenderMx } from "./mx.ts";
import { checkReverseDns } from "./rdns.ts";
import type { SpfInput, SpfResult } from "./spf/check.ts";
import { receivedSpf, spfExplanation } from "./spf/received.ts";
import type { CheckContext } from "./types.ts";
import { checkUriLists } from "./uribl.ts";

/** What the methods answer from. */
export interface MethodServices {
  ctx: CheckContext;
  state: SharedState;
  geoip: GeoIp | undefined;
  /** undefined: greylisting is off and everybody passes. */
  greylist: GreylistSettings | undefined;
  /** What checkDNSLists and checkURILists ask; absent: nothing. */
  dnsLists?: DnsListSettings;
  /** Historic DomainKeys (RFC 4870): off unless true; checkDomainKey then answers "none". */
  domainKeys?: boolean;
}

/** Greylisting with the clients and mail that it leaves out. */
export interface GreylistSettings extends GreylistOptions {
  /** Networks of clients that never wait. */
  skip?: readonly Network[];
  /** Mail that SPF passes does not wait. */
  skipSpfPass?: boolean;
}

/** The configured lists. */
export interface DnsListSettings {
  zones: readonly DnsList[];
  /** Networks that are not asked about. */
  skip: readonly Network[];
  uriZones: readonly string[];
}

export class FactError extends Error {
  constructor(message: string) {
    super(message);
    this.name = "FactError";
  }
}

export type Outputs = Record<string, string>;
export type Read = (variable: string) => string;

/** "memory": data and counters of our own; "session": an answer that was there already. */
export type AnswerSource = "dns" | "memory" | "message" | "session" | "scanner";

/** What one call of a method works with. */
export interface Asked {
  services: MethodServices;
  /** Its resolver writes down where answers came from. */
  ctx: CheckContext;
  read: Read;
  /** The message at hand, from its start; throws FactError when there is none. */
  message(): MessageSource;
  /** SPF and the whole authentication are worked out once for all methods that need them. */
  spf(sender: Sender): Promise<SpfResult>;
  authentication(sender: Sender): Promise<Authentication>;
  /** Says where the answer came from, beside DNS. */
  from(source: string): void;
}

export interface Method {
  source: AnswerSource;
  /** Variables that make up the question. */
  reads: readonly string[];
  run(asked: Asked): Promise<Outputs> | Outputs;
}

export type Sender = Required<SpfInput>;

const sender = ["remoteSmtpIp", "ehloHost", "mailFrom"] as const;

export function senderOf(read: Read): Sender {
  return { ip: read("remoteSmtpIp"), helo: read("ehloHost"), mailFrom: read("mailFrom") };
}

export const methods: Readonly<Record<string, Method>> = {
  checkSPF: {
    source: "dns",
    reads: sender,
    async run({ ctx, read, spf }) {
      const input = senderOf(read);
      const result = await spf(input);
      const header = receivedSpf(result, input, ctx.hostName);
      return { SPFResult: result.result, SPFExplanation: spfExplanation(result, input.ip), SPFHeader: header };
    },
  },
  checkReverseDNS: {
    source: "dns",
    reads: ["remoteSmtpIp"],
    async run({ ctx, read }) {
      const { result, name } = await checkReverseDns(read("remoteSmtpIp"), ctx);
      return { ReverseDNSResult: result, ReverseDNSName: printable(name) };
    },
  },
  checkDNSBL: {
    source: "dns",
    reads: ["remoteSmtpIp", "DNSBLServer", "authUser"],
    async run({ ctx, read }) {
      // An authenticated sender often sits on a dial-up address that lists name (smtpfilters.md §6).
      if (read("authUser") !== "") return { DNSBLResult: "", DNSBLExplanation: "" };
      const entry = await checkDnsbl(read("remoteSmtpIp"), read("DNSBLServer"), ctx);
      if (entry.failed) throw new FactError("the list did not answer");
      return { DNSBLResult: entry.address, DNSBLExplanation: entry.explanation };
    },
  },
  checkDNSLists: {
    source: "dns",
    reads: ["remoteSmtpIp", "authUser"],
    async run({ ctx, read, services }) {
      const { zones, skip } = services.dnsLists ?? noLists;
      if (read("authUser") !== "") return { DNSListScore: "0", DNSListHits: "" };
      const { failed, hits, score } = await checkDnsLists(read("remoteSmtpIp"), zones, skip, ctx);
      if (failed.length > 0 && failed.length === zones.length) throw new FactError("no list answered");
      return { DNSListScore: String(score), DNSListHits: hits.map(({ zone }) => zone).join(" ") };
    },
  },
  checkURILists: {
    source: "message",
    reads: [],
    async run({ ctx, message, services }) {
      const { uriZones } = services.dnsLists ?? noLists;
      if (uriZones.length === 0) return { URIListHits: "" };
      const hits = await checkUriLists(await textOf(message(), ctx.budget), uriZones, ctx);
      return { URIListHits: [...new Set(hits.map(({ name }) => name))].join(" ") };
    },
  },
  checkSenderMX: {
    source: "dns",
    reads: ["mailFromDomain"],
    async run({ ctx, read }) {
      return { SenderMXCheckResult: await checkSenderMx(read("mailFromDomain"), ctx) };
    },
  },
  checkGeoIP: {
    source: "memory",
    reads: ["remoteSmtpIp"],
    run({ from, read, services }) {
      from("country database");
      const answer = services.geoip?.lookup(read("remoteSmtpIp"));
      const { country = "", asn = 0, asnName = "" } = answer ?? {};
      return { GeoIPResult: country, GeoIPASN: String(asn), GeoIPASNName: printable(asnName) };
    },
  },
  checkGreylist: {
    source: "memory",
    reads: ["remoteSmtpIp", "mailFrom", "rcptTo", "authUser"],
    async run({ ctx, from, read, services, spf }) {
      const { greylist } = services;
      if (greylist === undefined) return { GreylistResult: "pass" };
      const input = {
        ip: read("remoteSmtpIp"),
        mailFrom: read("mailFrom"),
        rcptTo: read("rcptTo"),
        authUser: read("authUser"),
        exempt: await isExempt(senderOf(read), greylist, spf),
      };
      const { result } = await checkGreylist(input, greylist, services.state, ctx.now());
      from("greylist in the shared state");
      return { GreylistResult: result };
    },
  },
  checkDKIM: {
    source: "message",
    reads: sender,
    run: async ({ authentication, read }) => ({
      DKIMResult: summariseDkim((await authentication(senderOf(read))).dkim),
    }),
  },
  checkDMARC: {
    source: "message",
    reads: sender,
    async run({ authentication, read }) {
      const { dmarc } = await authentication(senderOf(read));
      return { DMARCResult: dmarc.result, DMARCPolicy: dmarc.policy ?? "none" };
    },
  },
  checkARC: {
    source: "message",
    reads: sender,
    run: async ({ authentication, read }) => ({ ARCResult: (await authentication(senderOf(read))).arc.result }),
  },
  checkBIMI: {
    source: "message",
    reads: sender,
    async run({ authentication, ctx, message, read }) {
      const all = await authentication(senderOf(read));
      const fields = await readHeader(message(), ctx.budget);
      const { location, result } = await checkBimi(fields, all, ctx);
      return { BIMIResult: result, BIMILocation: location };
    },
  },
  checkDomainKey: {
    source: "message",
    reads: [],
    async run({ ctx, message, services }) {
      if (services.domainKeys !== true) return { DomainKeyResult: "none" };
      const read = await readMessage(message(), ctx.budget);
      return { DomainKeyResult: (await verifyDomainKeys(read, ctx)).result };
    },
  },
};

async function isExempt(
  sender: Sender,
  { skip = [], skipSpfPass = false }: GreylistSettings,
  spf: Asked["spf"],
): Promise<boolean> {
  const address = parseAddress(sender.ip);
  if (address !== undefined && skip.some((network) => inNetwork(address, network))) return true;
  return skipSpfPass && (await spf(sender)).result === "pass";
}

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
