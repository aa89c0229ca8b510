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
    "u@[192.000.002.001]",
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
    "a@[256.1.1.1]",
    "a@[0001.1.1.1]",
    "a@[1.1.1]",
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

/** RFC 5321 §4.1.2 and §4.1.3, production by production. */
const chars = (set: string, minLength: number, maxLength: number) =>
  fc.string({ unit: fc.constantFrom(...set), minLength, maxLength });
const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
const letDig = `${letters}0123456789`;
const atom = chars(`${letDig}!#$%&'*+-/=?^_\`{|}~`, 1, 12);
const dotString = fc.array(atom, { minLength: 1, maxLength: 4 }).map((atoms) => atoms.join("."));
const printable = Array.from({ length: 95 }, (_, i) => String.fromCharCode(32 + i));
const qcontent = fc.oneof(
  fc.constantFrom(...printable.filter((char) => char !== '"' && char !== "\\")),
  fc.constantFrom(...printable).map((char) => `\\${char}`),
);
const quotedString = fc.array(qcontent, { minLength: 1, maxLength: 20 }).map((parts) => `"${parts.join("")}"`);
const subDomain = fc
  .tuple(chars(letDig, 1, 1), chars(`${letDig}-`, 0, 20), chars(letDig, 1, 1))
  .map((parts) => parts.join(""))
  // Hyphens in third and fourth place are A-labels, which have rules of their own (RFC 5891 §4.2.3.1).
  .filter((label) => label.slice(2, 4) !== "--");
const domain = fc.array(subDomain, { minLength: 1, maxLength: 4 }).map((labels) => labels.join("."));
const snum = fc.integer({ min: 0, max: 255 }).map(String);
const ipv4 = fc.tuple(snum, snum, snum, snum).map((parts) => parts.join("."));
const hex = chars("0123456789abcdefABCDEF", 1, 4);
const groups = (count: number) => fc.array(hex, { minLength: count, maxLength: count }).map((parts) => parts.join(":"));
const upTo = (count: number) => fc.integer({ min: 0, max: count }).chain(groups);
const compressed = (total: number) =>
  fc.integer({ min: 0, max: total }).chain((left) => fc.tuple(groups(left), upTo(total - left)));
const ipv6 = fc.oneof(
  groups(8),
  compressed(6).map(([left, right]) => `${left}::${right}`),
  fc.tuple(groups(6), ipv4).map(([left, right]) => `${left}:${right}`),
  fc.tuple(compressed(4), ipv4).map(([[left, right], last]) => `${left}::${right === "" ? "" : `${right}:`}${last}`),
);
const dcontent = printable.filter((char) => !" [\\]".includes(char)).join("");
const literal = fc.oneof(
  ipv4,
  ipv6.map((address) => `IPv6:${address}`),
  fc
    .tuple(chars(letDig, 3, 8), chars(dcontent, 1, 20))
    .map(([tag, content]) => `${tag}:${content}`)
    .filter((text) => !/^IPv6:/i.test(text)),
);
const mailbox = fc
  .tuple(
    fc.oneof(dotString, quotedString),
    fc.oneof(
      domain,
      literal.map((text) => `[${text}]`),
    ),
  )
  .filter(([local, host]) => local.length <= 64 && local.length + host.length <= 253);

test("every mailbox of the grammar is accepted, with and without a source route, and comes out as it went in", () => {
  fc.assert(
    fc.property(mailbox, fc.array(domain, { maxLength: 2 }), ([local, host], hops) => {
      const address = `${local}@${host}`;
      assert.deepEqual(checkMailbox(address), { ok: true }, address);
      const route = hops.length === 0 ? "" : `${hops.map((hop) => `@${hop}`).join(",")}:`;
      if (route.length + address.length > 254) return;
      const path = `<${route}${address}>`;
      assert.deepEqual(readPath(path, 0), { ok: true, path: { address, utf8: false }, end: path.length });
    }),
    { numRuns: 500 },
  );
});

test("one character that the production excludes makes any mailbox wrong", () => {
  const special = fc.constantFrom(...'()<>[]:;@\\, "', "\r", "\n", "\0", "\x7f", "\t");
  fc.assert(
    fc.property(dotString, domain, special, fc.nat(), (local, host, char, at) => {
      fc.pre(local.length < 64);
      const place = at % (local.length + 1);
      const spoilt = `${local.slice(0, place)}${char}${local.slice(place)}@${host}`;
      assert.equal(checkMailbox(spoilt).ok, false, JSON.stringify(spoilt));
      const end = at % (host.length + 1);
      const elsewhere = `${local}@${host.slice(0, end)}${char}${host.slice(end)}`;
      assert.equal(checkMailbox(elsewhere).ok, false, JSON.stringify(elsewhere));
    }),
    { numRuns: 500 },
  );
});

test("limits of RFC 5321 §4.5.3.1, at and past each", () => {
  const label = "l".repeat(63);
  const longDomain = `${`${label}.`.repeat(3)}${"l".repeat(61)}`;
  assert.equal(isDomain(longDomain), true); // 253 octets
  assert.equal(isDomain(`${longDomain}.x`), true); // 255
  assert.equal(isDomain(`${longDomain}.xx`), false);
  assert.equal(isDomain(`${label}l.test`), false);
  const quoted = (length: number): string => `"${"q".repeat(length - 2)}"@x.test`;
  assert.equal(checkMailbox(quoted(64)).ok, true);
  assert.equal(checkMailbox(quoted(65)).ok, false);
  const path = (octets: number): string => `<${"l".repeat(64)}@${"d.".repeat(90)}${"e".repeat(octets - 247)}>`;
  assert.equal(path(256).length, 256);
  assert.equal(readPath(path(256), 0).ok, true);
  assert.equal(readPath(path(257), 0).ok, false);
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
