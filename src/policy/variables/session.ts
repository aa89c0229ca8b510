/** Variables of the session and its envelope (smtpfilters.md §5.1–§5.4): who connects, who writes to whom, limits and switches. */
import { at, incoming, processing, since } from "../events.ts";
import type { EventName } from "../types.ts";
import {
  count,
  delivery,
  hostname,
  ip,
  mechanisms,
  type Origin,
  port,
  row,
  text,
  type ValueType,
  type VariableRow,
  yesNo,
} from "./row.ts";

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

export const sessionVariables: readonly VariableRow[] = [
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
];
