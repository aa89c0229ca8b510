import assert from "node:assert/strict";
import { test } from "node:test";
import { budgetWith } from "../../../src/config/budget.ts";
import { appendDisclaimer } from "../../../src/delivery/disclaimer.ts";
import { parseMessage } from "../../../src/message/parse.ts";

const budget = budgetWith();
const notice = { text: "For your eyes only – Müller & Co." };

function appended(...lines: string[]) {
  const out = appendDisclaimer(Buffer.from(lines.join("\r\n")), notice, budget)!;
  return { raw: out.toString("latin1"), parts: parseMessage(out, budget).parts() };
}

test("plain text gets the notice below, header fields stay", () => {
  const { raw, parts } = appended("Subject: x", "X-A: 1", "", "hello", "");
  assert.ok(raw.startsWith("Subject: x\r\nX-A: 1\r\n"));
  assert.equal(parts[0]!.text, `hello\r\n\r\n${notice.text}\r\n`);
});

test("HTML gets it before </body>, escaped; both alternatives get it, attachments do not", () => {
  const { parts } = appended(
    "MIME-Version: 1.0",
    "Content-Type: multipart/mixed; boundary=m",
    "",
    "--m",
    "Content-Type: multipart/alternative; boundary=a",
    "",
    "--a",
    "Content-Type: text/plain; charset=iso-8859-1; format=flowed",
    "",
    "hello",
    "--a",
    "Content-Type: text/html",
    "",
    "<html><body>hello</BODY></html>",
    "--a--",
    "--m",
    "Content-Type: text/plain",
    "Content-Disposition: attachment",
    "",
    "data",
    "--m--",
    "",
  );
  const [, , plain, html, file] = parts;
  assert.ok(plain!.text.includes(notice.text));
  assert.equal(plain!.parameters.get("format"), "flowed");
  assert.ok(html!.text.includes("<p>For your eyes only – Müller &amp; Co.</p></BODY>"));
  assert.equal(file!.text, "data");
});

test("a signed message is wrapped and its signed octets stay", () => {
  const inside = [
    "--s",
    "Content-Type: text/plain",
    "",
    "signed",
    "--s",
    "Content-Type: application/pgp-signature",
    "",
    "sig",
    "--s--",
    "",
  ].join("\r\n");
  const { raw, parts } = appended(
    "From: a@x.example",
    "MIME-Version: 1.0",
    "Content-Type: multipart/signed; boundary=s",
    "",
    inside,
  );
  assert.ok(raw.includes(inside));
  assert.deepEqual(
    parts.map((part) => part.mediaType),
    ["multipart/mixed", "multipart/signed", "text/plain", "application/pgp-signature", "text/plain"],
  );
  assert.equal(parts[4]!.text, notice.text);
  assert.equal(raw.match(/^MIME-Version/gm)?.length, 1);
});

test("inline PGP and messages without text are wrapped, broken ones left alone", () => {
  const pgp = appended("Subject: x", "", "-----BEGIN PGP SIGNED MESSAGE-----", "x", "");
  assert.equal(pgp.parts[0]!.mediaType, "multipart/mixed");
  const image = appended("Content-Type: image/png", "Content-Transfer-Encoding: base64", "", "AAAA", "");
  assert.deepEqual(
    image.parts.map((part) => part.mediaType),
    ["multipart/mixed", "image/png", "text/plain"],
  );
  const many = `Content-Type: multipart/mixed; boundary=b\r\n\r\n${"--b\r\n\r\nx\r\n".repeat(50)}--b--\r\n`;
  assert.equal(appendDisclaimer(Buffer.from(many), notice, budgetWith({ mimeParts: 10 })), undefined);
});
