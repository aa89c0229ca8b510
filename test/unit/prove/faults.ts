/**
 * Faults of our own making: each a small edit of a shipped policy that makes it wrong, with the theorem that must find it.
 * `assert` finds stand for the assertion that the shipped policy makes.
 */
export interface Fault {
  name: string;
  script: "default" | "inbound-mx" | "smart-host";
  /** Text that occurs in the script, and what stands there instead. */
  from: string;
  to: string;
  /** Methods behind the script. */
  more?: string;
  /** Id of a theorem, or the begin of an assertion. */
  found: string;
}

const dnsblAsserted = "assert never accept when not DNSBLResult";
const spfAsserted = "assert never accept when SPFResult";
const dmarcAsserted = "assert always refuse when DMARCResult";
const quarantineAsserted = "assert never deliver when DMARCResult";
const senderAsserted = "assert never accept when not mailFromDomain";

const atRelay = '  set (remoteDelivery, "auth");\n';
const ehloOf = (rule: string): { from: string; to: string } => ({ from: atRelay, to: `${atRelay}  ${rule}\n` });
const eventBefore = (text: string, event: string): { from: string; to: string } => ({
  from: text,
  to: `${event}\n\n${text}`,
});

export const faults: readonly Fault[] = [
  {
    name: "relay opened to all",
    script: "default",
    from: 'set (remoteDelivery, "auth")',
    to: 'set (remoteDelivery, "all")',
    found: "no-open-relay",
  },
  {
    name: "relay for a greeting name",
    script: "default",
    ...ehloOf('if (isCase (ehloHost, "trusted.example")) { set (remoteDelivery, "all"); }'),
    found: "no-open-relay",
  },
  {
    name: "relay for a network as large as the Internet",
    script: "default",
    ...ehloOf('if (ipRange (remoteSmtpIp, "10.0.0.0/0")) { set (remoteDelivery, "all"); }'),
    found: "no-open-relay",
  },
  {
    name: "relay for encrypted connections",
    script: "default",
    ...ehloOf('if (is (isSSLConnection, "yes")) { set (remoteDelivery, "all"); }'),
    found: "no-open-relay",
  },
  {
    name: "relay for a country",
    script: "default",
    ...ehloOf('if (is (GeoIPResult, "DE")) { set (remoteDelivery, "all"); }'),
    found: "no-open-relay",
  },
  {
    name: "relay for a sender's word",
    script: "default",
    ...eventBefore(
      "event onDeliveryFailure {",
      'event onMailFrom { if (inDomain (mailFromDomain, "example.org")) { set (remoteDelivery, "all"); } }',
    ),
    found: "no-open-relay",
  },
  {
    name: "relay for a partner stays open for the next recipient",
    script: "default",
    ...eventBefore(
      "event onDeliveryFailure {",
      'event onRcptTo { if (isCase (rcptToDomain, "partner.example")) { set (remoteDelivery, "all"); } }',
    ),
    found: "no-open-relay",
  },
  {
    name: "relay for recipients that only look like a partner",
    script: "default",
    ...eventBefore(
      "event onDeliveryFailure {",
      'event onRcptTo { if (containsCase (rcptTo, "partner")) { set (remoteDelivery, "all"); } }',
    ),
    found: "no-open-relay",
  },
  {
    name: "AUTH opened without TLS",
    script: "default",
    ...ehloOf('set (plainConnAllowLogin, "yes");'),
    found: "no-clear-text-auth",
  },
  {
    name: "a condition between two neighbouring numbers",
    script: "default",
    from: 'anyOf (is (ndrRetryCount, "4"))',
    to: 'allOf (greaterThan (ndrRetryCount, "4"), lessThan (ndrRetryCount, "5"))',
    found: "rules-reachable",
  },
  {
    name: "a number in words",
    script: "default",
    from: 'is (ndrRetryCount, "4")',
    to: 'is (ndrRetryCount, "four")',
    found: "rules-reachable",
  },
  {
    name: "a setting set again further down",
    script: "default",
    from: 'set (ndrAttachSource, "header");',
    to: 'set (ndrAttachSource, "header");\n  set (ndrAttachSource, "none");',
    found: "no-dead-write",
  },
  {
    name: "relay opened behind all checks",
    script: "inbound-mx",
    from: 'set (remoteDelivery, "auth")',
    to: 'set (remoteDelivery, "all")',
    found: "no-open-relay",
  },
  {
    name: "users checked, strangers not",
    script: "inbound-mx",
    from: 'if (is (authUser, "")) {\n    call (Block_List)',
    to: 'if (not (is (authUser, ""))) {\n    call (Block_List)',
    found: dnsblAsserted,
  },
  {
    name: "block list rule not called",
    script: "inbound-mx",
    from: "    call (Block_List);\n",
    to: "",
    found: dnsblAsserted,
  },
  {
    name: "block list rule the wrong way round",
    script: "inbound-mx",
    from: 'not (is (DNSBLResult, ""))',
    to: 'is (DNSBLResult, "")',
    found: dnsblAsserted,
  },
  {
    name: "block list not asked",
    script: "inbound-mx",
    from: "  call (checkDNSBL) onError ignore;\n",
    to: "",
    found: "rules-reachable",
  },
  {
    name: "SPF not asked",
    script: "inbound-mx",
    from: "  call (checkSPF) onError tmpreject;\n",
    to: "",
    found: "rules-reachable",
  },
  {
    name: "SPF failure without consequence",
    script: "inbound-mx",
    from: '    set (smtpAction, "reject");\n    set (smtpExplanation, "550 5.7.23',
    to: '    set (smtpExplanation, "550 5.7.23',
    found: spfAsserted,
  },
  {
    name: "reports to senders that SPF calls forged",
    script: "inbound-mx",
    from: '    set (smtpAction, "reject");\n    set (smtpExplanation, "550 5.7.23',
    to: '    set (smtpExplanation, "550 5.7.23',
    found: "no-backscatter",
  },
  {
    name: "a result that SPF never gives",
    script: "inbound-mx",
    from: 'is (SPFResult, "fail")',
    to: 'is (SPFResult, "failed")',
    found: "rules-reachable",
  },
  {
    name: "a later rule that accepts what SPF refused",
    script: "inbound-mx",
    from: "    call (SPF);\n",
    to: '    call (SPF);\n    set (smtpAction, "accept");\n',
    found: spfAsserted,
  },
  {
    name: "refusals always overwritten",
    script: "inbound-mx",
    from: "    call (SPF);\n",
    to: '    call (SPF);\n    set (smtpAction, "accept");\n',
    found: "no-dead-write",
  },
  {
    name: "no onError",
    script: "inbound-mx",
    from: "call (checkDMARC) onError ignore",
    to: "call (checkDMARC)",
    found: "safe-when-checks-fail",
  },
  {
    name: "DMARC reject accepted",
    script: "inbound-mx",
    from: '    set (smtpAction, "reject");\n    set (smtpExplanation, "550 5.7.1 Refused',
    to: '    set (smtpAction, "accept");\n    set (smtpExplanation, "250 2.6.0 Refused',
    found: dmarcAsserted,
  },
  {
    name: "DMARC rule that asks for both policies at once",
    script: "inbound-mx",
    from: 'is (DMARCPolicy, "reject"))',
    to: 'is (DMARCPolicy, "reject"), is (DMARCPolicy, "quarantine"))',
    found: "rules-reachable",
  },
  {
    name: "quarantine forgotten",
    script: "inbound-mx",
    from: '    quarantine ("DMARC");\n',
    to: '    tag ("DMARC");\n',
    found: quarantineAsserted,
  },
  {
    name: "greylisting waits for a word that never comes",
    script: "inbound-mx",
    from: 'is (GreylistResult, "defer")',
    to: 'is (GreylistResult, "deferred")',
    found: "rules-reachable",
  },
  {
    name: "refused after it was accepted",
    script: "inbound-mx",
    ...eventBefore(
      "event onDataReceived {",
      'event onProcessing {\n  call (checkDKIM) onError ignore;\n  if (is (DKIMResult, "fail")) { set (smtpAction, "reject"); }\n}',
    ),
    found: "no-backscatter",
  },
  {
    name: "mail passes when the filter is down",
    script: "inbound-mx",
    from: "  call (DMARC);\n",
    to: "  call (DMARC);\n  call (executeFilters) onError accept;\n",
    found: "virus-never-delivered",
  },
  {
    name: "the filter's verdict overwritten",
    script: "inbound-mx",
    from: "  call (DMARC);\n",
    to: '  call (executeFilters) onError tmpreject;\n  set (smtpAction, "accept");\n  call (DMARC);\n',
    found: "virus-never-delivered",
  },
  {
    name: "printers' network without bits",
    script: "smart-host",
    from: "192.168.20.0/255.255.255.0",
    to: "192.168.20.0/0.0.0.0",
    found: "no-open-relay",
  },
  {
    name: "all but the printers",
    script: "smart-host",
    from: "anyOf (ipRange (remoteSmtpIp",
    to: "not (ipRange (remoteSmtpIp",
    found: "no-open-relay",
  },
  {
    name: "a second range by mistake",
    script: "smart-host",
    from: '"192.168.20.0/255.255.255.0"))',
    to: '"192.168.20.0/255.255.255.0"), ipRange (remoteSmtpIp, "192.0.2.0-203.0.113.255"))',
    found: "no-open-relay",
  },
  { name: "any sender", script: "smart-host", from: "  call (Own_Senders);\n", to: "", found: senderAsserted },
  {
    name: "senders of look-alike domains",
    script: "smart-host",
    from: 'isCase (mailFromDomain, "example.org")',
    to: 'containsCase (mailFromDomain, "example.org")',
    found: senderAsserted,
  },
  {
    name: "relay left open after the partner",
    script: "smart-host",
    from: '    set (remoteSmtpHost, "[192.0.2.25]");',
    to: '    set (remoteDelivery, "all");\n    set (remoteSmtpHost, "[192.0.2.25]");',
    found: "no-open-relay",
  },
  {
    name: "relay opened in a method of a method",
    script: "default",
    ...ehloOf("call (Trust);"),
    more: 'method Trust { call (Inner); } method Inner { if (matchCase (ehloHost, "^mail[0-9]+\\.")) { set (remoteDelivery, "all"); } }',
    found: "no-open-relay",
  },
  {
    name: "relay for senders of a list",
    script: "default",
    ...eventBefore(
      "event onDeliveryFailure {",
      'event onMailFrom { if (inList (mailFromDomain, "file:friends.txt")) { set (remoteDelivery, "all"); } }',
    ),
    found: "no-open-relay",
  },
  {
    name: "relay from the second recipient on",
    script: "default",
    ...eventBefore(
      "event onDeliveryFailure {",
      'event onRcptTo { if (greaterThan (rcptCount, "0")) { set (remoteDelivery, "all"); } }',
    ),
    found: "no-open-relay",
  },
  {
    name: "mechanisms opened without TLS for one client's name",
    script: "default",
    ...ehloOf(
      'if (isCase (ehloHost, "old-printer")) { set (plainConnAuthTypes, "plain"); set (plainConnAllowLogin, "yes"); }',
    ),
    found: "no-clear-text-auth",
  },
  {
    name: "SPF pass forgives the block list",
    script: "inbound-mx",
    from: "    call (SPF);\n",
    to: '    call (SPF);\n    if (is (SPFResult, "pass")) { set (smtpAction, "accept"); }\n',
    found: dnsblAsserted,
  },
  {
    name: "a later method takes back what the block list refused",
    script: "inbound-mx",
    from: "    call (SPF);\n",
    to: "    call (SPF);\n    call (Partners);\n",
    more: 'method Partners { if (inDomain (mailFromDomain, "partner.example")) { set (smtpAction, "accept"); } }',
    found: dnsblAsserted,
  },
  {
    name: "a check without an answer accepts",
    script: "inbound-mx",
    from: "call (checkSPF) onError tmpreject",
    to: "call (checkSPF) onError accept",
    found: dnsblAsserted,
  },
  {
    name: "block list for IPv4 only",
    script: "inbound-mx",
    from: "    call (Block_List);\n",
    to: '    if (contains (remoteSmtpIp, ".")) { call (Block_List); }\n',
    found: dnsblAsserted,
  },
  {
    name: "senders who call themselves ours pass",
    script: "inbound-mx",
    from: "    call (SPF);\n",
    to: '    call (SPF);\n    if (matchCase (mailFrom, "@example\\.org$")) { set (smtpAction, "accept"); }\n',
    found: spfAsserted,
  },
  {
    name: "a header of the message's own switches DMARC off",
    script: "inbound-mx",
    from: "  call (DMARC);\n",
    to: '  call (DMARC);\n  if (contains (header ("X-Trusted"), "yes")) { set (smtpAction, "accept"); }\n',
    found: dmarcAsserted,
  },
  {
    name: "an exception by a header that anybody can write",
    script: "inbound-mx",
    from: 'if (allOf (is (DMARCResult, "fail"), is (DMARCPolicy, "reject")))',
    to: 'if (allOf (is (DMARCResult, "fail"), is (DMARCPolicy, "reject"), not (contains (header ("List-Id"), "friends"))))',
    found: dmarcAsserted,
  },
  {
    name: "the wrong policy refused",
    script: "inbound-mx",
    from: 'is (DMARCPolicy, "reject"))',
    to: 'not (is (DMARCPolicy, "reject")))',
    found: dmarcAsserted,
  },
  {
    name: "a filter that says discard is passed over",
    script: "inbound-mx",
    from: "  call (DMARC);\n",
    to: '  call (executeFilters) onError tmpreject;\n  if (is (filterResult, "discard")) { set (smtpAction, "accept"); }\n  call (DMARC);\n',
    found: "virus-never-delivered",
  },
  {
    name: "a filter's failure ignored",
    script: "inbound-mx",
    from: "  call (DMARC);\n",
    to: "  call (executeFilters) onError ignore;\n  call (DMARC);\n",
    found: "virus-never-delivered",
  },
  {
    name: "words of the subject refused after the message was taken",
    script: "inbound-mx",
    ...eventBefore(
      "event onDataReceived {",
      'event onProcessing {\n  if (containsCase (header ("Subject"), "viagra")) { set (smtpAction, "reject"); }\n}',
    ),
    found: "no-backscatter",
  },
  {
    name: "senders by a pattern without anchors",
    script: "smart-host",
    from: 'isCase (mailFromDomain, "example.org")',
    to: 'matchCase (mailFromDomain, "example.org")',
    found: senderAsserted,
  },
  {
    name: "senders by a pattern with one anchor",
    script: "smart-host",
    from: 'isCase (mailFromDomain, "example.org")',
    to: 'matchCase (mailFromDomain, "example\\.org$")',
    found: senderAsserted,
  },
  {
    name: "senders looked at on encrypted connections only",
    script: "smart-host",
    from: "  call (Own_Senders);\n",
    to: '  if (is (isSSLConnection, "yes")) { call (Own_Senders); }\n',
    found: senderAsserted,
  },
  {
    name: "the route that onRelay chose set again",
    script: "smart-host",
    from: "  call (Smart_Host);\n",
    to: '  call (Smart_Host);\n  set (remoteSmtpHost, "backup.example");\n',
    found: "no-dead-write",
  },
  {
    name: "a route for a destination that is never relayed to",
    script: "smart-host",
    from: 'anyOf (is (remoteSmtpHost, ""))',
    to: 'allOf (is (remoteSmtpHost, ""), is (rcptToDomain, ""))',
    found: "rules-reachable",
  },
  {
    name: "relay for addresses with 10. somewhere in them",
    script: "default",
    ...ehloOf('if (contains (remoteSmtpIp, "10.")) { set (remoteDelivery, "all"); }'),
    found: "no-open-relay",
  },
  {
    name: "relay on all ports but one",
    script: "default",
    ...ehloOf('if (not (is (smtpPort, "25"))) { set (remoteDelivery, "all"); }'),
    found: "no-open-relay",
  },
];
