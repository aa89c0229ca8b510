import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { checkMailbox, isDomain, readPath } from "../../../src/smtp/incoming/address.ts";
import { type Command, parseCommand } from "../../../src/smtp/incoming/commands.ts";
import { decodeXtext } from "../../../src/smtp/incoming/parameters.ts";
import { formatReply } from "../../../src/smtp/incoming/reply.ts";

function mail(line: string): Command & { verb: "MAIL" } {
  const command = parseCommand(line);
  assert.equal(command.verb, "MAIL", line);
  return command as Command & { verb: "MAIL" };
}

function refusedCode(line: string): number {
  const command = parseCommand(line);
  return command.verb === "invalid" ? command.code : 0;
}

test("mailboxes by RFC 5321", () => {
  const good = [
    "user@example.org",
    "first.last+tag@example.org",
    '"john doe"@example.org',
    '"a\\"b"@example.org',
    '"a@b"@example.org',
    "u@[192.0.2.1]",
    "u@[IPv6:2001:db8::1]",
    "u@localhost",
    `${"l".repeat(64)}@example.org`,
    "jürgen@bücher.example",
  ];
  for (const address of good) assert.deepEqual(checkMailbox(address), { ok: true }, address);
  const bad = [
    "user",
    "@example.org",
    "a..b@example.org",
    ".a@example.org",
    "a.@example.org",
    "a b@example.org",
    '"open@example.org',
    '""@example.org',
    "a@-x.org",
    "a@x-.org",
    "a@x..org",
    "a@[300.1.1.1]",
    "a@[IPv6:1::2::3]",
    "a@xn---",
    "a(comment)@example.org",
    `${"l".repeat(65)}@example.org`,
    `a@${"d".repeat(64)}.org`,
    `a@${"label.".repeat(42)}example`,
    "a@b\r\nc",
    "a\0@b",
  ];
  for (const address of bad) assert.equal(checkMailbox(address).ok, false, address);
});

test("lengths are octets, not characters", () => {
  assert.equal(checkMailbox(`${"é".repeat(32)}@example.org`).ok, true);
  assert.equal(checkMailbox(`${"é".repeat(33)}@example.org`).ok, false);
});

test("source routes are read and dropped; the null path and a bare postmaster are well-formed", () => {
  assert.deepEqual(readPath("<@one.test,@two.test:bob@three.test>", 0), {
    ok: true,
    path: { address: "bob@three.test", utf8: false },
    end: 36,
  });
  assert.equal(readPath("<@one.test,two.test:bob@three.test>", 0).ok, false);
  const hops = (count: number): string => `<${Array(count).fill("@hop.test").join(",")}:bob@three.test>`;
  assert.equal(readPath(hops(23), 0).ok, true);
  assert.equal(readPath(hops(26), 0).ok, false);
  assert.equal(mail("MAIL FROM:<>").path.address, "");
  assert.equal(parseCommand("RCPT TO:<Postmaster>").verb, "RCPT");
  assert.equal(readPath('<"a>b"@x.test>', 0).ok, true);
});

test("path reading never throws and accepts only checked mailboxes", () => {
  fc.assert(
    fc.property(fc.string({ maxLength: 80, unit: "binary" }), (text) => {
      const read = readPath(text, 0);
      if (!read.ok || read.path.address === "" || read.path.address.toLowerCase() === "postmaster") return;
      assert.equal(checkMailbox(read.path.address).ok, true);
      assert.doesNotMatch(read.path.address, /[\x00-\x1f]/);
    }),
    { numRuns: 300, seed: 1 },
  );
});

test("MAIL parameters: each value as its RFC says", () => {
  const full = mail(
    "MAIL FROM:<a@b.test> SIZE=1000 BODY=8BITMIME SMTPUTF8 REQUIRETLS RET=HDRS ENVID=a+2Bb BY=120;NT MT-PRIORITY=-4 AUTH=<>",
  );
  assert.deepEqual(full.parameters, {
    size: 1000,
    body: "8BITMIME",
    smtpUtf8: true,
    requireTls: true,
    ret: "HDRS",
    envid: "a+b",
    by: { seconds: 120, mode: "N", trace: true },
    priority: -4,
    auth: "",
  });
  assert.equal(mail("MAIL FROM:<a@b.test> HOLDUNTIL=2030-01-01T00:00:00Z").parameters.holdUntil, Date.UTC(2030, 0));
  const bad = [
    "SIZE=-1",
    "SIZE=x",
    "SIZE=",
    "BODY=9BIT",
    "SMTPUTF8=yes",
    "RET=SOME",
    "ENVID=a+0D+0Ab",
    "ENVID=a+b",
    "BY=1",
    "HOLDFOR=1 HOLDUNTIL=2030-01-01T00:00:00Z",
    "HOLDUNTIL=tomorrow",
    "MT-PRIORITY=10",
    "SIZE=1 SIZE=2",
    "A_B=1",
  ];
  for (const parameter of bad) assert.equal(refusedCode(`MAIL FROM:<a@b.test> ${parameter}`), 501, parameter);
  assert.equal(refusedCode("MAIL FROM:<a@b.test> FOO=bar"), 555);
  assert.deepEqual(mail("MAIL FROM:<a@b.test> MTRK=x:10").parameters.unsupported, ["MTRK"]);
});

test("RCPT parameters", () => {
  const command = parseCommand("RCPT TO:<a@b.test> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;a+2Bx@b.test");
  assert.equal(command.verb, "RCPT");
  assert.deepEqual((command as Command & { verb: "RCPT" }).parameters, {
    notify: ["SUCCESS", "FAILURE"],
    orcpt: "rfc822;a+x@b.test",
  });
  for (const parameter of ["NOTIFY=NEVER,DELAY", "NOTIFY=X", "ORCPT=a", "ORCPT=rfc822;a+0Ab"]) {
    assert.equal(refusedCode(`RCPT TO:<a@b.test> ${parameter}`), 501, parameter);
  }
});

test("command words: case, blanks, arguments where none may be, other protocols", () => {
  assert.equal(parseCommand("mail from:<a@b.test>  ").verb, "MAIL");
  assert.deepEqual(parseCommand("bdat 10 last"), { verb: "BDAT", size: 10, last: true });
  for (const line of ["DATA now", "RSET x", "EHLO", "EHLO a b", "BDAT", "BDAT -1", "BDAT 1e3", "AUTH", "MAIL a@b"]) {
    assert.equal(refusedCode(line), 501, line);
  }
  assert.equal(refusedCode("BDAT 99999999999999999999"), 501);
  assert.equal(refusedCode("GET / HTTP/1.1"), 502);
  assert.equal(refusedCode("toString"), 500);
  assert.equal(refusedCode("MAIL FROM:<a@b..c>"), 553);
});

test("xtext: only what RFC 3461 allows", () => {
  assert.equal(decodeXtext("a+2Bb"), "a+b");
  for (const bad of ["a+2b", "a=b", "a b", "+", "a+ZZ"]) assert.equal(decodeXtext(bad), undefined, bad);
});

test("replies can't be broken out of, are folded, and are ASCII unless asked otherwise", () => {
  assert.equal(formatReply(550, "5.1.1", "no\r\n250 yes"), "550-5.1.1 no\r\n550 5.1.1 250 yes\r\n");
  assert.equal(formatReply(550, "5.1.1", "grün\x07"), "550 5.1.1 gr?n \r\n");
  assert.equal(formatReply(550, "5.1.1", "grün", true), "550 5.1.1 grün\r\n");
  for (const line of formatReply(250, "2.0.0", "x".repeat(2_000)).split("\r\n")) assert.ok(line.length <= 510);
  assert.equal(formatReply(250, "", ""), "250 \r\n");
});

test("any line gives a command, never an exception", () => {
  const line = fc.string({ maxLength: 100, unit: "binary" });
  const verb = fc.constantFrom("MAIL FROM:", "RCPT TO:<", "BDAT ", "AUTH ", "EHLO ", "VRFY ", "");
  fc.assert(
    fc.property(verb, line, (word, rest) => {
      assert.equal(typeof parseCommand(word + rest).verb, "string");
    }),
    { numRuns: 500, seed: 2 },
  );
});

test("domains: underscore tolerated, empty labels and bad literals not", () => {
  assert.equal(isDomain("_dmarc.example.org"), true);
  for (const bad of ["", ".", "a.", "[1.2.3]", "[", "a b"]) assert.equal(isDomain(bad), false, bad);
});
