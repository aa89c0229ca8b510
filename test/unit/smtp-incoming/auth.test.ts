import assert from "node:assert/strict";
import { createHash, createHmac, randomBytes } from "node:crypto";
import { test } from "node:test";
import type { TLSSocket } from "node:tls";
import type { Credentials } from "../../../src/smtp/incoming/hooks.ts";
import { scramKeys } from "../../../src/smtp/incoming/scram.ts";
import { selfSigned } from "../../../src/smtp/incoming/selfsigned.ts";
import { scram } from "./scram-client.ts";
import { type Client, type Site, type SiteOptions, withSite } from "./site.ts";

const certificates = [selfSigned(["mx.test"])];
const b64 = (text: string | Buffer): string => Buffer.from(text).toString("base64");
const unb64 = (line: string): string => Buffer.from(line.slice(4), "base64").toString("latin1");

function withTls(options: SiteOptions, body: (client: Client, site: Site) => Promise<void>): Promise<void> {
  return withSite({ tls: { mode: "implicit", certificates }, ...options }, async (site) => {
    const client = await site.secureClient();
    await client.hello();
    await body(client, site);
    client.end();
  });
}

test("PLAIN: with and without initial response, wrong, malformed, cancelled, twice", () =>
  withTls({ budget: { authFailures: 10 } }, async (client) => {
    assert.match(await client.ask(`AUTH PLAIN ${b64("\0me@x.test\0wrong")}`), /^535 5\.7\.8/);
    for (const bad of [b64("no nul"), b64("\0a\0b\0c"), "!!!", b64("\0\0x"), "="]) {
      assert.match(await client.ask(`AUTH PLAIN ${bad}`), /^501/, bad);
    }
    assert.equal(await client.ask("AUTH PLAIN"), "334");
    assert.equal(await client.ask("*"), "501 5.7.0 Authentication cancelled");
    assert.match(await client.ask("AUTH GSSAPI"), /^504/);
    assert.equal(await client.ask("AUTH PLAIN"), "334");
    assert.match(await client.ask(b64("\0me@x.test\0secret")), /^235 2\.7\.0/);
    assert.match(await client.ask("AUTH PLAIN"), /^503 5\.5\.1 Already/);
    assert.match(await client.ask("EHLO again"), /DELIVERBY[\s\S]*FUTURERELEASE[\s\S]*MT-PRIORITY/);
    assert.match(await client.ask("MAIL FROM:<me@x.test> BY=60;R HOLDFOR=5 MT-PRIORITY=3"), /^250/);
    await client.ask("RSET");
    assert.match(await client.ask("MAIL FROM:<me@x.test> HOLDFOR=700000"), /^501/);
  }));

test("LOGIN asks for name and password", () =>
  withTls({}, async (client, site) => {
    assert.equal(unb64(await client.ask("AUTH LOGIN")), "Username:");
    assert.equal(unb64(await client.ask(b64("me@x.test"))), "Password:");
    assert.match(await client.ask(b64("secret")), /^235/);
    await client.toData();
    await client.ask("\r\nx\r\n.");
    assert.equal(site.received[0]?.client.protocol, "ESMTPSA");
    assert.equal(site.received[0]?.client.authUser, "me@x.test");
    assert.match(site.received[0]!.client.tls, /^TLSv1\.3 TLS_/);
  }));

test("no plain-text password without TLS, unless configured", async () => {
  await withSite({ tls: { mode: "starttls", certificates } }, async (site) => {
    const client = await site.client();
    assert.doesNotMatch(await client.hello(), /AUTH/);
    assert.match(await client.ask(`AUTH PLAIN ${b64("\0me\0secret")}`), /^538 5\.7\.11/);
    await client.ask("STARTTLS");
    await client.startTls();
    assert.match(await client.ask("MAIL FROM:<>"), /^503/); // RFC 3207 §4.2: EHLO again
    assert.match(await client.ask("EHLO x"), /AUTH PLAIN LOGIN/);
    assert.match(await client.ask(`AUTH PLAIN ${b64("\0me\0secret")}`), /^235/);
    client.end();
  });
  await withSite({ settings: { authPlain: ["PLAIN"] } }, async (site) => {
    const client = await site.client();
    assert.match(await client.hello(), /AUTH PLAIN$/m);
    assert.match(await client.ask(`AUTH PLAIN ${b64("\0me\0secret")}`), /^235/);
    client.end();
  });
});

test("five failures end the session; guessing hosts are banned for a while", () =>
  withSite(
    { settings: { authPlain: ["PLAIN"] }, budget: { authBanFailures: 7, authBanMs: 60_000, lingerMs: 50 } },
    async (site) => {
      const guess = `AUTH PLAIN ${b64("\0me\0wrong")}`;
      const first = await site.client();
      await first.hello();
      for (let i = 0; i < 4; i++) assert.match(await first.ask(guess), /^535/);
      assert.match(await first.ask(guess), /^421 4\.7\.0/);
      const second = await site.client();
      await second.hello();
      assert.match(await second.ask(guess), /^535/);
      assert.match(await second.ask(guess), /^421 4\.7\.0/);
      const third = await site.client();
      assert.match((await third.rest()).join(), /^554 5\.7\.1 Access denied for now/);
    },
  ));

test("the tarpit delays the answer to a wrong password, and to nothing else", () =>
  withSite({ settings: { authPlain: ["PLAIN"] }, budget: { authTarpitMs: 400 } }, async (site) => {
    const client = await site.client();
    await client.hello();
    let started = performance.now();
    assert.match(await client.ask(`AUTH PLAIN ${b64("\0me\0wrong")}`), /^535/);
    assert.ok(performance.now() - started >= 390);
    started = performance.now();
    assert.match(await client.ask(`AUTH PLAIN ${b64("\0me\0secret")}`), /^235/);
    assert.ok(performance.now() - started < 350);
    client.end();
  }));

test("CRAM-MD5 against the RFC 2195 construction", () =>
  withSite(
    {
      settings: { authPlain: ["CRAM-MD5"] },
      handler: () => ({
        onAuth: ({ username, verify }) => ({
          ok: verify?.({ scheme: "plain", value: "tanstaaf" }) ?? false,
          user: username,
        }),
      }),
    },
    async (site) => {
      const client = await site.client();
      await client.hello();
      for (const [password, reply] of [
        ["wrong", /^535/],
        ["tanstaaf", /^235/],
      ] as const) {
        const challenge = unb64(await client.ask("AUTH CRAM-MD5"));
        const digest = createHmac("md5", password).update(challenge).digest("hex");
        assert.match(await client.ask(b64(`tim ${digest}`)), reply);
      }
      client.end();
    },
  ));

test("SCRAM-SHA-256 and -PLUS, unknown users, wrong passwords, cut-down offers", async () => {
  const value = await scramKeys("pencil");
  const options: SiteOptions = {
    settings: { authSecure: ["SCRAM-SHA-256", "SCRAM-SHA-256-PLUS"], authPlain: ["SCRAM-SHA-256"] },
    budget: { authFailures: 20 },
    handler: () => ({
      lookupSecret: async (name) => (name === "user" ? { scheme: "scram-sha-256", value } : undefined),
      onAuth: ({ username, verify }: Credentials) => ({
        ok: verify?.({ scheme: "scram-sha-256", value }) ?? false,
        user: username,
      }),
    }),
  };
  const none = Buffer.alloc(0);
  await withTls(options, async (client, site) => {
    const socket = client.socket as TLSSocket;
    const exporter = socket.exportKeyingMaterial(32, "EXPORTER-Channel-Binding", none);
    assert.match(await scram(client, "SCRAM-SHA-256", "user", "wrong", "n,,", none), /^535/);
    assert.match(await scram(client, "SCRAM-SHA-256", "nobody", "pencil", "n,,", none), /^535/);
    assert.match(await scram(client, "SCRAM-SHA-256", "user", "pencil", "y,,", none), /^535/);
    assert.match(await scram(client, "SCRAM-SHA-256-PLUS", "user", "pencil", "n,,", none), /^535/);
    assert.match(
      await scram(client, "SCRAM-SHA-256-PLUS", "user", "pencil", "p=tls-exporter,,", randomBytes(32)),
      /^535/,
    );
    assert.match(await scram(client, "SCRAM-SHA-256-PLUS", "user", "pencil", "p=tls-exporter,,", exporter), /^235/);
    const end = await site.secureClient();
    await end.hello();
    const certificate = (end.socket as TLSSocket).getPeerX509Certificate()!;
    const endpoint = createHash("sha256").update(certificate.raw).digest();
    assert.match(
      await scram(end, "SCRAM-SHA-256-PLUS", "user", "pencil", "p=tls-server-end-point,,", endpoint),
      /^235/,
    );
    end.end();
  });
  await withSite(options, async (site) => {
    const client = await site.client();
    assert.match(await client.hello(), /AUTH SCRAM-SHA-256$/m);
    assert.match(await scram(client, "SCRAM-SHA-256", "user", "pencil", "y,,", none), /^235/);
    client.end();
  });
});

test("SCRAM isn't offered when the handler can't look keys up", () =>
  withSite({ settings: { authPlain: ["SCRAM-SHA-256"] } }, async (site) => {
    const client = await site.client();
    assert.doesNotMatch(await client.hello(), /SCRAM/);
    client.end();
  }));

test("XOAUTH2 and OAUTHBEARER hand the token on; a bad one gets the error challenge first", () =>
  withTls(
    {
      settings: { authSecure: ["XOAUTH2", "OAUTHBEARER"] },
      handler: () => ({ onAuth: ({ token, username }) => ({ ok: token === "good", user: username }) }),
    },
    async (client, site) => {
      assert.equal(
        unb64(await client.ask(`AUTH XOAUTH2 ${b64("user=me@x.test\x01auth=Bearer bad\x01\x01")}`)),
        '{"status":"invalid_token"}',
      );
      assert.match(await client.ask(""), /^535/);
      assert.match(await client.ask(`AUTH XOAUTH2 ${b64("user=me@x.test\x01auth=Basic x\x01\x01")}`), /^501/);
      assert.match(await client.ask(`AUTH XOAUTH2 ${b64("user=me@x.test\x01auth=Bearer good\x01\x01")}`), /^235/);
      const other = await site.secureClient();
      await other.hello();
      const bearer = b64("n,a=me@x.test,\x01host=mx.test\x01port=587\x01auth=Bearer good\x01\x01");
      assert.match(await other.ask(`AUTH OAUTHBEARER ${bearer}`), /^235/);
      other.end();
    },
  ));

test("submission: AUTH first, header completed, foreign From refused", () =>
  withSite(
    {
      profile: "submission",
      settings: { authPlain: ["PLAIN"] },
      maySendAs: (user, address) => address === user || address === "alias@x.test",
    },
    async (site) => {
      const client = await site.client();
      await client.hello();
      assert.match(await client.ask("MAIL FROM:<me@x.test>"), /^530 5\.7\.0/);
      await client.ask(`AUTH PLAIN ${b64("\0me@x.test\0secret")}`);
      await client.toData("me@x.test");
      assert.match(await client.ask("Subject: hi\r\n\r\nx\r\n."), /^250/);
      const content = site.received[0]!.content;
      assert.match(
        content,
        /^From: <me@x\.test>\r\nDate: \w{3}, \d+ \w{3} \d{4} [\d:]{8} [+-]\d{4}\r\nMessage-ID: <[\w-]+@mx\.test>\r\nSubject: hi\r\n\r\nx\r\n$/,
      );
      await client.toData("me@x.test");
      assert.match(await client.ask('from: "a <b@c.test>" <boss@x.test>\r\n\r\nx\r\n.'), /^550 5\.7\.1/);
      assert.equal(site.events.filter((event) => event === "abort").length, 1);
      await client.toData("me@x.test");
      assert.match(await client.ask("From: Me\r\n <alias@x.test>\r\nDate: d\r\nMessage-ID: <m>\r\n\r\nx\r\n."), /^250/);
      assert.match(await client.ask("MAIL FROM:<boss@x.test>"), /^553 5\.7\.1/);
      assert.equal(site.received[1]?.content, "From: Me\r\n <alias@x.test>\r\nDate: d\r\nMessage-ID: <m>\r\n\r\nx\r\n");
      await client.toData("me@x.test");
      assert.match(await client.ask("\r\nno header\r\n."), /^250/);
      assert.match(site.received[2]!.content, /^From: .*\r\nDate: .*\r\nMessage-ID: .*\r\n\r\nno header\r\n$/);
      await client.toData("me@x.test");
      assert.match(await client.ask("From: a <me@x.test>,\r\n alias@x.test\r\n\r\nx\r\n."), /^250/);
      assert.match(site.received[3]!.content, /^Sender: <me@x\.test>\r\nDate: /);
      client.end();
    },
  ));

test("submission: no spelling of From shows another's address", () =>
  withSite(
    {
      profile: "submission",
      settings: { authPlain: ["PLAIN"] },
      maySendAs: (user, address) => address === user || address === "jürgen@x.test",
    },
    async (site) => {
      const client = await site.client();
      await client.hello();
      await client.ask(`AUTH PLAIN ${b64("\0me@x.test\0secret")}`);
      const answerTo = async (...from: string[]): Promise<string> => {
        await client.toData("me@x.test");
        return await client.ask(`${from.join("\r\n")}\r\n\r\nx\r\n.`);
      };
      for (const from of [
        ["From: boss@x.test"],
        ["From : boss@x.test"],
        ["From\t: boss@x.test"],
        ["FROM:boss@x.test"],
        ["From:", " boss@x.test"],
        ["From: me@x.test", "From: boss@x.test"],
        ["From: me@x.test, boss@x.test"],
        ["From: boss@x.test ((x) <me@x.test>)"],
        ["From: boss@x.test (<me@x.test>)"],
        ["From: <me@x.test> <boss@x.test>"],
        ["From: <boss@x.test> <me@x.test>"],
        ["From: us: me@x.test, boss@x.test;"],
        ["From: <@x.test:boss@x.test>"],
        ["From: boss @ x . test"],
        ['From: "me@x.test" <boss@x.test>'],
        ["From: nobody"],
        ["From: ;"],
        ["From:"],
      ]) {
        assert.match(await answerTo(...from), /^550 5\.7\.1/, from.join("|"));
      }
      for (const from of ["me@x.test", '"Boss, the (first)" <me@x.test> (at (home))', "jürgen@x.test"]) {
        assert.match(await answerTo(`From: ${from}`), /^250/, from);
      }
      client.end();
    },
  ));
