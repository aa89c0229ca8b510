/** `postern prove` and `postern diff` as commands: output, session files that explain replays, exit codes. */
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import type { Command } from "../../../src/cli/command.ts";
import { command as diff } from "../../../src/cli/diff.ts";
import { command as explain } from "../../../src/cli/explain.ts";
import { command as prove } from "../../../src/cli/prove.ts";
import { proofOf } from "./lab.ts";

const folder = mkdtempSync(join(tmpdir(), "postern-prove-"));
after(() => rmSync(folder, { recursive: true }));

async function run(command: Command, ...argv: string[]) {
  let out = "";
  let err = "";
  const code = await command.run(argv, { out: (text) => (out += text), err: (text) => (err += text), cwd: folder });
  return { code, out, err };
}

function write(name: string, text: string): string {
  writeFileSync(join(folder, name), text);
  return name;
}

const office = write(
  "office.script",
  'event onEhlo { if (ipRange (remoteSmtpIp, "198.51.100.0/24")) { set (remoteDelivery, "all"); } }\n',
);
const closed = write("closed.script", "event onEhlo { }\n");

test("prove: a failure exits 1 and leaves a session that explain plays to the same end", async () => {
  const { code, out } = await run(prove, office, "--out", "found");
  assert.equal(code, 1);
  assert.match(
    out,
    /^fails {3}no-open-relay\n {8}a client without AUTH, 198\.51\.100\.\d+, sends to <someone@far\.example>/m,
  );
  assert.match(out, /postern explain office\.script --session found\/1\.json/);
  assert.match(out, /6 hold, 1 fail, 0 unknown/);
  const explained = await run(explain, office, "--session", "found/1.json", "--json");
  assert.equal(explained.code, 0);
  const { route, replies } = JSON.parse(explained.out);
  assert.equal(route.domain, "far.example");
  assert.equal(replies.find(({ command }: { command: string }) => command.startsWith("RCPT")).code, 250);
});

test("prove --trusted: networks of one's own are no strangers", async () => {
  const { code, out } = await run(prove, office, "--trusted", "198.51.100.0/24");
  assert.equal(code, 0);
  assert.match(out, /7 hold, 0 fail/);
});

test("prove --json is one document with the session in it", async () => {
  const { code, out } = await run(prove, office, "--json");
  assert.equal(code, 1);
  const { policy, theorems } = JSON.parse(out);
  assert.match(policy, /^[0-9a-f]{32}$/);
  const relay = theorems.find(({ theorem }: { theorem: string }) => theorem === "no-open-relay");
  assert.equal(relay.result, "fails");
  assert.match(relay.session.connect.remoteIp, /^198\.51\.100\./);
  assert.equal(readFileSync(join(folder, office), "utf8").includes("fails"), false);
});

test("prove: too few cases make it unknown, not true", async () => {
  const checked = `event onMailFrom { ${["SPF", "SenderMX"].map((name) => `call (check${name}) onError ignore;`).join(" ")}
    if (allOf (is (SPFResult, "fail"), is (SenderMXCheckResult, "fail"))) { set (smtpAction, "reject"); } }
    # assert never accept when SPFResult is "fail" and SenderMXCheckResult is "fail"\n`;
  const file = write("checked.script", checked);
  const asserted = async (...more: string[]): Promise<string> =>
    /^(\w+) +assert/m.exec((await run(prove, file, ...more)).out)![1]!;
  assert.equal(await asserted(), "holds");
  assert.equal(await asserted("--cases", "1"), "unknown");
});

test("prove: what sessions can't vary makes it unknown with the reason", async () => {
  const counted = 'event onMailFrom { if (greaterThan (mailCount, "5")) { set (smtpAction, "reject"); } }';
  const [finding] = await proofOf(counted, { wanted: "rules-reachable" });
  assert.equal(finding!.result, "unknown");
  assert.match(finding!.reason, /mailCount does not vary/);
  const crowd = (limit: number): string =>
    `event onRcptTo { if (greaterThan (rcptCount, "${limit}")) { set (smtpAction, "tmpreject"); } }`;
  const resultOf = async (limit: number) => (await proofOf(crowd(limit), { wanted: "rules-reachable" }))[0]!.result;
  assert.equal(await resultOf(5), "holds");
  assert.equal(await resultOf(50), "unknown");
});

test("prove: lists, headers, attachments and sizes are varied", async () => {
  const rules = `event onDataReceived {
    if (inList (mailFromDomain, "file:friends.txt")) { tag ("friend"); }
    if (allOf (contains (header ("Subject"), "invoice"), match (attachmentNames, "\\.exe$"))) { set (smtpAction, "reject"); }
    if (greaterThan (mailSize, "5000")) { tag ("large"); }
    if (allOf (is (header ("X-A"), "1"), is (header ("X-A"), "2"))) { tag ("both"); }
  }`;
  const [finding] = await proofOf(rules, { wanted: "rules-reachable" });
  assert.equal(finding!.result, "holds", finding!.reason);
});

test("wrong usage exits 2; scripts and assertions with errors exit 1", async () => {
  for (const argv of [
    [],
    ["a", "b"],
    [office, "--trusted", "everyone"],
    [office, "--cases", "0"],
    [office, "--nope"],
  ]) {
    assert.equal((await run(prove, ...argv)).code, 2, argv.join(" "));
  }
  assert.equal((await run(prove, write("broken.script", "event onConnect {"))).code, 1);
  const unread = await run(prove, write("unread.script", "# assert never acept\nevent onConnect { }"));
  assert.equal(unread.code, 1);
  assert.match(unread.err, /unread\.script:1:16: warning P060/);
  assert.equal((await run(diff, office)).code, 2);
  assert.equal((await run(diff, office, "missing.script")).code, 1);
});

test("diff: exit 0 and a proof, or exit 1 and an example", async () => {
  const none = await run(diff, closed, write("closed2.script", "# nothing\nevent onEhlo {\n}\n"));
  assert.deepEqual([none.code, none.out], [0, "no difference in all 8 cases\n"]);
  const some = await run(diff, closed, office, "--json");
  assert.equal(some.code, 1);
  const { changes, complete } = JSON.parse(some.out);
  assert.equal(complete, true);
  assert.deepEqual([changes[0].what, changes[0].before], ["reply to RCPT TO", "550 5.7.1 Relay denied"]);
  assert.match(changes[0].session.connect.remoteIp, /^198\.51\.100\./);
});
