import assert from "node:assert/strict";
import { createHash, generateKeyPairSync } from "node:crypto";
import { test } from "node:test";
import fc from "fast-check";
import { BodyHash, BodyHashes } from "../../../src/checks/dkim/canonical.ts";
import { signDkim, signingKey } from "../../../src/checks/dkim/sign.ts";
import { parseTags } from "../../../src/checks/dkim/tags.ts";
import { verifyDkim } from "../../../src/checks/dkim/verify.ts";
import { readMessage, toCrlf } from "../../../src/checks/message.ts";
import type { BudgetField } from "../../../src/config/budget.ts";
import { contextFor, type TestZone } from "./zone.ts";

const rsa = generateKeyPairSync("rsa", { modulusLength: 1024 });
const ed = generateKeyPairSync("ed25519");
const pem = (key: typeof rsa.privateKey) => key.export({ type: "pkcs8", format: "pem" }).toString();
const rsaRecord = `v=DKIM1; k=rsa; p=${rsa.publicKey.export({ type: "spki", format: "der" }).toString("base64")}`;
const edRecord = `v=DKIM1; k=ed25519; p=${Buffer.from(ed.publicKey.export({ format: "jwk" }).x!, "base64url").toString("base64")}`;
const rsaKey = signingKey("example.com", "r", pem(rsa.privateKey));
const edKey = signingKey("example.com", "e", pem(ed.privateKey));
const zone: TestZone = {
  "r._domainkey.example.com": { TXT: [rsaRecord] },
  "e._domainkey.example.com": { TXT: [edRecord] },
};
const plain =
  "From: Alice <alice@example.com>\r\nTo: bob@example.net\r\nSubject:  two\r\n  lines \r\n\r\nHello  World \r\n\r\n\r\n";
const timestamp = 1_790_000_000;

async function signed(text = plain, keys = [rsaKey, edKey], lifetime?: number): Promise<string> {
  const ctx = contextFor(zone);
  const message = await readMessage(Buffer.from(text, "latin1"), ctx.budget);
  const values = await signDkim(message, keys, { timestamp, ...(lifetime === undefined ? {} : { lifetime }) });
  return values.map((value) => `DKIM-Signature: ${value}\r\n`).join("") + text;
}

async function verify(text: string, records: TestZone = zone, limits: Partial<Record<BudgetField, number>> = {}) {
  const ctx = contextFor(records, limits);
  return verifyDkim(await readMessage(Buffer.from(text, "latin1"), ctx.budget), ctx);
}

test("rsa and ed25519 signatures of one message verify", async () => {
  const results = await verify(await signed());
  assert.deepEqual(
    results.map(({ result, algorithm, domain, selector, identity }) => [result, algorithm, domain, selector, identity]),
    [
      ["pass", "rsa-sha256", "example.com", "r", "@example.com"],
      ["pass", "ed25519-sha256", "example.com", "e", "@example.com"],
    ],
  );
});

test("lines of a signature stay short", async () => {
  const long = `${"X-A: b\r\n".repeat(3)}References: <a@b>\r\nReply-To: a@b\r\nCc: c@d\r\nMIME-Version: 1.0\r\n${plain}`;
  for (const line of (await signed(long)).split("\r\n").slice(0, 8)) assert.ok(line.length <= 78, line);
});

test("a changed body, header or added From fails", async () => {
  const text = await signed();
  for (const changed of [
    text.replace("World", "world"),
    text.replace("Subject:  two", "Subject: three"),
    text.replace("From: Alice", "From: <evil@example.com>\r\nFrom: Alice"),
  ]) {
    for (const { result } of await verify(changed)) assert.equal(result, "fail");
  }
  for (const { result } of await verify(text.replace("To: bob", "X-New: 1\r\nTo:   bob"))) assert.equal(result, "pass");
});

test("what a key record says is obeyed", async () => {
  const text = await signed(plain, [rsaKey]);
  const p = rsaRecord.slice(rsaRecord.indexOf("p="));
  const table: Array<[TestZone[string], string, RegExp]> = [
    [{ TXT: [`v=DKIM1; ${p}`] }, "pass", /^$/],
    [{ TXT: [p] }, "pass", /^$/],
    [{ TXT: ["spam", `v=DKIM1; ${p}`] }, "pass", /^$/],
    [{ TXT: [`v=DKIM2; ${p}`] }, "permerror", /version/],
    [{ TXT: [`k=rsa; v=DKIM1; ${p}`] }, "permerror", /version/],
    [{ TXT: ["v=DKIM1; p="] }, "permerror", /revoked/],
    [{ TXT: ["v=DKIM1"] }, "permerror", /without p=/],
    [{ TXT: [`v=DKIM1; h=sha1; ${p}`] }, "permerror", /hash/],
    [{ TXT: [`v=DKIM1; h=sha1:sha256; ${p}`] }, "pass", /^$/],
    [{ TXT: [`v=DKIM1; s=other; ${p}`] }, "permerror", /email/],
    [{ TXT: [`v=DKIM1; s=other:email; ${p}`] }, "pass", /^$/],
    [{ TXT: [`v=DKIM1; k=dsa; ${p}`] }, "permerror", /type/],
    [{ TXT: [`v=DKIM1; k=ed25519; ${p}`] }, "permerror", /ed25519/],
    [{ TXT: ["v=DKIM1; p=AAAA"] }, "permerror", /rsa key/],
    ["timeout", "temperror", /timeout/],
    [{}, "permerror", /no key/],
  ];
  for (const [record, expected, reason] of table) {
    const [verdict] = await verify(text, { "r._domainkey.example.com": record });
    assert.equal(verdict!.result, expected, JSON.stringify(record));
    assert.match(verdict!.reason, reason);
  }
});

test("t=s forbids a subdomain in i=", async () => {
  const strict = { "r._domainkey.example.com": { TXT: [`t=s:y; ${rsaRecord.slice(rsaRecord.indexOf("k="))}`] } };
  const [verdict] = await verify(await signed(plain, [rsaKey]), strict);
  assert.deepEqual([verdict!.result, verdict!.testing], ["pass", true]);
  const withIdentity = (await signed(plain, [rsaKey])).replace("d=example.com;", "d=example.com; i=@sub.example.com;");
  const [other] = await verify(withIdentity, strict);
  assert.match(other!.reason, /subdomain/);
});

test("signatures that break the syntax are permerrors", async () => {
  const text = await signed(plain, [rsaKey]);
  for (const [from, to] of [
    ["v=1;", "v=2;"],
    ["v=1;", "v=1; v=1;"],
    ["v=1;", "v=1; q=http;"],
    ["v=1;", "v=1; q=http:ftp;"],
    ["v=1;", "v=1; i=@example.org;"],
    ["v=1;", "v=1; i=@badexample.com;"],
    ["v=1;", "v=1; i=no-domain;"],
    ["v=1;", "v=1; t=2;"],
    ["v=1;", "v=1; x=1790000000;"],
    ["v=1;", "v=1; x=soon;"],
    ["v=1;", "v=1; l=1e3;"],
    ["bh=", "BH="],
    ["v=1;", "v=1; x=1;"],
    ["v=1;", "v=1; l=-1;"],
    ["a=rsa-sha256", "a=rsa-md5"],
    ["c=relaxed/relaxed", "c=loose"],
    ["h=subject:to:from:from", "h=subject:to"],
    ["d=example.com", "d="],
  ] as const) {
    assert.ok(text.includes(from), from);
    const [verdict] = await verify(text.replace(from, to));
    assert.equal(verdict!.result, "permerror", to);
  }
});

test("unknown query methods and tags beside known ones do no harm", async () => {
  const { signTags } = await import("../../../src/checks/dkim/sign.ts");
  const message = await readMessage(Buffer.from(plain), contextFor(zone).budget);
  const hash = new BodyHash("relaxed", "sha256");
  hash.update(Buffer.from(plain.slice(plain.indexOf("\r\n\r\n") + 4)));
  const bodyHash = hash.digest().toString("base64");
  for (const [extra, expected] of [
    [["q", "http:dns/txt"], "pass"],
    [["q", "dns/txt:http"], "pass"],
    [["newtag", "of the future"], "pass"],
    [["i", "a=40b@sub.example.com"], "pass"],
    [["i", "@EXAMPLE.com"], "pass"],
    [["q", "http"], "permerror"],
  ] as const) {
    const value = await signTags("DKIM-Signature", message.fields, ["from"], rsaKey, [
      ["v", "1"],
      ["a", "rsa-sha256"],
      ["c", "relaxed/relaxed"],
      ["d", "example.com"],
      ["s", "r"],
      extra,
      ["h", "from"],
      ["bh", bodyHash],
      ["b", ""],
    ]);
    const [verdict] = await verify(`DKIM-Signature: ${value}\r\n${plain}`);
    assert.equal(verdict!.result, expected, `${extra.join("=")}: ${verdict!.reason}`);
  }
});

test("a signature ends at x=", async () => {
  const ends = await signed(plain, [rsaKey], 100);
  const at = async (seconds: number) => {
    const ctx = contextFor(zone, {}, seconds * 1000);
    return (await verifyDkim(await readMessage(Buffer.from(ends), ctx.budget), ctx))[0]!.result;
  };
  assert.equal(await at(timestamp + 100), "pass");
  assert.equal(await at(timestamp + 101), "permerror");
});

test("weak algorithms never pass (RFC 8301)", async () => {
  const weak = generateKeyPairSync("rsa", { modulusLength: 768 });
  const record = `p=${weak.publicKey.export({ type: "spki", format: "der" }).toString("base64")}`;
  assert.throws(() => signingKey("example.com", "r", pem(weak.privateKey)), TypeError);
  const key = { ...rsaKey, key: weak.privateKey };
  const [verdict] = await verify(await signed(plain, [key]), { "r._domainkey.example.com": { TXT: [record] } });
  assert.equal(verdict!.result, "policy");
  assert.match(verdict!.reason, /768 bits/);
});

test("keys beyond the budget are not used", async () => {
  const big = generateKeyPairSync("rsa", { modulusLength: 2048 });
  const record = `p=${big.publicKey.export({ type: "spki", format: "der" }).toString("base64")}`;
  const key = { ...rsaKey, key: big.privateKey };
  const text = await signed(plain, [key]);
  const zoneOf = { "r._domainkey.example.com": { TXT: [record] } };
  assert.equal((await verify(text, zoneOf))[0]!.result, "pass");
  const fresh = { "r._domainkey.example.com": { TXT: [`n=other; ${record}`] } };
  assert.match((await verify(text, fresh, { dkimKeyBits: 2047 }))[0]!.reason, /2048 bits/);
});

test("a bomb of signatures costs no more than the budget", async () => {
  const one = (await signed(plain, [rsaKey])).slice(0, -plain.length);
  const ctx = contextFor(zone);
  const results = await verifyDkim(await readMessage(Buffer.from(one.repeat(300) + plain), ctx.budget), ctx);
  assert.equal(results.filter(({ result }) => result === "pass").length, 10);
  assert.equal(results.filter(({ result }) => result === "policy").length, 290);
  assert.equal(ctx.asked.length, 10);
});

test("a bomb of names in h= costs no more than its length", async () => {
  const names = Array.from({ length: 30_000 }, (_, i) => `n${i}`).join(":");
  const fields = Array.from({ length: 900 }, (_, i) => `X-${i}: y\r\n`).join("");
  const text = (await signed(plain, [rsaKey])).replace(/h=[a-z:-]+/, `h=from:${names}`);
  const started = performance.now();
  assert.equal((await verify(fields + text))[0]!.result, "fail");
  assert.ok(performance.now() - started < 500);
});

test("hashes of one kind are shared", () => {
  const hashes = new BodyHashes();
  assert.equal(hashes.get("relaxed", "sha256"), hashes.get("relaxed", "sha256"));
  assert.notEqual(hashes.get("relaxed", "sha256"), hashes.get("relaxed", "sha256", 5));
});

test("l= signs a part, and never more than there is", async () => {
  const body = "Hello World\r\n";
  const hash = createHash("sha256").update(body).digest("base64");
  const head = "From: a@example.com\r\n";
  const make = async (length: number, text: string) => {
    const { signTags } = await import("../../../src/checks/dkim/sign.ts");
    const message = await readMessage(Buffer.from(`${head}\r\n`), contextFor(zone).budget);
    const value = await signTags("DKIM-Signature", message.fields, ["from"], rsaKey, [
      ["v", "1"],
      ["a", "rsa-sha256"],
      ["c", "relaxed/simple"],
      ["d", "example.com"],
      ["s", "r"],
      ["l", String(length)],
      ["h", "from"],
      ["bh", hash],
      ["b", ""],
    ]);
    return (await verify(`DKIM-Signature: ${value}\r\n${head}\r\n${text}`))[0]!;
  };
  assert.deepEqual([(await make(13, body)).result, (await make(13, body)).unsignedOctets], ["pass", 0]);
  const longer = await make(13, `${body}An addition\r\n`);
  assert.deepEqual([longer.result, longer.unsignedOctets], ["pass", 13]);
  assert.deepEqual([(await make(14, body)).result], ["permerror"]);
});

/** The definitions of RFC 6376 §3.4.3 and §3.4.4, on whole strings. */
function reference(kind: "simple" | "relaxed", body: string): string {
  let text = body;
  if (kind === "relaxed") text = text.replace(/[ \t]+(?=\r\n|$)/g, "").replace(/[ \t]+/g, " ");
  text = text.replace(/(?:\r\n)+$/, "");
  if (text === "") return kind === "simple" ? "\r\n" : "";
  return `${text}\r\n`;
}

test("streamed canonicalisation equals the definition, however the body is cut", async () => {
  const piece = fc.constantFrom("\r\n", "\r\n", " ", "\t", "a", "bc", "\r", "\r\n\r\n", "é", " x", "y ");
  await fc.assert(
    fc.asyncProperty(fc.array(piece, { maxLength: 40 }), fc.integer({ min: 1, max: 7 }), async (pieces, step) => {
      const body = pieces.join("");
      for (const kind of ["simple", "relaxed"] as const) {
        const hashes = new BodyHashes();
        const hash = hashes.get(kind, "sha256");
        const bytes = Buffer.from(body, "latin1");
        await hashes.feed(
          (async function* () {
            for (let at = 0; at < bytes.length; at += step) yield bytes.subarray(at, at + step);
          })(),
        );
        const expected = createHash("sha256").update(reference(kind, body), "latin1").digest("hex");
        assert.equal(hash.digest().toString("hex"), expected, JSON.stringify([kind, body]));
      }
    }),
    { numRuns: 400, seed: 1 },
  );
});

test("canonicalisation of larger chunks equals the definition too", () => {
  const word = fc.constantFrom(
    "the ",
    "quick",
    " ",
    "  ",
    "\t",
    "\r\n",
    " \r\n",
    "\r\n ",
    "\r\n\r\n",
    "!",
    " !",
    "é",
    "\x01 ",
  );
  const text = "The quick brown fox jumps over the lazy dog and goes on to the next line.\r\n";
  fc.assert(
    fc.property(fc.array(word, { maxLength: 12 }), fc.integer({ min: 4_060, max: 4_110 }), (words, before) => {
      // What is not plain stands around the place where a piece ends.
      const body = text.repeat(60).slice(0, before) + words.join("") + text.repeat(3);
      const hash = new BodyHash("relaxed", "sha256");
      hash.update(Buffer.from(body, "latin1"));
      const expected = createHash("sha256").update(reference("relaxed", body), "latin1").digest("hex");
      assert.equal(hash.digest().toString("hex"), expected, JSON.stringify([before, words]));
    }),
    { numRuns: 500, seed: 1 },
  );
});

test("keys of all sizes sign, the long ones on another thread", async () => {
  for (const modulusLength of [2048, 3072]) {
    const pair = generateKeyPairSync("rsa", { modulusLength });
    const record = `p=${pair.publicKey.export({ type: "spki", format: "der" }).toString("base64")}`;
    const [verdict] = await verify(await signed(plain, [signingKey("example.com", "r", pem(pair.privateKey))]), {
      "r._domainkey.example.com": { TXT: [record] },
    });
    assert.deepEqual([verdict!.result, verdict!.keyBits], ["pass", modulusLength]);
  }
});

test("a body of ten million line ends takes no memory", async () => {
  const chunk = Buffer.from("\r\n".repeat(32_768));
  const hash = new BodyHash("relaxed", "sha256");
  for (let i = 0; i < 150; i++) hash.update(chunk);
  hash.update(Buffer.from("x"));
  assert.equal(hash.digest().toString("hex").length, 64);
  assert.equal(hash.length, 150 * 65_536 + 3);
});

test("header sections beyond their limits are refused", async () => {
  const limits = contextFor({}, { headerFields: 5, headerSection: 200 }).budget;
  await readMessage(Buffer.from(`${"A: b\r\n".repeat(5)}\r\n`), limits);
  await assert.rejects(readMessage(Buffer.from(`${"A: b\r\n".repeat(6)}\r\n`), limits), /headerFields/);
  await assert.rejects(readMessage(Buffer.from(`A: ${"b".repeat(300)}\r\n\r\n`), limits), /headerSection/);
  const endless = (async function* () {
    for (;;) yield Buffer.from("A: b\r\n".repeat(10));
  })();
  await assert.rejects(readMessage(endless, limits), /headerSection/);
});

test("tag lists", () => {
  assert.deepEqual(
    [...parseTags(" a = 1 ; b=2;\r\n c=x y;")!],
    [
      ["a", "1"],
      ["b", "2"],
      ["c", "x y"],
    ],
  );
  for (const text of ["a=1;;b=2", "a=1; a=2", "=1", "a", "1a=2", "a=\u0000"])
    assert.equal(parseTags(text), undefined, text);
});

test("bare line feeds are made whole", () => {
  assert.equal(toCrlf(Buffer.from("a\nb\r\n\nc")).toString(), "a\r\nb\r\n\r\nc");
  const whole = Buffer.from("a\r\n");
  assert.equal(toCrlf(whole), whole);
});

test("no header makes verification throw", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.string({ maxLength: 60 }), { maxLength: 4 }), async (values) => {
      const text = values.map((value) => `DKIM-Signature: ${value.replace(/[\r\n]/g, " ")}\r\n`).join("");
      for (const { result } of await verify(`${text}${plain}`)) assert.notEqual(result, "pass");
    }),
    { numRuns: 200, seed: 1 },
  );
});
