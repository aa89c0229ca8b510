/**
 * Sender authentication in the live gateway: what is written on received mail, what is signed and sealed on mail that
 * leaves, verified by our own verifier and by opendkim; look-ups of one event run side by side.
 */
import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { validateArc } from "../../src/checks/arc.ts";
import { signDkim, signingKey } from "../../src/checks/dkim/sign.ts";
import { verifyDkim } from "../../src/checks/dkim/verify.ts";
import { readMessage, toCrlf } from "../../src/checks/message.ts";
import { budgetWith } from "../../src/config/budget.ts";
import { contextFor } from "../unit/checks/zone.ts";
import { type DnsServer, startDnsServer, type ZoneRecord } from "../unit/dns/server.ts";
import { dialogue, dumped, freePort, type Gateway, Lab, sendMessage, until } from "./lab.ts";
import { startOpendkim } from "./scanner-daemons.ts";

const lab = new Lab();
let dns: DnsServer;

const rsa = generateKeyPairSync("rsa", { modulusLength: 2048 });
const rsaPem = rsa.privateKey.export({ type: "pkcs1", format: "pem" }).toString();
const rsaRecord = `v=DKIM1; k=rsa; p=${rsa.publicKey.export({ type: "spki", format: "der" }).toString("base64")}`;
const ed = generateKeyPairSync("ed25519");
const edPem = ed.privateKey.export({ type: "pkcs8", format: "pem" }).toString();
const edRecord = `v=DKIM1; k=ed25519; p=${Buffer.from(ed.publicKey.export({ format: "jwk" }).x!, "base64url").toString("base64")}`;

const zone: Record<string, ZoneRecord[]> = {
  "s._domainkey.sender.test": [{ TXT: pieces(rsaRecord) }],
  "sender.test": [{ TXT: "v=spf1 ip4:127.0.0.0/8 -all" }, { MX: [10, "mx.sender.test"] }],
  "_dmarc.sender.test": [{ TXT: "v=DMARC1; p=reject" }],
  "forged.test": [{ TXT: "v=spf1 -all" }],
  "_dmarc.forged.test": [{ TXT: "v=DMARC1; p=quarantine" }],
  "a._domainkey.gw.test": [{ TXT: pieces(rsaRecord) }],
};
/** The same names as the verifier of the unit tests wants them. */
const answers = {
  "r._domainkey.ours.test": { TXT: [rsaRecord] },
  "e._domainkey.ours.test": { TXT: [edRecord] },
  "s._domainkey.sender.test": { TXT: [rsaRecord] },
  "a._domainkey.gw.test": { TXT: [rsaRecord] },
};

/** A record of more than 255 octets as several strings (RFC 6376 §3.6.2.2). */
function pieces(text: string): string[] {
  return text.match(/.{1,250}/g) ?? [];
}

before(async () => {
  dns = await startDnsServer(zone);
});
after(async () => {
  await lab.close();
  await dns.close();
});

const from = (domain: string) =>
  `From: a@${domain}\r\nTo: b@out.test\r\nSubject: hello\r\nDate: Fri, 20 Nov 2026 10:00:00 +0000\r\nMessage-ID: <1@${domain}>\r\n`;

async function signed(domain: string, text: string): Promise<string> {
  const message = await readMessage(Buffer.from(text), budgetWith());
  const [value] = await signDkim(message, [signingKey(domain, "s", rsaPem)], { timestamp: 1_790_000_000 });
  return `DKIM-Signature: ${value}\r\n${text}`;
}

/** The messages that smtp-sink got as they were on the wire, without what the sink itself writes on top. */
async function arrived(dump: string, count = 1): Promise<string[]> {
  await until("messages arrive", () => dumped(dump).filter((text) => text.includes("\n\n")).length >= count);
  return dumped(dump).map((text) => {
    const wire = text.replace(/^(?:X-(?:Client|Helo|Mail|Rcpt)[^\n]*\n)*Received: [^\n]*\n(?:[ \t][^\n]*\n)*/, "");
    return toCrlf(Buffer.from(wire, "latin1")).toString("latin1");
  });
}

const unfolded = (text: string) => text.replace(/\r\n[ \t]+/g, " ");

test("what the checks found is written on received mail, and forged results are taken out", {
  timeout: 60_000,
}, async () => {
  const sink = await lab.sink();
  const gateway = await lab.gateway({
    dns: { servers: [dns.address] },
    authentication: { results: true },
    domains: { routes: { "out.test": `[127.0.0.1]:${sink.port}` } },
  });
  const forged =
    "Authentication-Results: GW.test; dkim=pass header.d=bank.test\r\nAuthentication-Results: other.test; spf=pass\r\n";
  const text = await signed("sender.test", `${forged}${from("sender.test")}\r\nbody\r\n`);
  const replies = await sendMessage(gateway.port, { from: "a@sender.test", to: ["b@out.test"], text });
  assert.match(replies.at(-1)!, /^250 /);
  await arrived(sink.dump);
  await sendMessage(gateway.port, {
    from: "a@forged.test",
    to: ["b@out.test"],
    text: `${from("forged.test")}\r\nx\r\n`,
  });
  const [good, bad] = (await arrived(sink.dump, 2)).map(unfolded).sort((a) => (a.includes("sender.test") ? -1 : 1));
  const ours = (mail: string) => mail.split("\r\n").filter((line) => /^Authentication-Results:\s*gw\.test/i.test(line));
  assert.equal(ours(good!).length, 1);
  assert.match(ours(good!)[0]!, /spf=pass .*dkim=pass .*header\.d=sender\.test.*dmarc=pass/);
  assert.doesNotMatch(good!, /bank\.test/);
  assert.match(good!, /Authentication-Results: other\.test; spf=pass/);
  assert.match(good!, /^Received-SPF: pass /m);
  assert.match(good!, /^Authentication-Results: gw\.test/, "above our trace field");
  assert.match(ours(bad!)[0]!, /spf=fail .*dkim=none.*dmarc=fail \(p=quarantine/);
  assert.match(bad!, /^Received-SPF: fail /m);
  await sink.stop();
  await gateway.kill("SIGTERM");
});

test("a check that the script runs is enough, and policy's edits do not break it", { timeout: 60_000 }, async () => {
  const sink = await lab.sink();
  const script = `
    event onMailFrom { call (checkSPF); }
    event onHeadersReceived { set (headerName, "Subject"); set (headerValue, "changed"); call (modifyHeader); }
    event onDataReceived {
      call (checkDKIM);
      if (isCase (DKIMResult, "pass")) { set (headerName, "X-Seen"); set (headerValue, "%DKIMResult%"); call (addHeader); }
    }`;
  const gateway = await lab.gateway(
    { dns: { servers: [dns.address] }, domains: { routes: { "out.test": `[127.0.0.1]:${sink.port}` } } },
    script,
  );
  const text = await signed("sender.test", `${from("sender.test")}\r\nbody\r\n`);
  await sendMessage(gateway.port, { from: "a@sender.test", to: ["b@out.test"], text });
  const [mail] = (await arrived(sink.dump)).map(unfolded);
  assert.match(mail!, /^Authentication-Results: gw\.test; spf=pass .*dkim=pass/);
  assert.match(mail!, /^X-Seen: pass\r$/m);
  assert.match(mail!, /^Subject: changed\r$/m);
  await sink.stop();
  await gateway.kill("SIGTERM");
});

test("mail of our own leaves signed by two keys, after every conversion; keys rotate", {
  timeout: 60_000,
}, async () => {
  const sink = await lab.sink(["-8"]);
  const keys = join(lab.folder, "keys");
  writeFileSync(`${keys}.r.pem`, rsaPem);
  writeFileSync(`${keys}.e.pem`, edPem);
  const script = `event onRelay {
    if (is (rcptToDomain, "script.test")) {
      set (DKIMDomain, "ours.test"); set (DKIMSelector, "r"); set (DKIMKeyPath, "${keys}.r.pem"); call (signDKIM);
    }
  }`;
  const hop = `[127.0.0.1]:${sink.port}`;
  const gateway = await lab.gateway(
    {
      domains: { routes: { "out.test": hop, "script.test": hop } },
      dkim: [
        { domain: "ours.test", selector: "r", key: `${keys}.r.pem` },
        { domain: "ours.test", selector: "e", key: `${keys}.e.pem` },
      ],
    },
    script,
  );
  const eightBit = Buffer.from(
    `${from("ours.test")}MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\nfünf\r\n`,
  ).toString("latin1");
  await send(gateway, "a@ours.test", "b@out.test", eightBit);
  const [mail] = await arrived(sink.dump);
  assert.match(mail!, /quoted-printable/, "the sink takes no 8 bits");
  assert.deepEqual(await verdicts(mail!), ["rsa-sha256 pass", "ed25519-sha256 pass"]);

  // A message of somebody else's domain is not signed by configuration; a script may.
  await send(gateway, "a@elsewhere.test", "b@script.test", `${from("elsewhere.test")}\r\nx\r\n`);
  const other = (await arrived(sink.dump, 2)).find((text) => text.includes("elsewhere.test"))!;
  assert.deepEqual(await verdicts(other), ["rsa-sha256 pass"]);

  // A new key in the old file signs the next message, without a reload.
  const fresh = generateKeyPairSync("rsa", { modulusLength: 2048 });
  writeFileSync(`${keys}.r.pem`, fresh.privateKey.export({ type: "pkcs1", format: "pem" }));
  await send(gateway, "a@ours.test", "b@out.test", `${from("ours.test")}X-Rotated: yes\r\n\r\nx\r\n`);
  const rotated = (await arrived(sink.dump, 3)).find((text) => text.includes("X-Rotated"))!;
  assert.match((await verdicts(rotated))[0]!, /^rsa-sha256 fail/, "not the old key");
  const record = `v=DKIM1; k=rsa; p=${fresh.publicKey.export({ type: "spki", format: "der" }).toString("base64")}`;
  const renewed = { ...answers, "r._domainkey.ours.test": { TXT: [record] } };
  assert.deepEqual(await verdicts(rotated, renewed), ["rsa-sha256 pass", "ed25519-sha256 pass"]);

  // A key that is gone: the message waits.
  rmSync(`${keys}.r.pem`);
  await send(gateway, "a@ours.test", "b@out.test", `${from("ours.test")}X-Keyless: yes\r\n\r\nx\r\n`);
  await until("it waits", () => gateway.postern("queue", "list").out.includes("can't be signed"));
  assert.equal(dumped(sink.dump).length, 3);
  await sink.stop();
  await gateway.kill("SIGTERM");
});

test("opendkim verifies in one gateway what another signed", { timeout: 60_000 }, async (t) => {
  const opendkim = await startOpendkim(t);
  if (opendkim === undefined) return;
  const [first, last] = [await lab.sink(), await lab.sink()];
  const signing = await lab.gateway({
    domains: { routes: { "out.test": `[127.0.0.1]:${first.port}` } },
    dkim: [{ domain: "x.example", selector: "s", key: opendkim.key }],
  });
  await send(signing, "a@x.example", "b@out.test", `${from("x.example")}\r\nhello\r\n`);
  const [signedMail] = await arrived(first.dump);
  const port = await freePort();
  const verifying = await lab.gateway(
    {
      server: { name: "other.test" },
      listeners: [{ address: `127.0.0.1:${port}`, proxy: ["127.0.0.1"] }],
      domains: { relay: ["out.test"], routes: { "out.test": `[127.0.0.1]:${last.port}` } },
    },
    `event onDataReceived {
       set (filterName, "opendkim"); set (filterAddress, "inet:${opendkim.port}@127.0.0.1");
       call (addMilterFilter); call (executeFilters);
     }`,
    port,
  );
  for (const text of [signedMail!, signedMail!.replace("hello", "forged")]) {
    const client = await dialogue(port);
    // From elsewhere: opendkim signs for its own hosts and verifies for others.
    client.raw("PROXY TCP4 192.0.2.9 127.0.0.1 4000 25\r\n");
    await client.reply();
    for (const line of ["EHLO client.test", "MAIL FROM:<a@x.example>", "RCPT TO:<b@out.test>", "DATA"]) {
      assert.match(await client.say(line), /^[23]/);
    }
    assert.match(await client.say(`${text}.`), /^250 /);
    client.close();
  }
  const found = (await arrived(last.dump, 2)).map((mail) => /gw\.test;\s+dkim=(\w+)/.exec(unfolded(mail))?.[1]);
  assert.deepEqual(found.sort(), ["fail", "pass"]);
  await Promise.all([first.stop(), last.stop(), signing.kill("SIGTERM"), verifying.kill("SIGTERM")]);
});

test("mail of others is passed on with an ARC seal over our results", { timeout: 60_000 }, async () => {
  const sink = await lab.sink();
  const key = join(lab.folder, "arc.pem");
  writeFileSync(key, rsaPem);
  const gateway = await lab.gateway({
    dns: { servers: [dns.address] },
    authentication: { results: true },
    relay: { trustedNetworks: [] },
    domains: { relay: ["out.test"], routes: { "out.test": `[127.0.0.1]:${sink.port}` } },
    arc: { domain: "gw.test", selector: "a", key },
    // Signs nothing here: strangers may write any From.
    dkim: [{ domain: "sender.test", selector: "s", key }],
  });
  const text = await signed("sender.test", `${from("sender.test")}\r\nbody\r\n`);
  await sendMessage(gateway.port, { from: "a@sender.test", to: ["b@out.test"], text });
  const [once] = await arrived(sink.dump);
  const ctx = contextFor(answers, {}, Date.now());
  const chain = await validateArc(await readMessage(Buffer.from(once!, "latin1"), ctx.budget), ctx);
  assert.deepEqual([chain.result, chain.instances, chain.sealers], ["pass", 1, ["gw.test"]]);
  assert.match(chain.authenticationResults[0]!, /^gw\.test; spf=pass .*dmarc=pass/);
  assert.deepEqual(await verdicts(once!), ["rsa-sha256 pass"], "the author's own signature and no other");

  // A second passage continues the chain.
  await sendMessage(gateway.port, { from: "a@sender.test", to: ["b@out.test"], text: once! });
  const twice = (await arrived(sink.dump, 2)).find((mail) => mail.includes("i=2"))!;
  const longer = await validateArc(await readMessage(Buffer.from(twice, "latin1"), ctx.budget), ctx);
  assert.deepEqual([longer.result, longer.instances], ["pass", 2]);
  await sink.stop();
  await gateway.kill("SIGTERM");
});

test("four look-ups of one event, with 200 ms of DNS each, take about 200 ms", { timeout: 60_000 }, async (t) => {
  const slow = await startDnsServer(
    { "sender.test": [{ TXT: "v=spf1 ip4:192.0.2.9 -all" }, { MX: [10, "mx.sender.test"] }] },
    { delayMs: 200 },
  );
  t.after(() => slow.close());
  const port = await freePort();
  const gateway = await lab.gateway(
    {
      dns: { servers: [slow.address] },
      listeners: [{ address: `127.0.0.1:${port}`, proxy: ["127.0.0.1"] }],
    },
    `event onConnect { set (DNSBLServer, "list.test"); }
     event onMailFrom {
       call (checkSPF); call (checkReverseDNS); call (checkDNSBL); call (checkSenderMX);
       if (is (SPFResult, "pass")) { if (is (ReverseDNSResult, "fail")) { if (is (SenderMXCheckResult, "pass")) {
         set (smtpAction, "accept"); set (smtpExplanation, "all four are there");
       } } }
     }`,
    port,
  );
  const client = await dialogue(port);
  client.raw("PROXY TCP4 192.0.2.9 127.0.0.1 4000 25\r\n");
  await client.reply();
  await client.say("EHLO client.test");
  const began = performance.now();
  assert.match(await client.say("MAIL FROM:<a@sender.test>"), /^250 .*all four are there/);
  const elapsed = performance.now() - began;
  assert.ok(elapsed >= 195 && elapsed < 500, `took ${Math.round(elapsed)} ms; one after the other it is 800`);
  assert.equal(slow.asked.length >= 4, true);
  client.close();
  await gateway.kill("SIGTERM");
});

test("messages by the hundred through SPF, DKIM and DMARC: memory stays flat", { timeout: 120_000 }, async () => {
  const gateway = await lab.gateway({
    dns: { servers: [dns.address] },
    authentication: { results: true },
    accounts: [{ address: "b@local.test" }],
    domains: { local: ["local.test"] },
    workers: 1,
  });
  const text = await signed("sender.test", `${from("sender.test")}\r\n${"body text\r\n".repeat(300)}`);
  const rss = (): number =>
    gateway.workers().reduce((sum, pid) => {
      const status = readFileSync(`/proc/${pid}/status`, "latin1");
      return sum + Number(/^VmRSS:\s+(\d+)/m.exec(status)![1]);
    }, 0) / 1024;
  const many = async (count: number): Promise<void> => {
    const each = async (): Promise<void> => {
      const client = await dialogue(gateway.port);
      await client.reply();
      await client.say("EHLO client.test");
      for (let i = 0; i < count / 4; i++) {
        for (const line of ["MAIL FROM:<a@sender.test>", "RCPT TO:<b@local.test>", "DATA"]) await client.say(line);
        const odd = i % 3 === 0 ? text.replace("body text", "body tampered") : text;
        assert.match(await client.say(`${odd}\r\n.`), /^250 /);
      }
      client.close();
    };
    await Promise.all([each(), each(), each(), each()]);
  };
  await many(800);
  const warm = rss();
  await many(1_200);
  assert.ok(rss() - warm < 60, `grew from ${Math.round(warm)} to ${Math.round(rss())} MiB`);
  await gateway.kill("SIGTERM");
});

async function verdicts(text: string, keys: Parameters<typeof contextFor>[0] = answers): Promise<string[]> {
  const ctx = contextFor(keys, {}, Date.now());
  const results = await verifyDkim(await readMessage(Buffer.from(text, "latin1"), ctx.budget), ctx);
  return results.map(({ algorithm, result }) => `${algorithm} ${result}`);
}

/** Text is latin1: one character an octet. */
async function send(gateway: Gateway, mailFrom: string, rcptTo: string, text: string): Promise<void> {
  const client = await dialogue(gateway.port);
  await client.reply();
  for (const line of ["EHLO client.test", `MAIL FROM:<${mailFrom}> BODY=8BITMIME`, `RCPT TO:<${rcptTo}>`, "DATA"]) {
    assert.match(await client.say(line), /^[23]/);
  }
  assert.match(await client.say(`${text}.`), /^250 /);
  client.close();
}
