/**
 * Sieve on live mail: scripts of server, domain and account level act in the real gateway, refuse at SMTP time, redirect,
 * answer once; a broken script refuses start and reload; accounts keep scripts over ManageSieve with TLS.
 */

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, writeFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { dirname, join } from "node:path";
import { after, test } from "node:test";
import { connect as connectTls } from "node:tls";
import { pino } from "pino";
import { budgetWith } from "../../src/config/budget.ts";
import { hashPassword } from "../../src/directory/password.ts";
import { selfSigned } from "../../src/smtp/incoming/selfsigned.ts";
import { openStore } from "../../src/store/store.ts";
import { dumped, freePort, type Gateway, Lab, peer, posternIn, sendMessage, until } from "./lab.ts";

const lab = new Lab();
after(() => lab.close());

/** Writes scripts for the next gateway; answers their paths. */
function scripts(name: string, texts: Record<string, string>): (file: string) => string {
  const folder = join(lab.folder, name);
  for (const [file, text] of Object.entries(texts)) {
    mkdirSync(dirname(join(folder, file)), { recursive: true });
    writeFileSync(join(folder, file), text);
  }
  return (file) => join(folder, file);
}

/** Folder → messages of an account. */
async function mailbox(gateway: Gateway, account: string): Promise<Record<string, string[]>> {
  const dir = join(gateway.folder, "var/store");
  const store = await openStore({ dir, budget: budgetWith(), log: pino({ level: "silent" }) });
  try {
    const found: Record<string, string[]> = {};
    for (const { folder, uid } of await store.list(account)) {
      const chunks = await Array.fromAsync((await store.read(account, folder, uid))!);
      (found[folder] ??= []).push(Buffer.concat(chunks).toString("latin1"));
    }
    return found;
  } finally {
    await store.close();
  }
}

async function send(gateway: Gateway, to: string[], header: string, from = "friend@sender.test"): Promise<string> {
  const text = `From: ${from}\nTo: ${to.join(", ")}\n${header}\n\nhello\n`;
  return (await sendMessage(gateway.port, { from, to, text })).at(-1)!;
}

const accounts = ["one", "two", "away"].map((name) => ({ address: `${name}@local.test` }));

const server = `require ["reject", "editheader", "include", "spamtest", "relational", "comparator-i;ascii-numeric", "fileinto"];
if header :is "X-Bad" "yes" { reject "no bad mail here"; stop; }
if header :is "X-Drop" "yes" { discard; stop; }
if spamtest :value "ge" "8" { fileinto "Junk"; stop; }
include :global "mark";
`;
const domain = `require ["fileinto", "envelope", "ereject"];
if header :contains "Subject" "invoice" { fileinto "Bills"; }
if allof (header :is "Subject" "not two", envelope "to" "two@local.test") { ereject "two does not want this"; }
`;
const account = `require ["vacation", "copy", "fileinto", "subaddress", "envelope", "duplicate"];
if envelope :detail "to" "lists" { fileinto "Lists"; stop; }
if header :is "Subject" "pass it on" { redirect :copy "else@out.test"; }
if duplicate { fileinto "Twice"; stop; }
vacation :days 3 :addresses "away@local.test" "I am away.";
`;

test("server, domain and account scripts act on live mail", { timeout: 120_000 }, async (t) => {
  if (!peer("smtp-sink")) return t.skip("needs smtp-sink");
  const sink = await lab.sink();
  const at = scripts("levels", {
    "server.sieve": server,
    "global/mark.sieve": 'require "editheader"; addheader "X-Server-Sieve" "seen";',
    "domain.sieve": domain,
    "account.sieve": account,
  });
  const policy = {
    sieve: [
      { level: "server", file: at("server.sieve") },
      { level: "domain", file: at("domain.sieve"), match: "local.test" },
      { level: "account", file: at("account.sieve"), match: "away@local.test" },
    ],
  };
  const gateway = await lab.gateway({
    policy,
    accounts,
    relay: { trustedNetworks: ["127.0.0.0/8"], smartHost: `[127.0.0.1]:${sink.port}` },
  });
  const sent = (to: string) => dumped(sink.dump).filter((text) => text.includes(`X-Rcpt-Args: <${to}>`));

  assert.match(await send(gateway, ["one@local.test"], "X-Bad: yes"), /^550 5\.7\.1 no bad mail here$/);
  assert.match(await send(gateway, ["two@local.test"], "Subject: not two"), /^550 5\.7\.1 two does not want this$/);
  assert.match(await send(gateway, ["one@local.test"], "X-Drop: yes"), /^250 /);
  const before = performance.now();
  assert.match(await send(gateway, ["one@local.test"], "Subject: your invoice"), /^250 /);
  assert.ok(performance.now() - before < 5_000, "a verdict is not waited for longer than it takes");
  assert.match(await send(gateway, ["one@local.test"], "Subject: spam\nX-AxigenSpam-Level: 9"), /^250 /);
  await until("one has two", async () => Object.values(await mailbox(gateway, "one@local.test")).flat().length >= 2);
  const one = await mailbox(gateway, "one@local.test");
  assert.deepEqual(Object.keys(one).sort(), ["Bills", "Junk"]);
  assert.match(one.Bills![0]!, /^X-Server-Sieve: seen\r$/m);

  // Refused for one of two recipients only: taken for the other, and reported.
  assert.match(await send(gateway, ["one@local.test", "two@local.test"], "Subject: not two"), /^250 /);
  const report = await until("a report", () => sent("friend@sender.test")[0]);
  assert.match(report, /two does not want this/);
  await until("one has it", async () => (await mailbox(gateway, "one@local.test")).INBOX?.length === 1);
  assert.deepEqual(await mailbox(gateway, "two@local.test"), {});

  // Vacation once per sender; duplicate; subaddress; redirect.
  for (const id of ["<1@x>", "<2@x>", "<2@x>"])
    await send(gateway, ["away@local.test"], `Message-ID: ${id}`, "a@s.test");
  await send(gateway, ["away+lists@local.test"], "Message-ID: <3@x>", "a@s.test");
  await send(gateway, ["away@local.test"], "Subject: pass it on\nMessage-ID: <4@x>", "b@s.test");
  const copy = await until("the redirected copy", () => sent("else@out.test")[0]);
  assert.match(copy, /X-Mail-Args: <b@s\.test>/);
  assert.match(copy, /^X-Sieve-Redirected-From: away@local\.test\r?$/m);
  await until("b is answered", () => sent("b@s.test").length === 1);
  await until("all stored", async () => Object.values(await mailbox(gateway, "away@local.test")).flat().length === 5);
  const away = await mailbox(gateway, "away@local.test");
  assert.deepEqual([away.INBOX?.length, away.Twice?.length, away.Lists?.length], [3, 1, 1]);
  assert.equal(sent("a@s.test").length, 1, "one reply for one sender");
  assert.match(sent("a@s.test")[0]!, /X-Mail-Args: <>[\s\S]*^Auto-Submitted: auto-replied \(vacation\)\r?$/m);

  // A broken script refuses the reload, and `postern check` says the same.
  writeFileSync(at("domain.sieve"), "fileinto 1;\n");
  const refused = gateway.postern("reload", "--config", gateway.configFile);
  assert.equal(refused.code, 1);
  assert.match(refused.err, /domain\.sieve:1:1: error S\d+ unknown command 'fileinto'/);
  assert.equal(posternIn(lab.folder, ["check", at("domain.sieve")]).code, 1);
  assert.match(await send(gateway, ["one@local.test"], "X-Bad: yes"), /^550 /);

  // SRS on: the copy leaves with a reverse-path of ours.
  writeFileSync(at("domain.sieve"), domain);
  gateway.writeConfig({
    server: { name: "gw.test" },
    data: "./var",
    listeners: [{ address: gateway.address }],
    domains: { local: ["local.test"] },
    policy,
    accounts,
    relay: {
      trustedNetworks: ["127.0.0.0/8"],
      smartHost: `[127.0.0.1]:${sink.port}`,
      srsSecret: "a long enough secret",
    },
  });
  const reloaded = gateway.postern("reload", "--config", gateway.configFile);
  assert.equal(reloaded.code, 0, reloaded.err);
  await send(gateway, ["away@local.test"], "Subject: pass it on\nMessage-ID: <5@x>", "c@s.test");
  await until("with SRS", () => sent("else@out.test").some((text) => /X-Mail-Args: <SRS0=[^>]+@gw\.test>/.test(text)));
  await gateway.kill("SIGTERM");
});

/** A ManageSieve client: sends, and waits for the OK, NO or BYE that ends a reply. */
async function talk(socket: Socket, command: string): Promise<string> {
  let text = "";
  if (command !== "") socket.write(command);
  while (!/^(?:OK|NO|BYE)\b.*\r\n$/m.test(text) || !text.endsWith("\r\n")) {
    const [chunk] = (await once(socket, "data")) as [Buffer];
    text += chunk;
  }
  return text;
}

async function sieveHost(): Promise<{ gateway: Gateway; port: number; password: string }> {
  const port = await freePort();
  const files = { cert: join(lab.folder, "sieve.crt"), key: join(lab.folder, "sieve.key") };
  const pair = selfSigned(["localhost"]);
  for (const kind of ["cert", "key"] as const) writeFileSync(files[kind], pair[kind]);
  const password = "open sesame";
  const hash = await hashPassword(password);
  const gateway = await lab.gateway({
    managesieve: { address: `127.0.0.1:${port}`, tls: files, scripts: 3 },
    accounts: [{ address: "one@local.test", password: hash }, { address: "two@local.test" }],
  });
  return { gateway, port, password };
}

test("an account's own script comes over ManageSieve and acts on its mail", { timeout: 60_000 }, async () => {
  const { gateway, port, password } = await sieveHost();
  const plain = connect(port, "127.0.0.1");
  assert.match(await talk(plain, ""), /"SASL" ""\r\n[\s\S]*"STARTTLS"\r\nOK/);
  const token = Buffer.from(`\0one@local.test\0${password}`).toString("base64");
  assert.match(await talk(plain, `AUTHENTICATE "PLAIN" "${token}"\r\n`), /^NO \(ENCRYPT-NEEDED\)/);
  assert.match(await talk(plain, "STARTTLS\r\n"), /^OK/);
  const tls = connectTls({ socket: plain, rejectUnauthorized: false });
  assert.match(await talk(tls, ""), /"SASL" "PLAIN"\r\n/);
  assert.match(await talk(tls, `AUTHENTICATE "PLAIN" "${token}"\r\n`), /^OK/);
  const put = (name: string, text: string) =>
    talk(tls, `PUTSCRIPT "${name}" {${Buffer.byteLength(text)}+}\r\n${text}\r\n`);
  assert.equal(await put("shared", 'require "fileinto"; fileinto "Mine";'), "OK\r\n");
  assert.equal(await put("main", 'require "include"; include "shared";'), "OK\r\n");
  assert.match(await put("bad", 'filinto "x";\r\n'), /^NO "line 1: error: unknown command 'filinto'/);
  assert.equal(await talk(tls, 'SETACTIVE "main"\r\n'), "OK\r\n");
  assert.equal(await talk(tls, "LISTSCRIPTS\r\n"), '"main" ACTIVE\r\n"shared"\r\nOK\r\n');

  assert.match(await send(gateway, ["one@local.test", "two@local.test"], "Subject: a"), /^250 /);
  await until("filed", async () => (await mailbox(gateway, "one@local.test")).Mine?.length === 1);
  await until("two has it too", async () => (await mailbox(gateway, "two@local.test")).INBOX?.length === 1);
  // A script that changes is compiled anew at the next message, whichever worker has it.
  assert.equal(await put("shared", 'require "fileinto"; fileinto "Other";'), "OK\r\n");
  for (let i = 0; i < 4; i++) await send(gateway, ["one@local.test"], "Subject: b");
  await until("all filed", async () => (await mailbox(gateway, "one@local.test")).Other?.length === 4);
  assert.equal(await talk(tls, 'SETACTIVE ""\r\n'), "OK\r\n");
  await send(gateway, ["one@local.test"], "Subject: c");
  await until("kept", async () => (await mailbox(gateway, "one@local.test")).INBOX?.length === 1);
  tls.destroy();
  await gateway.kill("SIGTERM");
});

test("sieve-connect uploads, checks, activates, lists and reads back a script", { timeout: 60_000 }, async (t) => {
  const program = peer("sieve-connect");
  if (!program) return t.skip("needs sieve-connect");
  const { gateway, port, password } = await sieveHost();
  const local = join(lab.folder, "local.sieve");
  const text = 'require ["fileinto"];\nif header :contains "subject" "x" { fileinto "X"; }\n';
  writeFileSync(local, text);
  const passwordFile = join(lab.folder, "password");
  writeFileSync(passwordFile, `${password}\n`);
  const run = (...args: string[]) =>
    execFileSync(
      program,
      [
        ...["--server", "127.0.0.1", "--port", String(port), "--user", "one@local.test"],
        ...["--notlsverify", "--nosslverify", "--authmech", "PLAIN", "--passwordfd", "0", ...args],
      ],
      { input: `${password}\n`, encoding: "utf8", timeout: 20_000, cwd: lab.folder, stdio: ["pipe", "pipe", "pipe"] },
    );
  run("--localsieve", local, "--remotesieve", "main", "--checkscript");
  run("--localsieve", local, "--remotesieve", "main", "--upload");
  run("--remotesieve", "main", "--activate");
  assert.match(run("--list"), /"main" ACTIVE/);
  assert.equal(
    run("--localsieve", "-", "--remotesieve", "main", "--download").replace(/\r\n/g, "\n").trim(),
    text.trim(),
  );
  await gateway.kill("SIGTERM");
});
