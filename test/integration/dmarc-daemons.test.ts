/** Our DKIM and DMARC beside dkimpy-milter and opendmarc: the same messages, the same DNS, over real packets. */
import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { test } from "node:test";
import { authenticate, authenticationResults } from "../../src/checks/authenticate.ts";
import { formatAuthenticationResults } from "../../src/checks/authres.ts";
import { signDkim, signingKey } from "../../src/checks/dkim/sign.ts";
import { verifyDkim } from "../../src/checks/dkim/verify.ts";
import { readMessage } from "../../src/checks/message.ts";
import type { CheckContext } from "../../src/checks/types.ts";
import { budgetWith } from "../../src/config/budget.ts";
import { createResolver } from "../../src/dns/resolver.ts";
import type { DnsServer } from "../unit/dns/server.ts";
import { startDkimpyMilter, startNames, startOpendmarc } from "./dmarc-daemons.ts";
import { filtered } from "./milter-session.ts";

const rsa = generateKeyPairSync("rsa", { modulusLength: 2048 });
const rsaPem = rsa.privateKey.export({ type: "pkcs1", format: "pem" }).toString();
const ed = generateKeyPairSync("ed25519");
const edPem = ed.privateKey.export({ type: "pkcs8", format: "pem" }).toString();
const octets = (name: "x" | "d") =>
  Buffer.from(ed.privateKey.export({ format: "jwk" })[name] as string, "base64url").toString("base64");
const rsaRecord = `v=DKIM1; k=rsa; p=${rsa.publicKey.export({ type: "spki", format: "der" }).toString("base64")}`;
const edRecord = `v=DKIM1; k=ed25519; p=${octets("x")}`;
const TXT = (text: string) => [{ TXT: text.match(/.{1,250}/g)! }];

const letter = (from: string) =>
  `From: ${from}\r\nTo: b@l.example\r\nSubject: two  blanks and\r\n\ta fold\r\nDate: Mon, 1 Jan 2024 00:00:00 +0000\r\nMessage-ID: <1@x.example>\r\n\r\nHello  World \r\n\r\n.dots and\ttabs\t\r\n\r\n\r\n`;

function contextOf(t: { after(end: () => unknown): void }, names: DnsServer): CheckContext {
  const budget = budgetWith();
  const resolver = createResolver({ servers: [names.address], budget });
  t.after(() => resolver.close());
  return { resolver, budget, hostName: "gw.test", now: Date.now };
}

async function signed(text: string, keys: Parameters<typeof signDkim>[1]): Promise<string> {
  const message = await readMessage(Buffer.from(text, "latin1"), budgetWith());
  const values = await signDkim(message, keys, { timestamp: Math.floor(Date.now() / 1000) });
  return values.map((value) => `DKIM-Signature: ${value}\r\n`).join("") + text;
}

test("dkimpy-milter signs, we verify; we sign, dkimpy-milter verifies: rsa and ed25519", {
  timeout: 60_000,
}, async (t) => {
  const names = await startNames(t, {
    "r._domainkey.x.example": TXT(rsaRecord),
    "e._domainkey.x.example": TXT(edRecord),
  });
  if (names === undefined) return;
  const port = await startDkimpyMilter(t, names, {
    domain: "x.example",
    rsa: { selector: "r", pem: rsaPem },
    ed25519: { selector: "e", seed: octets("d") },
  });
  if (port === undefined) return;
  const ctx = contextOf(t, names);
  const text = letter("A <a@x.example>");
  const body = text.slice(text.indexOf("\r\n\r\n") + 4);
  const { headerText } = await filtered(port, text);
  const verdicts = await verifyDkim(await readMessage(Buffer.from(headerText + body, "latin1"), ctx.budget), ctx);
  assert.deepEqual(verdicts.map(({ algorithm, result, reason }) => `${algorithm} ${result} ${reason}`).sort(), [
    "ed25519-sha256 pass ",
    "rsa-sha256 pass ",
  ]);

  const ours = await signed(text, [signingKey("x.example", "r", rsaPem), signingKey("x.example", "e", edPem)]);
  const theirs = async (message: string) => {
    const seen = await filtered(port, message, { ip: "192.0.2.9" });
    const [field = ""] = /^Authentication-Results:.*(?:\r\n[ \t].*)*/m.exec(seen.headerText) ?? [];
    return [...field.matchAll(/dkim=(\w+)/g)].map(([, result]) => result);
  };
  assert.deepEqual(await theirs(ours), ["pass", "pass"]);
  assert.deepEqual(await theirs(ours.replace("Hello", "Hallo")), ["fail", "fail"]);
});

const zone = {
  "s._domainkey.x.example": TXT(rsaRecord),
  "x.example": TXT("v=spf1 ip4:192.0.2.1 -all"),
  "_dmarc.x.example": TXT("v=DMARC1; p=reject; sp=quarantine; np=none"),
  "sub.x.example": TXT("v=spf1 ip4:192.0.2.1 -all"),
  "s._domainkey.strict.example": TXT(rsaRecord),
  "news.strict.example": TXT("v=spf1 ip4:192.0.2.1 -all"),
  "_dmarc.strict.example": TXT("v=DMARC1; p=quarantine; adkim=s; aspf=s"),
  "plain.example": TXT("v=spf1 -all"),
  "test.example": TXT("v=spf1 -all"),
  "_dmarc.test.example": TXT("v=DMARC1; p=reject; t=y"),
};

/** From, envelope sender, client, signed by; DMARC's result and policy here, and opendmarc's, which may reject. */
const cases = [
  ["a@x.example", "a@x.example", "192.0.2.1", "", "pass reject", "pass"],
  ["a@x.example", "a@x.example", "192.0.2.66", "", "fail reject", "550"],
  ["a@x.example", "bounce@plain.example", "192.0.2.66", "x.example", "pass reject", "pass"],
  ["a@sub.x.example", "a@sub.x.example", "192.0.2.1", "", "pass quarantine", "pass"],
  ["a@sub.x.example", "a@sub.x.example", "192.0.2.66", "", "fail quarantine", "fail"],
  ["a@sub.x.example", "a@plain.example", "192.0.2.66", "x.example", "pass quarantine", "pass"],
  ["a@strict.example", "a@plain.example", "192.0.2.66", "strict.example", "pass quarantine", "pass"],
  ["a@plain.example", "a@plain.example", "192.0.2.1", "", "none none", "none"],
  // Strict alignment is equality (RFC 9989 §4.4, as RFC 7489 §3.1 had it); opendmarc 1.4.2 takes the name below.
  ["a@strict.example", "a@news.strict.example", "192.0.2.1", "", "fail quarantine", "pass"],
  // RFC 9989 §4.7: np= is for names that do not exist, and t=y asks for one step less. opendmarc knows RFC 7489 alone.
  ["a@missing.x.example", "a@plain.example", "192.0.2.66", "", "fail none", "fail"],
  ["a@test.example", "a@test.example", "192.0.2.1", "", "fail quarantine", "550"],
] as const;

test("opendmarc's verdicts are ours, but for what RFC 9989 changed and one mistake", { timeout: 60_000 }, async (t) => {
  const names = await startNames(t, zone);
  if (names === undefined) return;
  const port = await startOpendmarc(t, names);
  if (port === undefined) return;
  const ctx = contextOf(t, names);
  for (const [from, mailFrom, ip, domain, ours, theirs] of cases) {
    const plain = letter(from);
    const text = domain === "" ? plain : await signed(plain, [signingKey(domain, "s", rsaPem)]);
    const found = await authenticate(Buffer.from(text, "latin1"), { ip, helo: "x.example", mailFrom }, ctx);
    const what = `${from} from ${mailFrom} at ${ip}, signed by ${domain || "nobody"}`;
    assert.equal(`${found.dmarc.result} ${found.dmarc.policy ?? "none"}`, ours, what);
    // As it is behind our gateway: our DKIM result, for opendmarc to judge by.
    const results = authenticationResults(found).filter(({ method }) => method === "dkim");
    const field = formatAuthenticationResults({ authservId: "gw.test", results });
    const seen = await filtered(port, `Authentication-Results: ${field}\r\n${text}`, { ip, mailFrom });
    const [, said = ""] = /^Authentication-Results: gw\.test; dmarc=(\w+)/m.exec(seen.headerText) ?? [];
    assert.equal(seen.outcome === undefined ? said : String(seen.outcome.code), theirs, `${what}\n${seen.headerText}`);
  }
});
