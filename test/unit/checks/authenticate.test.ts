import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { mkdtemp, rm, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { parseNetwork } from "../../../src/checks/address.ts";
import { type ArcResult, sealMessage, validateArc } from "../../../src/checks/arc.ts";
import { authenticate, authenticationResults } from "../../../src/checks/authenticate.ts";
import { formatAuthenticationResults } from "../../../src/checks/authres.ts";
import { Keyring } from "../../../src/checks/dkim/keyring.ts";
import { signDkim, signingKey } from "../../../src/checks/dkim/sign.ts";
import { createFactSource, type FactServices } from "../../../src/checks/facts.ts";
import { GeoIp } from "../../../src/checks/geoip/geoip.ts";
import { greylistDefaults } from "../../../src/checks/greylist.ts";
import { readMessage } from "../../../src/checks/message.ts";
import { memoryState } from "./state.ts";
import { contextFor, type TestZone } from "./zone.ts";

const pair = generateKeyPairSync("ed25519");
const pem = pair.privateKey.export({ type: "pkcs8", format: "pem" }).toString();
const record = `v=DKIM1; k=ed25519; p=${Buffer.from(pair.publicKey.export({ format: "jwk" }).x!, "base64url").toString("base64")}`;
const key = signingKey("example.com", "s", pem);
const zone: TestZone = {
  "s._domainkey.example.com": { TXT: [record] },
  "example.com": { TXT: ["v=spf1 ip4:192.0.2.1 -all"], MX: [{ preference: 1, exchange: "mx.example.com" }] },
  "_dmarc.example.com": { TXT: ["v=DMARC1; p=reject"] },
};
const plain = "From: Alice <alice@example.com>\r\nSubject: hello\r\n\r\nHello World\r\n";
const sender = { ip: "192.0.2.1", helo: "mail.example.com", mailFrom: "alice@example.com" };

async function signed(): Promise<string> {
  const message = await readMessage(Buffer.from(plain), contextFor({}).budget);
  const [value] = await signDkim(message, [key], { timestamp: 1_790_000_000 });
  return `DKIM-Signature: ${value}\r\n${plain}`;
}

test("one message, all methods, in chunks of any size", async () => {
  const text = await signed();
  for (const step of [1, 7, 10_000]) {
    const source = (async function* () {
      for (let at = 0; at < text.length; at += step) yield Buffer.from(text.slice(at, at + step), "latin1");
    })();
    const all = await authenticate(source, sender, contextFor(zone));
    assert.deepEqual(
      [all.spf.result, all.dkim[0]?.result, all.arc.result, all.dmarc.result],
      ["pass", "pass", "none", "pass"],
    );
    const value = formatAuthenticationResults(
      { authservId: "mx.example.net", results: authenticationResults(all) },
      false,
    );
    assert.match(
      value,
      /^mx\.example\.net; spf=pass smtp\.mailfrom=alice@example\.com; dkim=pass header\.d=example\.com /,
    );
    assert.match(value, /; dmarc=pass \(p=reject d=example\.com\) header\.from=example\.com$/);
  }
});

test("two From fields are no author", async () => {
  const all = await authenticate(Buffer.from(`From: x@other.test\r\n${await signed()}`), sender, contextFor(zone));
  assert.equal(all.dmarc.result, "permerror");
});

async function arcOf(text: string): Promise<ArcResult> {
  const ctx = contextFor(zone);
  return validateArc(await readMessage(Buffer.from(text), ctx.budget), ctx);
}

async function sealed(text: string): Promise<string | undefined> {
  const ctx = contextFor(zone);
  const message = await readMessage(Buffer.from(text), ctx.budget);
  const set = await sealMessage(message, key, "mx.example.net; spf=pass\r\nBcc: evil", ctx);
  if (set === undefined) return undefined;
  return `ARC-Seal: ${set.seal}\r\nARC-Message-Signature: ${set.messageSignature}\r\nARC-Authentication-Results: ${set.authenticationResults}\r\n${text}`;
}

test("a chain grows, breaks with the message, and ends once it was sealed as failed", async () => {
  let text = plain;
  for (let instance = 1; instance <= 4; instance++) {
    text = (await sealed(text))!;
    const arc = await arcOf(text);
    assert.deepEqual([arc.result, arc.instances, arc.reason], ["pass", instance, ""]);
  }
  assert.doesNotMatch(text, /^Bcc:/m);
  const broken = text.replace("Hello World", "Hello world");
  assert.equal((await arcOf(broken)).result, "fail");
  const failed = (await sealed(broken))!;
  assert.match(failed, /cv=fail/);
  assert.equal((await arcOf(failed)).result, "fail");
  assert.equal(await sealed(failed), undefined);
});

/** The field of one set, with its folds. */
function fieldOf(text: string, name: string, instance: number): string {
  const fields = text.split(/\r\n(?![ \t])/).filter((line) => line.startsWith(`${name}:`));
  return fields.find((line) => new RegExp(`\\bi=${instance};`).test(line))!;
}

test("a chain of fifty sets passes, whole or not at all", async () => {
  let text = plain;
  for (let instance = 1; instance <= 50; instance++) text = (await sealed(text))!;
  const arc = await arcOf(text);
  assert.deepEqual([arc.result, arc.instances, arc.sealers.length], ["pass", 50, 50]);
  assert.equal(await sealed(text), undefined, "no fifty-first");
  // An inner seal that changed, though all others are right.
  const seal = fieldOf(text, "ARC-Seal", 25);
  const inner = text.replace(seal, seal.replace(/b=....../, "b=AAAAAA"));
  assert.notEqual(inner, text);
  assert.equal((await arcOf(inner)).result, "fail");
});

test("chains that are not as RFC 8617 wants them fail", async () => {
  const text = (await sealed((await sealed(plain))!))!;
  const seal = fieldOf(text, "ARC-Seal", 2);
  const signature = fieldOf(text, "ARC-Message-Signature", 2);
  const results = fieldOf(text, "ARC-Authentication-Results", 2);
  const changes: Array<[string, string]> = [
    ["a field twice", text.replace(seal, `${seal}\r\n${seal}`)],
    ["a seal missing", text.replace(`${seal}\r\n`, "")],
    ["a signature missing", text.replace(`${signature}\r\n`, "")],
    ["results missing", text.replace(`${results}\r\n`, "")],
    ["a gap", text.replace(seal, seal.replace("i=2;", "i=3;")).replace(signature, signature.replace("i=2;", "i=3;"))],
    ["instance 0", text.replace(seal, seal.replace("i=2;", "i=0;"))],
    ["instance 51", text.replace(seal, seal.replace("i=2;", "i=51;"))],
    ["no instance", text.replace(seal, seal.replace("i=2;", ""))],
    ["instance with zeros", text.replace(seal, seal.replace("i=2;", "i=02;"))],
    ["cv=none in the second", text.replace(seal, seal.replace("cv=pass", "cv=none"))],
    ["cv=fail in the last", text.replace(seal, seal.replace("cv=pass", "cv=fail"))],
    ["an unknown cv", text.replace(seal, seal.replace("cv=pass", "cv=maybe"))],
    ["h= in a seal", text.replace(seal, seal.replace("cv=pass", "h=from; cv=pass"))],
    ["a tag twice", text.replace(seal, seal.replace("cv=pass", "cv=pass; cv=pass"))],
    ["another algorithm", text.replace(seal, seal.replace("a=ed25519-sha256", "a=ed25519-sha1"))],
    ["changed results", text.replace(results, results.replace("spf=pass", "spf=fail"))],
  ];
  assert.equal((await arcOf(text)).result, "pass");
  for (const [what, changed] of changes) {
    assert.notEqual(changed, text, what);
    assert.equal((await arcOf(changed)).result, "fail", what);
  }
});

test("a chain has at most fifty sets", async () => {
  const set = (i: number) => `ARC-Seal: i=${i}; a=rsa-sha256; cv=none; d=x.test; s=s; b=AAAA\r\n`;
  assert.equal((await arcOf(`${set(51)}${plain}`)).result, "fail");
  assert.equal(await sealed(`${set(50)}${plain}`), undefined);
  assert.notEqual(await sealed(`${set(49)}${plain}`), undefined);
});

test("keys are read once, and again when their file changes", async () => {
  const folder = await mkdtemp(join(tmpdir(), "postern-keys-"));
  try {
    const path = join(folder, "key.pem");
    await writeFile(path, pem);
    const ring = new Keyring();
    const first = await ring.load("example.com", "s", path);
    assert.equal(await ring.load("example.com", "s", path), first);
    await utimes(path, 1, 1);
    assert.notEqual(await ring.load("example.com", "s", path), first);
    await assert.rejects(ring.load("exa;mple.com", "s", path), TypeError);
    await assert.rejects(ring.load("example.com", "s", join(folder, "absent")));
  } finally {
    await rm(folder, { recursive: true });
  }
});

function services(change: Partial<FactServices> = {}): FactServices & { ctx: ReturnType<typeof contextFor> } {
  return { state: memoryState(), geoip: undefined, greylist: greylistDefaults, ...change, ctx: contextFor(zone) };
}

const variables: Record<string, string> = {
  remoteSmtpIp: "192.0.2.1",
  ehloHost: "mail.example.com",
  mailFrom: "alice@example.com",
  mailFromDomain: "example.com",
  rcptTo: "bob@example.net",
  authUser: "",
  DNSBLServer: "bl.test",
};
const read = (name: string) => variables[name] ?? "";

test("facts answer the variables of their methods, once a question", async () => {
  const geoip = await GeoIp.open({ path: null });
  const given = services({ geoip });
  const facts = createFactSource(given);
  assert.deepEqual((await facts.call("checkSPF", read)).SPFResult, "pass");
  assert.match((await facts.call("checkSPF", read)).SPFHeader!, /^pass \(/);
  assert.equal(given.ctx.asked.length, 1);
  assert.deepEqual(await facts.call("checkReverseDNS", read), { ReverseDNSResult: "fail", ReverseDNSName: "" });
  assert.deepEqual(await facts.call("checkSenderMX", read), { SenderMXCheckResult: "pass" });
  assert.deepEqual(await facts.call("checkDNSBL", read), { DNSBLResult: "", DNSBLExplanation: "" });
  assert.deepEqual(await facts.call("checkGeoIP", (name) => (name === "remoteSmtpIp" ? "8.8.8.8" : "")), {
    GeoIPResult: "US",
    GeoIPASN: "0",
    GeoIPASNName: "",
  });
  assert.deepEqual(await facts.call("checkGreylist", read), { GreylistResult: "defer" });
  assert.deepEqual(
    facts.trace.map(({ name, source, failure }) => [name, source, failure]),
    [
      ["checkSPF", "dns", ""],
      ["checkSPF", "session", ""],
      ["checkReverseDNS", "dns", ""],
      ["checkSenderMX", "dns", ""],
      ["checkDNSBL", "dns", ""],
      ["checkGeoIP", "memory", ""],
      ["checkGreylist", "memory", ""],
    ],
  );
  assert.ok(facts.trace.every(({ elapsedMs }) => elapsedMs >= 0));
  geoip.close();
});

test("networks and mail that the configuration leaves out don't wait", async () => {
  const asked = async (change: object, ip = "192.0.2.1") => {
    const facts = createFactSource(services({ greylist: { ...greylistDefaults, ...change } }));
    const from = (name: string) => (name === "remoteSmtpIp" ? ip : read(name));
    return (await facts.call("checkGreylist", from)).GreylistResult;
  };
  const skip = [parseNetwork("198.51.100.0/24")!];
  assert.equal(await asked({}), "defer");
  assert.equal(await asked({ skip }), "defer");
  assert.equal(await asked({ skip }, "198.51.100.7"), "pass");
  assert.equal(await asked({ skipSpfPass: true }), "pass");
  assert.equal(await asked({ skipSpfPass: true }, "198.51.100.7"), "defer");
});

test("facts about a message end with it", async () => {
  const facts = createFactSource(services());
  await assert.rejects(facts.call("checkDKIM", read), /no message/);
  const text = Buffer.from(await signed());
  facts.setMessage(() => text);
  assert.deepEqual(await facts.call("checkDKIM", read), { DKIMResult: "pass" });
  assert.deepEqual(await facts.call("checkDMARC", read), { DMARCResult: "pass", DMARCPolicy: "reject" });
  assert.deepEqual(await facts.call("checkARC", read), { ARCResult: "none" });
  assert.deepEqual(await facts.call("checkDomainKey", read), { DomainKeyResult: "none" });
  facts.setMessage(() => Buffer.from(plain));
  assert.deepEqual(await facts.call("checkDKIM", read), { DKIMResult: "none" });
});

test("a fact that takes too long or can't be had is an error with a record", async () => {
  const given = services({ deadlineMs: 20 });
  given.ctx.resolver.resolve = () => new Promise(() => {});
  const facts = createFactSource(given);
  await assert.rejects(facts.call("checkSPF", read), /within 20 ms/);
  await assert.rejects(facts.call("checkNothing", read), /no such check/);
  assert.equal(facts.trace[0]?.failure, "no answer within 20 ms");
});

test("DomainKeys are looked at only when switched on", async () => {
  const facts = createFactSource(services({ domainKeys: true }));
  facts.setMessage(() => Buffer.from(`DomainKey-Signature: broken\r\n${plain}`));
  assert.deepEqual(await facts.call("checkDomainKey", read), { DomainKeyResult: "permerror" });
});

test("block lists are not asked about authenticated users", async () => {
  const given = services();
  const facts = createFactSource(given);
  const authenticated = (name: string) =>
    name === "authUser" ? "alice" : name === "remoteSmtpIp" ? "203.0.113.1" : read(name);
  await facts.call("checkDNSBL", authenticated);
  assert.deepEqual(given.ctx.asked, []);
});
