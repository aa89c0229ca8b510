/**
 * A script that asks every check, in the live gateway over real DNS packets: what the checks say, and where `postern
 * explain` says that each answer came from. Then greylisting and rate limits over a restart.
 */
import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { signDkim, signingKey } from "../../src/checks/dkim/sign.ts";
import { readMessage } from "../../src/checks/message.ts";
import { budgetWith } from "../../src/config/budget.ts";
import { mmdb } from "../unit/checks/mmdb.ts";
import { type DnsServer, startDnsServer } from "../unit/dns/server.ts";
import { dialogue, dumped, freePort, type Gateway, Lab, until } from "./lab.ts";

const lab = new Lab();
let dns: DnsServer;

const rsa = generateKeyPairSync("rsa", { modulusLength: 2048 });
const rsaPem = rsa.privateKey.export({ type: "pkcs1", format: "pem" }).toString();
const rsaRecord = `v=DKIM1; k=rsa; p=${rsa.publicKey.export({ type: "spki", format: "der" }).toString("base64")}`;

before(async () => {
  dns = await startDnsServer({
    "s._domainkey.sender.test": [{ TXT: rsaRecord.match(/.{1,250}/g)! }],
    "sender.test": [{ TXT: "v=spf1 include:spf.sender.test -all" }, { MX: [10, "mx.sender.test"] }],
    "spf.sender.test": [{ TXT: "v=spf1 ip4:8.8.8.0/24 -all" }],
    "_dmarc.sender.test": [{ TXT: "v=DMARC1; p=reject" }],
    "default._bimi.sender.test": [{ TXT: "v=BIMI1; l=https://sender.test/logo.svg" }],
    "8.8.8.8.in-addr.arpa": [{ PTR: "mail.sender.test" }],
    "mail.sender.test": [{ A: "8.8.8.8" }],
    "8.8.8.8.single.test": [{ A: "127.0.0.9" }, { TXT: "listed for a test" }],
    "8.8.8.8.black.test": [{ A: "127.0.0.2" }],
    "8.8.8.8.other.test": [{ A: "127.0.0.66" }],
    "8.8.8.8.white.test": [{ A: "127.0.1.3" }],
    "spam-shop.com.uri.test": [{ A: "127.0.0.2" }],
  });
});
after(async () => {
  await lab.close();
  await dns.close();
});

const script = `
event onConnect { set (DNSBLServer, "single.test"); call (checkDNSBL); call (checkDNSLists); call (checkReverseDNS); }
event onMailFrom { call (checkSPF); call (checkSenderMX); }
event onRcptTo { call (checkGreylist); }
event onDataReceived {
  call (checkDKIM); call (checkDMARC); call (checkARC); call (checkURILists); call (checkDomainKey);
  set (smtpAction, "reject");
  set (smtpExplanation, "spf %SPFResult% rdns %ReverseDNSResult% %ReverseDNSName% mx %SenderMXCheckResult% dnsbl %DNSBLResult% %DNSBLExplanation% lists %DNSListScore% %DNSListHits% geo %GeoIPResult% %GeoIPASN% %GeoIPASNName% grey %GreylistResult% dkim %DKIMResult% dmarc %DMARCResult% %DMARCPolicy% arc %ARCResult% uri %URIListHits% dk %DomainKeyResult% subject %subject%");
  set (subject, header ("Subject"));
}
`;

async function letter(): Promise<string> {
  const plain =
    "From: a@sender.test\r\nTo: b@local.test\r\nSubject: hello\r\nDate: Fri, 20 Nov 2026 10:00:00 +0000\r\nMessage-ID: <1@sender.test>\r\n\r\nsee https://www.spam-shop.com/x and https://fine.org/\r\n";
  const message = await readMessage(Buffer.from(plain), budgetWith());
  const [value] = await signDkim(message, [signingKey("sender.test", "s", rsaPem)], { timestamp: 1_790_000_000 });
  return `DKIM-Signature: ${value}\r\n${plain}`;
}

/** Sends a message from 8.8.8.8, behind a proxy; answers every reply, the first refusal last. */
async function send(gateway: Gateway, text: string, from = "a@sender.test", to = "b@local.test"): Promise<string[]> {
  const client = await dialogue(gateway.port);
  client.raw("PROXY TCP4 8.8.8.8 127.0.0.1 40000 25\r\n");
  const replies = [await client.reply()];
  for (const line of ["EHLO mail.sender.test", `MAIL FROM:<${from}>`, `RCPT TO:<${to}>`, "DATA", `${text}\r\n.`]) {
    replies.push(await client.say(line));
    if (/^[45]/.test(replies.at(-1)!)) break;
  }
  client.close();
  return replies;
}

const proxied = (port: number) => [{ address: `127.0.0.1:${port}`, proxy: ["127.0.0.1"], proxyRequired: true }];

test("every check answers a script, and explain says where each answer came from", { timeout: 180_000 }, async () => {
  const port = await freePort();
  const asn = join(lab.folder, "asn.mmdb");
  const google = { autonomous_system_number: 15_169, autonomous_system_organization: "Google LLC" };
  writeFileSync(asn, mmdb({ "8.8.8.0/24": google }));
  const gateway = await lab.gateway(
    {
      listeners: proxied(port),
      dns: { servers: [dns.address] },
      dnsLists: {
        zones: [
          { zone: "black.test", weight: 5 },
          { zone: "other.test", weight: 7, codes: ["127.0.0.2"] },
          { zone: "white.test", weight: -2 },
        ],
        uriZones: ["uri.test"],
      },
      geoip: { asn },
      authentication: { domainKeys: true },
      record: { enabled: true, idsInReplies: true },
      accounts: [{ address: "b@local.test" }],
    },
    script,
    port,
  );
  const refusal = (await send(gateway, await letter())).at(-1)!;
  assert.match(refusal, /^550 5\.7\.1 /);
  for (const said of [
    "spf pass rdns pass mail.sender.test mx pass",
    "dnsbl 127.0.0.9 listed for a test lists 3 black.test white.test",
    "geo US 15169 Google LLC grey pass",
    "dkim pass dmarc pass reject arc none uri spam-shop.com dk none",
  ]) {
    assert.ok(refusal.includes(said), `${said}\n${refusal}`);
  }

  const id = /\[([0-9a-z]{13})\]/.exec(refusal)![1]!;
  const { code, err, out } = gateway.postern("explain", "--id", id);
  assert.equal(code, 0, err);
  const facts = out.slice(out.indexOf("\nfacts\n"));
  /** The lines below a fact. */
  const sources = (name: string) =>
    (new RegExp(`^ {2}${name}\\(.* ms\\n((?: {4}source: .*\\n)*)`, "m").exec(facts)?.[1] ?? "")
      .split("\n")
      .filter(Boolean)
      .map((line) =>
        line
          .replace(/^ {4}source: /, "")
          .replace(/, [\d.]+ ms$/, "")
          .replace(dns.address, "SERVER"),
      );
  assert.deepEqual(sources("checkSPF"), ["TXT sender.test from SERVER", "TXT spf.sender.test from SERVER"]);
  assert.deepEqual(sources("checkReverseDNS"), [
    "PTR 8.8.8.8.in-addr.arpa from SERVER",
    "A mail.sender.test from SERVER",
  ]);
  assert.deepEqual(sources("checkSenderMX"), ["MX sender.test from SERVER"]);
  assert.deepEqual(sources("checkDNSBL"), ["A 8.8.8.8.single.test from SERVER", "TXT 8.8.8.8.single.test from SERVER"]);
  const lists = sources("checkDNSLists");
  assert.ok(lists.includes("A 8.8.8.8.white.test from SERVER"), lists.join("\n"));
  assert.deepEqual(sources("checkGeoIP"), ["country database"]);
  assert.ok(sources("checkDKIM").includes("TXT s._domainkey.sender.test from SERVER"), sources("checkDKIM").join("\n"));
  assert.ok(sources("checkDMARC").includes("TXT _dmarc.sender.test from SERVER"), sources("checkDMARC").join("\n"));
  assert.deepEqual(sources("checkURILists").toSorted(), [
    "A fine.org.uri.test from SERVER, no such name",
    "A spam-shop.com.uri.test from SERVER",
    "TXT spam-shop.com.uri.test from SERVER, no such record",
  ]);
  assert.deepEqual(sources("header"), ["the message"]);

  // The same again: DNS has been asked already.
  const second = /\[([0-9a-z]{13})\]/.exec((await send(gateway, await letter())).at(-1)!)![1]!;
  const again = JSON.parse(gateway.postern("explain", "--id", second, "--json").out) as {
    facts: Array<{ name: string; ms: number; from: string[] }>;
  };
  const spf = again.facts.find(({ name }) => name === "checkSPF")!;
  assert.equal(typeof spf.ms, "number");
  assert.match(spf.from.join("\n"), /^TXT sender\.test from (?:cache|127[\d.:]+), /);
  await gateway.kill("SIGTERM");
});

test("greylisting and rate limits go on where they were after a restart", { timeout: 180_000 }, async () => {
  const port = await freePort();
  const settings = {
    listeners: proxied(port),
    dns: { servers: [dns.address] },
    greylist: { enabled: true, delay: "1s", window: "5m", autoWhitelist: 0 },
    accounts: [{ address: "b@local.test" }, { address: "c@local.test" }],
  };
  const policy = `
    event onMailFrom {
      if (rate ("sender %mailFrom%", "3/1h")) { set (smtpAction, "tmpreject"); set (smtpExplanation, "too many"); }
    }
    event onRcptTo {
      call (checkGreylist);
      if (is (GreylistResult, "defer")) { set (smtpAction, "tmpreject"); set (smtpExplanation, "come back"); }
    }`;
  const gateway = await lab.gateway(settings, policy, port);
  const text = await letter();
  assert.match((await send(gateway, text)).at(-1)!, /^45\d .*come back/);
  await gateway.kill("SIGTERM");
  await new Promise((resolve) => setTimeout(resolve, 1_100));
  const second = await lab.gateway(settings, policy, port);
  assert.match((await send(second, text)).at(-1)!, /^250 /, "known from before the restart");
  assert.match((await send(second, text, "a@sender.test", "c@local.test")).at(-1)!, /come back/, "another triplet");
  await second.kill("SIGKILL");
  const third = await lab.gateway(settings, policy, port);
  assert.match((await send(third, text)).at(-1)!, /^45\d .*too many/, "the fourth of this hour");
  assert.match((await send(third, text, "z@sender.test")).at(-1)!, /come back/, "another sender");
  await third.kill("SIGTERM");
});

test("mail that SPF passes may skip the greylist", { timeout: 180_000 }, async () => {
  const port = await freePort();
  const gateway = await lab.gateway(
    {
      listeners: proxied(port),
      dns: { servers: [dns.address] },
      greylist: { enabled: true, skipSpfPass: true },
      accounts: [{ address: "b@local.test" }],
    },
    `event onRcptTo {
      call (checkGreylist);
      set (smtpAction, "tmpreject"); set (smtpExplanation, "greylist says %GreylistResult%");
    }`,
    port,
  );
  const text = await letter();
  assert.match((await send(gateway, text)).at(-1)!, /^45\d .*says pass/);
  assert.match((await send(gateway, text, "a@unknown.test")).at(-1)!, /^45\d .*says defer/);
  await gateway.kill("SIGTERM");
});

test("an indicator is told for authors whose DMARC policy is enforced; fields of strangers are taken out", {
  timeout: 180_000,
}, async () => {
  const port = await freePort();
  const sink = await lab.sink();
  const gateway = await lab.gateway(
    {
      listeners: proxied(port),
      dns: { servers: [dns.address] },
      authentication: { results: true },
      domains: { local: ["local.test"], relay: ["out.test"], routes: { "out.test": `[127.0.0.1]:${sink.port}` } },
    },
    `event onProcessing {
      call (checkBIMI);
      set (headerName, "X-Indicator"); set (headerValue, "%BIMIResult% %BIMILocation%"); call (addHeader);
    }`,
    port,
  );
  const forged = `BIMI-Location: v=BIMI1; l=https://evil.test/x.svg\r\n${await letter()}`;
  assert.match((await send(gateway, forged, "a@sender.test", "b@out.test")).at(-1)!, /^250 /);
  const [mail] = await until("the message arrives", () => {
    const arrived = dumped(sink.dump).filter((text) => text.includes("X-Indicator"));
    return arrived.length > 0 && arrived;
  });
  assert.match(mail!, /^X-Indicator: pass https:\/\/sender\.test\/logo\.svg\r?$/m);
  assert.doesNotMatch(mail!, /evil\.test/);
  await sink.stop();
  await gateway.kill("SIGTERM");
});
