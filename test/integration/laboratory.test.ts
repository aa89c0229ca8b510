/**
 * The outbound laboratory: the gateway between real Postfix, Exim and OpenSMTPD servers, each sender and receiver, found
 * by MX records of a real name server. Hosts are addresses of the loopback network; all speak on port 25.
 */
import assert from "node:assert/strict";
import { createHash, randomInt, X509Certificate } from "node:crypto";
import { writeFileSync } from "node:fs";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { after, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { createTransport } from "nodemailer";
import { makePki } from "../unit/delivery/certificates.ts";
import { startDnsServer, type ZoneRecord } from "../unit/dns/server.ts";
import { dumped, type Gateway, Lab, until } from "./lab.ts";
import { missingForLaboratory, type PeerPlan, startExim, startOpenSmtpd, startPostfix } from "./peers.ts";

const lab = new Lab();
after(() => lab.close());

/** A network of our own within 127/8, so that several laboratories can run at once. */
const network = `127.${randomInt(2, 255)}.${randomInt(1, 255)}`;
const host = (number: number): string => `${network}.${number}`;

function skipReason(): string | undefined {
  const missing = missingForLaboratory();
  if (missing !== undefined && process.env.POSTERN_REQUIRE_PEERS === "1") throw new Error(missing);
  return missing;
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

const settings = (nameServer: string) => ({
  listeners: [{ address: `${host(9)}:25` }],
  domains: { local: [] },
  dns: { servers: [nameServer] },
  queue: { firstRetry: "1s", maxRetry: "1s", attempts: 100 },
  relay: { trustedNetworks: ["127.0.0.0/8"], allowSpecialAddresses: true, ipv6: false },
});

test("Postfix, Exim and OpenSMTPD through the gateway: every pair, MX preference, fail-over, greylisting, down and up", {
  timeout: 180_000,
}, async (t) => {
  const reason = skipReason();
  if (reason) return t.skip(reason);
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
  const dns = await startDnsServer(zone);
  t.after(() => dns.close());
  const sink = await lab.sink();
  const plan = (number: number, domain: string, also: string[] = []): PeerPlan => ({
    folder: join(lab.folder, domain),
    address: host(number),
    domain,
    also,
    sink: sink.port,
    gateway: host(9),
  });
  const greylist = join(lab.folder, "known-sender");
  const [, exim, openSmtpd] = await Promise.all([
    startPostfix(t, plan(1, "postfix.test", ["pref.test"])),
    startExim(t, plan(2, "exim.test", ["pref.test"])),
    startOpenSmtpd(t, plan(3, "osmtpd.test")),
    startExim(t, plan(4, "grey.test"), greylist),
  ]);
  const gateway = await lab.gateway(settings(dns.address));
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

  // The lower preference first, the other when it is down
  await submit(host(9), { from: "a@x.test", to: "b@pref.test", subject: "preferred" });
  assert.match(await arrival("preferred"), /^X-Helo-Args: exim\.test/m);
  await exim.stop();
  await submit(host(9), { from: "a@x.test", to: "b@pref.test", subject: "second choice" });
  assert.match(await arrival("second choice"), /^X-Helo-Args: postfix\.test/m);

  // Greylisting
  await submit(host(9), { from: "a@postfix.test", to: "b@grey.test", subject: "greylisted" });
  await until("two attempts", () => (waiting(gateway, "b@grey.test")?.attempts ?? 0) >= 2);
  assert.match(waiting(gateway, "b@grey.test")!.failure, /greylisted/);
  assert.equal(arrived("greylisted").length, 0);
  writeFileSync(greylist, "");
  await arrival("greylisted");

  // Down and up again
  await openSmtpd.stop();
  await submit(host(9), { from: "a@postfix.test", to: "b@osmtpd.test", subject: "patience" });
  const failed = await until("an attempt failed", () => waiting(gateway, "b@osmtpd.test")?.recipients[0]?.lastOutcome);
  assert.equal(failed.enhanced, "4.4.1");
  await startOpenSmtpd(t, { ...plan(3, "osmtpd.test"), folder: join(lab.folder, "again") });
  await arrival("patience");

  // An MX that is us, and a domain that takes no mail: back to the sender at once
  await submit(host(9), { from: "loop@postfix.test", to: "b@loop.test", subject: "loop" });
  await submit(host(9), { from: "null@postfix.test", to: "b@null.test", subject: "null" });
  const report = (to: string) =>
    until(`report to ${to}`, () => dumped(sink.dump).find((text) => text.includes(`X-Rcpt-Args: <${to}>`)), 40_000);
  assert.match(await report("loop@postfix.test"), /Status: 5\.4\.6/);
  assert.match(await report("null@postfix.test"), /Status: 5\.1\.10/);
  await sleep(300);
  assert.equal(arrived("patience").length + arrived("greylisted").length, 2, "no duplicates");
  await gateway.kill("SIGTERM");
});

test("MTA-STS and DANE, each asserted on the wire; TLS reports", { timeout: 120_000 }, async (t) => {
  const reason = skipReason();
  if (reason) return t.skip(reason);
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
    "_smtp._tls.good.test": [{ TXT: "v=TLSRPTv1; rua=mailto:tls@reports.test" }],
    "_smtp._tls.bad.test": [{ TXT: "v=TLSRPTv1; rua=mailto:tls@reports.test" }],
  };
  for (const name of ["good", "bad", "trial", "dane", "fake", "reports"]) {
    zone[`${name}.test`] = [{ MX: [10, `mx.${name}.test`] }];
    zone[`mx.${name}.test`] = [{ A: host(5) }];
    if (!mode[name]) continue;
    zone[`_mta-sts.${name}.test`] = [{ TXT: "v=STSv1; id=1" }];
    zone[`mta-sts.${name}.test`] = [{ A: host(7) }];
  }
  // Stands for a resolver that validates DNSSEC: AD is set on every answer.
  const dns = await startDnsServer(zone, { authenticated: true });
  t.after(() => dns.close());
  const sink = await lab.sink();
  const domains = ["good.test", "bad.test", "trial.test", "dane.test", "fake.test", "reports.test"];
  await startPostfix(
    t,
    {
      folder: join(lab.folder, "tls"),
      address: host(5),
      domain: "mx.good.test",
      also: domains,
      sink: sink.port,
      gateway: host(9),
    },
    certificate.key + certificate.cert,
  );
  const ca = join(lab.folder, "ca.pem");
  writeFileSync(ca, pki.ca);
  const base = settings(dns.address);
  const { port } = policies.address() as AddressInfo;
  const gateway = await lab.gateway({
    ...base,
    workers: 1,
    relay: {
      ...base.relay,
      tls: { ca, mtaStsPort: port, dane: true },
      tlsReports: { contact: "postmaster@gw.test", every: "8s" },
    },
  });
  for (const domain of domains) await submit(host(9), { from: "a@x.test", to: `b@${domain}`, subject: domain });
  const arrival = (subject: string) =>
    until(subject, () => dumped(sink.dump).find((text) => text.includes(`Subject: ${subject}\n`)), 30_000);
  const encrypted = /by mx\.good\.test \(Postfix\)|using TLSv1\.3/;
  for (const domain of ["good.test", "dane.test", "trial.test", "reports.test"]) {
    assert.match(await arrival(domain), /using TLSv1\.3 with cipher/, `${domain} went over TLS`);
  }
  assert.match(await arrival("good.test"), encrypted);
  assert.ok(asked.includes("good") && asked.includes("bad") && asked.includes("trial"));
  for (const domain of ["bad.test", "fake.test"]) {
    const stays = await until(`${domain} waits`, () => {
      const found = waiting(gateway, `b@${domain}`);
      return found?.failure ? found : undefined;
    });
    assert.match(stays.recipients[0]!.lastOutcome!.enhanced, /^4\.7\./, stays.failure);
  }
  const reports = await until("TLS reports", () => {
    const found = dumped(sink.dump).filter((text) => text.includes("X-Rcpt-Args: <tls@reports.test>"));
    return found.length >= 2 && found;
  });
  const subjects = reports.map((text) => /^Subject: .*\n/m.exec(text)![0]).join("");
  assert.match(subjects, /Report Domain: good\.test Submitter: gw\.test/);
  assert.match(subjects, /Report Domain: bad\.test Submitter: gw\.test/);
  assert.equal(dumped(sink.dump).filter((text) => /Subject: (?:bad|fake)\.test/.test(text)).length, 0);
  await gateway.kill("SIGTERM");
});
