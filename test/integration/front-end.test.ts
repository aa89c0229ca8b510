/**
 * A front-end node: mail goes by user map to real back ends, Dovecot's LMTP server and Postfix with Dovecot behind it;
 * unknown users are refused while the client waits, users log in with the passwords of their back end, and mail for all
 * others is relayed under the usual rules. Without a map, Dovecot gets the mail of a whole domain by its route.
 */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import { type Dovecot, startDovecot } from "./dovecot.ts";
import { dialogue, dumped, freePort, type Gateway, Lab, until } from "./lab.ts";
import { missingForLaboratory, runPostfix } from "./peers.ts";

const lab = new Lab();
after(() => lab.close());

/** Replies to the lines, up to the first refusal. */
async function say(gateway: Gateway, ...lines: string[]): Promise<string[]> {
  const client = await dialogue(gateway.port);
  const replies = [await client.reply()];
  for (const line of ["EHLO client.test", ...lines]) {
    replies.push(await client.say(line));
    if (/^[45]/.test(replies.at(-1)!)) break;
  }
  client.close();
  return replies.slice(2);
}

const text = (subject: string) => `From: x@sender.test\r\nSubject: ${subject}\r\n\r\n..dot\r\n.`;
const mail = (to: readonly string[], subject: string) => [
  "MAIL FROM:<x@sender.test>",
  ...to.map((address) => `RCPT TO:<${address}>`),
  "DATA",
  text(subject),
];
const logIn = (user: string, password: string) =>
  `AUTH PLAIN ${Buffer.from(`\0${user}\0${password}`).toString("base64")}`;

async function arrived(dovecot: Dovecot, user: string, subject: string): Promise<string> {
  return until(`${subject} for ${user}`, () => dovecot.mail(user).find((one) => one.includes(`Subject: ${subject}`)));
}

test("user maps lead to Dovecot and Postfix; strangers, unknown users, passwords, all other mail", {
  timeout: 180_000,
}, async (t) => {
  const missing = missingForLaboratory();
  if (missing !== undefined) {
    if (process.env.POSTERN_REQUIRE_PEERS === "1") assert.fail(missing);
    return t.skip(missing);
  }
  const [near, far] = [await startDovecot(t, ["ann@front.test"]), await startDovecot(t, ["bob@front.test"])];
  if (near === undefined || far === undefined) return;
  const postfixPort = await freePort();
  await runPostfix(t, {
    ...{ folder: join(lab.folder, "postfix"), address: "127.0.0.1", port: postfixPort },
    settings: {
      myhostname: "back.front.test",
      virtual_mailbox_domains: "front.test",
      virtual_mailbox_maps: "inline:{bob@front.test=bob}",
      virtual_transport: `lmtp:inet:127.0.0.1:${far.port}`,
      smtpd_sasl_auth_enable: "yes",
      smtpd_sasl_type: "dovecot",
      smtpd_sasl_path: `inet:127.0.0.1:${far.authPort}`,
    },
  });
  const world = await lab.sink();
  const map = join(lab.folder, "front.map");
  writeFileSync(
    map,
    `^ann@front\\.test$ lmtp:127.0.0.1:${near.port}\n^(bob|carl)@front\\.test$ 127.0.0.1:${postfixPort}\n`,
  );
  const gateway = await lab.gateway({
    domains: {
      local: ["local.test", "front.test"],
      userMaps: [{ name: "front", file: map }],
      frontEnd: { authenticate: true },
    },
    accounts: [{ address: "own@front.test" }],
    // Passwords are passed on in clear text here: the back ends have no TLS.
    relay: { trustedNetworks: [], smartHost: `[127.0.0.1]:${world.port}`, startTls: "none" },
    smtp: { plainTextAuth: true },
  });

  const both = await say(gateway, ...mail(["ann@front.test", "Bob@front.test"], "both"));
  assert.deepEqual(
    both.map((reply) => reply.slice(0, 3)),
    ["250", "250", "250", "354", "250"],
    both.join("\n"),
  );
  assert.match(await arrived(near, "ann@front.test", "both"), /\n\.dot/);
  assert.match(await arrived(far, "bob@front.test", "both"), /by back\.front\.test \(Postfix\)/);

  // In the map, but not at the back end; not in the map; another's domain
  assert.match((await say(gateway, ...mail(["carl@front.test"], "no"))).at(-1)!, /^550 5\.1\.1 .*carl@front\.test/);
  assert.match((await say(gateway, ...mail(["dora@front.test"], "no"))).at(-1)!, /^550 5\.1\.1 User not found/);
  assert.match((await say(gateway, ...mail(["own@front.test"], "kept"))).at(-1)!, /^250/);
  assert.match((await say(gateway, ...mail(["z@world.test"], "no"))).at(-1)!, /^550 5\.7\.1 Relay denied/);

  // Bob's password is Postfix's and Dovecot's business
  assert.match((await say(gateway, logIn("bob@front.test", "wrong"))).at(-1)!, /^535 5\.7\.8/);
  const own = mail(["z@world.test"], "outward").map((line) => line.replaceAll("x@sender.test", "bob@front.test"));
  const outward = await say(gateway, logIn("bob@front.test", "secret"), ...own);
  assert.match(outward[0]!, /^235/);
  assert.match(outward.at(-1)!, /^250/, outward.join("\n"));
  const sent = await until("it left by the smart host", () =>
    dumped(world.dump).find((one) => one.includes("Subject: outward")),
  );
  assert.match(sent, /^X-Mail-Args: <bob@front\.test>/m);
  assert.match(sent, /with ESMTPA/);
  // An LMTP server has no AUTH
  assert.match((await say(gateway, logIn("ann@front.test", "secret"))).at(-1)!, /^454/);
  t.diagnostic(`unknown at the back end: ${(await say(gateway, ...mail(["carl@front.test"], "no"))).at(-1)}`);
  await gateway.kill("SIGTERM");
});

test("a back end that is down: mail is taken, waits, and arrives; it is asked again", {
  timeout: 180_000,
}, async (t) => {
  const port = await freePort();
  const map = join(lab.folder, "down.map");
  writeFileSync(map, `@front\\.test$ 127.0.0.1:${port}\n`);
  const gateway = await lab.gateway({
    domains: { local: ["local.test"], userMaps: [{ name: "down", file: map }], frontEnd: {} },
    relay: { trustedNetworks: [] },
    queue: { firstRetry: "1s", maxRetry: "1s" },
  });
  assert.match((await say(gateway, ...mail(["ann@front.test"], "later"))).at(-1)!, /^250/);
  await until("an attempt failed", () => gateway.postern("queue", "list").out.includes("send failure"));
  const sink = await lab.sink([], port);
  await until("it arrives", () => dumped(sink.dump).find((one) => one.includes("Subject: later")));
  await gateway.kill("SIGTERM");
  t.diagnostic("taken with 250 while nothing listened");
});

test("SRS: a forwarded message bounces at a real Postfix, and its bounce comes back to the first sender", {
  timeout: 180_000,
}, async (t) => {
  const missing = missingForLaboratory();
  if (missing !== undefined) {
    if (process.env.POSTERN_REQUIRE_PEERS === "1") assert.fail(missing);
    return t.skip(missing);
  }
  const world = await lab.sink();
  const [ours, postfixPort] = [await freePort(), await freePort()];
  await runPostfix(t, {
    ...{ folder: join(lab.folder, "bouncing"), address: "127.0.0.1", port: postfixPort },
    settings: {
      myhostname: "mx.gone.test",
      relay_domains: "gone.test",
      // Taken at RCPT, refused by its own delivery agent: the bounce is Postfix's to send.
      smtpd_reject_unlisted_recipient: "no",
      transport_maps: "inline:{{gone.test=error:5.1.1 nobody of that name}}",
      relayhost: `[127.0.0.1]:${ours}`,
    },
  });
  const gateway = await lab.gateway(
    {
      domains: {
        local: ["local.test"],
        aliases: { "forward@local.test": "ann@gone.test" },
      },
      relay: {
        trustedNetworks: [],
        srsSecret: "a secret of this test",
        smartHost: `[127.0.0.1]:${postfixPort}`,
      },
    },
    `event onRelay { if (is (rcptToDomain, "sender.test")) { set (remoteSmtpHost, "[127.0.0.1]"); set (remoteSmtpPort, "${world.port}"); } }`,
    ours,
  );
  assert.match((await say(gateway, ...mail(["forward@local.test"], "forwarded"))).at(-1)!, /^250/);
  const bounce = await until(
    "the bounce is back",
    () => dumped(world.dump).find((one) => one.includes("X-Rcpt-Args: <x@sender.test>") && one.includes("--\n")),
    40_000,
  );
  assert.match(bounce, /^X-Mail-Args: <>/m);
  assert.match(bounce, /^From: .*MAILER-DAEMON@mx\.gone\.test/m);
  assert.match(bounce, /Final-Recipient: rfc822; ann@gone\.test[\s\S]*Status: 5\.1\.1/);
  const returned = /^Return-Path: <(SRS0=[^>]+)>/m.exec(bounce)?.[1] ?? "";
  assert.match(returned, /^SRS0=[^=]{4}=[A-Z2-7]{2}=sender\.test=x@gw\.test$/);
  t.diagnostic(`forwarded as <${returned}>, bounced to it, led back to <x@sender.test>`);
  await gateway.kill("SIGTERM");
});

test("Dovecot's LMTP server gets a local domain's mail through the gateway, each recipient by itself", {
  timeout: 180_000,
}, async (t) => {
  const dovecot = await startDovecot(t, ["ann@box.test", "bob@box.test"]);
  if (dovecot === undefined) return;
  const gateway = await lab.gateway({
    domains: { local: ["local.test"], relay: ["box.test"], routes: { "box.test": `lmtp:[127.0.0.1]:${dovecot.port}` } },
    accounts: [{ address: "own@local.test" }],
    relay: { trustedNetworks: [], smartHost: `[127.0.0.1]:${await freePort()}` },
  });
  const replies = await say(gateway, ...mail(["ann@box.test", "ghost@box.test", "bob@box.test"], "lmtp"));
  assert.match(replies.at(-1)!, /^250/);
  for (const user of ["ann@box.test", "bob@box.test"]) {
    const found = await arrived(dovecot, user, "lmtp");
    assert.match(found, /^Return-Path: <x@sender\.test>/m);
    assert.match(found, /^Received: from client\.test .*\n?.*by gw\.test/m);
    assert.match(found, /\n\.dot/);
    assert.equal(dovecot.mail(user).length, 1);
  }
  // The third one's failure goes back to the sender alone; its report is what still waits.
  const listed = await until("the report waits", () => {
    const { out } = gateway.postern("queue", "list", "--json");
    const { messages } = JSON.parse(out) as {
      messages: Array<{ envelope?: object; recipients: Array<{ address: string }> }>;
    };
    return messages.find(({ recipients }) => recipients[0]?.address === "x@sender.test");
  });
  assert.equal(listed.recipients.length, 1);
  await gateway.kill("SIGTERM");
});
