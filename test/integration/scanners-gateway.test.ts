/**
 * Real scanners and filters in the live gateway: by configuration in processing with the verdict in the session, by
 * script in the session and in processing, and policy services at RCPT; what happens while one is down.
 */
import assert from "node:assert/strict";
import { after, type TestContext, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { start } from "./daemons.ts";
import { dialogue, dumped, freePort, type Gateway, Lab, sendMessage, until } from "./lab.ts";
import {
  letters,
  runningFilters,
  startClamavMilter,
  startClamd,
  startOpendkim,
  startPostgrey,
  startRspamd,
  startSpamassMilter,
  startSpamd,
} from "./scanner-daemons.ts";

const lab = new Lab();
after(() => lab.close());

const { clean, spam, infected } = letters;
const quickRetry = { firstRetry: "1s", maxRetry: "1s", attempts: 30 };

/** The reply to the whole message. */
async function sent(gateway: Gateway, text: string, to = ["b@out.test"]): Promise<string> {
  return (await sendMessage(gateway.port, { from: "a@x.example", to, text })).at(-1)!;
}

async function behind(t: TestContext, config: Record<string, unknown>, script?: string) {
  const sink = await lab.sink();
  const routes = { "out.test": `[127.0.0.1]:${sink.port}` };
  const gateway = await lab.gateway({ domains: { routes }, queue: quickRetry, ...config }, script);
  t.after(async () => {
    await sink.stop();
    await gateway.kill("SIGTERM");
  });
  const arrived = (count: number) =>
    until(`${count} arrive`, () => {
      const all = dumped(sink.dump).filter((text) => text.includes("\n\n"));
      return all.length >= count && all;
    });
  return { gateway, arrived, sink };
}

const empty = (gateway: Gateway) => JSON.parse(gateway.postern("queue", "list", "--json").out).messages.length === 0;

test("clamd: a virus in a zip is a 552 in the session; while clamd is down mail waits", {
  timeout: 90_000,
}, async (t) => {
  const clamd = await startClamd(t);
  if (clamd === undefined) return;
  const address = `127.0.0.1:${clamd.port}`;
  const { gateway, arrived, sink } = await behind(t, { scanners: [{ type: "clamav", name: "clamd", address }] });
  assert.equal(
    await sent(gateway, infected),
    "552 5.7.1 Mail rejected by the processing module: Test.EICAR-Body.UNOFFICIAL found",
  );
  assert.match(await sent(gateway, clean), /^250 /);
  const [first] = await arrived(1);
  assert.match(first!, /^X-AxigenVirus-Level: 1/m);
  await until("the queue is empty: no report either", () => empty(gateway));

  process.kill(-clamd.pid, "SIGKILL");
  const began = performance.now();
  assert.match(await sent(gateway, clean), /^250 /);
  assert.ok(performance.now() - began < 5_000, "the client does not wait for the scanner's return");
  await sleep(500);
  assert.equal(dumped(sink.dump).length, 1, "unscanned mail goes nowhere");
  await startClamd(t, clamd.port);
  await arrived(2);
});

test("a scanner that is down is passed by when so declared", { timeout: 60_000 }, async (t) => {
  const scanners = [
    { type: "clamav", name: "gone", address: `127.0.0.1:${await freePort()}`, onError: "accept" },
    { type: "spamassassin", name: "gone too", address: `127.0.0.1:${await freePort()}`, onError: "accept" },
  ];
  const passing = await behind(t, { scanners });
  assert.match(await sent(passing.gateway, clean), /^250 /);
  await passing.arrived(1);
  const refusing = await behind(t, { scanners: [{ ...scanners[0], onError: "reject" }] });
  assert.equal(await sent(refusing.gateway, clean), "552 5.7.1 Mail rejected by the processing module: gone failed");
});

test("spamd and rspamd score mail; their spam verdict rejects in the session", { timeout: 90_000 }, async (t) => {
  const [spamd, rspamd] = await Promise.all([startSpamd(t), startRspamd(t)]);
  if (spamd === undefined || rspamd === undefined) return;
  const byScore = await behind(t, {
    scanners: [{ type: "spamassassin", name: "spamd", address: `127.0.0.1:${spamd}`, onSpam: "reject" }],
    policy: { smtpFilters: null, processingWait: "60s" },
  });
  assert.equal(await sent(byScore.gateway, spam), "552 5.7.1 Mail rejected by the processing module: spam");
  assert.match(await sent(byScore.gateway, clean), /^250 /);
  assert.match((await byScore.arrived(1))[0]!, /^X-AxigenSpam-Level: [1-9]$/m);
  const byAction = await behind(t, {
    scanners: [
      { type: "rspamd", name: "rspamd", address: `127.0.0.1:${rspamd.http}`, onSpam: "reject" },
      { type: "milter", name: "rspamd milter", address: `inet:${rspamd.milter}@127.0.0.1`, priority: 200 },
    ],
    policy: { smtpFilters: null, processingWait: "60s" },
  });
  assert.match(await sent(byAction.gateway, spam), /^5(?:52|54) .*Gtube pattern/);
  assert.match(await sent(byAction.gateway, clean), /^250 /);
  await byAction.arrived(1);
});

/** A python3-milter filter that does what a message's X-Actions field says. */
async function startActions(t: TestContext): Promise<string> {
  const port = await freePort();
  const script = fileURLToPath(new URL("milter-actions.py", import.meta.url));
  await start(t, "/usr/bin/python3", [script, `inet:${port}@127.0.0.1`], port);
  return `inet:${port}@127.0.0.1`;
}
const doing = (...calls: Array<[string, ...unknown[]]>) => `X-Actions: ${JSON.stringify(calls)}\r\n${clean}`;

test("a filter that a script runs changes header, body and envelope before the 250", { timeout: 60_000 }, async (t) => {
  const at = await startActions(t);
  const { gateway, arrived } = await behind(t, {}, runningFilters([["actions", at]]));
  const text = doing(
    ["addheader", "X-Added", "by the filter"],
    ["chgheader", "Subject", 1, "changed"],
    ["replacebody", "another body\r\n"],
    ["addrcpt", "<c@out.test>"],
    ["delrcpt", "<b@out.test>"],
    ["chgfrom", "<new@x.example>"],
  );
  assert.match(await sent(gateway, text), /^250 /);
  const [mail] = await arrived(1);
  assert.match(mail!, /^X-Added: by the filter$/m);
  assert.match(mail!, /^Subject: changed$/m);
  assert.match(mail!, /\n\nanother body\n/);
  assert.match(mail!, /^X-Mail-Args: <new@x\.example>/m);
  assert.match(mail!, /^X-Rcpt-Args: <c@out\.test>/m);
  assert.doesNotMatch(mail!, /^X-Rcpt-Args: <b@out\.test>/m);
  assert.equal(
    await sent(gateway, doing(["reply", "554", "5.7.9", "not in this house"])),
    "554 5.7.9 not in this house",
  );
  assert.equal(await sent(gateway, doing(["reply", "451", "4.7.9", "come back"])), "451 4.7.9 come back");
  assert.match(await sent(gateway, doing(["discard"])), /^250 /);
  assert.match(await sent(gateway, doing(["accept"])), /^250 /);
  assert.equal((await arrived(2)).length, 2, "the discarded one went nowhere");

  // Several messages of one session share the filter's connection.
  const client = await dialogue(gateway.port);
  await client.reply();
  await client.say("EHLO client.test");
  for (const mark of ["one", "two"]) {
    for (const line of ["MAIL FROM:<a@x.example>", "RCPT TO:<b@out.test>", "DATA"]) await client.say(line);
    assert.match(await client.say(`${doing(["addheader", "X-Mark", mark])}.`), /^250 /);
  }
  client.close();
  const marks = (await arrived(4)).map((each) => /^X-Mark: (.*)$/m.exec(each)?.[1]).filter(Boolean);
  assert.deepEqual(marks.sort(), ["one", "two"]);
});

test("a filter that a script runs in processing", { timeout: 60_000 }, async (t) => {
  const at = await startActions(t);
  const script = `event onEhlo { set (waitProcessingTimeout, "20"); } ${runningFilters([["actions", at]]).replace("onDataReceived", "onProcessing")}`;
  const { gateway, arrived } = await behind(t, {}, script);
  assert.match(await sent(gateway, doing(["addheader", "X-Added", "later"], ["replacebody", "new\r\n"])), /^250 /);
  const [mail] = await arrived(1);
  assert.match(mail!, /^X-Added: later$/m);
  assert.match(mail!, /\n\nnew\n/);
  assert.equal(
    await sent(gateway, doing(["reply", "554", "5.7.9", "not in this house"])),
    "552 5.7.1 Mail rejected by the processing module: not in this house",
  );
});

test("a filter that is down defers, or is passed by when the script says so", { timeout: 60_000 }, async (t) => {
  const gone: [string, string] = ["gone", `inet:${await freePort()}@127.0.0.1`];
  const strict = await behind(t, {}, runningFilters([gone]));
  assert.match(await sent(strict.gateway, clean), /^45\d 4\.7\.1 /);
  const lax = await behind(
    t,
    {},
    runningFilters([gone]).replace("call (executeFilters);", "call (executeFilters) onError accept;"),
  );
  assert.match(await sent(lax.gateway, clean), /^250 /);
  await lax.arrived(1);
});

test("a filter named in onConnect sees each stage as it comes", { timeout: 60_000 }, async (t) => {
  const at = await startActions(t);
  const run = "call (executeFilters);";
  const script = `event onConnect { set (filterName, "staged"); set (filterAddress, "${at}"); call (addMilterFilter); ${run} }
    event onEhlo { ${run} } event onMailFrom { ${run} } event onRcptTo { ${run} } event onHeadersReceived { ${run} }
    event onDataReceived { ${run} }`;
  const { gateway, arrived } = await behind(t, {}, script);
  assert.match(await sent(gateway, doing(["addheader", "X-Added", "staged"]), ["b@out.test", "c@out.test"]), /^250 /);
  const [mail] = await arrived(1);
  assert.equal(mail!.match(/^X-Added: staged$/gm)?.length, 1, "the message is shown once");
  assert.match(mail!, /^X-Rcpt-Args: <c@out\.test>/m);
});

test("clamav-milter, spamass-milter, rspamd and opendkim run by a script", { timeout: 120_000 }, async (t) => {
  const [clamd, spamd, rspamd, opendkim] = await Promise.all([
    startClamd(t),
    startSpamd(t),
    startRspamd(t),
    startOpendkim(t),
  ]);
  if (clamd === undefined || spamd === undefined || rspamd === undefined || opendkim === undefined) return;
  const [viruses, spams] = await Promise.all([startClamavMilter(t, clamd.port), startSpamassMilter(t, spamd)]);
  if (viruses === undefined || spams === undefined) return;
  const at = (port: number) => `inet:${port}@127.0.0.1`;
  const { gateway, arrived } = await behind(
    t,
    {},
    runningFilters([
      ["clamav", at(viruses)],
      ["spamass", at(spams)],
      ["rspamd", at(rspamd.milter)],
      ["opendkim", at(opendkim.port)],
    ]),
  );
  assert.match(await sent(gateway, infected), /^550 5\.7\.1 Virus found: Test\.EICAR-Body/);
  assert.match(await sent(gateway, spam), /^550 5\.7\.1 Blocked by SpamAssassin/);
  assert.match(await sent(gateway, clean), /^250 /);
  const [mail] = await arrived(1);
  for (const name of ["X-Virus-Status: Clean", "X-Spam-Checker-Version:", "DKIM-Signature: "]) {
    assert.ok(mail!.includes(`\n${name}`), name);
  }
  const alone = await behind(t, {}, runningFilters([["rspamd", at(rspamd.milter)]]));
  assert.match(await sent(alone.gateway, spam), /^554 5\.7\.1 Gtube pattern/);
});

test("postgrey at RCPT: 450 first, then the mail with its field", { timeout: 60_000 }, async (t) => {
  const port = await startPostgrey(t);
  if (port === undefined) return;
  const services = [{ name: "postgrey", address: `127.0.0.1:${port}` }];
  const { gateway, arrived } = await behind(t, { policyServices: services });
  assert.match(await sent(gateway, clean), /^450 4\.7\.1 Greylisted/);
  await sleep(1_500);
  assert.match(await sent(gateway, clean), /^250 /);
  assert.match((await arrived(1))[0]!, /^X-Greylist: delayed \d+ seconds/m);
  const lost = [{ name: "gone", address: `127.0.0.1:${await freePort()}`, timeout: "1s" }];
  const passing = await behind(t, { policyServices: lost });
  assert.match(await sent(passing.gateway, clean), /^250 /);
  const deferring = await behind(t, { policyServices: [{ ...lost[0], onError: "tempfail" }] });
  assert.match(await sent(deferring.gateway, clean), /^451 4\.3\.5 /);
});
