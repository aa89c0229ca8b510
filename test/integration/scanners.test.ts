/** Our scanner clients and milter client against the real daemons, started here on loopback. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { chmodSync, cpSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { budgetWith } from "../../src/config/budget.ts";
import { ClamavScanner } from "../../src/scanners/clamav.ts";
import { MilterChain } from "../../src/scanners/milter/chain.ts";
import { MilterClient, milterSettings } from "../../src/scanners/milter/link.ts";
import { PolicyDelegation } from "../../src/scanners/policy-delegation.ts";
import { RspamdScanner } from "../../src/scanners/rspamd.ts";
import { SpamassassinScanner } from "../../src/scanners/spamassassin.ts";
import { type ScanInput, type Scanner, ScannerError } from "../../src/scanners/types.ts";
import { freePort, peer, scratch, start } from "./daemons.ts";

const budget = budgetWith();
const at = (port: number) => ({ host: "127.0.0.1", port });

// The standard harmless test patterns, in pieces so that no scanner takes this file for an infected one.
const eicar = ["X5O!P%@AP[4\\PZX54(P^)7CC)7}", "$EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"].join("");
const gtube = ["XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE", "-TEST-EMAIL*C.34X"].join("");

const fields =
  "From: a@x.example\r\nTo: b@l.example\r\nSubject: test\r\nDate: Mon, 1 Jan 2024 00:00:00 +0000\r\nMessage-ID: <1@x.example>\r\n";
const clean = `${fields}\r\nhello\r\n`;
const spam = `${fields}\r\n${gtube}\r\n`;
const infected = `${fields}MIME-Version: 1.0\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\n${Buffer.from(eicar).toString("base64")}\r\n`;

function input(text: string): ScanInput {
  const bytes = Buffer.from(text, "latin1");
  return {
    bytes: async function* () {
      for (let i = 0; i < bytes.length; i += 1_000_000) yield bytes.subarray(i, i + 1_000_000);
    },
    size: bytes.length,
    mailFrom: "a@x.example",
    rcptTo: ["b@l.example"],
    remoteIp: "192.0.2.1",
    remoteHost: "x.example",
    ehlo: "x.example",
    authUser: "",
    queueId: "Q1",
  };
}

/** One message through one milter, as a session would. */
async function filtered(port: number, text: string, ip = "127.0.0.1") {
  const client = new MilterClient(milterSettings({ name: "real", address: at(port) }), budget);
  const macros: Record<string, string> = { i: "Q1", j: "gw.test", mail_addr: "a@x.example", rcpt_addr: "b@l.example" };
  const chain = new MilterChain([client], (name) => macros[name], budget);
  try {
    const end = text.indexOf("\r\n\r\n") + 4;
    for (const step of [
      () => chain.connect({ host: "x.example", ip, port: 1234 }),
      () => chain.helo("x.example"),
      () => chain.mail("a@x.example"),
      () => chain.rcpt("b@l.example"),
      () => chain.data(),
    ]) {
      const answer = await step();
      assert.equal(answer.outcome, undefined);
    }
    const received = "Received: from x.example by gw.test with ESMTP id Q1; Mon, 1 Jan 2024 00:00:00 +0000\r\n";
    const header = Buffer.from(received + text.slice(0, end), "latin1");
    const result = await chain.message(header, 1, () => [Buffer.from(text.slice(end), "latin1")]);
    return { ...result, headerText: (result.header ?? header).toString("latin1") };
  } finally {
    await chain.close();
    await client.close();
  }
}

/** spamd listens before its children can answer. */
async function untilWell(scanner: Scanner): Promise<void> {
  for (let tries = 0; ; tries++) {
    try {
      return await scanner.ping();
    } catch (error) {
      if (tries > 60) throw error;
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
  }
}

/** clamd with a signature of its own; answers its port and folder. */
async function startClamd(t: TestContext): Promise<{ port: number; socket: string } | undefined> {
  const clamd = peer(t, "clamd");
  if (clamd === undefined) return undefined;
  const folder = scratch(t);
  chmodSync(folder, 0o755);
  const port = await freePort();
  const socket = join(folder, "clamd.sock");
  mkdirSync(join(folder, "db"));
  writeFileSync(join(folder, "db", "eicar.ndb"), `Test.EICAR-Body:0:*:${Buffer.from(eicar).toString("hex")}\n`);
  const settings = [
    `DatabaseDirectory ${join(folder, "db")}`,
    `TCPSocket ${port}`,
    "TCPAddr 127.0.0.1",
    `LocalSocket ${socket}`,
    "Foreground yes",
    "StreamMaxLength 1M",
    "SelfCheck 0",
  ];
  writeFileSync(join(folder, "clamd.conf"), `${settings.join("\n")}\n`);
  await start(t, clamd, ["-c", join(folder, "clamd.conf")], port);
  return { port, socket };
}

test("clamd over TCP and Unix socket, and clamav-milter before it", { timeout: 60_000 }, async (t) => {
  const clamd = await startClamd(t);
  if (clamd === undefined) return;
  for (const address of [at(clamd.port), { path: clamd.socket }]) {
    const scanner = new ClamavScanner({ name: "clamav", address, timeoutMs: 10_000, budget });
    await scanner.ping();
    assert.equal((await scanner.scan(input(clean))).virus, "");
    assert.equal((await scanner.scan(input(infected))).virus, "Test.EICAR-Body.UNOFFICIAL");
    await assert.rejects(scanner.scan(input(clean + "x".repeat(2 << 20))), (error) => error instanceof ScannerError);
    assert.equal((await scanner.scan(input(clean))).virus, "", "works on after an error");
    await scanner.close();
  }
  const milter = peer(t, "clamav-milter");
  if (milter === undefined) return;
  const folder = scratch(t);
  const port = await freePort();
  const settings = [
    `MilterSocket inet:${port}@127.0.0.1`,
    `ClamdSocket tcp:127.0.0.1:${clamd.port}`,
    "Foreground yes",
    "OnInfected Reject",
    "RejectMsg Virus found: %v",
    "AddHeader Replace",
  ];
  writeFileSync(join(folder, "milter.conf"), `${settings.join("\n")}\n`);
  await start(t, milter, ["-c", join(folder, "milter.conf")], port);
  const refused = await filtered(port, infected);
  assert.equal(refused.outcome?.code, 550);
  assert.match(refused.outcome?.text ?? "", /^Virus found: Test\.EICAR-Body/);
  assert.match((await filtered(port, clean)).headerText, /X-Virus-Status: Clean/);
});

test("spamd, and spamass-milter before it", { timeout: 90_000 }, async (t) => {
  const spamd = peer(t, "spamd");
  if (spamd === undefined) return;
  const folder = scratch(t);
  chmodSync(folder, 0o755);
  const port = await freePort();
  // The plug-in lists (*.pre) must be in the site folder too.
  cpSync("/etc/spamassassin", folder, { recursive: true });
  writeFileSync(
    join(folder, "local.cf"),
    "dns_available no\nuse_bayes 0\nuse_razor2 0\nuse_pyzor 0\nrequired_score 5.0\nreport_safe 0\n",
  );
  await start(
    t,
    spamd,
    [
      "-L",
      "-x",
      "-i",
      `127.0.0.1:${port}`,
      "-A",
      "127.0.0.1",
      "-m",
      "2",
      "--min-children=1",
      "-s",
      "stderr",
      `--siteconfigpath=${folder}`,
      "-u",
      "nobody",
      "--allow-tell",
    ],
    port,
    { waitMs: 40_000 },
  );
  const scanner = new SpamassassinScanner({ name: "spamd", address: at(port), timeoutMs: 30_000, budget });
  await untilWell(scanner);
  const verdict = await scanner.scan(input(spam));
  assert.ok(
    verdict.score! >= 1000 && verdict.threshold === 5 && verdict.symbols.includes("GTUBE"),
    JSON.stringify(verdict),
  );
  assert.equal((await scanner.check(input(clean))).spam, false);
  assert.match((await scanner.headers(input(spam))).toString(), /^X-Spam-Flag: YES/m);
  assert.match((await scanner.process(input(clean))).toString(), /hello/);
  const milter = peer(t, "spamass-milter");
  if (milter === undefined) return;
  const milterPort = await freePort();
  await start(
    t,
    milter,
    [
      "-p",
      `inet:${milterPort}@127.0.0.1`,
      "-r",
      "15",
      "-P",
      join(folder, "pid"),
      "--",
      "-d",
      "127.0.0.1",
      "-p",
      String(port),
    ],
    milterPort,
  );
  const refused = await filtered(milterPort, spam);
  assert.equal(refused.outcome?.code, 550);
  assert.match(refused.outcome?.text ?? "", /Blocked by SpamAssassin/);
  assert.match((await filtered(milterPort, clean)).headerText, /^X-Spam-Checker-Version: /m);
});

test("rspamd over HTTP and as a milter without replies", { timeout: 90_000 }, async (t) => {
  const rspamd = peer(t, "rspamd");
  if (rspamd === undefined) return;
  const folder = scratch(t);
  chmodSync(folder, 0o755);
  const [http, milter] = [await freePort(), await freePort()];
  const local = join(folder, "etc");
  for (const name of ["etc", "etc/override.d", "db", "run", "log"]) mkdirSync(join(folder, name));
  for (const name of ["db", "run", "log"]) execFileSync("/bin/chown", ["_rspamd", join(folder, name)]);
  const write = (name: string, text: string) => writeFileSync(join(local, "override.d", name), text);
  write("worker-normal.inc", `bind_socket = "127.0.0.1:${http}"; count = 1;\n`);
  write("worker-controller.inc", "enabled = false;\n");
  write("worker-fuzzy.inc", "enabled = false;\n");
  write(
    "worker-proxy.inc",
    `bind_socket = "127.0.0.1:${milter}"; milter = yes; count = 1; upstream "local" { default = yes; self_scan = yes; }\n`,
  );
  // The full list of top level domains takes half a minute to compile.
  writeFileSync(join(folder, "tld"), "com\norg\nexample\n");
  write(
    "options.inc",
    `url_tld = "${join(folder, "tld")}"; dns { nameserver = "127.0.0.1:1"; timeout = 0.1s; retransmits = 1; }\n`,
  );
  write("logging.inc", `type = "file"; filename = "${join(folder, "log", "rspamd.log")}";\n`);
  const variables = [
    `LOCAL_CONFDIR=${local}`,
    `DBDIR=${join(folder, "db")}`,
    `RUNDIR=${join(folder, "run")}`,
    `LOGDIR=${join(folder, "log")}`,
  ];
  await start(
    t,
    rspamd,
    ["-f", "-u", "_rspamd", "-g", "_rspamd", ...variables.map((value) => `--var=${value}`)],
    http,
    { waitMs: 30_000 },
  );
  const scanner = new RspamdScanner({ name: "rspamd", address: at(http), timeoutMs: 30_000, budget });
  await scanner.ping();
  const verdict = await scanner.scan(input(spam));
  assert.equal(verdict.action, "reject");
  assert.ok(verdict.symbols.includes("GTUBE"));
  assert.notEqual((await scanner.scan(input(clean))).action, "reject");
  await scanner.close();
  const refused = await filtered(milter, spam);
  assert.equal(refused.outcome?.code, 554);
  assert.match(refused.outcome?.text ?? "", /Gtube pattern/);
  assert.equal((await filtered(milter, clean)).outcome, undefined);
});

test("opendkim signs and verifies through our milter client", { timeout: 60_000 }, async (t) => {
  const opendkim = peer(t, "opendkim");
  if (opendkim === undefined) return;
  const folder = scratch(t);
  const port = await freePort();
  const key = join(folder, "key.pem");
  execFileSync("openssl", ["genrsa", "-out", key, "2048"], { stdio: "pipe" });
  const spki = execFileSync("openssl", ["rsa", "-in", key, "-pubout", "-outform", "DER"], {
    stdio: ["ignore", "pipe", "ignore"],
  });
  writeFileSync(join(folder, "keys"), `s._domainkey.x.example v=DKIM1; k=rsa; p=${spki.toString("base64")}\n`);
  const settings = [
    "Mode sv",
    "Domain x.example",
    "Selector s",
    `KeyFile ${key}`,
    `Socket inet:${port}@127.0.0.1`,
    "RequireSafeKeys no",
    "InternalHosts 127.0.0.1",
    `TestPublicKeys ${join(folder, "keys")}`,
    "AlwaysAddARHeader yes",
    "AuthservID gw.test",
    "Background no",
    "Syslog no",
  ];
  writeFileSync(join(folder, "opendkim.conf"), `${settings.join("\n")}\n`);
  await start(t, opendkim, ["-f", "-x", join(folder, "opendkim.conf")], port);
  const signed = await filtered(port, clean);
  const signature = /^DKIM-Signature: (?:.*\r\n)(?:[ \t].*\r\n)*/m.exec(signed.headerText)?.[0];
  assert.ok(signature?.includes("d=x.example; s=s;"), signed.headerText);
  assert.match(signed.headerText, /^DKIM-Signature:/, "inserted above our Received");
  // A client that is not internal is verified: the folds of the signature must arrive as they were written.
  const verify = async (text: string) => (await filtered(port, text, "192.0.2.1")).headerText;
  assert.match(await verify(signature + clean), /^Authentication-Results: gw\.test;\s+dkim=pass/m);
  assert.match(
    await verify(signature + clean.replace("hello", "forged")),
    /^Authentication-Results: gw\.test;\s+dkim=fail/m,
  );
});

test("postgrey answers our policy delegation client", { timeout: 60_000 }, async (t) => {
  const postgrey = peer(t, "postgrey");
  if (postgrey === undefined) return;
  const folder = scratch(t);
  chmodSync(folder, 0o755);
  mkdirSync(join(folder, "db"));
  execFileSync("/bin/chown", ["postgrey:postgrey", join(folder, "db")]);
  const port = await freePort();
  await start(
    t,
    postgrey,
    [
      `--inet=127.0.0.1:${port}`,
      `--dbdir=${join(folder, "db")}`,
      "--delay=1",
      "--user=postgrey",
      "--group=postgrey",
      "--greylist-text=Greylisted, see %s",
    ],
    port,
  );
  const service = new PolicyDelegation("postgrey", at(port), 10_000, budget);
  t.after(() => service.close());
  const ask = (instance: string) =>
    service.ask({
      protocol_state: "RCPT",
      protocol_name: "ESMTP",
      client_address: "192.0.2.1",
      client_name: "unknown",
      sender: "a@x.example",
      recipient: "b@l.example",
      instance,
    });
  const first = await ask("1");
  assert.ok(first.kind === "reply" && first.outcome.temporary && first.outcome.text.startsWith("Greylisted, see"));
  await new Promise((resolve) => setTimeout(resolve, 2_100));
  const second = await ask("2");
  assert.ok(second.kind === "prepend" && second.name === "X-Greylist", JSON.stringify(second));
});
