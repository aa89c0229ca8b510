import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { test } from "node:test";
import { type ConnectionOptions, connect, type TLSSocket } from "node:tls";
import { selfSigned } from "../../../src/smtp/incoming/selfsigned.ts";
import { TlsContexts } from "../../../src/smtp/incoming/tls.ts";
import { type Client, type Site, withSite } from "./site.ts";

const one = selfSigned(["one.test"]);
const two = selfSigned(["two.test", "*.wild.test"]);

function subject(client: Client): string {
  return (client.socket as TLSSocket).getPeerX509Certificate()!.subject;
}

async function failure(site: Site, options: ConnectionOptions): Promise<string> {
  const socket = connect({ port: site.port, host: "127.0.0.1", rejectUnauthorized: false, ...options });
  return await new Promise((resolve) => {
    socket.on("secureConnect", () => resolve(`connected with ${socket.getProtocol()}`));
    socket.on("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
    socket.on("close", () => resolve("closed"));
  });
}

test("a self-signed certificate is well-formed and names its hosts", () => {
  const certificate = new X509Certificate(two.cert);
  assert.equal(certificate.checkHost("two.test"), "two.test");
  assert.equal(certificate.checkHost("a.wild.test"), "*.wild.test");
  assert.equal(certificate.verify(certificate.publicKey), true);
  assert.ok(Date.parse(certificate.validTo) > Date.now());
  assert.throws(() => selfSigned([]), RangeError);
});

test("SNI picks the certificate; unknown names get the first", () =>
  withSite({ tls: { mode: "implicit", certificates: [one, two] } }, async (site) => {
    for (const [servername, name] of [
      ["two.test", "CN=two.test"],
      ["x.wild.test", "CN=two.test"],
      ["x.y.wild.test", "CN=one.test"],
      ["nobody.test", "CN=one.test"],
    ] as const) {
      const client = await site.secureClient({ servername });
      assert.equal(subject(client), name, servername);
      client.end();
    }
  }));

test("TLS 1.2 and 1.3 only, no cipher without forward secrecy and AEAD", () =>
  withSite({ tls: { mode: "implicit", certificates: [one] } }, async (site) => {
    const legacy = { minVersion: "TLSv1.1", maxVersion: "TLSv1.1", ciphers: "ALL@SECLEVEL=0" } as const;
    assert.doesNotMatch(await failure(site, legacy), /^connected/);
    for (const ciphers of ["ECDHE-ECDSA-AES128-SHA256", "AES128-GCM-SHA256"]) {
      assert.doesNotMatch(await failure(site, { maxVersion: "TLSv1.2", ciphers }), /^connected/, ciphers);
    }
    assert.equal(await failure(site, { maxVersion: "TLSv1.2" }), "connected with TLSv1.2");
    assert.equal(await failure(site, {}), "connected with TLSv1.3");
  }));

test("key exchange groups are those of the options, best first; an unknown one is refused at load", () =>
  withSite({ tls: { mode: "implicit", certificates: [one], groups: ["P-384", "X25519"] } }, async (site) => {
    const offered = { maxVersion: "TLSv1.3", minVersion: "TLSv1.3" } as const;
    assert.equal(await failure(site, { ...offered, ecdhCurve: "X25519:P-384" }), "connected with TLSv1.3");
    assert.doesNotMatch(await failure(site, { ...offered, ecdhCurve: "P-256" }), /^connected/);
    assert.throws(() => new TlsContexts({ mode: "implicit", certificates: [one], groups: ["P-257"] }));
  }));

test("sessions resume, across listeners that share ticket keys", async () => {
  const tls = { mode: "implicit", certificates: [one], ticketKeys: Buffer.alloc(48, 7) } as const;
  await withSite({ tls }, async (first) => {
    await withSite({ tls }, async (second) => {
      const before = await first.secureClient();
      const session = await new Promise<Buffer>((resolve) => {
        (before.socket as TLSSocket).on("session", resolve);
        before.hello().catch(assert.fail);
      });
      before.end();
      const after = await second.secureClient({ session });
      assert.equal((after.socket as TLSSocket).isSessionReused(), true);
      after.end();
    });
  });
});

test("a reload shows the new certificate to new connections; a broken one changes nothing", () =>
  withSite({ tls: { mode: "implicit", certificates: [one] } }, async (site) => {
    const old = await site.secureClient();
    await old.hello();
    const options = { host: "127.0.0.1", port: 0 };
    site.server.reload({ ...options, tls: { mode: "implicit", certificates: [two] } });
    const fresh = await site.secureClient();
    assert.equal(subject(fresh), "CN=two.test");
    assert.throws(() =>
      site.server.reload({ ...options, tls: { mode: "implicit", certificates: [{ cert: one.cert, key: two.key }] } }),
    );
    assert.throws(() => site.server.reload({ host: "127.0.0.1", port: 99 }), RangeError);
    const again = await site.secureClient();
    assert.equal(subject(again), "CN=two.test");
    assert.match(await old.ask("NOOP"), /^250/);
    for (const client of [old, fresh, again]) client.end();
  }));

test("client certificates are told to the handler, checked but not required", () => {
  const mine = selfSigned(["client.test"]);
  return withSite({ tls: { mode: "implicit", certificates: [one], clientCa: mine.cert } }, async (site) => {
    const expected = new X509Certificate(mine.cert).fingerprint256;
    const foreign = selfSigned(["foreign.test"]);
    for (const [pair, authorized] of [
      [mine, true],
      [foreign, false],
    ] as const) {
      const client = await site.secureClient({ cert: pair.cert, key: pair.key });
      await client.hello();
      await client.toData();
      await client.ask("\r\nx\r\n.");
      const shown = site.received.at(-1)!.client.clientCertificate!;
      assert.equal(shown.verified, authorized);
      assert.equal(shown.fingerprint === expected, authorized);
      assert.equal(shown.subject, `CN=${authorized ? "client" : "foreign"}.test`);
      assert.equal(shown.issuer, shown.subject);
      client.end();
    }
    const without = await site.secureClient();
    await without.hello();
    await without.toData();
    await without.ask("\r\nx\r\n.");
    assert.equal(site.received.at(-1)!.client.clientCertificate, undefined);
    without.end();
  });
});

test("STARTTLS, then a message; SNI and TLS facts reach the handler", () =>
  withSite({ tls: { mode: "starttls", certificates: [one] }, settings: { allowRequireTls: true } }, async (site) => {
    const client = await site.client();
    assert.match(await client.hello(), /STARTTLS/);
    await client.ask("STARTTLS");
    await client.startTls({ servername: "one.test" });
    const ehlo = await client.ask("EHLO again.test");
    assert.match(ehlo, /REQUIRETLS/);
    assert.doesNotMatch(ehlo, /STARTTLS/);
    assert.match(await client.ask("STARTTLS"), /^503/);
    await client.ask("MAIL FROM:<a@x.test> REQUIRETLS");
    await client.ask("RCPT TO:<b@y.test>");
    await client.ask("DATA");
    assert.match(await client.ask("\r\nx\r\n."), /^250/);
    const { client: info, envelope } = site.received[0]!;
    assert.deepEqual([info.protocol, info.serverName, envelope.requireTls], ["ESMTPS", "one.test", true]);
    client.end();
  }));

test("contexts: a listener without certificate is refused at load", () => {
  assert.throws(() => new TlsContexts({ mode: "starttls", certificates: [] }), RangeError);
});
