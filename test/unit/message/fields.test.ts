import assert from "node:assert/strict";
import { test } from "node:test";
import { BudgetExceeded, budgetWith } from "../../../src/config/budget.ts";
import { mailboxesOf, parseAddresses } from "../../../src/message/addresses.ts";
import { formatDate, parseDate } from "../../../src/message/date.ts";
import { editHeaders, editOfEffect, foldField, type HeaderEdit } from "../../../src/message/edit.ts";
import { decodeWords, encodeWords } from "../../../src/message/encoded-word.ts";
import { HeaderScanner } from "../../../src/message/header-scanner.ts";
import { parseParameterized } from "../../../src/message/parameters.ts";
import { buildReceived } from "../../../src/message/received.ts";

const budget = budgetWith();

const addressCases: Array<[string, Array<[string, string]>]> = [
  ["a@b.example", [["", "a@b.example"]]],
  [
    '"Doe, J." <j@x.example>, k@y.example (Kay)',
    [
      ["Doe, J.", "j@x.example"],
      ["Kay", "k@y.example"],
    ],
  ],
  ["=?utf-8?q?J=C3=BCrgen?= <j@x>", [["Jürgen", "j@x"]]],
  // An encoded word can't add an address.
  ["=?utf-8?q?a=40evil=2C?= <j@x>", [["a@evil,", "j@x"]]],
  ["<@r1,@r2:user@host.example>", [["", "user@host.example"]]],
  ['"odd local"@x.example', [["", '"odd local"@x.example']]],
  ["Pete(A nice \\) chap) <pete(his account)@silly.test(his host)>", [["Pete", "pete@silly.test"]]],
  ["a @ b . example", [["", "a@b.example"]]],
  ["nobody", [["", "nobody"]]],
  [", ,a@b,,", [["", "a@b"]]],
  ["<>", [["", ""]]],
];
for (const [text, expected] of addressCases) {
  test(`addresses of ${text}`, () => {
    assert.deepEqual(
      mailboxesOf(parseAddresses(text)).map((m) => [m.name, m.address]),
      expected,
    );
  });
}

test("groups keep their name and members", () => {
  assert.deepEqual(parseAddresses("Team: a@b, C <c@d>;, e@f"), [
    {
      group: "Team",
      members: [
        { name: "", address: "a@b", local: "a", domain: "b" },
        { name: "C", address: "c@d", local: "c", domain: "d" },
      ],
    },
    { name: "", address: "e@f", local: "e", domain: "f" },
  ]);
  assert.deepEqual(parseAddresses("undisclosed-recipients:;"), [{ group: "undisclosed-recipients", members: [] }]);
});

test("an address list ends at its limit", () => {
  assert.equal(parseAddresses("a@b,".repeat(10_001)).length, 10_000);
});

test("dates, obsolete forms included", () => {
  const iso = (text: string) => {
    const date = parseDate(text);
    return date && new Date(date.epoch).toISOString();
  };
  assert.equal(iso("Fri, 21 Nov 1997 09:55:06 -0600"), "1997-11-21T15:55:06.000Z");
  assert.equal(iso("21 Nov 97 09:55:06 GMT"), "1997-11-21T09:55:06.000Z");
  assert.equal(
    iso("Thu,  13\r\n  Feb (c) 1969 23:32 -0330 (Newfoundland)".replace(/\r\n/, "")),
    "1969-02-14T03:02:00.000Z",
  );
  assert.equal(parseDate("1 Jan 2024 00:00:00 -0000")!.zoneUnknown, true);
  assert.equal(parseDate("1 Jan 2024 00:00:00 +0530")!.offset, 330);
  for (const bad of ["", "31 Feb 2024 00:00:00 +0000", "1 Foo 2024 00:00 GMT", "1 Jan 2024 25:00 GMT"])
    assert.equal(parseDate(bad), undefined);
  assert.equal(formatDate(Date.UTC(2024, 1, 3, 4, 5, 6)), "Sat, 3 Feb 2024 04:05:06 +0000");
});

test("encoded words: split characters join, output reads back within 75 characters a word", () => {
  assert.equal(decodeWords("=?utf-8?B?w6k=?= =?utf-8?Q?=C3?= =?utf-8?Q?=A9?= x"), "éé x");
  const text = "Grüße an die lange Liste der Empfängerinnen — ".repeat(4);
  const encoded = encodeWords(text);
  assert.ok(encoded.split(" ").every((word) => word.length <= 75));
  assert.equal(decodeWords(encoded), text);
});

const message = Buffer.from("A: 1\r\nB:  two\r\n\tfolded\r\na: 3\r\n\r\nbody");
const edited = (...edits: HeaderEdit[]) => {
  const { header, bodyStart } = editHeaders(message, edits, budget);
  assert.equal(message.subarray(bodyStart).toString(), "body");
  return header.toString();
};

test("header edits touch only their field", () => {
  assert.equal(edited(), "A: 1\r\nB:  two\r\n\tfolded\r\na: 3\r\n\r\n");
  assert.equal(
    edited(
      { op: "add", name: "X", value: "1", at: "top" },
      { op: "add", name: "Y", value: "2", at: "top" },
      { op: "add", name: "Z", value: "3", at: "bottom" },
    ),
    "X: 1\r\nY: 2\r\nA: 1\r\nB:  two\r\n\tfolded\r\na: 3\r\nZ: 3\r\n\r\n",
  );
  assert.equal(edited({ op: "remove", name: "A", which: 1 }), "B:  two\r\n\tfolded\r\na: 3\r\n\r\n");
  assert.equal(edited({ op: "remove", name: "A", which: -1 }), "A: 1\r\nB:  two\r\n\tfolded\r\n\r\n");
  assert.equal(edited({ op: "remove", name: "a", which: "all" }), "B:  two\r\n\tfolded\r\n\r\n");
  assert.equal(
    edited({ op: "modify", name: "B", value: "new", which: 1, missing: "add" }),
    "A: 1\r\nB: new\r\na: 3\r\n\r\n",
  );
  assert.equal(edited({ op: "modify", name: "C", value: "new", which: 1, missing: "skip" }), edited());
  assert.equal(edited({ op: "addIfMissing", name: "b", value: "x", at: "top" }), edited());
  assert.match(edited({ op: "modify", name: "C", value: "new", which: 1, missing: "add" }), /^C: new\r\nA: 1/);
});

test("line breaks in names and values can't make new fields", () => {
  assert.equal(
    edited({ op: "add", name: "X\r\nEvil", value: "1\r\nBcc: all@x", at: "top" }).split("\r\n")[0],
    "XEvil: 1 Bcc: all@x",
  );
});

test("policy effects become header edits, others none", () => {
  const effect = (kind: string) => editOfEffect({ kind, name: "A", value: "9" });
  assert.equal(edited(effect("addHeader")!).split("\r\n")[0], "A: 9");
  assert.equal(edited(effect("addIfNotExistsHeader")!), edited());
  assert.equal(edited(effect("modifyHeader")!).split("\r\n")[0], "A: 9");
  assert.equal(edited(effect("modifyIfExistsHeader")!).split("\r\n")[0], "A: 9");
  assert.equal(edited(effect("removeFirstHeader")!).match(/^a:/gim)?.length, 1);
  assert.equal(edited(effect("removeHeader")!).match(/^a:/gim), null);
  assert.equal(effect("delay"), undefined);
});

test("edits end at the budget", () => {
  const add: HeaderEdit = { op: "add", name: "X", value: "1", at: "top" };
  assert.throws(() => editHeaders(message, [add, add, add], budgetWith({ headerEdits: 2 })), BudgetExceeded);
  assert.throws(() => editHeaders(message, [add], budgetWith({ headerFields: 3 })), BudgetExceeded);
});

test("LF sections and sections without a blank line stay readable", () => {
  const lf = editHeaders(Buffer.from("A: 1\n\nbody"), [{ op: "add", name: "X", value: "1", at: "bottom" }], budget);
  assert.equal(lf.header.toString(), "A: 1\nX: 1\n\n");
  const open = editHeaders(Buffer.from("A: 1"), [{ op: "add", name: "X", value: "1", at: "bottom" }], budget);
  assert.equal(open.header.toString(), "A: 1\r\nX: 1\r\n\r\n");
});

test("fields fold at 78", () => {
  const lines = foldField("X-Long", "word ".repeat(60)).split("\r\n");
  assert.ok(lines.length > 3 && lines.every((line) => line.length <= 78));
  assert.ok(lines.slice(1).every((line) => line.startsWith(" ")));
  assert.equal(lines.join("").replace(/^X-Long: /, ""), "word ".repeat(60).trim());
});

test("the header scanner finds the blank line wherever chunks are cut", () => {
  for (const text of ["Received: a\r\nreceived: b\r\nTo: x\r\n\r\nbody\r\n\r\n", "Received: a\nReceived: b\n\nbody"]) {
    const bytes = Buffer.from(text);
    for (let size = 1; size <= bytes.length; size++) {
      const scanner = new HeaderScanner(budget);
      for (let at = 0; at < bytes.length; at += size) scanner.push(bytes.subarray(at, at + size));
      assert.equal(scanner.done, true);
      assert.equal(scanner.bytes.toString(), text.slice(0, text.indexOf("body")), `chunks of ${size}`);
      assert.equal(scanner.receivedCount, 2);
    }
  }
});

test("the header scanner stops at the budget", () => {
  const scanner = new HeaderScanner(budgetWith({ headerSection: 64 }));
  scanner.push(Buffer.alloc(60, 0x61));
  assert.throws(() => scanner.push(Buffer.alloc(10, 0x61)), BudgetExceeded);
});

test("our Received field holds nothing that ends a line or clause", () => {
  const client = {
    remoteIp: "2001:db8::1",
    remotePort: 1,
    localIp: "",
    localPort: 0,
    ehlo: "x\r\nEvil: 1;(",
    esmtp: true,
    tls: "TLSv1.3 AES",
    authUser: "",
    protocol: "ESMTPS",
    sessionId: "",
  };
  const field = buildReceived({
    client,
    hostName: "mx.example",
    queueId: "0F12BE",
    recipient: "b@x",
    remoteHost: "",
    now: 0,
  });
  assert.match(
    field,
    /^Received: from x\?\?Evil:\?1\?\? \(\[IPv6:2001:db8::1\]\)\r\n\t\(using TLSv1\.3 AES\)\r\n\tby mx\.example with ESMTPS id 0F12BE\r\n\tfor <b@x>;\r\n\tThu, 1 Jan 1970 00:00:00 \+0000\r\n$/,
  );
});

test("hostile texts cost time in proportion to their length", () => {
  const n = 50_000;
  const texts = [
    `<${'"\\"'.repeat(n)}`,
    `"${'\\"'.repeat(n)}`,
    "(".repeat(n),
    "<".repeat(n),
    "=?x?q?a ".repeat(n),
    "=?".repeat(n),
    " ".repeat(n),
    "\r\n".repeat(n),
    "@a:".repeat(n),
    `a;b="${"\\".repeat(n)}`,
    `a;${"b*1=%41;".repeat(n)}`,
  ];
  const began = performance.now();
  for (const text of texts) {
    parseAddresses(text);
    decodeWords(text);
    parseParameterized(text);
    foldField("X", text);
    parseDate(text);
  }
  assert.ok(performance.now() - began < 4_000, `${performance.now() - began} ms`);
});
