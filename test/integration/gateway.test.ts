/**
 * The main job end to end, with the real gateway, Postfix's load generator and sink, and hand-driven clients: accepted
 * mail is never lost, policy acts on the wire, reloads drop no connection, failures wait or bounce.
 */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { parse, stringify } from "yaml";
import { dialogue, dumped, freePort, type Gateway, Lab, peer, posternIn, sendMessage, until } from "./lab.ts";

const run = promisify(execFile);
const lab = new Lab();
before(() => {});
after(() => lab.close());

const quickRetry = { firstRetry: "1s", maxRetry: "2s", attempts: 30 };

/** smtp-source with numbered subjects; answers the number of messages. */
async function load(port: number, count: number, sessions: number, extra: string[] = []): Promise<void> {
  await run(peer("smtp-source") ?? "smtp-source", [
    ...["-s", String(sessions), "-m", String(count), "-l", "4000", "-f", "a@sender.test", "-t", "b@out.test"],
    ...extra,
    `127.0.0.1:${port}`,
  ]);
}

test("5,000 messages relayed to a real smtp-sink: all arrive once", { timeout: 180_000 }, async (t) => {
  if (!peer("smtp-source")) return t.skip("needs smtp-source");
  const sink = await lab.sink();
  const gateway = await lab.gateway({ domains: { local: [], routes: { "out.test": `[127.0.0.1]:${sink.port}` } } });
  await load(gateway.port, 5_000, 20);
  await until("all delivered", () => dumped(sink.dump).length >= 5_000, 60_000);
  await sleep(300);
  assert.equal(dumped(sink.dump).length, 5_000);
  assert.equal(waiting(gateway).length, 0);
  await sink.stop();
  await gateway.kill("SIGTERM");
});

test("a worker killed with -9 under load loses nothing that got a 250", { timeout: 180_000 }, async (t) => {
  if (!peer("smtp-sink")) return t.skip("needs smtp-sink");
  const sink = await lab.sink();
  const gateway = await lab.gateway({
    domains: { local: [], routes: { "out.test": `[127.0.0.1]:${sink.port}` } },
    queue: quickRetry,
  });
  const ledger = await underLoad(gateway.port, 5_000, 20, async (sent) => {
    await until("some were sent", () => sent() > 400, 30_000);
    const [first] = gateway.workers();
    process.kill(first!, "SIGKILL");
  });
  await assertAllArrive(ledger.accepted, sink.dump);
  assert.ok(gateway.workers().length === 2, "a new worker has taken the place of the old");
  await sink.stop();
  await gateway.kill("SIGTERM");
});

test("the whole gateway killed with -9 and started again delivers every 250", { timeout: 180_000 }, async (t) => {
  if (!peer("smtp-sink")) return t.skip("needs smtp-sink");
  const sink = await lab.sink();
  const gateway = await lab.gateway({
    domains: { local: [], routes: { "out.test": `[127.0.0.1]:${sink.port}` } },
    queue: quickRetry,
  });
  const moment = 100 + Math.floor(Math.random() * 2_400);
  t.diagnostic(`killed after ${moment} messages`);
  const ledger = await underLoad(gateway.port, 3_000, 10, async (sent) => {
    await until("some were sent", () => sent() > moment, 30_000);
    await gateway.kill("SIGKILL");
  });
  assert.ok(ledger.accepted.length < 3_000, "the kill came in the middle");
  const again = await lab.startGateway(gateway.configFile, gateway.port);
  await assertAllArrive(ledger.accepted, sink.dump);
  await sink.stop();
  await again.kill("SIGTERM");
});

test("a script rejects, tempfails, adds a header and routes, and is reloaded under load", {
  timeout: 120_000,
}, async (t) => {
  if (!peer("smtp-sink")) return t.skip("needs smtp-sink");
  const [first, second] = [await lab.sink(), await lab.sink()];
  const gateway = await lab.gateway(
    { domains: { local: [], routes: { "out.test": `[127.0.0.1]:${first.port}`, "else.test": "[127.0.0.1]:1" } } },
    `event onMailFrom {
       if (is (mailFrom, "bad@sender.test")) { set (smtpAction, "reject"); set (smtpExplanation, "not %mailFrom%"); }
       if (is (mailFrom, "slow@sender.test")) { set (smtpAction, "tmpreject"); set (smtpExplanation, "come back"); }
     }
     event onHeadersReceived { set (headerName, "X-Gateway"); set (headerValue, "first policy"); call (addHeader); }
     event onRelay {
       if (isCase (rcptDomain, "else.test")) { set (remoteSmtpHost, "[127.0.0.1]"); set (remoteSmtpPort, "${second.port}"); }
     }`,
  );
  const bad = await sendMessage(gateway.port, { from: "bad@sender.test", to: ["x@out.test"], text: "a\n" });
  assert.match(bad.at(-1)!, /^550 5\.7\.1 not bad@sender\.test$/);
  const slow = await sendMessage(gateway.port, { from: "slow@sender.test", to: ["x@out.test"], text: "a\n" });
  assert.match(slow.at(-1)!, /^450 4\.7\.1 come back$/);
  const good = await sendMessage(gateway.port, {
    from: "a@sender.test",
    to: ["x@out.test"],
    text: "Subject: one\n\nhi\n",
  });
  assert.match(good.at(-1)!, /^250 /);
  await sendMessage(gateway.port, { from: "a@sender.test", to: ["x@else.test"], text: "Subject: two\n\nhi\n" });
  await until("both arrived", () => dumped(first.dump).length === 1 && dumped(second.dump).length === 1);
  assert.match(dumped(first.dump)[0]!, /^X-Gateway: first policy\r?$/m);
  assert.match(dumped(second.dump)[0]!, /Subject: two/);

  // Reload under load: connections stay, the new text is in force, a broken script changes nothing.
  const script = join(gateway.folder, "policy.script");
  const open = await dialogue(gateway.port);
  await open.reply();
  await open.say("EHLO held.test");
  const ledger = underLoad(gateway.port, 1_500, 5, async (sent) => {
    await until("some were sent", () => sent() > 200, 30_000);
    writeFileSync(script, readFileSync(script, "utf8").replace("not %mailFrom%", "go away").replace("first", "second"));
    const reloaded = gateway.postern("reload", "--config", gateway.configFile);
    assert.equal(reloaded.code, 0, reloaded.err + reloaded.out);
    writeFileSync(script, 'event onMailFrom { set (smtpActoin "reject"); }');
    const broken = gateway.postern("reload", "--config", gateway.configFile);
    assert.equal(broken.code, 1);
    assert.match(broken.err, /policy\.script:1:\d+: error/);
  });
  assert.equal((await ledger).dropped, 0, "no connection was dropped");
  assert.match(await open.say("MAIL FROM:<a@sender.test>"), /^250/);
  open.close();
  const after = await sendMessage(gateway.port, { from: "bad@sender.test", to: ["x@out.test"], text: "a\n" });
  assert.match(after.at(-1)!, /go away/);
  await first.stop();
  await second.stop();
  await gateway.kill("SIGTERM");
});

test("a next hop that is down, then up: mail waits, is retried, arrives", { timeout: 60_000 }, async (t) => {
  if (!peer("smtp-sink")) return t.skip("needs smtp-sink");
  const port = await freePort();
  const gateway = await lab.gateway({
    domains: { local: [], routes: { "out.test": `[127.0.0.1]:${port}` } },
    queue: quickRetry,
  });
  await sendMessage(gateway.port, { from: "a@sender.test", to: ["x@out.test"], text: "Subject: waits\n\nhi\n" });
  const failed = await until("a failed attempt is on record", () => {
    const list = waiting(gateway);
    return list.length === 1 && list[0]!.failure !== "" ? list : undefined;
  });
  assert.match(failed[0]!.failure, /4\d\d|refused|connect/i);
  const sink = await lab.sink([], port);
  await until("the message arrived", () => dumped(sink.dump).length === 1);
  await until("the queue is empty", () => waiting(gateway).length === 0);
  await sink.stop();
  await gateway.kill("SIGTERM");
});

test("a next hop that answers 550: the sender gets a report in the script's words", { timeout: 60_000 }, async (t) => {
  if (!peer("smtp-sink")) return t.skip("needs smtp-sink");
  const sink = await lab.sink(["-f", "rcpt"]);
  const gateway = await lab.gateway(
    { domains: { local: ["local.test"], routes: { "out.test": `[127.0.0.1]:${sink.port}` } } },
    `event onDeliveryFailure {
       set (ndrSubject, "Sorry, %mailFrom%");
       set (ndrMessage, "It failed:
");
       set (ndrRcptMessage, "<%ndrRcptAddress%> %ndrRcptFailInfo%
");
       set (ndrMessageFooter, "-- the gateway");
     }`,
  );
  await sendMessage(gateway.port, {
    from: "me@local.test",
    to: ["nobody@out.test"],
    text: "Subject: original\nMessage-ID: <1@local.test>\n\nhi\n",
  });
  const report = await until("the report arrived", () => {
    const shown = gateway.postern("store", "show", "me@local.test", "1");
    return shown.code === 0 && shown.out.includes("multipart/report") ? shown.out : undefined;
  });
  assert.match(report, /^Subject: Sorry, me@local\.test\r?$/m);
  assert.match(report, /^Return-Path: <>\r?$/m);
  assert.match(report, /^Auto-Submitted: auto-(generated|replied)/m);
  assert.match(report, /<nobody@out\.test> 5\d\d/);
  assert.match(report, /^Final-Recipient: rfc822; ?nobody@out\.test\r?$/m);
  assert.match(report, /^Action: failed\r?$/m);
  assert.match(report, /^Status: 5\.\d+\.\d+/m);
  assert.match(report, /^Message-ID: <1@local\.test>\r?$/m);
  assert.equal(report.replace(/\r\n/g, "").includes("\n"), false, "CRLF line ends only");
  await sink.stop();
  await gateway.kill("SIGTERM");
});

test("a 50 MB message goes through in constant memory", { timeout: 120_000 }, async (t) => {
  if (!peer("smtp-sink")) return t.skip("needs smtp-sink");
  const sink = await lab.sink();
  const gateway = await lab.gateway({
    domains: { local: [], routes: { "out.test": `[127.0.0.1]:${sink.port}` } },
    limits: { messageKiB: 102_400, connections: 0, connectionsPerPeer: 0, newConnectionsPerPeerPerMinute: 0 },
    workers: 1,
  });
  const [worker] = gateway.workers();
  await sendMessage(gateway.port, { from: "a@sender.test", to: ["x@out.test"], text: "Subject: warm-up\n\nhi\n" });
  const rss = (): number => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${worker}/status`, "utf8"))![1]) / 1024;
  const before = rss();
  let peak = before;
  const watch = setInterval(() => {
    peak = Math.max(peak, rss());
  }, 10);
  const client = await dialogue(gateway.port);
  await client.reply();
  for (const line of ["EHLO big.test", "MAIL FROM:<a@sender.test>", "RCPT TO:<x@out.test>", "DATA"])
    await client.say(line);
  const line = `${"x".repeat(76)}\r\n`;
  const block = Buffer.from(line.repeat(1_000));
  client.raw("Subject: big\r\n\r\n");
  for (let sent = 0; sent < 50 * 1024 * 1024; sent += block.length) {
    client.raw(block);
    await sleep(0);
  }
  assert.match(await client.say("."), /^250 /);
  client.close();
  await until("it arrived", () => dumped(sink.dump).some((text) => text.length > 50_000_000), 60_000);
  clearInterval(watch);
  assert.ok(peak - before < 60, `RSS grew by ${(peak - before).toFixed(1)} MB`);
  await sink.stop();
  await gateway.kill("SIGTERM");
});

test("hostile clients are refused with the right code and disturb nobody", { timeout: 60_000 }, async () => {
  const gateway = await lab.gateway({
    limits: {
      messageKiB: 1_024,
      recipients: 100,
      connections: 0,
      connectionsPerPeer: 0,
      newConnectionsPerPeerPerMinute: 0,
    },
  });
  const begin = async (): Promise<Awaited<ReturnType<typeof dialogue>>> => {
    const client = await dialogue(gateway.port);
    await client.reply();
    for (const line of ["EHLO evil.test", "MAIL FROM:<a@evil.test>", "RCPT TO:<b@local.test>"]) await client.say(line);
    return client;
  };
  const quitter = await begin();
  await quitter.say("DATA");
  quitter.raw("Subject: half\r\n\r\nand the");
  quitter.close();

  const bareLf = await begin();
  await bareLf.say("DATA");
  bareLf.raw("Subject: x\r\n\r\nhello\n.\nMAIL FROM:<c@evil.test>\r\n.\r\n");
  assert.match(await bareLf.reply(), /^5\d\d/);
  bareLf.close();

  const nul = await begin();
  await nul.say("DATA");
  nul.raw("Subject: x\r\n\r\nhel\0lo\r\n.\r\n");
  assert.match(await nul.reply(), /^5\d\d/);
  nul.close();

  const large = await begin();
  await large.say("DATA");
  const block = `${"y".repeat(998)}\r\n`.repeat(64);
  for (let i = 0; i < 100; i++) large.raw(block);
  assert.match(await large.say("."), /^552/);
  large.close();

  const longLine = await begin();
  await longLine.say("DATA");
  longLine.raw(Buffer.alloc(1_000_000, 0x7a));
  longLine.raw("\r\n.\r\n");
  assert.match(await longLine.reply(), /^5\d\d/);
  longLine.close();

  const crowd = await begin();
  let refused = "";
  for (let i = 0; i < 200 && refused === ""; i++) {
    const reply = await crowd.say(`RCPT TO:<b${i}@local.test>`);
    if (!reply.startsWith("250")) refused = reply;
  }
  assert.match(refused, /^452/);
  crowd.close();

  const good = await sendMessage(gateway.port, {
    from: "a@x.test",
    to: ["b@local.test"],
    text: "Subject: fine\n\nok\n",
  });
  assert.match(good.at(-1)!, /^250/);
  await until("only the good one is there", () => {
    const list = gateway.postern("store", "list", "b@local.test", "--json");
    return list.code === 0 && JSON.parse(list.out).length === 1;
  });
  await gateway.kill("SIGTERM");
});

test("what can't start says why in one line and starts nothing", { timeout: 60_000 }, async () => {
  const gateway = await lab.gateway();
  const config = parse(readFileSync(gateway.configFile, "utf8")) as Record<string, unknown>;
  const attempt = (change: Record<string, unknown>): { code: number; err: string } => {
    const file = join(lab.folder, "broken.yaml");
    writeFileSync(file, stringify({ ...config, data: join(lab.folder, "other"), ...change }));
    const { code, err } = posternIn(lab.folder, ["serve", "--config", file]);
    return { code, err };
  };
  const free = [{ address: `127.0.0.1:${await freePort()}` }];
  const unknown = attempt({ listners: [] });
  assert.equal(unknown.code, 1);
  assert.match(unknown.err, /broken\.yaml:\d+:\d+: error C004 unknown key "listners"/);
  assert.match(attempt({}).err, /cannot listen on 127\.0\.0\.1:\d+: the port is in use/);
  assert.match(
    attempt({ listeners: free, policy: { smtpFilters: "nowhere.script" } }).err,
    /cannot read .*nowhere\.script: there is no such file/,
  );
  assert.match(attempt({ listeners: free, data: join(gateway.configFile, "var") }).err, /cannot use the data folder/);
  assert.match(attempt({ listeners: free, data: join(gateway.folder, "var") }).err, /already runs|in use/);
  await gateway.kill("SIGTERM");
});

/** Sends numbered messages over `sessions` connections that reconnect; answers which numbers got a 250. */
async function underLoad(
  port: number,
  count: number,
  sessions: number,
  meanwhile: (sent: () => number) => Promise<void>,
): Promise<{ accepted: number[]; dropped: number }> {
  const accepted: number[] = [];
  let next = 0;
  let dropped = 0;
  let gone = false;
  const one = async (): Promise<void> => {
    while (next < count && !gone) {
      const client = await dialogue(port);
      if ((await client.reply()) === "") {
        dropped++;
        await sleep(20);
        gone = !(await reachable(port));
        continue;
      }
      await client.say("EHLO load.test");
      for (let i = 0; i < 20 && next < count; i++) {
        const number = next++;
        const lines = ["MAIL FROM:<a@sender.test>", "RCPT TO:<b@out.test>", "DATA"];
        let reply = "";
        for (const line of lines) reply = await client.say(line);
        if (!reply.startsWith("354")) {
          dropped++;
          break;
        }
        reply = await client.say(`Subject: number ${number}\r\n\r\n${"z".repeat(1_000)}\r\n.`);
        if (!reply.startsWith("250")) {
          dropped++;
          break;
        }
        accepted.push(number);
      }
      client.close();
    }
  };
  await Promise.all([...Array.from({ length: sessions }, one), meanwhile(() => accepted.length)]);
  return { accepted, dropped };
}

/** What waits in the queue. */
function waiting(gateway: Gateway): Array<{ id: string; failure: string }> {
  const { code, out, err } = gateway.postern("queue", "list", "--json");
  assert.equal(code, 0, err);
  return (JSON.parse(out) as { messages: Array<{ id: string; failure: string }> }).messages;
}

function reachable(port: number): Promise<boolean> {
  return new Promise((done) => {
    const socket = connect(port, "127.0.0.1", () => {
      socket.destroy();
      done(true);
    });
    socket.once("error", () => done(false));
  });
}

async function assertAllArrive(accepted: readonly number[], dump: string): Promise<void> {
  await until("as many messages as got a 250 arrived", () => readdirSync(dump).length >= accepted.length, 60_000);
  const complete = (): boolean => {
    const numbers = new Set(dumped(dump).map((text) => Number(/^Subject: number (\d+)/m.exec(text)?.[1] ?? -1)));
    return accepted.every((number) => numbers.has(number));
  };
  for (let tries = 0; !complete(); tries++) {
    assert.ok(tries < 30, "every message with a 250 arrived");
    await sleep(1_000);
  }
}
