import assert from "node:assert/strict";
import { constants, createHmac, generateKeyPairSync, type KeyObject, sign } from "node:crypto";
import { test } from "node:test";
import { type Jwk, JwtVerifier } from "../../../src/directory/jwt.ts";

const now = 1_800_000_000_000;
const rsa = generateKeyPairSync("rsa", { modulusLength: 2048 });
const ec = generateKeyPairSync("ec", { namedCurve: "P-256" });
const ed = generateKeyPairSync("ed25519");
const jwk = (key: KeyObject, kid: string): Jwk => ({ ...(key.export({ format: "jwk" }) as Jwk), kid });
const keys: Jwk[] = [
  { kty: "unknown", kid: "odd" },
  jwk(rsa.publicKey, "rsa"),
  jwk(ec.publicKey, "ec"),
  jwk(ed.publicKey, "ed"),
];
const claims = { iss: "https://id.test", aud: "postern", exp: now / 1000 + 60, email: "me@example.org" };

const part = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString("base64url");

function token(alg: string, kid: string, body: object = claims): string {
  const signed = `${part({ alg, kid })}.${part(body)}`;
  const data = Buffer.from(signed);
  const signatures: Record<string, () => Buffer> = {
    RS256: () => sign("sha256", data, rsa.privateKey),
    PS256: () =>
      sign("sha256", data, { key: rsa.privateKey, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 }),
    ES256: () => sign("sha256", data, { key: ec.privateKey, dsaEncoding: "ieee-p1363" }),
    EdDSA: () => sign(null, data, ed.privateKey),
    HS256: () =>
      createHmac("sha256", rsa.publicKey.export({ type: "spki", format: "pem" }))
        .update(data)
        .digest(),
    none: () => Buffer.alloc(0),
  };
  return `${signed}.${signatures[alg]!().toString("base64url")}`;
}

function verifier(options: { keys?: () => Promise<readonly Jwk[]>; now?: () => number } = {}): JwtVerifier {
  return new JwtVerifier({
    issuer: "https://id.test",
    audience: "postern",
    keys: async () => keys,
    now: () => now,
    ...options,
  });
}

test("each algorithm verifies with its own key", async () => {
  for (const [alg, kid] of [
    ["RS256", "rsa"],
    ["PS256", "rsa"],
    ["ES256", "ec"],
    ["EdDSA", "ed"],
  ] as const) {
    assert.equal(await verifier().verify(token(alg, kid)), "me@example.org", alg);
  }
});

test("wrong key, no algorithm, a public key used as HMAC secret, changed claims: refused", async () => {
  const good = token("RS256", "rsa");
  const [head, , signature] = good.split(".");
  for (const bad of [
    token("RS256", "ec"),
    token("none", "rsa"),
    token("HS256", "rsa"),
    `${head}.${part({ ...claims, email: "boss@example.org" })}.${signature}`,
    `${good}x.y`,
    "a.b.c",
    "",
    `${"x".repeat(9_000)}.a.b`,
  ]) {
    assert.equal(await verifier().verify(bad), undefined, bad.slice(0, 60));
  }
});

test("issuer, audience and times are checked", async () => {
  const seconds = now / 1000;
  for (const change of [
    { iss: "https://other.test" },
    { aud: "other" },
    { exp: seconds - 61 },
    { exp: undefined },
    { nbf: seconds + 61 },
    { email: 7 },
  ]) {
    assert.equal(
      await verifier().verify(token("EdDSA", "ed", { ...claims, ...change })),
      undefined,
      JSON.stringify(change),
    );
  }
  assert.equal(await verifier().verify(token("EdDSA", "ed", { ...claims, aud: ["x", "postern"] })), "me@example.org");
});

test("the issuer is asked once for unknown key ids, and again only after refreshMs", async () => {
  let asked = 0;
  let time = now;
  const subject = verifier({
    keys: async () => {
      asked++;
      return keys;
    },
    now: () => time,
  });
  await Promise.all([subject.verify(token("EdDSA", "x")), subject.verify(token("EdDSA", "y"))]);
  await subject.verify(token("EdDSA", "z"));
  assert.equal(asked, 1);
  time += 300_001;
  await subject.verify(token("EdDSA", "z", { ...claims, exp: now / 1000 + 9_999 }));
  assert.equal(asked, 2);
});
