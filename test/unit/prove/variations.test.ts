/** Correct policies written in other ways give no false alarm, and classes that are hard to reach are not left out. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { proofOf, textOf } from "./lab.ts";

type Edit = readonly [from: string, to: string];

interface Variation {
  name: string;
  script: "default" | "inbound-mx" | "smart-host";
  edits: readonly Edit[];
  /** Methods behind the script. */
  more?: string;
  /** Begin of the theorems that the edit touches; all where it is left out. */
  wanted?: string;
}

/** Its author says that nobody relays; who lets some relay says so too. */
const noAssertion: Edit = ["# assert never relay when not authenticated and not trusted\n", ""];
const atRelay = '  set (remoteDelivery, "auth");\n';

const variations: readonly Variation[] = [
  {
    name: "the test for AUTH turned round",
    script: "inbound-mx",
    wanted: "assert never accept when SPF",
    edits: [
      [
        'if (is (authUser, "")) {\n    call (Block_List)',
        'if (not (not (is (authUser, "")))) {\n    call (Block_List)',
      ],
    ],
  },
  {
    name: "SPF by an anchored pattern",
    script: "inbound-mx",
    wanted: "assert never accept when SPF",
    edits: [['is (SPFResult, "fail")', 'match (SPFResult, "^fail$")']],
  },
  {
    name: "SPF refused in a method of a method",
    script: "inbound-mx",
    wanted: "assert never accept when SPF",
    edits: [["    call (SPF);\n", "    call (Sender_Checks);\n"]],
    more: "\nmethod Sender_Checks { call (SPF); }\n",
  },
  {
    name: "checks in another order",
    script: "inbound-mx",
    wanted: "assert never accept when SPF",
    edits: [
      [
        "    call (Block_List);\n    call (Sender_Domain);\n    call (SPF);\n",
        "    call (SPF);\n    call (Sender_Domain);\n    call (Block_List);\n",
      ],
    ],
  },
  {
    name: "refusing for now where nobody answers",
    script: "inbound-mx",
    wanted: "assert always",
    edits: [["call (checkDMARC) onError ignore", "call (checkDMARC) onError tmpreject"]],
  },
  {
    name: "a filter that is asked, down or not",
    script: "inbound-mx",
    wanted: "virus",
    edits: [["  call (DMARC);\n", "  call (executeFilters) onError tmpreject;\n  call (DMARC);\n"]],
  },
  {
    name: "both DMARC rules in the other order",
    script: "inbound-mx",
    wanted: "assert always",
    edits: [
      [
        'if (allOf (is (DMARCResult, "fail"), is (DMARCPolicy, "reject")))',
        'if (allOf (is (DMARCPolicy, "reject"), not (is (DMARCResult, "pass")), is (DMARCResult, "fail")))',
      ],
    ],
  },
  {
    name: "senders by a pattern with both anchors",
    script: "smart-host",
    edits: [['isCase (mailFromDomain, "example.org")', 'matchCase (mailFromDomain, "^example\\.org$")']],
  },
  {
    name: "a private network as an address range",
    script: "smart-host",
    edits: [["192.168.20.0/255.255.255.0", "192.168.20.0-192.168.20.255"]],
  },
  {
    name: "relay for a partner by name",
    script: "default",
    edits: [
      noAssertion,
      [
        "event onDeliveryFailure {",
        'event onRcptTo {\n  if (isCase (rcptToDomain, "partner.example")) { set (remoteDelivery, "all"); } else { set (remoteDelivery, "auth"); }\n}\n\nevent onDeliveryFailure {',
      ],
    ],
  },
  {
    name: "relay for clients of a list",
    script: "default",
    edits: [
      noAssertion,
      [atRelay, `${atRelay}  if (inList (remoteSmtpIp, "file:friends.txt")) { set (remoteDelivery, "all"); }\n`],
    ],
  },
  {
    name: "AUTH in clear text closed in words",
    script: "default",
    edits: [[atRelay, `${atRelay}  if (is (isSSLConnection, "no")) { set (plainConnAllowLogin, "no"); }\n`]],
  },
];

for (const { name, script, edits, more = "", wanted = "" } of variations) {
  test(`${script}.script, ${name}: no false alarm`, async () => {
    let source = textOf(script);
    for (const [from, to] of edits) {
      assert.ok(source.includes(from), from);
      source = source.replace(from, to);
    }
    const findings = await proofOf(source + more, { wanted });
    for (const { theorem, result, reason, line } of findings)
      assert.equal(result, "holds", `${theorem}: ${line} ${reason}`);
  });
}

/** What opens the relay, and what the session that shows it must have. */
const openings: ReadonlyArray<readonly [name: string, source: string, because: RegExp]> = [
  [
    "IPv6 clients",
    'event onEhlo { if (not (contains (remoteSmtpIp, "."))) { set (remoteDelivery, "all"); } }',
    /2001:db8::1/,
  ],
  [
    "a part of an address",
    'event onEhlo { if (contains (remoteSmtpIp, "10.")) { set (remoteDelivery, "all"); } }',
    /\d10\./,
  ],
  [
    "all ports but one",
    'event onEhlo { if (not (is (smtpPort, "25"))) { set (remoteDelivery, "all"); } }',
    /port is 6113/,
  ],
  [
    "ports without a digit",
    'event onEhlo { if (not (contains (smtpPort, "5"))) { set (remoteDelivery, "all"); } }',
    /port is/,
  ],
  [
    "two parts of a name",
    'event onEhlo { if (allOf (contains (ehloHost, "a1"), contains (ehloHost, "b2"))) { set (remoteDelivery, "all"); } }',
    /a1\.zq7\.b2/,
  ],
  [
    "a domain and a part of the whole address",
    'event onMailFrom { if (allOf (isCase (mailFromDomain, "bad.example"), contains (mailFrom, "boss"))) { set (remoteDelivery, "all"); } }',
    /<boss@bad\.example>/,
  ],
];

for (const [name, source, because] of openings) {
  test(`an open relay for ${name} is found`, async () => {
    const [finding] = await proofOf(source, { wanted: "no-open-relay" });
    assert.equal(finding!.result, "fails", finding!.reason);
    assert.match(finding!.because!.join(), because);
  });
}

test("what no text was found for is unknown, not proven", async () => {
  const wanted = "no-open-relay";
  const open = (condition: string): string => `event onEhlo { if (${condition}) { set (remoteDelivery, "all"); } }`;
  const [pattern] = await proofOf(open('match (remoteSmtpIp, "^10\\.")'), { wanted });
  assert.equal(pattern!.result, "unknown");
  assert.match(pattern!.reason, /no address was found for each combination .*ipRange tells them apart/);
});
