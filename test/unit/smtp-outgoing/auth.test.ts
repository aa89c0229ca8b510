import assert from "node:assert/strict";
import { createHash, createHmac, pbkdf2Sync } from "node:crypto";
import { test } from "node:test";
import { AuthError, chooseMechanism } from "../../../src/smtp/outgoing/auth.ts";

const credentials = { user: "ann", password: "secret", mechanisms: [] };
const all = new Set(["PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-256"]);

test("the strongest mechanism offered is chosen; passwords are shown only where allowed", () => {
  assert.equal(chooseMechanism(credentials, all, true)?.mechanism, "SCRAM-SHA-256");
  assert.equal(chooseMechanism(credentials, new Set(["PLAIN", "LOGIN"]), true)?.mechanism, "PLAIN");
  assert.equal(chooseMechanism(credentials, new Set(["PLAIN", "LOGIN"]), false), undefined);
  assert.equal(chooseMechanism(credentials, new Set(["XYZ"]), true), undefined);
  assert.equal(chooseMechanism({ ...credentials, mechanisms: ["LOGIN"] }, all, true)?.mechanism, "LOGIN");
});

test("PLAIN, LOGIN and CRAM-MD5 answer as their RFCs say", async () => {
  assert.equal(
    chooseMechanism(credentials, new Set(["PLAIN"]), true)!
      .initial()!
      .toString(),
    "\0ann\0secret",
  );
  const login = chooseMechanism(credentials, new Set(["LOGIN"]), true)!;
  assert.equal((await login.respond(Buffer.from("Username:"))).toString(), "ann");
  assert.equal(login.complete, false);
  assert.equal((await login.respond(Buffer.from("Password:"))).toString(), "secret");
  assert.equal(login.complete, true);
  assert.throws(() => login.respond(Buffer.from("More?")), AuthError);
  // RFC 2195 §2's example.
  const cram = chooseMechanism(
    { user: "tim", password: "tanstaaftanstaaf", mechanisms: [] },
    new Set(["CRAM-MD5"]),
    false,
  )!;
  const answer = await cram.respond(Buffer.from("<1896.697170952@postoffice.reston.mci.net>"));
  assert.equal(answer.toString(), "tim b913a602c7eda7a495b4e6e7334d3890");
});

function scramServer(clientFirst: string, password: string, iterations = 4096) {
  const bare = clientFirst.slice(3);
  const nonce = `${/r=(.*)$/.exec(bare)![1]}server`;
  const salt = Buffer.from("saltsalt");
  const first = `r=${nonce},s=${salt.toString("base64")},i=${iterations}`;
  const salted = pbkdf2Sync(password, salt, iterations, 32, "sha256");
  const authMessage = `${bare},${first},c=biws,r=${nonce}`;
  const serverKey = createHmac("sha256", salted).update("Server Key").digest();
  const clientKey = createHmac("sha256", salted).update("Client Key").digest();
  const storedKey = createHash("sha256").update(clientKey).digest();
  const signature = createHmac("sha256", storedKey).update(authMessage).digest();
  const proof = Buffer.from(clientKey.map((byte, index) => byte ^ signature[index]!)).toString("base64");
  const final = `v=${createHmac("sha256", serverKey).update(authMessage).digest("base64")}`;
  return { first, expected: `c=biws,r=${nonce},p=${proof}`, final };
}

test("SCRAM-SHA-256 proves the password and makes the server prove it, too", async () => {
  const client = chooseMechanism(credentials, all, false)!;
  const server = scramServer(client.initial()!.toString(), "secret");
  assert.equal((await client.respond(Buffer.from(server.first))).toString(), server.expected);
  assert.equal(client.complete, false);
  assert.equal((await client.respond(Buffer.from(server.final))).length, 0);
  assert.equal(client.complete, true);
});

test("SCRAM-SHA-256 refuses an impostor, a foreign nonce and endless hashing", async () => {
  const impostor = chooseMechanism(credentials, all, false)!;
  const server = scramServer(impostor.initial()!.toString(), "guess");
  await impostor.respond(Buffer.from(server.first));
  assert.throws(() => impostor.respond(Buffer.from(server.final)), AuthError);
  const second = chooseMechanism(credentials, all, false)!;
  await assert.rejects(async () => second.respond(Buffer.from("r=other,s=c2FsdA==,i=4096")), AuthError);
  const third = chooseMechanism(credentials, all, false)!;
  const nonce = /r=(.*)$/.exec(third.initial()!.toString())![1];
  await assert.rejects(async () => third.respond(Buffer.from(`r=${nonce}x,s=c2FsdA==,i=999999999`)), AuthError);
});
