/**
 * The SMTP edge of the running gateway, two workers, real sockets: limits and bans count over all workers, access rules
 * decide in their order, every AUTH mechanism works from the configuration, certificates change while it runs, proxies
 * speak for their clients, and a pressed machine refuses before it loses anything.
 */
import assert from "node:assert/strict";
import { createPrivateKey, generateKeyPairSync, sign } from "node:crypto";
import { once } from "node:events";
import { renameSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { after, test } from "node:test";
import { type ConnectionOptions, connect as connectTls, type TLSSocket } from "node:tls";
import { hashPassword } from "../../src/directory/password.ts";
import { scramKeys } from "../../src/smtp/incoming/scram.ts";
import { selfSigned } from "../../src/smtp/incoming/selfsigned.ts";
import { scram } from "../unit/smtp-incoming/scram-client.ts";
import { Client } from "../unit/smtp-incoming/site.ts";
import { freePort, type Gateway, Lab, sendMessage, until } from "./lab.ts";

const lab = new Lab();
after(() => lab.close());

const b64 = (text: string): string => Buffer.from(text).toString("base64");

async function open(port: number, localAddress = "127.0.0.1"): Promise<Client> {
  const socket = connect({ port, host: "127.0.0.1", localAddress });
  await once(socket, "connect");
  return new Client(socket);
}

async function openTls(port: number, options: ConnectionOptions = {}): Promise<Client> {
  const socket = connectTls({ port, host: "127.0.0.1", rejectUnauthorized: false, ...options });
  await once(socket, "secureConnect");
  return new Client(socket);
}

function certificateFiles(name: string, hosts: readonly string[]): { cert: string; key: string } {
  const files = { cert: join(lab.folder, `${name}.crt`), key: join(lab.folder, `${name}.key`) };
  writeCertificate(files, hosts);
  return files;
}

/** As certbot does: each file is replaced by a rename. */
function writeCertificate(files: { cert: string; key: string }, hosts: readonly string[]): void {
  const pair = selfSigned(hosts);
  for (const kind of ["cert", "key"] as const) {
    writeFileSync(`${files[kind]}.new`, pair[kind]);
    renameSync(`${files[kind]}.new`, files[kind]);
  }
}

const limits = { connections: 0, connectionsPerPeer: 0, newConnectionsPerPeerPerMinute: 0, authTarpitMs: 0 };

test("a peer's connections count over all workers, and a dead worker gives back its own", async () => {
  const gateway = await lab.gateway({
    relay: { trustedNetworks: [] },
    limits: { ...limits, connectionsPerPeer: 5 },
    workers: 2,
  });
  const clients = await Promise.all(Array.from({ length: 12 }, () => open(gateway.port)));
  const greetings = await Promise.all(clients.map((client) => client.reply()));
  assert.equal(greetings.filter((greeting) => greeting.startsWith("220")).length, 5, greetings.join("\n"));
  const refused = greetings.filter((greeting) => greeting === "421 4.7.0 Too many connections from your address");
  assert.equal(refused.length, 7);
  // Another peer has room of its own; a place that is left is free again.
  assert.match(await (await open(gateway.port, "127.0.0.2")).reply(), /^220/);
  clients[greetings.findIndex((greeting) => greeting.startsWith("220"))]!.end();
  const room = await until("room again", async () => {
    const next = await open(gateway.port);
    if ((await next.reply()).startsWith("220")) return next;
    next.end();
    return undefined;
  });
  for (const pid of gateway.workers()) process.kill(pid, "SIGKILL");
  await until("new workers have the whole room", async () => {
    const again = await Promise.all(Array.from({ length: 6 }, () => open(gateway.port).catch(() => undefined)));
    const greeted = await Promise.all(again.map(async (client) => (client ? await client.reply() : "")));
    for (const client of again) client?.end();
    return greeted.filter((greeting) => greeting.startsWith("220")).length === 5;
  });
  room.end();
  await gateway.kill("SIGTERM");
});

test("a guessing host is banned by all workers, trusted network or not", async () => {
  const gateway = await lab.gateway({
    accounts: [{ address: "user@local.test", password: await hashPassword("secret") }],
    smtp: { plainTextAuth: true },
    limits: { ...limits, authBanFailures: 3 },
  });
  const guesser = await open(gateway.port, "127.0.0.9");
  await guesser.hello();
  const guess = `AUTH PLAIN ${b64("\0user@local.test\0wrong")}`;
  assert.match(await guesser.ask(guess), /^535 5\.7\.8/);
  assert.match(await guesser.ask(guess), /^535/);
  assert.match(await guesser.ask(guess), /^421 4\.7\.0/);
  for (let i = 0; i < 8; i++) {
    const again = await open(gateway.port, "127.0.0.9");
    assert.match(await again.reply(), /^554 5\.7\.1 Access denied for now/);
  }
  const other = await open(gateway.port, "127.0.0.8");
  await other.hello();
  assert.match(await other.ask(`AUTH PLAIN ${b64("\0user@local.test\0secret")}`), /^235/);
  other.end();
  await gateway.kill("SIGTERM");
});

test("access rules: listener before service before global; allow rules bring limits of their own", async () => {
  const port = await freePort();
  const gateway = await lab.gateway({
    listeners: [
      {
        address: `127.0.0.1:${port}`,
        access: [
          { action: "deny", networks: ["127.0.1.0/24"], priority: 5 },
          { action: "allow", networks: ["127.0.1.7"], priority: 5 },
          { action: "allow", networks: ["127.0.2.1"], limits: { connectionsPerPeer: 1 } },
        ],
      },
    ],
    smtp: { access: [{ action: "deny", networks: ["127.0.2.0-127.0.2.255"] }] },
    access: [
      { action: "deny", networks: ["127.0.3.0/24"] },
      { action: "allow", networks: ["127.0.2.9"] },
    ],
  });
  const greeting = async (from: string): Promise<string> => {
    const client = await open(port, from);
    return (await client.reply()).slice(0, 3);
  };
  assert.equal(await greeting("127.0.1.1"), "554");
  assert.equal(await greeting("127.0.1.7"), "220", "on a tie allow wins");
  assert.equal(await greeting("127.0.2.1"), "220", "the listener's rule decides before the service's");
  assert.equal(await greeting("127.0.2.1"), "421", "and its limit holds, at whichever worker");
  assert.equal(await greeting("127.0.2.9"), "554", "the service's before the global list");
  assert.equal(await greeting("127.0.3.3"), "554");
  assert.equal(await greeting("127.0.4.4"), "220");
  // Listeners stay where they are: a reload that moves one is refused whole.
  gateway.writeConfig({ ...effective(gateway), listeners: [{ address: `127.0.0.1:${await freePort()}` }] });
  const moved = gateway.postern("reload", "--config", gateway.configFile);
  assert.equal(moved.code, 1, moved.out);
  assert.match(moved.err + moved.out, /listeners can't be added, removed or moved by a reload/);
  assert.equal(await greeting("127.0.3.3"), "554", "the old rules are in force");
  await gateway.kill("SIGTERM");
});

/** A JWT (RFC 7519) signed with Ed25519. */
function token(privateKey: string, claims: object): string {
  const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString("base64url");
  const text = `${part({ alg: "EdDSA", kid: "one" })}.${part(claims)}`;
  return `${text}.${sign(null, Buffer.from(text), createPrivateKey(privateKey)).toString("base64url")}`;
}

test("every AUTH mechanism from the configuration; none of them without TLS; senders are held to their identity", async () => {
  const keys = generateKeyPairSync("ed25519");
  writeFileSync(
    join(lab.folder, "jwks.json"),
    JSON.stringify({ keys: [{ ...keys.publicKey.export({ format: "jwk" }), kid: "one" }] }),
  );
  const [plainPort, tlsPort] = [await freePort(), await freePort()];
  const files = certificateFiles("auth", ["gw.test"]);
  const config = {
    listeners: [
      { address: `127.0.0.1:${plainPort}`, tls: files },
      { address: `127.0.0.1:${tlsPort}`, protocol: "submission", tls: { ...files, mode: "implicit" } },
    ],
    domains: { local: ["local.test"], aliases: { "sales@local.test": "hash@local.test" } },
    relay: { trustedNetworks: [] },
    accounts: [
      { address: "hash@local.test", password: await hashPassword("secret") },
      { address: "scram@local.test", scram: await scramKeys("pencil") },
      { address: "cram@local.test", plain: "tanstaaf" },
      { address: "token@local.test" },
    ],
    tokens: { issuer: "https://issuer.test", audience: "mail", keys: join(lab.folder, "jwks.json") },
    limits,
  };
  const gateway = await lab.gateway(config);
  const plain = await open(plainPort);
  assert.doesNotMatch(await plain.hello(), /AUTH/, "no AUTH in clear text");
  assert.match(await plain.ask("AUTH PLAIN"), /^538 5\.7\.11/);
  plain.end();

  const as = async (use: (client: Client) => Promise<string>): Promise<Client> => {
    const client = await openTls(tlsPort);
    await client.hello();
    assert.match(await use(client), /^235 2\.7\.0/);
    return client;
  };
  const offer = await openTls(tlsPort);
  assert.match(await offer.hello(), /AUTH SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN LOGIN CRAM-MD5 XOAUTH2 OAUTHBEARER$/m);
  assert.match(await offer.ask("MAIL FROM:<hash@local.test>"), /^530 5\.7\.0/, "submission requires AUTH");
  offer.end();
  const none = Buffer.alloc(0);
  (await as((client) => scram(client, "SCRAM-SHA-256", "scram@local.test", "pencil", "n,,", none))).end();
  (
    await as((client) => {
      const binding = (client.socket as TLSSocket).exportKeyingMaterial(32, "EXPORTER-Channel-Binding", none);
      return scram(client, "SCRAM-SHA-256-PLUS", "scram@local.test", "pencil", "p=tls-exporter,,", binding);
    })
  ).end();
  const claims = { iss: "https://issuer.test", aud: "mail", exp: Date.now() / 1_000 + 60, email: "token@local.test" };
  const pem = keys.privateKey.export({ type: "pkcs8", format: "pem" }) as string;
  const bearer = (jwt: string): string => b64(`n,,\x01auth=Bearer ${jwt}\x01\x01`);
  (await as((client) => client.ask(`AUTH OAUTHBEARER ${bearer(token(pem, claims))}`))).end();
  const late = await openTls(tlsPort);
  await late.hello();
  const expired = bearer(token(pem, { ...claims, exp: Date.now() / 1_000 - 3_600 }));
  assert.match(
    await late.ask(`AUTH OAUTHBEARER ${expired}`),
    /^334 /,
    "the error comes as a challenge (RFC 7628 §3.2.2)",
  );
  assert.match(await late.ask("AQ=="), /^535/);
  late.end();

  const user = await as((client) => client.ask(`AUTH PLAIN ${b64("\0hash@local.test\0secret")}`));
  assert.match(await user.ask("MAIL FROM:<boss@local.test>"), /^553 5\.7\.1/);
  assert.match(await user.toData("sales@local.test", "scram@local.test"), /^354/, "an alias is one's own");
  assert.match(await user.ask("From: boss@local.test\r\n\r\nx\r\n."), /^550 5\.7\.1/);
  user.end();
  // Switched off by a reload, it is off for new sessions.
  gateway.writeConfig({ ...effective(gateway), ...config, smtp: { antiImpersonation: false } });
  gateway.process.kill("SIGHUP");
  await until("the new setting is in force", async () => {
    const free = await openTls(tlsPort);
    await free.hello();
    await free.ask(`AUTH PLAIN ${b64("\0hash@local.test\0secret")}`);
    const reply = await free.ask("MAIL FROM:<boss@local.test>");
    free.end();
    return reply.startsWith("250");
  });
  await gateway.kill("SIGTERM");
});

/** What every configuration of the laboratory has; a written file needs it again. */
function effective(gateway: Gateway): object {
  return { server: { name: "gw.test" }, data: join(gateway.folder, "var"), log: { level: 15, pretty: false } };
}

function shownName(client: Client): string {
  return String((client.socket as TLSSocket).getPeerCertificate().subject.CN);
}

test("SNI by configuration and by certificate; certificates change with their files, without a signal", async () => {
  const port = await freePort();
  const [first, second] = [certificateFiles("first", ["gw.test"]), certificateFiles("second", ["other.test"])];
  const gateway = await lab.gateway({
    listeners: [
      { address: `127.0.0.1:${port}`, tls: { ...first, mode: "implicit", sni: [{ ...second, host: "alias.test" }] } },
    ],
    smtp: { certificateCheck: "100ms" },
  });
  const nameFor = async (servername: string): Promise<string> => {
    const client = await openTls(port, { servername });
    const name = shownName(client);
    client.end();
    return name;
  };
  assert.equal(await nameFor("alias.test"), "other.test");
  assert.equal(await nameFor("other.test"), "other.test");
  assert.equal(await nameFor("unknown.test"), "gw.test");
  const kept = await openTls(port);
  await kept.hello();
  writeCertificate(first, ["fresh.test"]);
  for (const _worker of gateway.workers()) {
    await until("both workers show the new one", async () => {
      const names = await Promise.all(Array.from({ length: 8 }, () => nameFor("gw.test")));
      return names.every((name) => name === "fresh.test");
    });
  }
  assert.match(await kept.ask("NOOP"), /^250/, "open sessions stay");
  kept.end();
  // A broken one changes nothing, and says so.
  writeFileSync(first.cert, "no certificate\n");
  await until("the log tells", () => gateway.output().includes("changed certificates do not load"));
  assert.equal(await nameFor("gw.test"), "fresh.test");
  await gateway.kill("SIGTERM");
});

test("TLS sessions resume at whichever worker the next connection meets; 1.0, 1.1 and weak ciphers are refused", async () => {
  const port = await freePort();
  const gateway = await lab.gateway({
    listeners: [
      { address: `127.0.0.1:${port}`, tls: { ...certificateFiles("resume", ["gw.test"]), mode: "implicit" } },
    ],
  });
  const first = connectTls({ port, host: "127.0.0.1", rejectUnauthorized: false });
  const [session] = (await once(first, "session")) as [Buffer];
  first.destroy();
  for (let i = 0; i < 16; i++) {
    const next = await openTls(port, { session });
    assert.ok((next.socket as TLSSocket).isSessionReused(), `connection ${i}`);
    next.end();
  }
  for (const refused of [
    { minVersion: "TLSv1", maxVersion: "TLSv1.1", ciphers: "DEFAULT@SECLEVEL=0" },
    { maxVersion: "TLSv1.2", ciphers: "AES128-SHA:AES256-SHA256:DHE-RSA-AES128-SHA@SECLEVEL=0" },
  ] as const) {
    await assert.rejects(openTls(port, refused), /alert|handshake|ECONNRESET|disconnected/);
  }
  await gateway.kill("SIGTERM");
});

test("PROXY and XCLIENT name the client that policy sees; LMTP answers each recipient; the greeting waits", async () => {
  const [proxied, local] = [await freePort(), await freePort()];
  const gateway = await lab.gateway(
    {
      listeners: [
        { address: `127.0.0.1:${proxied}`, proxy: ["127.0.0.1"], proxyRequired: true, xclient: ["127.0.0.1"] },
        { address: `127.0.0.1:${local}`, protocol: "lmtp" },
      ],
      accounts: [{ address: "a@local.test" }, { address: "b@local.test" }],
      smtp: { earlyTalkerWait: "150ms" },
    },
    'event onEhlo { if (ipRange (remoteSmtpIp, "192.0.2.0-192.0.2.255")) { set (smtpAction, "reject"); set (smtpExplanation, "seen %remoteSmtpIp%"); } }',
  );
  const client = await open(proxied);
  client.write("PROXY TCP4 192.0.2.33 198.51.100.1 40000 25\r\n");
  assert.match(await client.hello(), /seen 192\.0\.2\.33/);
  client.end();
  const xclient = await open(proxied);
  xclient.write("PROXY TCP4 198.51.100.9 198.51.100.1 40000 25\r\n");
  assert.match(await xclient.hello(), /^250/);
  assert.match(await xclient.ask("XCLIENT ADDR=192.0.2.44"), /^220/);
  assert.match(await xclient.ask("EHLO again.test"), /seen 192\.0\.2\.44/);
  xclient.end();
  const bare = await open(proxied);
  bare.write("EHLO no.proxy\r\n");
  assert.equal(await bare.reply(), "", "closed without a word");
  const early = await open(local);
  early.write("LHLO early.test\r\n");
  assert.match(await early.reply(), /^554 5\.5\.1 You talked before the greeting/);
  const lmtp = await open(local);
  await lmtp.reply();
  await lmtp.ask("LHLO client.test");
  await lmtp.ask("MAIL FROM:<x@out.test>");
  await lmtp.ask("RCPT TO:<a@local.test>");
  assert.match(await lmtp.ask("RCPT TO:<nobody@local.test>"), /^550 5\.1\.1/);
  await lmtp.ask("RCPT TO:<b@local.test>");
  await lmtp.ask("DATA");
  const one = await lmtp.ask("Subject: lmtp\r\n\r\nx\r\n.");
  const two = await lmtp.reply();
  assert.match(`${one}\n${two}`, /^250 .*\n250 /);
  lmtp.end();
  await gateway.kill("SIGTERM");
});

test("a full disk refuses new mail with 452 and says so in log and metrics; REQUIRETLS only under TLS", async () => {
  const [port, admin] = [await freePort(), await freePort()];
  const gateway = await lab.gateway({
    listeners: [{ address: `127.0.0.1:${port}`, tls: certificateFiles("load", ["gw.test"]) }],
    overload: { diskFreeMiB: [4e9, 3e9, 2e9] },
    admin: { address: `127.0.0.1:${admin}` },
  });
  await until("both workers' gauges have looked", () => gateway.output().split("shedding load").length > 2);
  const client = await open(port);
  assert.doesNotMatch(await client.hello(), /REQUIRETLS/);
  assert.match(await client.ask("MAIL FROM:<a@x.test>"), /^452 4\.3\.1/);
  assert.match(await client.ask("STARTTLS"), /^220/);
  await client.startTls();
  assert.match(await client.ask("EHLO client.test"), /REQUIRETLS/);
  client.end();
  await until("the metric tells", async () => {
    const metrics = await (await fetch(`http://127.0.0.1:${admin}/metrics`)).text();
    return /^postern_overload_level 3$/m.test(metrics);
  });
  await gateway.kill("SIGTERM");
});

test("metrics count what is taken, refused at the end of data, and waiting", async () => {
  const admin = await freePort();
  const gateway = await lab.gateway(
    { admin: { address: `127.0.0.1:${admin}` } },
    `event onMailFrom { hold ("wait"); }
     event onDataReceived { if (is (mailFrom, "bad@x.test")) { set (smtpAction, "reject"); } }`,
  );
  const text = "Subject: counted\n\nhi\n";
  for (const from of ["a@x.test", "b@x.test", "bad@x.test"]) {
    await sendMessage(gateway.port, { from, to: ["u@local.test"], text });
  }
  await until("the numbers are there", async () => {
    const metrics = await (await fetch(`http://127.0.0.1:${admin}/metrics`)).text();
    const value = (name: string): number => Number(new RegExp(`^postern_${name} (\\d+)$`, "m").exec(metrics)![1]);
    return (
      value("messages_received_total") === 2 &&
      value("messages_refused_total") === 1 &&
      value("queue_messages") === 2 &&
      value("connections_total") === 3
    );
  });
  assert.equal((await fetch(`http://127.0.0.1:${admin}/health`)).status, 200);
  await gateway.kill("SIGTERM");
});
