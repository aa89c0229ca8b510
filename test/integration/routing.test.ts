/**
 * Addresses and messages rewritten on their way through the running gateway: aliases, subaddresses, quotas, user maps,
 * SRS and its way back, blind copies, the disclaimer, and the reports that senders asked for.
 */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import { pino } from "pino";
import { budgetWith } from "../../src/config/budget.ts";
import { hashPassword } from "../../src/directory/password.ts";
import { openStore } from "../../src/store/store.ts";
import { dialogue, dumped, freePort, type Gateway, Lab, peer, until } from "./lab.ts";

const lab = new Lab();
after(() => lab.close());

/** Sends one message, logged in when `user` is given; answers the last reply. Recipients may carry parameters. */
async function send(
  gateway: Gateway,
  mail: { from: string; to: string[]; text: string; user?: string },
): Promise<string> {
  const client = await dialogue(gateway.port);
  await client.reply();
  const lines = ["EHLO client.test"];
  if (mail.user) lines.push(`AUTH PLAIN ${Buffer.from(`\0${mail.user}\0secret`).toString("base64")}`);
  lines.push(`MAIL FROM:<${mail.from}>`);
  for (const to of mail.to) lines.push(to.includes(">") ? `RCPT TO:${to}` : `RCPT TO:<${to}>`);
  lines.push("DATA", `${mail.text.replace(/^\./gm, "..")}\r\n.`);
  let reply = "";
  for (const line of lines) {
    reply = await client.say(line);
    if (/^[45]/.test(reply)) break;
  }
  client.close();
  assert.notEqual(reply, "", `the gateway hung up:\n${gateway.output()}`);
  return reply;
}

/** Folder → messages of an account in the gateway's store. */
async function mailbox(gateway: Gateway, account: string): Promise<Record<string, string[]>> {
  const store = await openStore({
    dir: join(gateway.folder, "var/store"),
    budget: budgetWith(),
    log: pino({ level: "silent" }),
  });
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

const plain = (subject: string, body = "hello") => `From: x@sender.test\r\nSubject: ${subject}\r\n\r\n${body}`;

test("aliases, catch-all, subaddress, Return-Path, copies, SRS there and back, quota, user map, DSN", {
  timeout: 120_000,
}, async (t) => {
  if (!peer("smtp-sink")) return t.skip("needs smtp-sink");
  const [world, vip, backend] = [await lab.sink(), await lab.sink(), await lab.sink()];
  const map = join(lab.folder, "users.map");
  writeFileSync(
    map,
    `# back ends\n^vip@backend\\.test$ [127.0.0.1]:${vip.port}\n@backend\\.test$ [127.0.0.1]:${backend.port}\n`,
  );
  const gateway = await lab.gateway({
    domains: {
      local: ["local.test", "catch.test"],
      relay: ["backend.test"],
      userMaps: [{ name: "backends", file: map }],
      aliases: {
        "info@local.test": ["ann@local.test", "bob@local.test", "far@far.test"],
        "loop@local.test": "pool@local.test",
        "pool@local.test": "loop@local.test",
        "@catch.test": "ann@local.test",
      },
      subaddress: { folders: true },
    },
    accounts: [{ address: "ann@local.test" }, { address: "bob@local.test", quota: 3_000 }],
    relay: { trustedNetworks: [], smartHost: `[127.0.0.1]:${world.port}`, srsSecret: "a secret of this test" },
    rewriting: { copies: [{ recipient: "info@local.test", to: "journal@far.test" }] },
    store: { overQuota: "reject" },
  });
  const envelopes = () =>
    dumped(world.dump).flatMap((text) => {
      const from = /^X-Mail-Args: <([^>]*)>/m.exec(text)?.[1];
      if (from === undefined) return []; // still being written
      return { from, to: [...text.matchAll(/^X-Rcpt-Args: <([^>]*)>/gm)].map((match) => match[1]), text };
    });
  const sentTo = (address: string) => envelopes().filter(({ to }) => to.includes(address));

  assert.match(await send(gateway, { from: "x@sender.test", to: ["y@far.test"], text: plain("no") }), /^550 5\.7\.1/);
  assert.match(
    await send(gateway, { from: "x@sender.test", to: ["no@local.test"], text: plain("no") }),
    /^550 5\.1\.1/,
  );

  // One message to an alias of three, an account twice, and a catch-all
  const to = ["info@local.test", "ann@local.test", "ann+lists@local.test", "any@catch.test"];
  assert.match(await send(gateway, { from: "x@sender.test", to, text: plain("one") }), /^250/);
  await until(
    "far and journal got theirs",
    () => sentTo("far@far.test").length + sentTo("journal@far.test").length === 2,
  );
  const ann = await until("ann has hers", async () => {
    const found = await mailbox(gateway, "ann@local.test");
    return found.lists ? found : undefined;
  });
  assert.equal(ann.INBOX?.length, 1, "ann gets one copy, however many ways lead to her");
  assert.match(ann.INBOX![0]!, /^Return-Path: <x@sender\.test>\r\nReceived: /);
  assert.equal(ann.lists?.length, 1);
  assert.equal((await mailbox(gateway, "bob@local.test")).INBOX?.length, 1);

  // SRS: the forwarded copy, and the bounce that comes back for it
  const [forwarded] = sentTo("far@far.test");
  assert.match(forwarded!.from, /^SRS0=[^=]{4}=[A-Z2-7]{2}=sender\.test=x@gw\.test$/);
  const bounce = { from: "", text: plain("bounced") };
  assert.match(await send(gateway, { ...bounce, to: [forwarded!.from] }), /^250/);
  const [back] = await until("the bounce is led back", () => {
    const found = sentTo("x@sender.test");
    return found.length > 0 && found;
  });
  assert.equal(back!.from, "");
  assert.match(back!.text, /Subject: bounced/);
  const forged = forwarded!.from.replace("sender.test", "victim.test");
  assert.match(await send(gateway, { ...bounce, to: [forged] }), /^550/);
  assert.match(await send(gateway, { ...bounce, from: "spam@x.test", to: [forwarded!.from] }), /^550/);

  // A full mailbox and an endless alias go back to the sender
  const big = plain("big", `${"x".repeat(70)}\r\n`.repeat(60));
  assert.match(await send(gateway, { from: "x@sender.test", to: ["bob@local.test"], text: big }), /^250/);
  assert.match(await send(gateway, { from: "x@sender.test", to: ["loop@local.test"], text: plain("loop") }), /^250/);
  const reports = await until("both reports", () => {
    const found = sentTo("x@sender.test").filter(({ text }) => text.includes("report-type=delivery-status"));
    return found.length === 2 && found;
  });
  const text = reports.map((report) => report.text).join("\n");
  assert.match(text, /Final-Recipient: rfc822; bob@local\.test\r?\nAction: failed\r?\nStatus: 5\.2\.2/);
  assert.match(text, /Final-Recipient: rfc822; loop@local\.test\r?\nAction: failed\r?\nStatus: 5\.[14]\./);

  // RFC 3461: the reports asked for, and no others
  const notify = ["<ann@local.test> NOTIFY=SUCCESS ORCPT=rfc822;Ann@local.test", "<bob@local.test> NOTIFY=NEVER"];
  assert.match(await send(gateway, { from: "dsn@sender.test", to: notify, text: big }), /^250/);
  const [success] = await until("the success report", () => {
    const found = sentTo("dsn@sender.test");
    return found.length > 0 && found;
  });
  assert.match(
    success!.text,
    /Original-Recipient: rfc822;\s?Ann@local\.test\r?\nFinal-Recipient: rfc822; ann@local\.test\r?\nAction: delivered/,
  );
  assert.doesNotMatch(success!.text, /bob@local\.test/);

  // User map: first match wins, and mail for relay domains is taken from strangers
  for (const user of ["vip", "other"]) {
    assert.match(
      await send(gateway, { from: "x@sender.test", to: [`${user}@backend.test`], text: plain(user) }),
      /^250/,
    );
  }
  await until("each at its back end", () => dumped(vip.dump).length === 1 && dumped(backend.dump).length === 1);
  assert.match(dumped(vip.dump)[0]!, /X-Mail-Args: <x@sender\.test>[\s\S]*Subject: vip/);
  assert.equal(sentTo("dsn@sender.test").length, 1, "no second report came meanwhile");
  await gateway.kill("SIGTERM");
});

test("an alias with one target that waits: the others get no second copy", { timeout: 60_000 }, async (t) => {
  if (!peer("smtp-sink")) return t.skip("needs smtp-sink");
  const [up, port] = [await lab.sink(), await freePort()];
  const gateway = await lab.gateway({
    domains: {
      local: ["local.test"],
      aliases: { "all@local.test": ["ann@local.test", "x@up.test", "y@down.test"] },
      routes: { "up.test": `[127.0.0.1]:${up.port}`, "down.test": `[127.0.0.1]:${port}` },
    },
    accounts: [{ address: "ann@local.test" }],
    queue: { firstRetry: "1s", maxRetry: "1s", attempts: 50 },
  });
  assert.match(await send(gateway, { from: "s@sender.test", to: ["all@local.test"], text: plain("once") }), /^250/);
  await until("the others have theirs", () => dumped(up.dump).length === 1);
  const listed = await until("one waits", () => {
    const { out } = gateway.postern("queue", "list", "--json", "--recipient", "y@down.test");
    const { messages } = JSON.parse(out) as { messages: Array<{ recipients: Array<Record<string, unknown>> }> };
    return messages[0]?.recipients.some(({ attempts }) => Number(attempts) > 1) && messages[0];
  });
  assert.deepEqual(
    listed.recipients.map(({ address, state }) => [address, state]),
    [
      ["ann@local.test", "sent"],
      ["x@up.test", "sent"],
      ["y@down.test", "processed"],
    ],
  );
  const down = await lab.sink([], port);
  await until("the last arrives", () => dumped(down.dump).length === 1);
  assert.equal(dumped(up.dump).length, 1);
  assert.equal((await mailbox(gateway, "ann@local.test")).INBOX?.length, 1);
  await gateway.kill("SIGTERM");
});

test("the disclaimer on plain, HTML and signed mail of our users; a delay report by script", {
  timeout: 60_000,
}, async (t) => {
  if (!peer("smtp-sink") || !peer("openssl")) return t.skip("needs smtp-sink and openssl");
  const sink = await lab.sink();
  const down = await freePort();
  const gateway = await lab.gateway(
    {
      domains: {
        local: ["local.test"],
        routes: { "far.test": `[127.0.0.1]:${sink.port}`, "down.test": `[127.0.0.1]:${down}` },
      },
      accounts: [{ address: "ann@local.test", password: await hashPassword("secret") }, { address: "bob@local.test" }],
      relay: { trustedNetworks: [] },
      smtp: { plainTextAuth: true },
      rewriting: { disclaimer: { text: "For your eyes only.", html: "<p id=notice>For your eyes only.</p>" } },
    },
    `event onTemporaryDeliveryFailure { set (sendNdr, "yes"); set (ndrSubject, "Still trying"); }`,
  );
  const ours = { from: "ann@local.test", user: "ann@local.test" };
  const before = {
    plain: "From: ann@local.test\r\nSubject: plain\r\n\r\nGood day.\r\n",
    html: "From: ann@local.test\r\nSubject: html\r\nMIME-Version: 1.0\r\nContent-Type: text/html; charset=us-ascii\r\n\r\n<html><body><p>Good day.</p></body></html>\r\n",
    signed: signed(lab.folder),
  };
  for (const [kind, text] of Object.entries(before)) {
    assert.match(await send(gateway, { ...ours, to: ["b@far.test", "bob@local.test"], text }), /^250/, kind);
  }
  await until("all arrived", () => dumped(sink.dump).filter((text) => text.includes("eyes only")).length === 3);
  const arrived = (subject: string) => dumped(sink.dump).find((text) => text.includes(`Subject: ${subject}`))!;
  assert.match(arrived("plain"), /Good day\.\s+For your eyes only\./);
  assert.match(arrived("html"), /<p>Good day\.<\/p><p id=3Dnotice>For your eyes only\.<\/p><\/body>/);
  const wrapped = arrived("signed");
  assert.match(wrapped, /^Content-Type: multipart\/mixed/m);
  assert.match(wrapped, /For your eyes only\./);
  const inner = /\r?\n--(=_notice_[^\s"]+)\r?\n([\s\S]*?)\r?\n--\1\r?\n/.exec(wrapped)![2]!;
  assert.equal(verified(lab.folder, inner), "the signed text\r\n", "the signature still verifies");
  const stored = (await mailbox(gateway, "bob@local.test")).INBOX!.join("\n");
  assert.doesNotMatch(stored, /For your eyes only/, "mail that stays in the house is as it was");
  for (const [kind, text] of Object.entries(before))
    t.diagnostic(`${kind} before: ${JSON.stringify(text.slice(-120))}`);
  for (const kind of Object.keys(before)) t.diagnostic(`${kind} after: ${JSON.stringify(arrived(kind).slice(-160))}`);

  assert.match(await send(gateway, { ...ours, to: ["z@down.test"], text: before.plain }), /^250/);
  const delay = await until("the delay report", async () =>
    (await mailbox(gateway, "ann@local.test")).INBOX?.find((text) => text.includes("Still trying")),
  );
  assert.match(delay, /Action: delayed\r\nStatus: 4\.4\.1/);
  assert.match(delay, /Will-Retry-Until: /);
  await gateway.kill("SIGTERM");
});

test("postmaster without a domain is taken and kept or passed on in each set-up (RFC 5321 §4.5.1)", {
  timeout: 120_000,
}, async (t) => {
  if (!peer("smtp-sink")) return t.skip("needs smtp-sink");
  const sink = await lab.sink();
  const relay = { trustedNetworks: [], smartHost: `[127.0.0.1]:${sink.port}` };
  const setUps = {
    accounts: { config: { accounts: [{ address: "ann@local.test" }] }, box: "postmaster@local.test" },
    alias: {
      config: {
        accounts: [{ address: "ann@local.test" }],
        domains: { local: ["local.test"], aliases: { "postmaster@local.test": "ann@local.test" } },
      },
      box: "ann@local.test",
    },
    "relay only": { config: { domains: { local: [], relay: ["far.test"] } }, box: "postmaster@gw.test" },
    elsewhere: {
      config: { domains: { local: [] }, server: { name: "gw.test", postmaster: "boss@far.test" } },
      box: undefined,
    },
  };
  for (const [name, { config, box }] of Object.entries(setUps)) {
    const gateway = await lab.gateway({ relay, workers: 1, ...config });
    const mail = { from: "x@sender.test", to: ["Postmaster"], text: plain(`to the postmaster: ${name}`) };
    assert.match(await send(gateway, mail), /^250/, name);
    const found = await until(`${name}: it arrives`, async () =>
      box === undefined
        ? dumped(sink.dump).find((text) => text.includes(name) && text.includes("X-Rcpt-Args: <boss@far.test>"))
        : (await mailbox(gateway, box)).INBOX?.[0],
    );
    assert.match(found, new RegExp(`to the postmaster: ${name}`));
    assert.match(await send(gateway, { ...mail, to: ["nobody@gw.test"] }), /^550/, "no other address at our name");
    await gateway.kill("SIGTERM");
  }
});

const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=ann", "-days", "2"];

/** An S/MIME message in clear-signed form. */
function signed(folder: string): string {
  const run = (...args: string[]) => execFileSync("openssl", args, { cwd: folder, stdio: ["pipe", "pipe", "pipe"] });
  run("req", "-x509", ...key, "-keyout", "ann.key", "-out", "ann.pem");
  writeFileSync(join(folder, "text"), "the signed text\n");
  const made = run("smime", "-sign", "-in", "text", "-signer", "ann.pem", "-inkey", "ann.key");
  return `From: ann@local.test\r\nSubject: signed\r\n${made.toString("latin1").replace(/\r?\n/g, "\r\n")}`;
}

function verified(folder: string, part: string): string {
  writeFileSync(join(folder, "part"), part.replace(/\r?\n/g, "\r\n"), "latin1");
  const out = execFileSync("openssl", ["smime", "-verify", "-noverify", "-in", "part"], {
    cwd: folder,
    stdio: ["ignore", "pipe", "pipe"],
  });
  return out.toString("latin1");
}
