/**
 * What the smtpFilters language knows by name beside variables: predefined methods, comparators and actions
 * (smtpfilters.md §6, §9). Tables; checker, lowering, runtime and reference pages read them.
 */
import type { Fold, MatchKind } from "../language/ir.ts";
import { eventNames, incoming } from "./events.ts";
import type { EventName } from "./types.ts";
import type { Origin } from "./variables.ts";

export interface MethodRow {
  name: string;
  /** lookup: asks for a fact; effect: acts on the message; none: accepted and without effect. */
  kind: "lookup" | "effect" | "none";
  reads: readonly string[];
  writes: readonly string[];
  events: readonly EventName[];
  cost: "none" | "memory" | "dns" | "message" | "scanner";
  /** Values of `writes` when the answer can't be had. */
  failure: Readonly<Record<string, string>>;
  /** What happens to the mail then when the script doesn't say. */
  onError: OnError;
  /** Output variables that become smtpAction and smtpExplanation when the first is not empty. */
  verdict?: readonly [action: string, explanation: string];
  doc: string;
  source: string;
  origin: Origin;
}

export type OnError = "ignore" | "accept" | "reject" | "tmpreject";
export const onErrorWords: readonly OnError[] = ["accept", "reject", "tmpreject", "ignore"];

export interface ComparatorRow {
  name: string;
  how: MatchKind;
  fold: Fold;
  doc: string;
  origin: Origin;
}

export interface ActionRow {
  name: string;
  argument: "text" | "seconds" | "address";
  events: readonly EventName[];
  doc: string;
}

const edits = ["onHeadersReceived", "onDataReceived", "onProcessing"] as const;
const envelopeEdits = incoming.slice(incoming.indexOf("onRcptTo"));
const whole = ["onDataReceived", "onProcessing"] as const;

function effect(name: string, reads: string[], events: readonly EventName[], doc: string, origin: Origin = "vendor") {
  const base = { kind: "effect", writes: [], cost: "none", failure: {}, onError: "ignore", source: "§6" } as const;
  return { ...base, name, reads, events, doc, origin } satisfies MethodRow;
}

function lookup(
  name: string,
  events: readonly EventName[],
  cost: MethodRow["cost"],
  reads: readonly string[],
  failure: Record<string, string>,
  doc: string,
  options: Partial<MethodRow> = {},
): MethodRow {
  const base = { kind: "lookup", onError: "ignore", source: "§6", origin: "vendor" } as const;
  return { ...base, name, reads, writes: Object.keys(failure), events, cost, failure, doc, ...options };
}

export const methods: readonly MethodRow[] = [
  lookup(
    "checkSPF",
    incoming.slice(1),
    "dns",
    ["remoteSmtpIp", "ehloHost", "mailFrom"],
    { SPFResult: "temperror", SPFExplanation: "SPF could not be checked", SPFHeader: "" },
    "SPF (RFC 7208): the HELO identity in onEhlo, the MAIL FROM identity later.",
  ),
  lookup(
    "checkReverseDNS",
    incoming,
    "dns",
    ["remoteSmtpIp"],
    { ReverseDNSResult: "error", ReverseDNSName: "" },
    "Asks for the client's name and whether it leads back to the client.",
  ),
  lookup(
    "checkDNSBL",
    incoming,
    "dns",
    ["remoteSmtpIp", "DNSBLServer", "authUser"],
    { DNSBLResult: "", DNSBLExplanation: "" },
    "Asks one DNS block list; call it again with another DNSBLServer for more.",
  ),
  lookup(
    "checkDNSLists",
    incoming,
    "dns",
    ["remoteSmtpIp", "authUser"],
    { DNSListScore: "0", DNSListHits: "" },
    "Asks all lists of the configuration (dnsLists) at once.",
    { origin: "ours", source: "ours" },
  ),
  lookup(
    "checkURILists",
    whole,
    "message",
    [],
    { URIListHits: "" },
    "Asks the configured lists of domains about what the message's text links to.",
    { origin: "ours", source: "ours" },
  ),
  lookup(
    "checkSenderMX",
    incoming.slice(2),
    "dns",
    ["mailFromDomain"],
    { SenderMXCheckResult: "error" },
    "Whether the sender's domain has an MX; a null sender passes.",
    { origin: "dname" },
  ),
  lookup(
    "checkGeoIP",
    incoming,
    "memory",
    ["remoteSmtpIp"],
    { isGeoIPBanned: "no", GeoIPResult: "", GeoIPASN: "0", GeoIPASNName: "" },
    "Country and network of the client; the country against the lists set last. Happens by itself when a result is read.",
    { origin: "dname", source: "§5.4" },
  ),
  lookup(
    "checkGreylist",
    incoming.slice(3),
    "memory",
    ["remoteSmtpIp", "mailFrom", "rcptTo", "authUser"],
    { GreylistResult: "pass" },
    "Whether client, sender and recipient were seen before; authenticated clients pass.",
    { origin: "ours", source: "§7.6" },
  ),
  lookup("checkDKIM", whole, "message", [], { DKIMResult: "temperror" }, "Verifies DKIM signatures (RFC 6376).", {
    origin: "dname",
    source: "§5.8",
  }),
  lookup(
    "checkDMARC",
    whole,
    "message",
    ["remoteSmtpIp", "ehloHost", "mailFrom"],
    { DMARCResult: "temperror", DMARCPolicy: "none" },
    "Evaluates DMARC (RFC 9989) over SPF and DKIM.",
    { origin: "ours", source: "ours" },
  ),
  lookup(
    "checkDomainKey",
    whole,
    "message",
    [],
    { DomainKeyResult: "temperror" },
    "Verifies a DomainKeys signature (RFC 4870), where the configuration still allows it.",
    { origin: "dname", source: "§5.8" },
  ),
  lookup("checkARC", whole, "message", [], { ARCResult: "temperror" }, "Verifies the ARC chain (RFC 8617).", {
    origin: "ours",
    source: "ours",
  }),
  lookup(
    "checkBIMI",
    ["onProcessing"],
    "message",
    [],
    { BIMIResult: "temperror", BIMILocation: "" },
    "Looks for the BIMI record of an author whose DMARC policy passes and is enforced.",
    { origin: "dname", source: "§5.8" },
  ),
  lookup(
    "executeFilters",
    [...incoming, "onProcessing"],
    "scanner",
    [],
    { filterResult: "", filterExplanation: "", filterVirus: "", filterSpamLevel: "0", filterSymbols: "" },
    "Runs the filters named by addMilterFilter; their verdict becomes smtpAction.",
    {
      onError: "tmpreject",
      verdict: ["filterResult", "filterExplanation"],
      origin: "dname",
      source: "§5.8, G16",
    },
  ),
  effect(
    "addMilterFilter",
    ["filterName", "filterAddress", "filterTimeout"],
    [...incoming, "onProcessing"],
    "Names a filter for executeFilters: a milter at inet:port@host or unix:path, or scanner:<name> of the configuration.",
    "dname",
  ),
  effect("addHeader", ["headerName", "headerValue"], edits, "Adds a field."),
  effect("addIfNotExistsHeader", ["headerName", "headerValue"], edits, "Adds a field unless there is one."),
  effect("removeFirstHeader", ["headerName"], edits, "Deletes the first field of that name."),
  effect("removeHeader", ["headerName"], edits, "Deletes all fields of that name."),
  effect("modifyHeader", ["headerName", "headerValue"], edits, "Replaces the value; adds the field if missing."),
  effect("modifyIfExistsHeader", ["headerName", "headerValue"], edits, "Replaces the value only if there is a field."),
  effect("addRcpt", ["rcptAddress"], envelopeEdits, "Adds an envelope recipient."),
  effect(
    "discardRcpt",
    ["rcptAddress", "rcptTo"],
    envelopeEdits,
    "Drops an envelope recipient, the current one unless rcptAddress is set; the reply stays positive.",
  ),
  effect(
    "signDKIM",
    ["DKIMDomain", "DKIMSelector", "DKIMKeyPath"],
    ["onDataReceived", "onRelay", "onProcessing"],
    "Signs the message (RFC 6376).",
    "dname",
  ),
  {
    ...effect(
      "signDomainKey",
      [],
      ["onDataReceived", "onRelay", "onProcessing"],
      "Without effect: DomainKeys is historic (RFC 4870 → RFC 6376).",
      "dname",
    ),
    kind: "none",
  },
];

/** `is` and friends compare exactly, their …Case twins ignore case (§9.2): the one switch for that reading is `folded`. */
const exact: Fold = "octet";
const folded: Fold = "unicode";

export const comparators: readonly ComparatorRow[] = [
  { name: "is", how: "is", fold: exact, doc: "Equal, case counts.", origin: "vendor" },
  { name: "isCase", how: "is", fold: folded, doc: "Equal, case ignored.", origin: "vendor" },
  { name: "contains", how: "contains", fold: exact, doc: "Occurs within, case counts.", origin: "dname" },
  { name: "containsCase", how: "contains", fold: folded, doc: "Occurs within, case ignored.", origin: "dname" },
  { name: "match", how: "regex", fold: exact, doc: "Unanchored regular expression, case counts.", origin: "dname" },
  {
    name: "matchCase",
    how: "regex",
    fold: folded,
    doc: "Unanchored regular expression, case ignored.",
    origin: "dname",
  },
  { name: "greaterThan", how: "gt", fold: "integer", doc: "Greater as a whole number.", origin: "vendor" },
  { name: "lessThan", how: "lt", fold: "integer", doc: "Less as a whole number.", origin: "dname" },
  {
    name: "ipRange",
    how: "cidr",
    fold: "octet",
    doc: "Address within: addr, addr/bits, addr/netmask, a-b; several divided by blanks or commas.",
    origin: "vendor",
  },
  { name: "inDomain", how: "domain", fold: "ascii", doc: "The domain or a subdomain of it.", origin: "ours" },
];

/** Tests that are not comparators. */
export const otherTests: ReadonlyArray<{ name: string; usage: string; doc: string }> = [
  { name: "inList", usage: 'inList (variable, "file:name")', doc: "The value is in a list." },
  { name: "rate", usage: 'rate ("key", "100/1h")', doc: "Counts a hit for the key; true once it is over the limit." },
];

const held = [...incoming.slice(incoming.indexOf("onMailFrom")), "onProcessing"] as const;

export const actions: readonly ActionRow[] = [
  { name: "quarantine", argument: "text", events: held, doc: "Accepts the message and keeps it in quarantine." },
  { name: "hold", argument: "text", events: held, doc: "Accepts the message and holds it in the queue." },
  {
    name: "delay",
    argument: "seconds",
    events: incoming.slice(incoming.indexOf("onMailFrom")),
    doc: "Accepts the message and keeps it in the queue so long before anything is done with it.",
  },
  { name: "addBcc", argument: "address", events: [...envelopeEdits, "onProcessing"], doc: "Adds a blind copy." },
  { name: "tag", argument: "text", events: held, doc: "Marks the message; the mark shows in logs and operations." },
  { name: "log", argument: "text", events: eventNames, doc: "Writes a line to the log." },
];

/** Longest `delay`, in seconds: a week, after which senders think a message lost. */
export const maxDelaySeconds = 7 * 24 * 3_600;
