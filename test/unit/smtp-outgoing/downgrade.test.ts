import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { budgetWith } from "../../../src/config/budget.ts";
import { parseMessage } from "../../../src/message/parse.ts";
import { toSevenBit } from "../../../src/smtp/outgoing/downgrade.ts";
import { encodeQuotedPrintable } from "../../../src/smtp/outgoing/splice.ts";

const budget = budgetWith();

function convert(lines: string[]): string | undefined {
  return toSevenBit(Buffer.from(lines.join("\r\n")), budget)?.toString("latin1");
}

test("a plain 8-bit message becomes quoted-printable", () => {
  const out = convert(["Subject: x", "Content-Type: text/plain; charset=utf-8", "", "größe = 1", ""])!;
  assert.equal(
    out,
    [
      "Subject: x",
      "Content-Type: text/plain; charset=utf-8",
      "Content-Transfer-Encoding: quoted-printable",
      "MIME-Version: 1.0",
      "",
      "gr=C3=B6=C3=9Fe =3D 1",
      "",
    ].join("\r\n"),
  );
});

test("only the leaves that need it change; labels of multiparts follow", () => {
  const given = [
    "MIME-Version: 1.0",
    "Content-Type: multipart/mixed; boundary=b",
    "Content-Transfer-Encoding: 8bit",
    "",
    "--b",
    "Content-Type: text/plain",
    "",
    "plain = ascii",
    "--b",
    "Content-Type: application/octet-stream",
    "Content-Transfer-Encoding: binary",
    "",
    "\u00ff\u00fe",
    "--b--",
    "",
  ];
  const out = toSevenBit(Buffer.from(given.join("\r\n"), "latin1"), budget)!;
  const parts = parseMessage(out, budget).parts();
  assert.deepEqual(
    parts.map((part) => part.encoding),
    ["7bit", "7bit", "base64"],
  );
  assert.equal(parts[1]!.text, "plain = ascii");
  assert.deepEqual([...parts[2]!.content], [0xff, 0xfe]);
});

test("signed messages, raw 8-bit header fields and 8-bit preambles are not converted", () => {
  assert.equal(convert(["Content-Type: multipart/signed; boundary=b", "", "--b", "", "é", "--b--", ""]), undefined);
  assert.equal(convert(["Subject: é", "", "x", ""]), undefined);
  assert.equal(convert(["Content-Type: multipart/mixed; boundary=b", "", "é", "--b", "", "x", "--b--", ""]), undefined);
});

test("deep nesting is refused, not followed", () => {
  let text = "é";
  for (let depth = 0; depth < 100; depth++) {
    text = `Content-Type: multipart/mixed; boundary=b${depth}\r\n\r\n--b${depth}\r\n${text}\r\n--b${depth}--\r\n`;
  }
  assert.equal(toSevenBit(Buffer.from(text), budget), undefined);
});

test("quoted-printable: any octets come back, lines stay short", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 400 }), (octets) => {
      const body = Buffer.from(Buffer.from(octets).toString("latin1").replace(/\r|\n/g, ""), "latin1");
      const coded = encodeQuotedPrintable(body);
      assert.ok(coded.split("\r\n").every((line) => line.length <= 76 && !/[ \t]$/.test(line)));
      const message = Buffer.from(`Content-Transfer-Encoding: quoted-printable\r\n\r\n${coded}`);
      assert.deepEqual(parseMessage(message, budget).root.content, body);
    }),
    { numRuns: 300 },
  );
});
