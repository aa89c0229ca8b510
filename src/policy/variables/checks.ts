/** Variables that checks fill (smtpfilters.md §5.5). */
import { since } from "../events.ts";
import { hostname, ip, row, text, type VariableRow } from "./row.ts";

const spfResults = ["pass", "fail", "softfail", "neutral", "none", "temperror", "permerror"];

export const checkVariables: readonly VariableRow[] = [
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
];
