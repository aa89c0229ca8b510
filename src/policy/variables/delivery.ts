/** Variables of the way out: routes, reports (smtpfilters.md §5.6, §5.7), inputs of predefined methods, and what a message holds. */
import { at, reports, since } from "../events.ts";
import { count, ip, mechanisms, port, row, text, type VariableRow, yesNo } from "./row.ts";

export const deliveryVariables: readonly VariableRow[] = [
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
