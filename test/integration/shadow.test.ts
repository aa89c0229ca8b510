/**
 * A candidate policy under live load: in shadow it touches nothing and is counted; as a canary it decides for its share
 * of the clients; a bad one steps back by itself, nothing that got a 250 is lost, and no session breaks.
 */
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import { type Gateway, Lab, sendMessage, until } from "./lab.ts";

const lab = new Lab();
after(() => lab.close());

const live = 'event onMailFrom { if (is (mailFrom, "bad@sender.test")) { set (smtpAction, "reject"); } }';
const accounts = [{ address: "user@local.test" }];

async function start(candidate: string, settings: object): Promise<Gateway> {
  const gateway = await lab.gateway({ accounts }, live);
  const text = readFileSync(gateway.configFile, "utf8");
  writeFileSync(join(gateway.folder, "candidate.script"), candidate);
  const policy = `policy:\n  smtpFilters: policy.script\n  candidate: ${JSON.stringify({ smtpFilters: "candidate.script", ...settings })}\n`;
  writeFileSync(gateway.configFile, text.replace(/^policy:\n(?: .*\n)+/m, policy));
  const reloaded = gateway.postern("reload");
  assert.equal(reloaded.code, 0, reloaded.err);
  return gateway;
}

interface Ledger {
  accepted: number;
  refused: number;
  /** Sessions that ended otherwise than with a reply to their last command. */
  broken: number;
}

/** `sessions` clients in parallel, one message each after the other, until `enough` says so or `count` were sent. */
async function load(gateway: Gateway, count: number, sessions: number): Promise<Ledger> {
  const ledger: Ledger = { accepted: 0, refused: 0, broken: 0 };
  let left = count;
  const client = async (): Promise<void> => {
    while (left-- > 0) {
      const replies = await sendMessage(gateway.port, {
        from: "a@sender.test",
        to: ["user@local.test"],
        text: "Subject: load\n\nhi\n",
      });
      const last = replies.at(-1) ?? "";
      if (replies.length === 6 && last.startsWith("250 ")) ledger.accepted++;
      else if (/^[45]\d\d /.test(last)) ledger.refused++;
      else ledger.broken++;
    }
  };
  await Promise.all(Array.from({ length: sessions }, client));
  return ledger;
}

const delivered = (gateway: Gateway): number => {
  const shown = gateway.postern("store", "list", "user@local.test", "INBOX", "--json");
  return shown.code === 0 ? (JSON.parse(shown.out) as unknown[]).length : 0;
};

test("shadow: all traffic is compared, none is touched; promote makes it the policy", { timeout: 60_000 }, async () => {
  const candidate = `${live}\nevent onRcptTo { if (is (rcptTo, "user@local.test")) { set (smtpAction, "reject"); } }`;
  const gateway = await start(candidate, { stepBack: { flips: 100 } });
  const ledger = await load(gateway, 100, 5);
  assert.deepEqual(ledger, { accepted: 100, refused: 0, broken: 0 });
  await sendMessage(gateway.port, { from: "bad@sender.test", to: ["user@local.test"], text: "a\n" });
  const status = await until("statistics", () => {
    const { out } = gateway.postern("policy", "status");
    return out.includes("transactions 101") && out;
  });
  assert.match(status, /watching only\nsessions 101, enforced 0, not followed 0\n/);
  assert.match(status, /transactions 101, decided otherwise 100 \(99 %\)\n/);
  assert.match(status, /\n {2}100 × onRcptTo: accept → reject by onRcptTo:2 \(such as session /);
  await until("delivery", () => delivered(gateway) === 100);

  const promoted = gateway.postern("policy", "promote");
  assert.equal(promoted.code, 0, promoted.err);
  assert.equal(readFileSync(join(gateway.folder, "policy.script"), "utf8"), candidate);
  assert.equal(readFileSync(join(gateway.folder, "policy.script.previous"), "utf8"), live);
  const now = await sendMessage(gateway.port, { from: "a@sender.test", to: ["user@local.test"], text: "a\n" });
  assert.match(now.at(-1)!, /^550 /);
  assert.match(gateway.postern("policy", "status").out, /is the live policy already/);
  assert.equal(gateway.postern("policy", "abort").code, 1);
  await gateway.kill("SIGTERM");
});

test("a bad canary under load steps back by itself; nothing is lost, sessions are unharmed", {
  timeout: 90_000,
}, async () => {
  const gateway = await start('event onRcptTo { set (smtpAction, "tmpreject"); set (smtpExplanation, "oops"); }', {
    enforce: 100,
    stepBack: { flips: 20, minimum: 30 },
  });
  const ledger = await load(gateway, 600, 8);
  assert.equal(ledger.broken, 0, "every command got its reply");
  assert.ok(ledger.refused > 0, "it decided while it was on trial");
  assert.ok(ledger.accepted > 300, `and was stopped soon: ${JSON.stringify(ledger)}`);
  await until("delivery of every 250", () => delivered(gateway) === ledger.accepted);
  assert.match(
    gateway.output(),
    /candidate policy stepped back: it decided \d+(\.\d)? % of the transactions otherwise/,
  );
  assert.match(gateway.postern("policy", "status").out, /stepped back: it decided/);
  // It isn't tried again by a reload or a restart, but a new text is.
  assert.equal(gateway.postern("reload").code, 0);
  assert.match(gateway.postern("policy", "status").out, /stepped back/);
  await gateway.kill("SIGTERM");
  const again = await lab.startGateway(gateway.configFile, gateway.port);
  assert.match(again.postern("policy", "status").out, /stepped back/);
  const fine = await sendMessage(again.port, { from: "a@sender.test", to: ["user@local.test"], text: "a\n" });
  assert.match(fine.at(-1)!, /^250 /);
  writeFileSync(join(gateway.folder, "candidate.script"), `${live}\n# mended\n`);
  assert.equal(again.postern("reload").code, 0);
  assert.match(again.postern("policy", "status").out, /on trial for .* enforced for 100 %/);
  assert.equal(again.postern("policy", "abort").code, 0);
  assert.match(again.postern("policy", "status").out, /aborted by hand/);
  await again.kill("SIGTERM");
});

test("a canary that fails in every event harms nobody: the live policy's word stands", {
  timeout: 60_000,
}, async () => {
  const gateway = await start(
    'event onMailFrom { if (inList (mailFrom, "file:absent.txt")) { set (smtpAction, "reject"); } }',
    {
      enforce: 100,
      stepBack: { minimum: 30 },
    },
  );
  const ledger = await load(gateway, 150, 4);
  assert.deepEqual(ledger, { accepted: 150, refused: 0, broken: 0 });
  await until("the step back", () => /stepped back: it failed in /.test(gateway.postern("policy", "status").out));
  await gateway.kill("SIGTERM");
});
