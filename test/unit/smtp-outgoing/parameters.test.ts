import assert from "node:assert/strict";
import { test } from "node:test";
import {
  type Host,
  type MailParameters,
  mailCommand,
  rcptCommand,
  xtext,
} from "../../../src/smtp/outgoing/parameters.ts";

const content = { size: 1_000, eightBit: false };
const mail: MailParameters = { mailFrom: "a@x.example", body: "7BIT", smtpUtf8: false, requireTls: false };

function host(...extensions: string[]): Host {
  const pairs = extensions.map((line) => [line.split(" ")[0]!, line.split(" ").slice(1).join(" ")] as const);
  return { extensions: new Map(pairs), lmtp: false, tlsVerified: false };
}

function codeOf(command: ReturnType<typeof mailCommand>): string {
  return typeof command === "string" ? command : `${command.code} ${command.enhanced}`;
}

test("a bare host gets bare commands", () => {
  const full: MailParameters = { ...mail, ret: "HDRS", envid: "id", priority: 3 };
  assert.equal(mailCommand(full, content, host()), "MAIL FROM:<a@x.example>");
  assert.equal(rcptCommand({ address: "b@y.example", notify: ["NEVER"] }, host()), "RCPT TO:<b@y.example>");
  assert.equal(mailCommand({ ...mail, mailFrom: "" }, content, host()), "MAIL FROM:<>");
});

test("SIZE, 8BITMIME, DSN, MT-PRIORITY and DELIVERBY are passed on where offered", () => {
  const full: MailParameters = { ...mail, ret: "FULL", envid: "a+b =c", priority: -2 };
  const able = host("SIZE 2000", "8BITMIME", "DSN", "MT-PRIORITY");
  assert.equal(
    mailCommand(full, { size: 1_000, eightBit: true }, able),
    "MAIL FROM:<a@x.example> SIZE=1000 BODY=8BITMIME RET=FULL ENVID=a+2Bb+20+3Dc MT-PRIORITY=-2",
  );
  const deliverBy = { deadline: Date.now() + 60_000, mode: "R", trace: true } as const;
  assert.match(codeOf(mailCommand({ ...mail, deliverBy }, content, host("DELIVERBY"))), / BY=60;RT$/);
  assert.equal(
    rcptCommand({ address: "b@y.example", notify: ["SUCCESS", "DELAY"], orcpt: "rfc822;b+c@y.example" }, able),
    "RCPT TO:<b@y.example> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;b+2Bc@y.example",
  );
});

test("what the host can't take is refused with the code of its RFC", () => {
  assert.equal(codeOf(mailCommand(mail, content, host("SIZE 999"))), "552 5.3.4");
  assert.equal(codeOf(mailCommand(mail, content, host("SIZE 0"))), "MAIL FROM:<a@x.example> SIZE=1000");
  assert.equal(codeOf(rcptCommand({ address: "jörg@y.example" }, host())), "553 5.6.7");
  assert.equal(codeOf(mailCommand({ ...mail, requireTls: true }, content, host("REQUIRETLS"))), "550 5.7.10");
  const tls = { ...host(), tlsVerified: true };
  assert.equal(codeOf(mailCommand({ ...mail, requireTls: true }, content, tls)), "550 5.7.30");
});

test("international domains go as A-labels to a host without SMTPUTF8", () => {
  assert.equal(rcptCommand({ address: "b@bücher.example" }, host()), "RCPT TO:<b@xn--bcher-kva.example>");
  assert.equal(rcptCommand({ address: "jörg@bücher.example" }, host("SMTPUTF8")), "RCPT TO:<jörg@bücher.example>");
  assert.equal(mailCommand({ ...mail, smtpUtf8: true }, content, host("SMTPUTF8")), "MAIL FROM:<a@x.example> SMTPUTF8");
});

test("no control byte reaches a command line", () => {
  for (const address of ["a\r\nRSET@y.example", "a\0@y.example", "a@y.example\n"]) {
    assert.equal(codeOf(rcptCommand({ address }, host("DSN"))), "553 5.1.3");
    assert.equal(codeOf(mailCommand({ ...mail, mailFrom: address }, content, host())), "553 5.1.3");
  }
  const odd = { address: "b@y.example", orcpt: "rfc822\r\nRSET;x" };
  assert.equal(codeOf(rcptCommand(odd, host("DSN"))), "553 5.1.3");
  assert.equal(xtext("a\r\né"), "a+0D+0A+C3+A9");
});
