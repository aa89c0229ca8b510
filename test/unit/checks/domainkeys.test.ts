import assert from "node:assert/strict";
import { generateKeyPairSync, sign } from "node:crypto";
import { test } from "node:test";
import { verifyDomainKeys } from "../../../src/checks/domainkeys.ts";
import { readMessage } from "../../../src/checks/message.ts";
import { contextFor } from "./zone.ts";

const pair = generateKeyPairSync("rsa", { modulusLength: 1024 });
const record = `k=rsa; p=${pair.publicKey.export({ type: "spki", format: "der" }).toString("base64")}`;
const zone = { "s._domainkey.example.com": { TXT: [record] } };

async function verdict(text: string, step = text.length) {
  const ctx = contextFor(zone);
  const source = (async function* () {
    for (let at = 0; at < text.length; at += step) yield Buffer.from(text.slice(at, at + step));
  })();
  return (await verifyDomainKeys(await readMessage(source, ctx.budget), ctx)).result;
}

/** A signed message: `covered` is the text that RFC 4870 §3.4.2 says is signed. */
function signed(tags: string, covered: string, message: string): string {
  const b = sign("sha1", Buffer.from(covered), pair.privateKey).toString("base64");
  return `DomainKey-Signature: a=rsa-sha1; d=example.com; s=s; q=dns; ${tags} b=${b}\r\n${message}`;
}

const message = "From: a@example.com\r\nSubject: x  y\r\n z\r\n\r\nHello  World\t\r\n\r\nBye\r\n\r\n\r\n";

test("simple, nofws and h= are verified, however the body is cut", async () => {
  const simple = "From: a@example.com\r\nSubject: x  y\r\n z\r\n\r\nHello  World\t\r\n\r\nBye\r\n";
  const nofws = "From:a@example.com\r\nSubject:xyz\r\n\r\nHelloWorld\r\n\r\nBye\r\n";
  const partial = "From:a@example.com\r\n\r\nHelloWorld\r\n\r\nBye\r\n";
  for (const step of [1, 5, 1000]) {
    assert.equal(await verdict(signed("c=simple;", simple, message), step), "pass");
    assert.equal(await verdict(signed("c=nofws;", nofws, message), step), "pass");
    assert.equal(await verdict(signed("c=nofws; h=from;", partial, message), step), "pass");
  }
  assert.equal(await verdict(signed("c=nofws;", nofws, message.replace("Bye", "By"))), "fail");
  assert.equal(await verdict(signed("c=nofws;", nofws, message.replace("Subject: x", "Subject: X"))), "fail");
});

test("a message without body has no empty line to sign", async () => {
  assert.equal(await verdict(signed("", "From: a@example.com\r\n", "From: a@example.com\r\n\r\n")), "pass");
});

test("no signature, a broken one, no key", async () => {
  assert.equal(await verdict(message), "none");
  assert.equal(await verdict(`DomainKey-Signature: nonsense\r\n${message}`), "permerror");
  assert.equal(await verdict(signed("c=relaxed;", "x", message)), "permerror");
  assert.equal(await verdict(signed("", "x", message).replace("s=s;", "s=absent;")), "permerror");
});
