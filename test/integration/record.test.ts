/** Decision records end to end: the running gateway writes them, `postern replay` and `postern explain --id` read them. */
import assert from "node:assert/strict";

import { appendFileSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import { readRecords } from "../../src/workbench/record/read.ts";

import { recordFiles } from "../../src/workbench/record/ring.ts";
import type { DecisionRecord } from "../../src/workbench/record/types.ts";
import { type Gateway, Lab, sendMessage, until } from "./lab.ts";

const lab = new Lab();
after(() => lab.close());

const policy = `event onMailFrom {
  if (is (mailFrom, "bad@sender.test")) { set (smtpAction, "reject"); set (smtpExplanation, "not %mailFrom%"); }
}
event onRcptTo {
  if (is (rcptTo, "full@local.test")) { set (smtpAction, "tmpreject"); set (smtpExplanation, "mailbox full"); }
}
event onHeadersReceived {
  if (contains (header ("Subject"), "viagra")) { set (smtpAction, "reject"); set (smtpExplanation, "no"); }
}
`;

async function records(gateway: Gateway, count: number): Promise<DecisionRecord[]> {
  return until(`${count} records`, async () => {
    const found: DecisionRecord[] = [];
    for await (const batch of readRecords(join(gateway.folder, "var", "records"))) found.push(...batch);
    return found.length >= count && found;
  });
}

test("decisions are recorded with their ids in replies, replayed and explained", { timeout: 60_000 }, async () => {
  const gateway = await lab.gateway(
    {
      record: { enabled: true, idsInReplies: true, headers: "full" },
      accounts: [{ address: "user@local.test" }],
    },
    policy,
  );
  const bad = await sendMessage(gateway.port, { from: "bad@sender.test", to: ["user@local.test"], text: "a\n" });
  assert.match(bad.at(-1)!, /^550 5\.7\.1 not bad@sender\.test \[[0-9a-z]{13}\]$/);
  const good = await sendMessage(gateway.port, {
    from: "a@sender.test",
    to: ["user@local.test"],
    text: "Subject: hello\n\nhi\n",
  });
  assert.match(good.at(-1)!, /^250 .*\[[0-9a-z]{13}\]$/);
  const spam = await sendMessage(gateway.port, {
    from: "a@sender.test",
    to: ["user@local.test"],
    text: "Subject: cheap viagra\n\nhi\n",
  });
  assert.match(spam.at(-1)!, /^550 /);
  const found = await records(gateway, 3);
  assert.deepEqual(found.map(({ decision }) => decision.verdict).sort(), ["accept", "reject", "reject"]);

  // The id from the reply leads to the path, and to what would have flipped it.
  const id = /\[([0-9a-z]{13})\]/.exec(spam.at(-1)!)![1]!;
  const explained = gateway.postern("explain", "--id", id);
  assert.equal(explained.code, 0, explained.err);
  assert.match(explained.out, /^decision .*\nreject at onHeadersReceived by onHeadersReceived:8: 550 no/);
  assert.match(explained.out, /true {2}contains.*saw "cheap viagra"/);
  assert.match(
    explained.out,
    /one change that would flip it\n(?:.*\n)*? {2}header subject "" instead of "cheap viagra": accept/,
  );
  assert.match(gateway.output(), new RegExp(`"decision":"${id}"`), "the log names the decision");
  assert.equal(gateway.postern("explain", "--id", "nosuch").code, 1);

  // Under a policy that forgives the word and minds the sender.
  writeFileSync(
    join(gateway.folder, "new.script"),
    `event onMailFrom { if (is (mailFrom, "bad@sender.test")) { set (smtpAction, "reject"); } }
     event onRcptTo { if (is (mailFromUser, "a")) { set (smtpAction, "tmpreject"); set (smtpExplanation, "later"); } }`,
  );
  // A file that was cut and damaged: the rest is still read.
  const file = recordFiles(join(gateway.folder, "var", "records"))[0]!;
  appendFileSync(file, `${readFileSync(file, "utf8").slice(0, 80)}\nffffffff {"id":"forged"}\n\u0000\n00`);
  const replayed = gateway.postern("replay", "--policy", "new.script", "--since", "1h");
  assert.equal(replayed.code, 0, replayed.err);
  assert.match(replayed.out, /^3 decisions replayed \(\d+ a second\), 2 change\n/);
  assert.match(
    replayed.out,
    /1 × accept → tmpreject {3}by onRcptTo:2\n.*<a@sender\.test> → <user@local\.test>: 450 later/,
  );
  assert.match(replayed.out, /1 × reject → tmpreject {3}by onRcptTo:2/);
  assert.match(replayed.out, /1 decided the same in other words/);
  assert.match(replayed.out, /4 damaged or too large, left out/);
  await gateway.kill("SIGTERM");
});

test("an NDR names the decision; redacted fields don't reach the disk", { timeout: 60_000 }, async () => {
  const gateway = await lab.gateway(
    {
      record: { enabled: true, headers: "hash", redact: ["mailFrom", "rcptTo", "remoteSmtpIp"] },
      domains: { local: ["local.test"], routes: { "out.test": "[127.0.0.1]:1" } },
      queue: { firstRetry: "1s", maxRetry: "1s", attempts: 1 },
      accounts: [{ address: "user@local.test" }],
    },
    policy,
  );
  const bad = await sendMessage(gateway.port, { from: "bad@sender.test", to: ["user@local.test"], text: "a\n" });
  assert.match(bad.at(-1)!, /not bad@sender\.test$/, "no id without idsInReplies");
  const secret = await sendMessage(gateway.port, {
    from: "someone@sender.test",
    to: ["user@local.test"],
    text: "Subject: hello\n\nhi\n",
  });
  assert.match(secret.at(-1)!, /^250 /);
  const [refused, accepted] = (await records(gateway, 2)).sort((a, b) => a.time - b.time);
  const text = readFileSync(recordFiles(join(gateway.folder, "var", "records"))[0]!, "utf8");
  assert.doesNotMatch(text, /bad@|someone@|user@/);
  assert.match(refused!.decision.text, /^not ~[0-9a-f]{10}@sender\.test$/);
  assert.match(accepted!.headerHash ?? "", /^[0-9a-f]{64}$/);
  // The next hop of this recipient refuses it: the report to the sender names the decision that let it in.
  const failed = await sendMessage(gateway.port, { from: "user@local.test", to: ["x@out.test"], text: "a\n" });
  assert.match(failed.at(-1)!, /^250 /);
  const sent = (await records(gateway, 3)).find((record) =>
    record.steps.some(({ in: i }) => i?.rcptTo?.endsWith("@out.test")),
  );
  const report = await until("the report", () => {
    const shown = gateway.postern("store", "show", "user@local.test", "2");
    return shown.code === 0 && shown.out;
  });
  assert.match(report, new RegExp(`^X-Postern-Decision: ${sent!.id}\r?$`, "m"));
  await gateway.kill("SIGTERM");
});

const laterPolicy = `event onProcessing {
  if (contains (header ("Subject"), "win")) { tag ("prize"); }
}
event onRelay {
  if (is (rcptToDomain, "out.test")) { set (remoteSmtpHost, "[127.0.0.1]"); set (remoteSmtpPort, "1"); }
}
event onDeliveryFailure {
  if (contains (ndrRcptFailInfo, "4")) { set (ndrSubject, "It failed"); }
  if (is (mailFrom, "silent@local.test")) { set (sendNdr, "no"); }
}
`;

test("relay, failure and Sieve are recorded, explained, flipped and replayed", { timeout: 60_000 }, async () => {
  writeFileSync(join(lab.folder, "server.sieve"), 'require "fileinto"; if header "subject" "hello" { keep; }\n');
  const gateway = await lab.gateway(
    {
      record: { enabled: true, idsInReplies: true },
      policy: { smtpFilters: "policy.script", sieve: [{ level: "server", file: join(lab.folder, "server.sieve") }] },
      queue: { firstRetry: "1s", maxRetry: "1s", attempts: 1 },
      accounts: [{ address: "user@local.test" }],
    },
    laterPolicy,
  );
  const text = "Subject: hello\n\nhi\n";
  const sent = await sendMessage(gateway.port, { from: "user@local.test", to: ["x@out.test"], text });
  const id = /\[([0-9a-z]{13})\]/.exec(sent.at(-1)!)![1]!;
  const later = await until("the report's record", () => {
    const { out } = gateway.postern("explain", "--id", id);
    return /onDeliveryFailure/.test(out) && out.slice(out.indexOf("\nlater\n"));
  });
  assert.match(later, /^ {2}\w{13} \S+ sieve \S*server\.sieve for x@out\.test: accept, keep$/m);
  assert.match(later, /^ {2}\w{13} \S+ onProcessing: accept$/m);
  assert.match(later, /^ {2}\w{13} \S+ onRelay for out\.test: accept, route \[?127\.0\.0\.1\]? port 1$/m);
  assert.match(later, /^ {2}\w{13} \S+ onDeliveryFailure for x@out\.test: accept, report "It failed"$/m);

  const idOf = (event: string): string => new RegExp(`^ {2}(\\w{13}) \\S+ ${event}`, "m").exec(later)![1]!;
  const failure = gateway.postern("explain", "--id", idOf("onDeliveryFailure")).out;
  assert.match(failure, /line 8: yes\n {6}true {2}contains \(ndrRcptFailInfo, "4"\)/);
  assert.match(failure, /mailFrom "silent@local\.test" instead of "user@local\.test": .*, no report/);
  const relay = gateway.postern("explain", "--id", idOf("onRelay")).out;
  assert.match(
    relay,
    /one change that would flip it\n {2}rcptToDomain ".*" instead of "out\.test": .*route by MX port 25/,
  );
  assert.match(
    gateway.postern("explain", "--id", idOf("sieve")).out,
    /^\w{13} .*server\.sieve for x@out\.test: accept, keep\n$/,
  );

  writeFileSync(join(gateway.folder, "new.script"), laterPolicy.replace('"1")', '"2")').replace("silent@", "user@"));
  const replayed = gateway.postern("replay", "--policy", "new.script").out;
  assert.match(replayed, /1 × onRelay: route \[?127\.0\.0\.1\]? port 1 → route \[?127\.0\.0\.1\]? port 2/);
  assert.match(replayed, /1 × onDeliveryFailure: report "It failed" → no report/);
  assert.match(replayed, /note: \d+ decisions of Sieve scripts left out/);
  await gateway.kill("SIGTERM");
});
