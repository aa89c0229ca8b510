/**
 * How the running gateway reaches next hops: smart hosts by weight, with AUTH, standing in for each other; pools of
 * source addresses; domains of one MX set sharing limits; addresses that are silent, refuse, or are of the other family;
 * REQUIRETLS passed on or sent back.
 */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { readdirSync, statSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { after, type TestContext, test } from "node:test";
import { SMTPServer } from "smtp-server";
import { makePki } from "../unit/delivery/certificates.ts";
import { startNextHop } from "../unit/delivery/next-hop-server.ts";
import { startDnsServer, type ZoneRecord } from "../unit/dns/server.ts";
import { Client } from "../unit/smtp-incoming/site.ts";
import { dumped, freePort, type Gateway, Lab, peer, sendMessage, until } from "./lab.ts";
import { type Network, openNetwork } from "./network.ts";

const lab = new Lab();
const networks: Network[] = [];
after(async () => {
  await lab.close();
  for (const network of networks) network.close();
});

async function send(gateway: Gateway, to: string, subject: string): Promise<void> {
  const text = `Subject: ${subject}\n\nhello`;
  const replies = await sendMessage(gateway.port, { from: "a@x.test", to: [to], text });
  assert.match(replies.at(-1)!, /^250/);
}

async function nameServer(t: TestContext, zone: Record<string, ZoneRecord[]>): Promise<string> {
  const dns = await startDnsServer(zone);
  t.after(() => dns.close());
  return dns.address;
}

const relay = { trustedNetworks: ["127.0.0.0/8", "198.18.0.0/15"], allowSpecialAddresses: true };

test("smart hosts share the load by weight, each with its own password, and stand in for each other", {
  timeout: 180_000,
}, async (t) => {
  const given = (user: string) => `AUTH PLAIN ${Buffer.from(`\0${user}\0secret of ${user}`).toString("base64")}`;
  const hostOf = (user: string) =>
    startNextHop({
      extensions: ["AUTH PLAIN", "PIPELINING"],
      answer: (line) =>
        line.startsWith("AUTH") ? (line === given(user) ? "235 2.7.0 in\r\n" : "535 5.7.8 no\r\n") : undefined,
    });
  const [heavy, light] = [await hostOf("heavy"), await hostOf("light")];
  t.after(() => Promise.all([heavy.close(), light.close()]));
  const smart = (user: string, port: number, weight: number) => ({
    ...{ host: "[127.0.0.1]", port, tls: "none", user, password: `secret of ${user}`, weight },
  });
  const gateway = await lab.gateway({
    relay: { ...relay, smartHost: [smart("heavy", heavy.port, 9), smart("light", light.port, 1)] },
    workers: 1,
  });
  for (let index = 0; index < 60; index++) await send(gateway, `b${index}@far.test`, "weights");
  await until("all are sent", () => heavy.messages.length + light.messages.length === 60);
  t.diagnostic(`weights 9 and 1: ${heavy.messages.length} and ${light.messages.length} of 60 messages`);
  // Of 60 draws with 0.9, fewer than 40 or none for the other is less likely than 1 in 500 each.
  assert.ok(heavy.messages.length >= 40 && light.messages.length >= 1);
  await heavy.close();
  const before = light.messages.length;
  for (let index = 0; index < 5; index++) await send(gateway, `c${index}@far.test`, "fail-over");
  await until("the other takes all", () => light.messages.length === before + 5);
  assert.doesNotMatch([...heavy.commands, ...light.commands].join("\n"), /^AUTH (?!PLAIN)/m);
  await gateway.kill("SIGTERM");
});

test("source addresses: one for all, a pool for a domain; two domains of one MX set share its limits", {
  timeout: 180_000,
}, async (t) => {
  if (!peer("smtp-sink")) return t.skip("needs smtp-sink");
  const sink = await lab.sink(["-w", "1"]);
  const zone: Record<string, ZoneRecord[]> = { "mx.shared.test": [{ A: "127.0.0.1" }] };
  for (const name of ["one.test", "two.test", "pool.test"]) zone[name] = [{ MX: [10, "mx.shared.test"] }];
  const gateway = await lab.gateway({
    dns: { servers: [await nameServer(t, zone)] },
    domains: {
      local: ["local.test"],
      routes: Object.fromEntries(["one.test", "two.test", "pool.test"].map((name) => [name, `${name}:${sink.port}`])),
    },
    relay: { ...relay, sourceAddress: "127.0.0.41", sourceAddresses: { "pool.test": ["127.0.0.42", "127.0.0.43"] } },
    queue: { destinations: [{ match: `smtp:mx.shared.test:${sink.port}`, concurrency: 1 }] },
    workers: 1,
  });
  for (const to of ["a@one.test", "a@two.test", "b@one.test", "b@two.test"]) await send(gateway, to, "shared");
  const arrived = (subject: string) => dumped(sink.dump).filter((text) => text.includes(`Subject: ${subject}\n`));
  await until("all four", () => arrived("shared").length === 4);
  const times = readdirSync(sink.dump).map((name) => statSync(join(sink.dump, name)).mtimeMs);
  const span = Math.max(...times) - Math.min(...times);
  t.diagnostic(`four messages at a host that takes a second for each, one at a time: ${Math.round(span)} ms apart`);
  // Each domain by itself would be done in two rounds.
  assert.ok(span > 2_500, "one at a time");
  for (let index = 0; index < 4; index++) await send(gateway, `p${index}@pool.test`, "pool");
  await until("the pool's", () => arrived("pool").length === 4);
  const from = (subject: string) => arrived(subject).map((text) => /^X-Client-Addr: (\S+)/m.exec(text)![1]);
  assert.deepEqual(new Set(from("shared")), new Set(["127.0.0.41"]));
  assert.deepEqual(new Set(from("pool")), new Set(["127.0.0.42", "127.0.0.43"]));
  await gateway.kill("SIGTERM");
});

test("an address that refuses, one of the other family, and one that is silent", { timeout: 180_000 }, async (t) => {
  const taken: string[] = [];
  const six = new SMTPServer({
    authOptional: true,
    disabledCommands: ["STARTTLS"],
    onData: (stream, _session, done) => {
      stream.resume();
      stream.on("end", () => {
        taken.push("::1");
        done();
      });
    },
  });
  const port = await freePort();
  const listening = await new Promise<boolean>((done) => {
    six.on("error", () => done(false));
    six.listen(port, "::1", () => done(true));
  });
  if (!listening) return t.skip("needs IPv6 on the loopback interface");
  t.after(() => new Promise<void>((done) => six.close(done)));
  const gateway = await lab.gateway({
    dns: { servers: [await nameServer(t, { "mx.dual.test": [{ A: "127.0.0.1" }, { AAAA: "::1" }] })] },
    domains: { local: ["local.test"], routes: { "dual.test": `[mx.dual.test]:${port}` } },
    relay,
  });
  await send(gateway, "b@dual.test", "IPv4 refuses, IPv6 takes it");
  await until("it arrives over IPv6", () => taken.length === 1);
  await gateway.kill("SIGTERM");

  if (process.getuid?.() !== 0 || !peer("smtp-sink")) return t.skip("needs root and smtp-sink");
  const network = openNetwork((reason) => t.diagnostic(reason), [3, 9]);
  networks.push(network);
  if (!network.separate) return t.skip("needs network namespaces: no loopback address is silent");
  // Host 3 answers nothing: it has no way back to the gateway.
  execFileSync(network.on(3)[0]!, [...network.on(3).slice(1), "ip", "route", "add", "blackhole", network.host(9)]);
  const sink = await lab.sink([], undefined, network.here);
  const zone = { "mx.silent.test": [{ A: network.host(3) }, { A: network.here }] };
  const dns = await startDnsServer(zone, {}, { host: network.here, port: 0 });
  t.after(() => dns.close());
  const resolved = await lab.gateway(
    {
      listeners: [{ address: `${network.host(9)}:25` }],
      domains: { local: [], routes: { "silent.test": `[mx.silent.test]:${sink.port}` } },
      dns: { servers: [dns.address] },
      relay,
    },
    undefined,
    undefined,
    network.on(9),
  );
  const began = Date.now();
  const socket = connect(25, network.host(9));
  await once(socket, "connect");
  const client = new Client(socket);
  await client.hello();
  for (const line of ["MAIL FROM:<a@x.test>", "RCPT TO:<b@silent.test>", "DATA", "Subject: silent\r\n\r\nhello\r\n."]) {
    assert.match(await client.ask(line), /^[23]/);
  }
  await until("the second address has it", () => dumped(sink.dump).find((text) => text.includes("Subject: silent")));
  const took = Date.now() - began;
  t.diagnostic(`first address silent: delivered to the second after ${took} ms`);
  assert.ok(took > 2_500 && took < 12_000, `${took} ms`);
  await resolved.kill("SIGTERM");
});

test("REQUIRETLS: to a host that promises it, and back from one that does not", { timeout: 180_000 }, async (t) => {
  const pki = makePki();
  if (!pki) return t.skip("needs openssl");
  const [good, plain] = [
    await startNextHop({ tls: pki.issue("mx.good.test"), extensions: ["PIPELINING", "REQUIRETLS"] }),
    await startNextHop({ tls: pki.issue("mx.plain.test"), extensions: ["PIPELINING"] }),
  ];
  t.after(() => Promise.all([good.close(), plain.close()]));
  const own = pki.issue("gw.test");
  const files = { cert: join(lab.folder, "gw.crt"), key: join(lab.folder, "gw.key"), ca: join(lab.folder, "ca.crt") };
  writeFileSync(files.cert, own.cert);
  writeFileSync(files.key, own.key);
  writeFileSync(files.ca, pki.ca);
  const port = await freePort();
  const zone = Object.fromEntries(["mx.good.test", "mx.plain.test"].map((name) => [name, [{ A: "127.0.0.1" }]]));
  const gateway = await lab.gateway({
    listeners: [{ address: `127.0.0.1:${port}`, tls: { cert: files.cert, key: files.key } }],
    dns: { servers: [await nameServer(t, zone)] },
    domains: {
      local: ["local.test"],
      routes: { "good.test": `[mx.good.test]:${good.port}`, "plain.test": `[mx.plain.test]:${plain.port}` },
    },
    relay: { ...relay, startTls: "required", tls: { ca: files.ca } },
  });
  const socket = connect(port, "127.0.0.1");
  await once(socket, "connect");
  const client = new Client(socket);
  await client.hello();
  assert.match(await client.ask("STARTTLS"), /^220/);
  await client.startTls();
  await client.ask("EHLO client.test");
  for (const to of ["b@good.test", "b@plain.test"]) {
    for (const line of [
      "MAIL FROM:<a@good.test> REQUIRETLS",
      `RCPT TO:<${to}>`,
      "DATA",
      "Subject: secret\r\n\r\nhello\r\n.",
    ]) {
      assert.match(await client.ask(line), /^[23]/, line);
    }
  }
  const report = await until("the report", () => good.messages.find((text) => text.includes("delivery-status")));
  assert.match(report, /Final-Recipient: rfc822; b@plain\.test\r\nAction: failed\r\nStatus: 5\.7\.30/);
  assert.equal(good.commands.filter((line) => /^MAIL FROM:<a@good\.test>.* REQUIRETLS/.test(line)).length, 1);
  assert.equal(good.commands.filter((line) => /^MAIL FROM:<>.* REQUIRETLS/.test(line)).length, 1, "the report, too");
  assert.equal(plain.messages.length, 0);
  assert.doesNotMatch(plain.commands.join("\n"), /^(?:RCPT|DATA|BDAT)/m);
  await gateway.kill("SIGTERM");
});
