/**
 * The outbound laboratory: the gateway between real Postfix, Exim and OpenSMTPD servers, each sender and receiver, found
 * by MX records of a real name server. Each host has a network namespace of its own, DNS is a signed zone of nsd behind
 * unbound; where those can't be had, hosts are loopback addresses and a test server answers for DNS, and the test says so.
 */
import assert from "node:assert/strict";
import { createHash, X509Certificate } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { after, type TestContext, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { createTransport } from "nodemailer";
import { makePki } from "../unit/delivery/certificates.ts";
import { startDnsServer, type ZoneRecord } from "../unit/dns/server.ts";
import { dumped, type Gateway, Lab, type Sink, until } from "./lab.ts";
import { missingForNameServers, type NameServerPlan, startNameServers } from "./name-servers.ts";
import { type Network, openNetwork } from "./network.ts";
import { missingForLaboratory, type PeerPlan, startExim, startOpenSmtpd, startPostfix } from "./peers.ts";

const lab = new Lab();
const networks: Network[] = [];
after(async () => {
  await lab.close();
  for (const network of networks) network.close();
});

function networkOf(t: TestContext, hosts: readonly number[], local?: readonly number[]): Network {
  const network = openNetwork((reason) => t.diagnostic(reason), hosts, local);
  networks.push(network);
  return network;
}

/** Numbers of the hosts that every network here has. */
const [nameServer, gatewayHost] = [8, 9];

function skipReason(): string | undefined {
  const missing = missingForLaboratory();
  if (missing !== undefined && process.env.POSTERN_REQUIRE_PEERS === "1") throw new Error(missing);
  return missing;
}

/** Answers "address:port" of the resolver, on the gateway's own host. */
async function startDns(
  t: TestContext,
  network: Network,
  name: string,
  zones: Pick<NameServerPlan, "zone" | "unsigned" | "forged">,
): Promise<string> {
  const missing = missingForNameServers();
  if (network.separate && missing === undefined) {
    const folder = join(lab.folder, name);
    return startNameServers(t, { ...zones, folder, network, server: nameServer, resolver: gatewayHost });
  }
  t.diagnostic(`a test server stands for a validating resolver: ${missing ?? "all hosts share one address space"}`);
  const dns = await startDnsServer({ ...zones.zone }, { authenticated: true });
  t.after(() => dns.close());
  return dns.address;
}

function planIn(network: Network, sink: Sink): (number: number, domain: string, also?: string[]) => PeerPlan {
  return (number, domain, also = []) => ({
    folder: join(lab.folder, `${domain}-${number}`),
    address: network.host(number),
    on: network.on(number),
    range: network.range,
    domain,
    also,
    sink,
    gateway: network.host(gatewayHost),
  });
}

async function submit(server: string, mail: { from: string; to: string; subject: string }): Promise<void> {
  const transport = createTransport({ host: server, port: 25, secure: false, ignoreTLS: true, name: "client.test" });
  await transport.sendMail({ ...mail, envelope: { from: mail.from, to: mail.to }, text: "hello\n" });
  transport.close();
}

interface Waiting {
  attempts: number;
  failure: string;
  recipients: Array<{ address: string; lastOutcome?: { enhanced: string } }>;
}

function waiting(gateway: Gateway, recipient: string): Waiting | undefined {
  const { out } = gateway.postern("queue", "list", "--json", "--recipient", recipient);
  return (JSON.parse(out) as { messages: Waiting[] }).messages[0];
}

const settings = (network: Network, resolver: string) => ({
  listeners: [{ address: `${network.host(gatewayHost)}:25` }],
  domains: { local: [] },
  dns: { servers: [resolver] },
  queue: { firstRetry: "1s", maxRetry: "1s", attempts: 100 },
  relay: { trustedNetworks: [network.range], allowSpecialAddresses: true, ipv6: false },
});

test("Postfix, Exim and OpenSMTPD through the gateway: every pair, MX preference, fail-over, greylisting, down and up", {
  timeout: 300_000,
}, async (t) => {
  const reason = skipReason();
  if (reason) return t.skip(reason);
  const network = networkOf(t, [1, 2, 3, 4, nameServer, gatewayHost]);
  const { host } = network;
  const zone: Record<string, ZoneRecord[]> = {
    "postfix.test": [{ MX: [10, "mx.postfix.test"] }],
    "mx.postfix.test": [{ A: host(1) }],
    "exim.test": [{ MX: [10, "mx.exim.test"] }],
    "mx.exim.test": [{ A: host(2) }],
    "osmtpd.test": [{ MX: [10, "mx.osmtpd.test"] }],
    "mx.osmtpd.test": [{ A: host(3) }],
    "pref.test": [{ MX: [20, "mx.postfix.test"] }, { MX: [10, "mx.exim.test"] }],
    "grey.test": [{ MX: [10, "mx.grey.test"] }],
    "mx.grey.test": [{ A: host(4) }],
    "loop.test": [{ MX: [10, "gw.test"] }],
    "gw.test": [{ A: host(9) }],
    "null.test": [{ MX: [0, "."] }],
  };
  const resolver = await startDns(t, network, "dns", { zone });
  const sink = await lab.sink([], undefined, network.here);
  const plan = planIn(network, sink);
  const greylist = join(lab.folder, "known-sender");
  const [, exim, openSmtpd] = await Promise.all([
    startPostfix(t, plan(1, "postfix.test", ["pref.test"])),
    startExim(t, plan(2, "exim.test", ["pref.test"])),
    startOpenSmtpd(t, plan(3, "osmtpd.test")),
    startExim(t, plan(4, "grey.test"), greylist),
  ]);
  const gateway = await lab.gateway(settings(network, resolver), undefined, undefined, network.on(gatewayHost));
  const arrived = (subject: string) => dumped(sink.dump).filter((text) => text.includes(`Subject: ${subject}\n`));
  const arrival = (subject: string) => until(subject, () => arrived(subject)[0], 40_000);

  const servers = { "postfix.test": host(1), "exim.test": host(2), "osmtpd.test": host(3) };
  for (const [from, address] of Object.entries(servers)) {
    for (const to of Object.keys(servers)) {
      if (from !== to) await submit(address, { from: `a@${from}`, to: `b@${to}`, subject: `${from} to ${to}` });
    }
  }
  for (const from of Object.keys(servers)) {
    for (const to of Object.keys(servers)) {
      if (from === to) continue;
      const text = await arrival(`${from} to ${to}`);
      assert.match(text, new RegExp(`^X-Mail-Args: <a@${from}>`, "m"));
      assert.match(text, new RegExp(`by gw\\.test[\\s\\S]*by ${from}`), "through the sender's server and the gateway");
      assert.equal(arrived(`${from} to ${to}`).length, 1, "once");
    }
  }

  const hop = host(gatewayHost);
  // The lower preference first, the other when it is down
  await submit(hop, { from: "a@x.test", to: "b@pref.test", subject: "preferred" });
  assert.match(await arrival("preferred"), /^X-Helo-Args: exim\.test/m);
  await exim.stop();
  await submit(hop, { from: "a@x.test", to: "b@pref.test", subject: "second choice" });
  assert.match(await arrival("second choice"), /^X-Helo-Args: postfix\.test/m);

  // Greylisting
  await submit(hop, { from: "a@postfix.test", to: "b@grey.test", subject: "greylisted" });
  await until("two attempts", () => (waiting(gateway, "b@grey.test")?.attempts ?? 0) >= 2);
  assert.match(waiting(gateway, "b@grey.test")!.failure, /greylisted/);
  assert.equal(arrived("greylisted").length, 0);
  writeFileSync(greylist, "");
  await arrival("greylisted");

  // Down and up again
  await openSmtpd.stop();
  await submit(hop, { from: "a@postfix.test", to: "b@osmtpd.test", subject: "patience" });
  const failed = await until("an attempt failed", () => waiting(gateway, "b@osmtpd.test")?.recipients[0]?.lastOutcome);
  assert.equal(failed.enhanced, "4.4.1");
  await startOpenSmtpd(t, { ...plan(3, "osmtpd.test"), folder: join(lab.folder, "again") });
  await arrival("patience");

  // An MX that is us, and a domain that takes no mail: back to the sender at once
  await submit(hop, { from: "loop@postfix.test", to: "b@loop.test", subject: "loop" });
  await submit(hop, { from: "null@postfix.test", to: "b@null.test", subject: "null" });
  const report = (to: string) =>
    until(`report to ${to}`, () => dumped(sink.dump).find((text) => text.includes(`X-Rcpt-Args: <${to}>`)), 40_000);
  assert.match(await report("loop@postfix.test"), /Status: 5\.4\.6/);
  assert.match(await report("null@postfix.test"), /Status: 5\.1\.10/);
  await sleep(300);
  assert.equal(arrived("patience").length + arrived("greylisted").length, 2, "no duplicates");
  await gateway.kill("SIGTERM");
});

test("MTA-STS and DANE, each asserted on the wire; TLS reports", { timeout: 240_000 }, async (t) => {
  const reason = skipReason();
  if (reason) return t.skip(reason);
  const network = networkOf(t, [5, nameServer, gatewayHost], [7]);
  const { host } = network;
  const pki = makePki();
  if (!pki) return t.skip("needs openssl");
  const [certificate, policyHost] = [
    pki.issue("mx.good.test"),
    pki.issue("mta-sts.good.test", "mta-sts.bad.test", "mta-sts.trial.test"),
  ];
  const mode = { good: "enforce", bad: "enforce", trial: "testing" } as Record<string, string>;
  const asked: string[] = [];
  const policies = createServer(policyHost, (request, response) => {
    const name = request.headers.host!.split(".")[1]!;
    asked.push(name);
    response.setHeader("content-type", "text/plain");
    response.end(`version: STSv1\r\nmode: ${mode[name]}\r\nmx: *.${name}.test\r\nmax_age: 86400\r\n`);
  });
  await new Promise<void>((done) => policies.listen(0, host(7), done));
  t.after(() => policies.close());
  const key = new X509Certificate(certificate.cert).publicKey.export({ type: "spki", format: "der" });
  const digest = createHash("sha256").update(key).digest();
  const tlsa = (hash: Buffer) => [{ TLSA: Buffer.concat([Buffer.from([3, 1, 1]), hash]) }];
  const zone: Record<string, ZoneRecord[]> = {
    "_25._tcp.mx.dane.test": tlsa(digest),
    "_25._tcp.mx.fake.test": tlsa(Buffer.alloc(32, 1)),
    // Believed by nobody: its zone is not signed.
    "_25._tcp.mx.plain.test": tlsa(Buffer.alloc(32, 2)),
    // The better host shows another certificate than its TLSA record says.
    "both.test": [{ MX: [10, "mx.fake.test"] }, { MX: [20, "mx.dane.test"] }],
    "_smtp._tls.good.test": [{ TXT: "v=TLSRPTv1; rua=mailto:tls@reports.test" }],
    "_smtp._tls.bad.test": [{ TXT: "v=TLSRPTv1; rua=mailto:tls@reports.test" }],
  };
  for (const name of ["good", "bad", "trial", "dane", "fake", "reports", "plain", "forged"]) {
    zone[`${name}.test`] = [{ MX: [10, `mx.${name}.test`] }];
    zone[`mx.${name}.test`] = [{ A: host(5) }];
    if (!mode[name]) continue;
    zone[`_mta-sts.${name}.test`] = [{ TXT: "v=STSv1; id=1" }];
    zone[`mta-sts.${name}.test`] = [{ A: host(7) }];
  }
  const validated = network.separate && missingForNameServers() === undefined;
  const resolver = await startDns(t, network, "signed", { zone, unsigned: ["plain.test"], forged: ["forged.test"] });
  const sink = await lab.sink([], undefined, network.here);
  const delivered = ["good.test", "dane.test", "both.test", "trial.test", "reports.test"];
  const waits: Record<string, RegExp> = { "bad.test": /^4\.7\./, "fake.test": /^4\.7\./ };
  if (validated) {
    delivered.push("plain.test");
    waits["forged.test"] = /^4\.4\.3$/;
  }
  const domains = [...delivered, ...Object.keys(waits)];
  const receiver = planIn(network, sink)(5, "mx.good.test", domains);
  await startPostfix(t, receiver, certificate.key + certificate.cert);
  const ca = join(lab.folder, "ca.pem");
  writeFileSync(ca, pki.ca);
  const base = settings(network, resolver);
  const { port } = policies.address() as AddressInfo;
  const gateway = await lab.gateway(
    {
      ...base,
      workers: 1,
      relay: {
        ...base.relay,
        tls: { ca, mtaStsPort: port, dane: true },
        tlsReports: { contact: "postmaster@gw.test", every: "8s" },
      },
    },
    undefined,
    undefined,
    network.on(gatewayHost),
  );
  for (const domain of domains) {
    await submit(host(gatewayHost), { from: `${domain}@x.test`, to: `b@${domain}`, subject: domain });
  }
  const arrival = (subject: string) =>
    until(subject, () => dumped(sink.dump).find((text) => text.includes(`Subject: ${subject}\n`)), 30_000);
  for (const domain of delivered) {
    assert.match(await arrival(domain), /using TLSv1\.3 with cipher/, `${domain} went over TLS`);
  }
  assert.match(await arrival("good.test"), /by mx\.good\.test \(Postfix\)/);
  assert.ok(asked.includes("good") && asked.includes("bad") && asked.includes("trial"));
  for (const [domain, status] of Object.entries(waits)) {
    const stays = await until(`${domain} waits`, () => {
      const found = waiting(gateway, `b@${domain}`);
      return found?.failure ? found : undefined;
    });
    t.diagnostic(`${domain}: ${stays.recipients[0]!.lastOutcome!.enhanced} ${stays.failure}`);
    assert.match(stays.recipients[0]!.lastOutcome!.enhanced, status, stays.failure);
  }
  const reports = await until("TLS reports", () => {
    const found = dumped(sink.dump).filter((text) => text.includes("X-Rcpt-Args: <tls@reports.test>"));
    return found.length >= 2 && found;
  });
  const subjects = reports.map((text) => /^Subject: .*\n/m.exec(text)![0]).join("");
  assert.match(subjects, /Report Domain: good\.test Submitter: gw\.test/);
  assert.match(subjects, /Report Domain: bad\.test Submitter: gw\.test/);
  // What the receiver saw: handshakes, and no sender of mail that must not be there
  const log = readFileSync(join(receiver.folder, "log"), "utf8");
  for (const domain of delivered) assert.match(log, new RegExp(`from=<${domain}@x\\.test>`), domain);
  for (const domain of Object.keys(waits)) assert.doesNotMatch(log, new RegExp(`from=<${domain}@x\\.test>`), domain);
  assert.match(log, /lost connection after STARTTLS from/, "hung up on a wrong certificate");
  assert.equal(dumped(sink.dump).filter((text) => /Subject: (?:bad|fake|forged)\.test/.test(text)).length, 0);
  await gateway.kill("SIGTERM");
});

test("a link cut in mid-message: mended in time, the message goes on; the host restarted meanwhile, it is sent again", {
  timeout: 240_000,
}, async (t) => {
  const reason = skipReason();
  if (reason) return t.skip(reason);
  const network = networkOf(t, [2, gatewayHost]);
  if (!network.separate) return t.skip("needs network namespaces: a loopback address has no link to cut");
  const sink = await lab.sink([], undefined, network.here);
  const receiver = planIn(network, sink)(2, "far.test");
  const exim = await startExim(t, receiver);
  const gateway = await lab.gateway(
    { ...settings(network, "127.0.0.1:53"), domains: { local: [], routes: { "far.test": `[${network.host(2)}]:25` } } },
    undefined,
    undefined,
    network.on(gatewayHost),
  );
  const link = network.link(2);
  link.slow(400_000);
  const size = 1_000_000;
  const arrived = (subject: string) => dumped(sink.dump).filter((text) => text.includes(`Subject: ${subject}\n`));
  const whole = async (subject: string) => {
    await until(subject, () => arrived(subject)[0]?.trimEnd().endsWith("the end"), 40_000);
    await sleep(300);
    assert.equal(arrived(subject).length, 1, "once");
    assert.ok(arrived(subject)[0]!.length > size);
  };
  /** Cuts the link when a fifth of the message has gone over it. */
  const cutWithin = async (subject: string) => {
    const before = link.sent;
    const text = `${"x".repeat(76)}\n`.repeat(size / 77 + 1);
    const transport = createTransport({ host: network.host(gatewayHost), port: 25, secure: false, ignoreTLS: true });
    const envelope = { from: "a@x.test", to: "b@far.test" };
    await transport.sendMail({ ...envelope, envelope, subject, text: `${text}the end\n` });
    transport.close();
    await until("a part is sent", () => link.sent - before > size / 5);
    link.cut();
    const passed = link.sent - before;
    assert.ok(passed < size, `${passed} octets passed`);
    await sleep(1_500);
    assert.equal(arrived(subject).length, 0);
  };
  await cutWithin("patience");
  link.mend();
  await whole("patience");
  assert.equal(waiting(gateway, "b@far.test"), undefined);

  await cutWithin("restart");
  await exim.stop();
  link.mend();
  const failed = await until("the attempt failed", () => waiting(gateway, "b@far.test")?.recipients[0]?.lastOutcome);
  t.diagnostic(`restarted: ${failed.enhanced}`);
  await startExim(t, { ...receiver, folder: join(lab.folder, "far-again") });
  await whole("restart");
  await gateway.kill("SIGTERM");
});
