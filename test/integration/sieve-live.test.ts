/**
 * What live Sieve knows beyond the message: named lists, the account's mailboxes and their uses, global scripts for
 * accounts; copies of its replies, and redirects with delivery parameters. Levels of scanners from outside do not count,
 * those of real scanners do; while one of them is down nothing of the chain is done.
 */
import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { after, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { pino } from "pino";
import { budgetWith } from "../../src/config/budget.ts";
import { ScriptDatabase } from "../../src/sieve/managesieve/database.ts";
import { openStore } from "../../src/store/store.ts";
import { dumped, freePort, type Gateway, Lab, peer, sendMessage, until } from "./lab.ts";
import { eicar, gtube, startClamd, startSpamd } from "./scanner-daemons.ts";

const lab = new Lab();
after(() => lab.close());

/** Writes files for the next gateway; answers their paths. */
function files(name: string, texts: Record<string, string>): (file: string) => string {
  const folder = join(lab.folder, name);
  for (const [file, text] of Object.entries(texts)) {
    mkdirSync(dirname(join(folder, file)), { recursive: true });
    writeFileSync(join(folder, file), text);
  }
  return (file) => join(folder, file);
}

/** "Folder flags…" of each message of an account, in order. */
async function filed(gateway: Gateway, account = "one@local.test"): Promise<string[]> {
  const dir = join(gateway.folder, "var/store");
  const store = await openStore({ dir, budget: budgetWith(), log: pino({ level: "silent" }) });
  try {
    return (await store.list(account)).map(({ folder, flags }) => [folder, ...flags].join(" ")).sort();
  } finally {
    await store.close();
  }
}

async function send(gateway: Gateway, header: string, from = "friend@sender.test"): Promise<string> {
  const text = `From: ${from}\nTo: one@local.test\n${header}\n\nhello\n`;
  return (await sendMessage(gateway.port, { from, to: ["one@local.test"], text })).at(-1)!;
}

const accounts = [{ address: "one@local.test" }];

test("lists, mailboxes, copies and parameters of redirects on live mail", { timeout: 90_000 }, async (t) => {
  if (!peer("smtp-sink")) return t.skip("needs smtp-sink");
  const sink = await lab.sink();
  const at = files("facts", {
    "friends.txt": "friend@sender.test\nBoss@Sender.test\n",
    "team.txt": "a@out.test\nno address\nb@out.test\n",
    "account.sieve": `require ["extlists", "fileinto", "copy", "mailbox", "special-use", "vacation", "fcc", "imap4flags",
  "redirect-dsn", "redirect-deliverby", "enotify", "variables"];
if not valid_ext_list [":friends", "urn:team"] { keep; stop; }
if valid_ext_list ":nobody" { discard; stop; }
if header :is "Subject" "team" { redirect :copy :list "urn:team"; }
if header :is "Subject" "urgent" {
  redirect :copy :notify "NEVER" :ret "hdrs" :bytimerelative 3600 :bymode "return" "c@out.test";
}
if header :is "Subject" "use" {
  if specialuse_exists "\\\\Junk" { fileinto :flags "again" :specialuse "\\\\Junk" "Elsewhere"; stop; }
  fileinto :specialuse "\\\\Junk" :create "Unwanted"; stop;
}
if header :is "Subject" "where" {
  if mailboxexists "Unwanted" { fileinto "Seen"; } else { fileinto "Unseen"; }
  stop;
}
if header :is "Subject" "away" { vacation :fcc "Sent" :flags "\\\\Seen" :subject "gone" "I am away."; }
if header :is "Subject" "tell" { notify :message "mail" :fcc "Told" "mailto:d@out.test"; }
if address :list "from" ":friends" { fileinto "Friends"; stop; }
`,
  });
  const gateway = await lab.gateway({
    policy: {
      sieve: [{ level: "account", file: at("account.sieve"), match: "one@local.test" }],
      lists: { ":friends": at("friends.txt"), "urn:team": at("team.txt") },
    },
    accounts,
    relay: { trustedNetworks: ["127.0.0.0/8"], smartHost: `[127.0.0.1]:${sink.port}` },
  });
  t.after(() => gateway.kill("SIGTERM"));
  const sent = (to: string) => dumped(sink.dump).filter((text) => text.includes(`X-Rcpt-Args: <${to}>`));
  const stored = (what: string, ...folders: string[]) =>
    until(what, async () => JSON.stringify(await filed(gateway)) === JSON.stringify(folders));

  await send(gateway, "Subject: x", "BOSS@sender.test");
  await send(gateway, "Subject: x", "stranger@sender.test");
  await stored("by list", "Friends", "INBOX");
  await send(gateway, "Subject: where", "s@sender.test");
  await stored("no such mailbox yet", "Friends", "INBOX", "Unseen");
  await send(gateway, "Subject: use", "s@sender.test");
  await stored("made with its use", "Friends", "INBOX", "Unseen", "Unwanted");
  await send(gateway, "Subject: use", "s@sender.test");
  await stored("found by its use", "Friends", "INBOX", "Unseen", "Unwanted", "Unwanted again");
  await send(gateway, "Subject: where", "s@sender.test");
  const before = ["Friends", "INBOX", "Seen", "Unseen", "Unwanted", "Unwanted again"];
  await stored("the mailbox is there", ...before);

  // One reply, one copy; the second message of the sender gets neither.
  for (let i = 0; i < 2; i++) await send(gateway, "Subject: away", "s@sender.test");
  await send(gateway, "Subject: tell", "s@sender.test");
  const after = ["Friends", "INBOX", "INBOX", "INBOX", "INBOX", "Seen", "Sent \\Seen", "Told"];
  await stored("copies of the reply and the notification", ...after, "Unseen", "Unwanted", "Unwanted again");
  assert.equal(sent("s@sender.test").length, 1);
  assert.equal(sent("d@out.test").length, 1);

  await send(gateway, "Subject: team", "s@sender.test");
  await until("the team has it", () => sent("a@out.test").length === 1 && sent("b@out.test").length === 1);
  await send(gateway, "Subject: urgent", "s@sender.test");
  await until("sent on", () => sent("c@out.test").length === 1);

  // A list follows its file.
  writeFileSync(at("friends.txt"), "stranger@sender.test\n");
  await until("the new list", async () => {
    await send(gateway, "Subject: x", "stranger@sender.test");
    return (await filed(gateway)).filter((folder) => folder === "Friends").length > 1;
  });
});

test("an account's script includes global ones of the server; a broken global script refuses the start", {
  timeout: 60_000,
}, async (t) => {
  const at = files("globals", {
    "global/base.sieve": 'require ["fileinto", "include"]; fileinto "Global"; include :global "more";',
    "global/more.sieve": 'require ["imap4flags"]; addflag "seen-by-more"; keep;',
  });
  const managesieve = { address: `127.0.0.1:${await freePort()}`, globalScripts: at("global") };
  const gateway = await lab.gateway({ accounts, managesieve });
  t.after(() => gateway.kill("SIGTERM"));
  const scripts = new ScriptDatabase(join(gateway.folder, "var/sieve/scripts.db"));
  await scripts.put("one@local.test", "own", 'require ["fileinto"]; fileinto "Own";');
  await scripts.put("one@local.test", "main", 'require "include"; include :global "base"; include :personal "own";');
  await scripts.activate("one@local.test", "main");
  scripts.close();
  await send(gateway, "Subject: x");
  await until("all three", async () => (await filed(gateway)).join() === "Global,INBOX seen-by-more,Own seen-by-more");
  writeFileSync(at("global/more.sieve"), "kep;");
  const refused = gateway.postern("reload", "--config", gateway.configFile);
  assert.equal(refused.code, 1);
  assert.match(refused.err, /more\.sieve:1:1: error S002 unknown command 'kep'/);
});

test("spamtest believes levels of trusted clients only", { timeout: 60_000 }, async (t) => {
  const at = files("levels", {
    "server.sieve": `require ["spamtest", "virustest", "fileinto", "relational", "comparator-i;ascii-numeric"];
if spamtest :value "ge" :comparator "i;ascii-numeric" "1" { fileinto "Spam"; }
if virustest :value "ge" :comparator "i;ascii-numeric" "1" { fileinto "Virus"; }
`,
  });
  const policy = { sieve: [{ level: "server", file: at("server.sieve") }] };
  const levels = "X-AxigenSpam-Level: 9\nX-AXIGENVIRUS-level: 5";
  const outside = await lab.gateway({ policy, accounts, relay: { trustedNetworks: [] } });
  t.after(() => outside.kill("SIGTERM"));
  await send(outside, levels);
  await until("kept", async () => (await filed(outside)).join() === "INBOX");
  const inside = await lab.gateway({ policy, accounts });
  t.after(() => inside.kill("SIGTERM"));
  await send(inside, levels);
  await until("filed", async () => (await filed(inside)).join() === "Spam,Virus");
});

test("clamd and spamd give Sieve its levels; while clamd is down no filter's word is acted on", {
  timeout: 150_000,
}, async (t) => {
  const [clamd, spamd] = await Promise.all([startClamd(t), startSpamd(t)]);
  if (clamd === undefined || spamd === undefined) return;
  const sink = await lab.sink();
  const at = files("scanned", {
    "first.sieve": 'require "copy"; if header :is "Subject" "down" { redirect :copy "copy@out.test"; }',
    "last.sieve": `require ["spamtestplus", "virustest", "fileinto", "relational", "comparator-i;ascii-numeric"];
if virustest :value "ge" :comparator "i;ascii-numeric" "4" { fileinto "Infected"; stop; }
if spamtest :percent :value "ge" :comparator "i;ascii-numeric" "90" { fileinto "Junk"; stop; }
if allof (virustest "1", not spamtest "0") { fileinto "Clean"; }
`,
  });
  const gateway = await lab.gateway({
    scanners: [
      { type: "clamav", name: "clamd", address: `127.0.0.1:${clamd.port}`, onVirus: "tag" },
      { type: "spamassassin", name: "spamd", address: `127.0.0.1:${spamd}`, onSpam: "tag" },
    ],
    policy: {
      processingWait: "1s",
      sieve: [
        { level: "server", file: at("first.sieve"), priority: 1 },
        { level: "account", file: at("last.sieve"), match: "one@local.test" },
      ],
    },
    accounts,
    queue: { firstRetry: "1s", maxRetry: "1s", attempts: 60 },
    relay: { trustedNetworks: ["127.0.0.0/8"], smartHost: `[127.0.0.1]:${sink.port}` },
  });
  t.after(() => gateway.kill("SIGTERM"));
  const copies = () => dumped(sink.dump).filter((text) => text.includes("X-Rcpt-Args: <copy@out.test>")).length;
  await send(gateway, "Subject: fine");
  await until("clean", async () => (await filed(gateway)).join() === "Clean");
  await send(gateway, `Subject: spam\n\n${gtube}`);
  await send(gateway, `Subject: virus\n\n${eicar}`);
  await until("by level", async () => (await filed(gateway)).join() === "Clean,Infected,Junk");

  process.kill(-clamd.pid, "SIGKILL");
  assert.match(await send(gateway, "Subject: down"), /^250 /);
  await sleep(2_500);
  assert.deepEqual([copies(), (await filed(gateway)).length], [0, 3], "the chain did not come to its end");
  await startClamd(t, clamd.port);
  await until("the whole chain has run", async () => (await filed(gateway)).join() === "Clean,Clean,Infected,Junk");
  await until("the copy", () => copies() === 1);
});
