/**
 * Every predefined variable of the smtpFilters language (smtpfilters.md §5), where a script may read or set it, and the
 * spellings that are accepted for it. One row says everything; checker, lowering, runtime and reference pages read it.
 * Invariants: a name has at most one row with access in an event; names are compared without case.
 */
import { type AccessMap, at, incoming, processing, reports, since } from "./events.ts";
import type { EventName } from "./types.ts";

/** vendor: seen in the original's documents or output. dname: the behaviour is, the spelling is chosen here. ours: added. */
export type Origin = "vendor" | "dname" | "ours";

export type ValueType =
  | { kind: "text" | "ip" | "hostname" }
  | { kind: "numeric"; min: number; max: number; unit?: string }
  | { kind: "choice"; values: readonly string[]; aliases?: Readonly<Record<string, string>> }
  /** Words divided by blanks. */
  | { kind: "words"; values?: readonly string[] }
  /** Several strings; a test is true when it holds for one of them. */
  | { kind: "values" };

export interface VariableRow {
  name: string;
  type: ValueType;
  access: AccessMap;
  /** Value at the beginning of a session of its context. */
  default: string;
  /** How long a value stays: until changed, for one transaction, for one event, or for one report. */
  lifetime: "session" | "message" | "command" | "report";
  doc: string;
  source: string;
  origin: Origin;
  /** Set in onRcptTo it overrides this recipient's route (smtpfilters.md §8.1), wherever it is read from. */
  route?: true;
  /** Predefined method that fills it. */
  producer?: string;
  /** Computed at the first reading after its inputs changed (§5.4). */
  lazy?: string;
  /** `%name%` of these stays a placeholder when the target is this variable's template (§8.3). */
  template?: readonly string[];
}

const text: ValueType = { kind: "text" };
const ip: ValueType = { kind: "ip" };
const hostname: ValueType = { kind: "hostname" };
const yesNo: ValueType = { kind: "choice", values: ["yes", "no"] };
const delivery: ValueType = { kind: "choice", values: ["all", "auth", "none"] };
const port: ValueType = { kind: "numeric", min: 0, max: 65_535 };
const count: ValueType = { kind: "numeric", min: 0, max: 4_294_967_295 };
const mechanisms: ValueType = {
  kind: "words",
  values: ["plain", "login", "cram-md5", "digest-md5", "gssapi", "scram-sha-256", "all", "none"],
};

const spfResults = ["pass", "fail", "softfail", "neutral", "none", "temperror", "permerror"];

type RowOptions = Partial<Omit<VariableRow, "name" | "type" | "access" | "doc">>;

function row(name: string, type: ValueType, access: AccessMap, doc: string, options: RowOptions = {}): VariableRow {
  return { name, type, access, doc, default: "", lifetime: "session", source: "§5", origin: "vendor", ...options };
}

/** An engine switch or limit: set until the envelope is complete, readable to the end of the session (§5.3). */
function setting(
  name: string,
  type: ValueType,
  value: string,
  last: EventName,
  doc: string,
  origin: Origin = "vendor",
) {
  const settable = incoming.slice(1, incoming.indexOf(last) + 1);
  return row(name, type, { ...since("onEhlo", "ro"), ...at(settable, "rw") }, doc, {
    default: value,
    source: "§5.3",
    origin,
  });
}

function certificate(name: string, type: ValueType, doc: string, value = "") {
  return row(`clientCert${name}`, type, since("onConnect", "ro"), doc, {
    source: "ours",
    origin: "ours",
    default: value,
  });
}

export const variables: readonly VariableRow[] = [
  // §5.1 connection and session
  row("smtpPort", port, since("onConnect", "ro"), "Local port that the client reached.", { source: "§5.1" }),
  row("smtpIp", ip, since("onConnect", "ro"), "Local address that the client reached.", { source: "§5.1" }),
  row("remoteSmtpPort", port, since("onConnect", "ro"), "The client's port.", { source: "§5.1", route: true }),
  row("remoteSmtpIp", ip, since("onConnect", "ro"), "The client's address.", { source: "§5.1" }),
  row("isSSLConnection", yesNo, since("onConnect", "ro"), "Whether the connection is encrypted.", { source: "§5.1" }),
  certificate(
    "Verified",
    yesNo,
    "Whether the client showed a certificate that chains to the listener's clientCa.",
    "no",
  ),
  certificate("Subject", text, "Subject of the client's certificate; proves nothing unless it is verified."),
  certificate("Issuer", text, "Issuer of the client's certificate; proves nothing unless it is verified."),
  certificate("Fingerprint", text, "SHA-256 of the client's certificate, `AB:CD:…`; proves who holds its key."),
  row("ehloHost", hostname, since("onEhlo", "ro"), "Name that the client gave in EHLO or HELO.", { source: "§5.1" }),
  row("isESMTP", yesNo, since("onEhlo", "ro"), "yes for EHLO, no for HELO.", { source: "§5.1" }),
  row("authUser", text, since("onMailFrom", "ro"), "Authenticated user; empty without AUTH.", {
    source: "§5.1",
    route: true,
  }),
  row("mailCount", count, since("onMailFrom", "ro"), "Messages received in this session.", {
    source: "§5.1",
    default: "0",
  }),
  row("totalMailSize", count, since("onMailFrom", "ro"), "Octets of all messages of this session.", {
    source: "§5.1",
    default: "0",
  }),
  row("smtpGreeting", text, { onConnect: "wo" }, "Text of the 220 greeting.", { source: "§5.1", lifetime: "command" }),
  row(
    "smtpAction",
    {
      kind: "choice",
      values: ["accept", "reject", "tmpreject", "discard"],
      aliases: { tempreject: "tmpreject" },
    },
    { ...since("onConnect", "wo"), onProcessing: "wo" },
    "What to do with the current command; empty leaves it to the engine.",
    { source: "§7.1", lifetime: "command" },
  ),
  row(
    "smtpExplanation",
    text,
    { ...since("onConnect", "wo"), onProcessing: "wo" },
    "Reply text that goes with smtpAction; may begin with a reply code of the right class.",
    { source: "§7.1", lifetime: "command" },
  ),
  // §5.2 envelope
  row("mailFrom", text, { ...since("onMailFrom", "ro"), ...at(processing, "ro") }, "Envelope sender; empty for <>.", {
    lifetime: "message",
    source: "§5.2",
    origin: "dname",
  }),
  row("mailFromDomain", text, { ...since("onMailFrom", "ro"), ...at(processing, "ro") }, "Domain of the sender.", {
    lifetime: "message",
    source: "§5.2",
  }),
  row("mailFromUser", text, { ...since("onMailFrom", "ro"), ...at(processing, "ro") }, "Local part of the sender.", {
    lifetime: "message",
    source: "§5.2",
    origin: "dname",
  }),
  row("rcptTo", text, { onRcptTo: "ro", onRelay: "ro" }, "The recipient at hand.", {
    lifetime: "message",
    source: "§5.2",
    origin: "dname",
  }),
  row("rcptToDomain", text, { onRcptTo: "ro", onRelay: "ro" }, "Domain of the recipient at hand.", {
    lifetime: "message",
    source: "§5.2",
    origin: "dname",
  }),
  row("rcptToUser", text, { onRcptTo: "ro", onRelay: "ro" }, "Local part of the recipient at hand.", {
    lifetime: "message",
    source: "§5.2",
    origin: "dname",
  }),
  row("rcptCount", count, since("onRcptTo", "ro"), "Recipients accepted so far.", {
    lifetime: "message",
    source: "§5.2",
    origin: "dname",
    default: "0",
  }),
  row("isLocalRcpt", yesNo, { onRcptTo: "ro" }, "Whether the recipient's domain is served here.", {
    lifetime: "message",
    source: "§5.2",
    origin: "dname",
  }),
  row(
    "mailSize",
    { ...count, unit: "octets" },
    { ...since("onMailFrom", "ro"), onProcessing: "ro" },
    "Size the client declared (SIZE=), and the real size from onDataReceived on.",
    { lifetime: "message", source: "§5.2", origin: "dname", default: "0" },
  ),
  // §5.3 limits and switches
  setting("maxDataSize", { ...count, unit: "KiB" }, "10240", "onRcptTo", "Largest message; SIZE = value × 1024."),
  setting("maxReceivedHeaders", count, "30", "onRcptTo", "A message with more Received fields is looping."),
  setting("maxRcptCount", { kind: "numeric", min: 0, max: 1000 }, "1000", "onRcptTo", "Recipients for each message."),
  setting("localDelivery", delivery, "all", "onRcptTo", "Who may send to local recipients."),
  setting("remoteDelivery", delivery, "auth", "onRcptTo", "Who may send to other recipients (relay)."),
  setting("allow8bitMime", yesNo, "yes", "onEhlo", "Offer 8BITMIME."),
  setting("allowBinaryData", yesNo, "yes", "onEhlo", "Offer BINARYMIME and CHUNKING."),
  setting("allowPipelining", yesNo, "yes", "onEhlo", "Offer PIPELINING."),
  setting("allowDSN", yesNo, "no", "onEhlo", "Offer DSN and honour NOTIFY, RET and ENVID (RFC 3461)."),
  setting(
    "waitProcessingTimeout",
    { kind: "numeric", min: 0, max: 3_600, unit: "s" },
    "0",
    "onEhlo",
    "How long the reply to the message waits for the verdict of processing; 0 does not wait.",
  ),
  setting("secureConnAuthTypes", mechanisms, "all", "onEhlo", "AUTH mechanisms on encrypted connections.", "dname"),
  setting("plainConnAuthTypes", mechanisms, "all", "onEhlo", "AUTH mechanisms on plain connections.", "dname"),
  setting("secureConnAllowLogin", yesNo, "yes", "onEhlo", "Offer AUTH on encrypted connections.", "dname"),
  setting("plainConnAllowLogin", yesNo, "yes", "onEhlo", "Offer AUTH on plain connections.", "dname"),
  row(
    "allowStartTLS",
    yesNo,
    { ...since("onEhlo", "ro"), onEhlo: "rw", onRelay: "rw" },
    "Incoming: offer STARTTLS. In onRelay: use STARTTLS when the next hop offers it.",
    { default: "yes", source: "§5.3, §5.6" },
  ),
  // §5.4 country filter; allowedCountries_N and bannedCountries_N are `geoList` below
  row("isGeoIPBanned", yesNo, since("onConnect", "ro"), "Verdict of the country filter.", {
    source: "§5.4",
    lazy: "checkGeoIP",
    default: "no",
  }),
  row("GeoIPResult", text, since("onConnect", "ro"), "Country of the client, two letters; empty when unknown.", {
    source: "§5.4",
    lazy: "checkGeoIP",
  }),
  row(
    "GeoIPASN",
    { kind: "numeric", min: 0, max: 4_294_967_295 },
    since("onConnect", "ro"),
    "Autonomous system that the client's address belongs to; 0 when unknown.",
    { source: "ours", origin: "ours", lazy: "checkGeoIP", default: "0" },
  ),
  row("GeoIPASNName", text, since("onConnect", "ro"), "Who runs that autonomous system.", {
    source: "ours",
    origin: "ours",
    lazy: "checkGeoIP",
  }),
  // §5.5 results of checks
  row("DNSBLServer", hostname, { ...since("onConnect", "ro"), onConnect: "wo" }, "Zone that checkDNSBL asks.", {
    source: "§5.5",
  }),
  row("DNSBLResult", ip, since("onConnect", "ro"), "Address that the list answered; empty when not listed.", {
    source: "§5.5",
    producer: "checkDNSBL",
  }),
  row("DNSBLExplanation", text, since("onConnect", "ro"), "Text that goes with DNSBLResult.", {
    source: "§5.5",
    producer: "checkDNSBL",
  }),
  row(
    "DNSListScore",
    { kind: "numeric", min: -1_000_000, max: 1_000_000 },
    since("onConnect", "ro"),
    "Sum of the weights of the lists that name the client.",
    { source: "ours", producer: "checkDNSLists", origin: "ours", default: "0" },
  ),
  row("DNSListHits", text, since("onConnect", "ro"), "Lists that name the client, divided by blanks.", {
    source: "ours",
    producer: "checkDNSLists",
    origin: "ours",
  }),
  row(
    "URIListHits",
    text,
    { onDataReceived: "ro", onProcessing: "ro" },
    "Listed domains and addresses that the message links to, divided by blanks.",
    { lifetime: "message", source: "ours", producer: "checkURILists", origin: "ours" },
  ),
  row("SPFResult", { kind: "choice", values: spfResults }, since("onEhlo", "ro"), "Result of checkSPF (RFC 7208).", {
    source: "§5.5",
    producer: "checkSPF",
  }),
  row("SPFExplanation", text, since("onEhlo", "ro"), "Explanation of the SPF result.", {
    source: "§5.5",
    producer: "checkSPF",
  }),
  row("SPFHeader", text, since("onEhlo", "ro"), "Value for a Received-SPF field.", {
    source: "§5.5",
    producer: "checkSPF",
  }),
  row(
    "ReverseDNSResult",
    { kind: "choice", values: ["pass", "neutral", "fail", "error"] },
    since("onConnect", "ro"),
    "pass: the client's name leads back to it; neutral: it doesn't; fail: there is no name.",
    { source: "§5.5", producer: "checkReverseDNS" },
  ),
  row("ReverseDNSName", hostname, since("onConnect", "ro"), "The client's name by DNS; empty when there is none.", {
    source: "ours",
    producer: "checkReverseDNS",
    origin: "ours",
  }),
  row(
    "SenderMXCheckResult",
    { kind: "choice", values: ["pass", "neutral", "fail", "error"] },
    since("onMailFrom", "ro"),
    "fail: the sender's domain has no MX.",
    { lifetime: "message", source: "§5.5", producer: "checkSenderMX" },
  ),
  row(
    "GreylistResult",
    { kind: "choice", values: ["pass", "defer"] },
    since("onRcptTo", "ro"),
    "defer: client, sender and recipient are seen for the first time.",
    { lifetime: "message", source: "§7.6", producer: "checkGreylist", origin: "ours" },
  ),
  row(
    "DKIMResult",
    { kind: "choice", values: ["pass", "fail", "none", "neutral", "policy", "temperror", "permerror"] },
    { onDataReceived: "ro", onProcessing: "ro" },
    "Result of checkDKIM (RFC 6376).",
    { lifetime: "message", source: "§5.8", producer: "checkDKIM", origin: "dname" },
  ),
  row("DomainKeyResult", text, { onDataReceived: "ro", onProcessing: "ro" }, "Result of checkDomainKey.", {
    lifetime: "message",
    source: "§5.8",
    producer: "checkDomainKey",
    origin: "dname",
  }),
  row(
    "DMARCResult",
    { kind: "choice", values: ["pass", "fail", "none", "temperror", "permerror"] },
    { onDataReceived: "ro", onProcessing: "ro" },
    "Result of checkDMARC (RFC 9989).",
    { lifetime: "message", source: "ours", producer: "checkDMARC", origin: "ours" },
  ),
  row(
    "DMARCPolicy",
    { kind: "choice", values: ["none", "quarantine", "reject"] },
    { onDataReceived: "ro", onProcessing: "ro" },
    "What the domain asks for when DMARC fails.",
    { lifetime: "message", source: "ours", producer: "checkDMARC", origin: "ours" },
  ),
  row(
    "ARCResult",
    { kind: "choice", values: ["pass", "fail", "none", "temperror", "permerror"] },
    { onDataReceived: "ro", onProcessing: "ro" },
    "Result of checkARC (RFC 8617).",
    { lifetime: "message", source: "ours", producer: "checkARC", origin: "ours" },
  ),
  row(
    "BIMIResult",
    { kind: "choice", values: ["pass", "fail", "none", "temperror"] },
    { onProcessing: "ro" },
    "Result of checkBIMI.",
    { lifetime: "message", source: "§5.8", producer: "checkBIMI", origin: "dname" },
  ),
  row("BIMILocation", text, { onProcessing: "ro" }, "Address of the indicator that checkBIMI found.", {
    lifetime: "message",
    source: "ours",
    producer: "checkBIMI",
    origin: "ours",
  }),
  // §5.6 outgoing; in onRcptTo a route override for the recipient at hand (§8.1)
  row(
    "remoteSmtpHost",
    text,
    { onRcptTo: "rw", onRelay: "rw" },
    "Next hop: a name or a bracketed address; empty delivers by MX.",
    { source: "§5.6", route: true },
  ),
  row("remoteSmtpPort", port, { onRelay: "rw" }, "Port of the next hop.", {
    source: "§5.6",
    default: "25",
    route: true,
  }),
  row("sslEnabled", yesNo, { onRcptTo: "rw", onRelay: "rw" }, "TLS from the first byte.", {
    source: "§5.6",
    default: "no",
    route: true,
  }),
  row(
    "allowedSSLVersions",
    { kind: "words", values: ["ssl2", "ssl3", "tls1", "tls11", "tls12", "tls13"] },
    { onRcptTo: "rw", onRelay: "rw" },
    "TLS versions to the next hop; empty leaves it to the engine.",
    { source: "§5.6", route: true },
  ),
  row("authUser", text, { onRelay: "rw" }, "User name at the next hop.", {
    source: "§5.6",
    origin: "dname",
    route: true,
  }),
  row("authPass", text, { onRcptTo: "rw", onRelay: "rw" }, "Password at the next hop.", {
    source: "§5.6",
    origin: "dname",
    route: true,
  }),
  row("authTypes", mechanisms, { onRcptTo: "rw", onRelay: "rw" }, "AUTH mechanisms to use at the next hop.", {
    source: "§5.6",
    origin: "dname",
    route: true,
  }),
  row("localSmtpIp", ip, { onRcptTo: "rw", onRelay: "rw" }, "Source address of the connection to the next hop.", {
    source: "§5.6",
    origin: "dname",
    route: true,
  }),
  // §5.7 reports
  row("ndrRetryCount", count, at(reports, "ro"), "Attempts made, the failed one included.", { source: "§5.7" }),
  row("ndrRemainingRetryCount", count, at(reports, "ro"), "Attempts left.", { source: "§5.7" }),
  row("ndrRescheduleDate", text, { onTemporaryDeliveryFailure: "ro" }, "Date of the next attempt.", { source: "§5.7" }),
  row("ndrRcptAddress", text, at(reports, "ro"), "A failed recipient.", { source: "§5.7" }),
  row("ndrRcptFailInfo", text, at(reports, "ro"), "Why the delivery to that recipient failed.", { source: "§5.7" }),
  row(
    "ndrAttachSource",
    {
      kind: "choice",
      values: ["none", "header", "mail"],
      aliases: { message: "mail", full: "mail" },
    },
    at(reports, "wo"),
    "How much of the original message the report carries.",
    { source: "§5.7", lifetime: "report", default: "header" },
  ),
  row("ndrSender", text, at(reports, "wo"), "From of the report.", { source: "§5.7", lifetime: "report" }),
  row("ndrSubject", text, at(reports, "wo"), "Subject of the report.", { source: "§5.7", lifetime: "report" }),
  row("ndrMessage", text, at(reports, "wo"), "How the report begins.", { source: "§5.7", lifetime: "report" }),
  row("ndrRcptMessage", text, at(reports, "wo"), "Repeated for each failed recipient.", {
    source: "§5.7",
    lifetime: "report",
    template: ["ndrRcptAddress", "ndrRcptFailInfo"],
  }),
  row("ndrMessageFooter", text, at(reports, "wo"), "How the report ends.", { source: "§5.7", lifetime: "report" }),
  row("sendNdr", yesNo, at(reports, "wo"), "Whether to send it: yes for a permanent failure, no for a temporary one.", {
    source: "§5.7",
    lifetime: "report",
    default: "yes",
  }),
  row("dsnSender", text, { onDeliverySuccess: "wo" }, "From of the notice.", { source: "§5.7", lifetime: "report" }),
  row("dsnSubject", text, { onDeliverySuccess: "wo" }, "Subject of the notice.", {
    source: "§5.7",
    lifetime: "report",
  }),
  row("dsnMessage", text, { onDeliverySuccess: "wo" }, "How the notice begins.", {
    source: "§5.7",
    lifetime: "report",
  }),
  row("dsnRcptMessage", text, { onDeliverySuccess: "wo" }, "Repeated for each recipient.", {
    source: "§5.7",
    lifetime: "report",
    template: ["dsnRcptAddress", "dsnRcptStatus"],
  }),
  row("dsnMessageFooter", text, { onDeliverySuccess: "wo" }, "How the notice ends.", {
    source: "§5.7",
    lifetime: "report",
  }),
  row("dsnRcptAddress", text, { onDeliverySuccess: "ro" }, "A recipient.", { source: "§5.7" }),
  row("dsnRcptStatus", text, { onDeliverySuccess: "ro" }, "delivered or relayed.", { source: "§5.7" }),
  // §6, §5.8 inputs of predefined methods
  row("headerName", text, at(["onHeadersReceived", "onDataReceived", "onProcessing"], "wo"), "Field name to act on.", {
    source: "§6",
    origin: "dname",
    lifetime: "command",
  }),
  row("headerValue", text, at(["onHeadersReceived", "onDataReceived", "onProcessing"], "wo"), "Field value to write.", {
    source: "§6",
    origin: "dname",
    lifetime: "command",
  }),
  row("rcptAddress", text, since("onRcptTo", "wo"), "Recipient that addRcpt and discardRcpt act on.", {
    source: "§6",
    origin: "dname",
    lifetime: "command",
  }),
  ...["DKKeyPath", "DKSelector", "DKIMKeyPath", "DKIMSelector", "DKIMDomain"].map((name) =>
    row(name, text, at(["onDataReceived", "onRelay", "onProcessing"], "rw"), "Input of the signing method.", {
      source: "§5.8",
      origin: name === "DKIMDomain" ? "ours" : "dname",
    }),
  ),
  ...["filterName", "filterAddress"].map((name) =>
    row(name, text, { ...since("onConnect", "rw"), onProcessing: "rw" }, "Input of addMilterFilter.", {
      source: "§5.8, G16",
      origin: "dname",
    }),
  ),
  row(
    "filterTimeout",
    { kind: "numeric", min: 1, max: 3_600, unit: "s" },
    { ...since("onConnect", "rw"), onProcessing: "rw" },
    "Input of addMilterFilter.",
    { source: "§5.8, G16", origin: "dname", default: "60" },
  ),
  row(
    "filterResult",
    { kind: "choice", values: ["accept", "reject", "tmpreject", "discard"] },
    { ...since("onConnect", "ro"), onProcessing: "ro" },
    "Verdict of executeFilters; empty when the filters had no objection.",
    { lifetime: "message", source: "G16", origin: "ours", producer: "executeFilters" },
  ),
  row("filterExplanation", text, { ...since("onConnect", "ro"), onProcessing: "ro" }, "Reply text of the filter.", {
    lifetime: "message",
    source: "G16",
    origin: "ours",
    producer: "executeFilters",
  }),
  row("filterVirus", text, at(["onDataReceived", "onProcessing"], "ro"), "Virus that a scanner found.", {
    lifetime: "message",
    source: "ours",
    origin: "ours",
    producer: "executeFilters",
  }),
  row(
    "filterSpamLevel",
    { kind: "numeric", min: 0, max: 10 },
    at(["onDataReceived", "onProcessing"], "ro"),
    "Highest level that a scanner gave: 1 clean, 10 certain spam, 0 not scored.",
    { lifetime: "message", source: "ours", origin: "ours", producer: "executeFilters", default: "0" },
  ),
  row("filterSymbols", text, at(["onDataReceived", "onProcessing"], "ro"), "Rules that scanners named, by commas.", {
    lifetime: "message",
    source: "ours",
    origin: "ours",
    producer: "executeFilters",
  }),
  // ours: what a message holds
  row(
    "attachmentNames",
    { kind: "values" },
    at(["onDataReceived", "onProcessing"], "ro"),
    "File names of attachments.",
    {
      source: "ours",
      origin: "ours",
    },
  ),
  row("attachmentTypes", { kind: "values" }, at(["onDataReceived", "onProcessing"], "ro"), "Types of attachments.", {
    source: "ours",
    origin: "ours",
  }),
  row("mimeTypes", { kind: "values" }, at(["onDataReceived", "onProcessing"], "ro"), "Types of all MIME parts.", {
    source: "ours",
    origin: "ours",
  }),
];

/** allowedCountries_0, bannedCountries_12…: lists of the country filter (§5.4). */
export const geoList = /^(allowed|banned)Countries_(\d{1,6})$/i;
export const geoListRow: VariableRow = row(
  "allowedCountries_N, bannedCountries_N",
  { kind: "words" },
  since("onConnect", "rw"),
  "Country lists (ISO 3166 codes) of check N; empty lists restrict nothing.",
  { source: "§5.4" },
);

/** Spellings that are accepted for a canonical name; where reading and setting differ, both are given. */
export const aliases: Readonly<Record<string, { read: string; write: string }>> = Object.fromEntries(
  (
    [
      ["currentRcpt", "rcptTo"],
      ["recipient", "rcptTo"],
      ["rcpt", "rcptTo", "rcptAddress"],
      ["currentRcptDomain", "rcptToDomain"],
      ["rcptDomain", "rcptToDomain"],
      ["recipientDomain", "rcptToDomain"],
      ["currentRcptUser", "rcptToUser"],
      ["hdrName", "headerName"],
      ["header", "headerName"],
      ["hdrValue", "headerValue"],
      ["value", "headerValue"],
    ] as const
  ).map(([alias, read, write]) => [alias.toLowerCase(), { read, write: write ?? read }]),
);
