import assert from "node:assert/strict";
import { test } from "node:test";
import { type Account, AccountDirectory, Busy } from "../../../src/directory/accounts.ts";
import { decoyHash, hashPassword, isPasswordHash, verifyPassword } from "../../../src/directory/password.ts";

const hash = await hashPassword("correct horse");
const localDomains = ["Example.org", "example.net"];
const account = (more: Partial<Account> = {}): Account => ({ address: "User@example.org", password: hash, ...more });
const login = (username: string, password: string, authzid = "") => ({
  mechanism: "PLAIN",
  username,
  authzid,
  password,
});

test("hashes verify their own password and no other; unreadable or costly ones verify nothing", async () => {
  assert.match(hash, /^\$scrypt\$ln=15,r=8,p=1\$[A-Za-z0-9+/]{22}\$[A-Za-z0-9+/]{43}$/);
  assert.equal(await verifyPassword("correct horse", hash), true);
  assert.equal(await verifyPassword("correct horsf", hash), false);
  assert.equal(isPasswordHash(decoyHash), true);
  for (const bad of ["", "secret", hash.replace("ln=15", "ln=30"), hash.replace("r=8", "r=99"), hash.slice(0, 30)]) {
    assert.equal(isPasswordHash(bad), false, bad);
    assert.equal(await verifyPassword("correct horse", bad), false, bad);
  }
});

test("passwords compare after NFC, so that composed and decomposed letters are one", async () => {
  assert.equal(await verifyPassword("gru\u0308n", await hashPassword("gr\u00fcn")), true);
});

test("domains and addresses, without case; aliases and postmaster", () => {
  const directory = new AccountDirectory({
    localDomains,
    accounts: [account({ aliases: ["Info@example.net"] }), { address: "postmaster@example.org" }],
    aliases: { "all@example.org": ["user@example.org", "far@elsewhere.test"] },
  });
  assert.equal(directory.isLocal("EXAMPLE.org."), true);
  assert.equal(directory.isLocal("sub.example.org"), false);
  assert.deepEqual(directory.resolve("USER@EXAMPLE.ORG"), ["user@example.org"]);
  assert.deepEqual(directory.resolve("info@example.net"), ["user@example.org"]);
  assert.deepEqual(directory.resolve("all@example.org"), ["user@example.org", "far@elsewhere.test"]);
  assert.deepEqual(directory.resolve("Postmaster"), ["postmaster@example.org"]);
  assert.equal(directory.exists("nobody@example.org"), false);
  assert.equal(directory.maySendAs("user@example.org", "INFO@example.net"), true);
  assert.equal(directory.maySendAs("user@example.org", "postmaster@example.org"), false);
});

test("a postmaster at every local domain, whoever is named there (RFC 5321 §4.5.1)", () => {
  const plain = new AccountDirectory({ localDomains, accounts: [account()] });
  assert.deepEqual(plain.resolve("postmaster"), ["postmaster@example.org"]);
  assert.deepEqual(plain.resolve("Postmaster@example.net"), ["postmaster@example.org"]);
  assert.deepEqual(plain.resolve("postmaster@example.org"), ["postmaster@example.org"], "stands for itself: a mailbox");
  assert.deepEqual(plain.resolve("postmaster@elsewhere.test"), []);
  const far = new AccountDirectory({ localDomains, accounts: [account()], postmaster: "Boss@elsewhere.test" });
  assert.deepEqual(far.resolve("postmaster@example.net"), ["boss@elsewhere.test"]);
  const aliases = { "@example.net": ["user@example.org"] };
  const caught = new AccountDirectory({ localDomains, accounts: [account()], aliases, postmaster: "boss@example.org" });
  assert.deepEqual(caught.resolve("postmaster@example.net"), ["user@example.org"], "a catch-all has it");
  assert.deepEqual(caught.resolve("postmaster"), ["boss@example.org"]);
  assert.deepEqual(
    new AccountDirectory({ localDomains: [], accounts: [], postmaster: "a@b.test" }).resolve("postmaster"),
    ["a@b.test"],
  );
});

test("authentication: right, wrong, unknown, without password, acting as another", async () => {
  const directory = new AccountDirectory({ localDomains, accounts: [account(), { address: "nopw@example.org" }] });
  assert.deepEqual(await directory.authenticate(login("USER@example.org", "correct horse")), {
    ok: true,
    user: "user@example.org",
  });
  for (const wrong of [
    login("user@example.org", "wrong"),
    login("nobody@example.org", "correct horse"),
    login("nopw@example.org", ""),
    login("user@example.org", "correct horse", "boss@example.org"),
    { mechanism: "XOAUTH2", username: "user@example.org", authzid: "", token: "x" },
  ]) {
    assert.deepEqual(await directory.authenticate(wrong), { ok: false, user: "" });
  }
});

test("challenge mechanisms see only secrets of their scheme", async () => {
  const directory = new AccountDirectory({ localDomains, accounts: [account({ plain: "clear", scram: "SCRAM" })] });
  assert.deepEqual(directory.lookupSecret("User@example.org", "scram-sha-256"), {
    scheme: "scram-sha-256",
    value: "SCRAM",
  });
  assert.equal(directory.lookupSecret("nobody@example.org", "plain"), undefined);
  const seen: string[] = [];
  const credentials = {
    mechanism: "CRAM-MD5",
    username: "user@example.org",
    authzid: "",
    verify: ({ scheme, value }: { scheme: string; value: string }) => seen.push(scheme) > 0 && value === "clear",
  };
  assert.equal((await directory.authenticate(credentials)).ok, true);
  assert.deepEqual(seen, ["scram-sha-256", "plain"]);
});

test("tokens must belong to an account, and to the name beside them", async () => {
  const tokens = { verify: async (token: string) => (token === "t" ? "User@example.org" : undefined) };
  const directory = new AccountDirectory({ localDomains, accounts: [account()], tokens });
  const ask = async (token: string, username: string) =>
    (await directory.authenticate({ mechanism: "OAUTHBEARER", username, authzid: "", token })).ok;
  assert.deepEqual(
    [await ask("t", ""), await ask("t", "user@example.org"), await ask("t", "boss@example.org"), await ask("x", "")],
    [true, true, false, false],
  );
});

test("bad accounts are refused at load", () => {
  const load = (...accounts: Account[]) => new AccountDirectory({ localDomains, accounts });
  assert.throws(() => load(account({ address: "a@elsewhere.test" })), RangeError);
  assert.throws(() => load(account(), account({ address: "USER@example.org" })), RangeError);
  assert.throws(() => load(account({ password: "plain text" })), RangeError);
});

test("a flood of passwords waits in a bounded line; the event loop stays free", async () => {
  const cheap = hash.replace("ln=15", "ln=5"); // not its key any more, but quick to refuse
  const directory = new AccountDirectory({ localDomains, accounts: [account({ password: cheap })] });
  const results = await Promise.allSettled(
    Array.from({ length: 300 }, () => directory.authenticate(login("user@example.org", "x"))),
  );
  const busy = results.filter((result) => result.status === "rejected" && result.reason instanceof Busy);
  assert.equal(busy.length, 300 - 202);
  assert.deepEqual(await directory.authenticate(login("user@example.org", "x")), { ok: false, user: "" });
});

test("subaddresses keep their detail for accounts; catch-all comes last", () => {
  const directory = new AccountDirectory({
    localDomains: ["example.org"],
    accounts: [{ address: "ann@example.org" }],
    aliases: { "info@example.org": ["ann@example.org"], "@example.org": ["rest@elsewhere.test"] },
    subaddressDelimiter: "+",
  });
  assert.deepEqual(directory.resolve("Ann+lists@example.org"), ["ann+lists@example.org"]);
  assert.deepEqual(directory.resolve("info+x@example.org"), ["ann@example.org"]);
  assert.deepEqual(directory.resolve("anyone@example.org"), ["rest@elsewhere.test"]);
  assert.deepEqual(directory.resolve("+ann@example.org"), ["rest@elsewhere.test"]);
  assert.deepEqual(directory.resolve("anyone@elsewhere.test"), []);
});
