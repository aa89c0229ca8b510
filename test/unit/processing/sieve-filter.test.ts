import assert from "node:assert/strict";
import { test } from "node:test";
import type { FilterLevel } from "../../../src/processing/filter.ts";
import { sieveFilter } from "../../../src/processing/sieve-filter.ts";
import { compileSieve } from "../../../src/sieve/compile.ts";
import { defaultSettings } from "../../../src/sieve/settings.ts";
import { budget, house, log, type MemoryWriter, queued, source, text } from "./house.ts";

function sieveHouse(script: string, more: { level?: FilterLevel; owner?: string; relayed?: boolean } = {}) {
  const compiled = compileSieve(script, { file: "t.sieve", budget });
  assert.ok(compiled.ok, JSON.stringify(compiled.diagnostics));
  const { script: program } = compiled;
  const parts = house({
    name: "late",
    level: "server",
    priority: 0,
    get perRecipient() {
      return inner.perRecipient === true;
    },
    run: (context) => inner.run(context),
  });
  const inner = sieveFilter(program, {
    level: more.level ?? "server",
    priority: 1,
    ...(more.owner === undefined ? {} : { owner: more.owner }),
    settings: defaultSettings,
    budget,
    hostName: "mx.example",
    state: parts.state,
    log,
    isLocal: () => more.relayed !== true,
    accountOf: (address) => address.toLowerCase(),
    relayFolders: true,
  });
  return parts;
}

test("Sieve: fileinto and flags become delivery marks", async () => {
  const { processor } = sieveHouse('require ["fileinto","imap4flags"]; fileinto :flags "\\\\Seen" "Work"; keep;');
  const message = queued();
  assert.equal((await processor.process(message, source())).kind, "continue");
  assert.deepEqual(message.marks.deliveries, [
    { recipient: "one@l.example", folder: "Work", flags: ["\\Seen"] },
    { recipient: "one@l.example", folder: "INBOX", flags: [] },
  ]);
});

test("Sieve: reject, discard, and a failing script's implicit keep", async () => {
  const rejecting = await sieveHouse('require "reject"; reject "go away";').processor.process(queued(), source());
  assert.ok(rejecting.kind === "reject" && rejecting.outcome.text === "go away");
  assert.equal((await sieveHouse("discard;").processor.process(queued(), source())).kind, "discard");
});

test("Sieve: redirect sends a marked copy once round", async () => {
  const { processor, committed } = sieveHouse('redirect "else@where.example";');
  assert.equal((await processor.process(queued(), source())).kind, "discard");
  assert.deepEqual(committed[0]!.message.envelope.rcptTo, [{ address: "else@where.example" }]);
  assert.match(committed[0]!.text, /^X-Sieve: [^\r]+\r\nX-Sieve-Redirected-From: one@l\.example\r\nReceived:/);
  assert.equal((await processor.process(queued(), source(committed[0]!.text))).kind, "continue", "a loop is kept");
  assert.equal(committed.length, 1);
});

test("Sieve: a redirect's DSN, DELIVERBY and SMTPUTF8 parameters reach its envelope", async () => {
  const { processor, committed } = sieveHouse(`require ["redirect-dsn", "redirect-deliverby"];
redirect :notify "success,failure" :ret "hdrs" :bytimeabsolute "2030-01-01T00:00:00Z" :bymode "return" "jürgen@where.example";`);
  await processor.process(queued(), source());
  const { rcptTo, ret, deliverBy, smtpUtf8 } = committed[0]!.message.envelope;
  assert.deepEqual(rcptTo, [{ address: "jürgen@where.example", notify: ["SUCCESS", "FAILURE"] }]);
  const deadline = Date.UTC(2030, 0, 1);
  assert.deepEqual([ret, deliverBy, smtpUtf8], ["HDRS", { deadline, mode: "R", trace: false }, true]);
});

test("Sieve: the copy of a reply is made when the reply is, for recipients stored here", async () => {
  const script = 'require ["vacation", "fcc"]; vacation :fcc "Sent" "away";';
  const { processor, committed } = sieveHouse(script);
  for (let i = 0; i < 2; i++) await processor.process(queued(), source());
  assert.equal(committed.length, 2, "one reply, one copy");
  const [reply, copy] = committed;
  assert.equal(copy!.text, reply!.text);
  assert.deepEqual(copy!.message.marks.deliveries, [{ recipient: "one@l.example", folder: "Sent", flags: [] }]);
  const elsewhere = sieveHouse(script, { relayed: true });
  await elsewhere.processor.process(queued(), source());
  assert.equal(elsewhere.committed.length, 1, "no mailbox here, no copy");
});

test("Sieve: a folder of a relayed message is a hint, Quarantine the quarantine", async () => {
  const hint = await sieveHouse('require "fileinto"; fileinto "Work";', { relayed: true }).processor.process(
    queued(),
    source(),
  );
  assert.ok(hint.kind === "continue");
  assert.match((hint.replacedBody as MemoryWriter).text, /^X-Postern-Folder: Work\r\n/);
  const message = queued();
  await sieveHouse('require "fileinto"; fileinto "Quarantine";', { relayed: true }).processor.process(
    message,
    source(),
  );
  assert.deepEqual(message.marks.quarantine, { reason: "sieve: Quarantine" });
});

const vacation = 'require "vacation"; vacation :days 3 "I am away\\nfor long";';

test("Sieve: vacation answers once per sender, with the fields of RFC 3834", async () => {
  const { processor, committed } = sieveHouse(vacation);
  for (let i = 0; i < 2; i++) assert.equal((await processor.process(queued(), source())).kind, "continue");
  assert.equal(committed.length, 1);
  const { message, text: reply } = committed[0]!;
  assert.equal(message.envelope.mailFrom, "");
  assert.equal(message.runFilters, false);
  assert.equal(message.envelope.rcptTo[0]!.address, "a@x.example");
  for (const line of [
    /^From: <one@l\.example>\r$/m,
    /^To: <a@x\.example>\r$/m,
    /^Subject: Auto: hi\r$/m,
    /^Auto-Submitted: auto-replied \(vacation\)\r$/m,
    /^In-Reply-To: <m@x>\r$/m,
  ]) {
    assert.match(reply, line);
  }
});

test("Sieve: vacation stays silent towards lists, machines, itself and when not addressed", async () => {
  const silent = async (content: string, mailFrom = "a@x.example") => {
    const { processor, committed } = sieveHouse(vacation);
    const message = queued();
    message.envelope.mailFrom = mailFrom;
    await processor.process(message, source(content));
    assert.equal(committed.length, 0, content);
  };
  await silent(`List-Id: <l>\r\n${text}`);
  await silent(`Auto-Submitted: auto-generated\r\n${text}`);
  await silent(`Precedence: bulk\r\n${text}`);
  await silent(text, "");
  await silent(text, "one@l.example");
  await silent(text, "foo-request@x.example");
  await silent(text.replace("To: one@l.example", "To: other@l.example"));
});

test("Sieve: a script that asks for the recipient is run for each; who is refused does not refuse the others", async () => {
  const script = 'require ["envelope", "reject"]; if envelope "to" "one@l.example" { reject "not one"; }';
  const { processor, committed } = sieveHouse(script);
  const message = queued(["one@l.example", "two@l.example"]);
  assert.equal((await processor.process(message, source())).kind, "continue");
  assert.deepEqual(
    message.recipients.map((recipient) => recipient.state),
    ["discarded", "received"],
  );
  assert.deepEqual(
    committed[0]!.message.envelope.rcptTo.map((recipient) => recipient.address),
    ["one@l.example"],
  );
  const both = sieveHouse(
    'require ["envelope", "reject"]; if envelope :localpart "to" "one" { reject "1"; } reject "2";',
  );
  const refused = await both.processor.process(queued(["two@l.example", "three@l.example"]), source());
  assert.ok(refused.kind === "reject" && refused.outcome.text === "2");
  assert.equal(both.committed.length, 0);
});

test("Sieve: redirect takes the header as the script left it", async () => {
  const script = 'require "editheader"; addheader "X-New" "1"; redirect "else@where.example"; addheader "X-Late" "1";';
  const { processor, committed } = sieveHouse(script);
  await processor.process(queued(), source());
  assert.match(committed[0]!.text, /^X-New: 1\r$/m);
  assert.doesNotMatch(committed[0]!.text, /X-Late/);
  assert.match(committed[0]!.text, /\r\n\r\nbody\r\n$/);
});
