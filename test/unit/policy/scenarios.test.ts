/** The twelve scenarios of smtpfilters.md §13, with a wizard-style script of our own. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { test } from "node:test";
import { compilePolicy } from "../../../src/policy/compile.ts";
import type { EventResult } from "../../../src/policy/types.ts";
import { play } from "../../../src/workbench/play/play.ts";
import { readSession } from "../../../src/workbench/play/session.ts";
import { RuleTrace } from "../../../src/workbench/play/trace.ts";
import { compiled, incoming } from "./session.ts";

const source = readFileSync(resolve(import.meta.dirname, "fixtures/wizard.script"), "utf8");
const run = async (session: Record<string, unknown>, script = source) => {
  const defaults = { localDomains: ["local.example"], mailFrom: "a@b.example" };
  return play(
    compiled(script),
    readSession({ ...defaults, ...session }),
    undefined,
    new RuleTrace(script),
    import.meta.dirname,
  );
};
const rcptCodes = async (session: Record<string, unknown>, script = source) =>
  (await run(session, script)).replies.filter((r) => r.command.startsWith("RCPT")).map((r) => r.code);

test("1 the script compiles with notes only", () => {
  const { ok, diagnostics } = compilePolicy(source, { file: "wizard.script" });
  assert.ok(ok);
  assert.deepEqual([...new Set(diagnostics.map((d) => d.severity))], ["info"]);
});

test("2 the greeting is the script's text", async () => {
  const [greeting] = (await run({})).replies;
  assert.deepEqual([greeting!.code, greeting!.text], [220, "The gateway's door, mail only"]);
});

test("3 EHLO announces what the script allows", async () => {
  const { ehlo } = await run({});
  for (const word of ["SIZE 36700160", "PIPELINING", "8BITMIME", "BINARYMIME", "CHUNKING", "STARTTLS"]) {
    assert.ok(ehlo.includes(word), word);
  }
  assert.ok(!ehlo.includes("DSN"));
});

test("4 who may send: the front end without AUTH, others with it, nobody relays without it", async () => {
  const rcptTo = ["u@local.example", "x@far.example"];
  assert.deepEqual(await rcptCodes({ connect: { remoteIp: "10.56.56.7" }, rcptTo }), [250, 550]);
  assert.deepEqual(await rcptCodes({ connect: { remoteIp: "10.56.57.7" }, rcptTo }), [530, 550]);
  assert.deepEqual(await rcptCodes({ connect: { remoteIp: "10.56.57.7" }, auth: "u", rcptTo }), [250, 250]);
});

test("5 31 Received fields are a loop, 30 are not; recipient 1001 is one too many", async () => {
  const withReceived = async (count: number) => {
    const message = `${"Received: from a by b; Mon, 6 Jul 2026 13:10:08 +0000\n".repeat(count)}Subject: x\n\ny\n`;
    return (await run({ auth: "u", rcptTo: ["u@local.example"], message })).replies.at(-1)!.code;
  };
  assert.equal(await withReceived(30), 250);
  assert.equal(await withReceived(31), 554);
  const rcptTo = Array.from({ length: 1001 }, (_, i) => `u${i}@local.example`);
  const codes = await rcptCodes({ auth: "u", rcptTo });
  assert.deepEqual([codes[999], codes[1000]], [250, 452]);
});

test("6 order counts where the variables are the same", async () => {
  const session = { connect: { remoteIp: "10.56.56.7" }, rcptTo: ["u@local.example"] };
  const lines = ["\tcall (WA_Routing_basic_delivery);\n", "\tcall (Frontend_Relay);\n"] as const;
  const swapped = source.replace(lines.join(""), [...lines].reverse().join(""));
  assert.notEqual(swapped, source);
  assert.deepEqual(await rcptCodes(session, swapped), [250]);
  const first = source
    .replace(lines[1], "")
    .replace("\tcall (WA_Acceptance_basic);\n", `${lines[1]}\tcall (WA_Acceptance_basic);\n`);
  assert.deepEqual(await rcptCodes(session, first), [530]);
});

test("7 relaying goes to the smart host without MX", async () => {
  const { route } = await run({ auth: "u", rcptTo: ["x@far.example"] });
  assert.deepEqual(route, {
    domain: "far.example",
    host: "[172.30.150.10]",
    port: 25,
    implicitTls: false,
    startTls: true,
    tlsVersions: "tls11 tls12 tls13",
  });
});

test("8 the fourth temporary failure sends nothing, a permanent one a report", async () => {
  const failed = [
    { address: "u@local.example", info: "550 no" },
    { address: "v@local.example", info: "552 full" },
  ];
  const temporary = await run({ failure: { temporary: true, attempts: 4, remaining: 6, recipients: failed } });
  assert.equal(temporary.events.at(-1)!.writes.ndrSubject, "Mail delayed");
  assert.deepEqual(temporary.reports, []);
  const [report] = (await run({ failure: { attempts: 10, recipients: failed } })).reports;
  assert.deepEqual(report, {
    kind: "permanent",
    sender: "MAILER-DAEMON@gateway.example",
    subject: "Mail not delivered",
    opening: "Sorry.\r\n",
    perRecipient: ["u@local.example : 550 no\r\n", "v@local.example : 552 full\r\n"],
    footer: "Tried 10 times.\r\n",
    attach: "header",
  });
});

test("9 the SPF method rejects with its expansions", async () => {
  const called = source.replace(
    "event onMailFrom {\n",
    "event onMailFrom {\n\tcall (checkSPF);\n\tcall (WA_AntiSpam_SPF_Fail);\n",
  );
  const { replies } = await run({ facts: { checkSPF: { SPFResult: "fail", SPFExplanation: "not listed" } } }, called);
  const mail = replies.find((reply) => reply.command.startsWith("MAIL"))!;
  assert.deepEqual(
    [mail.code, mail.text, mail.by.split(":")[0]],
    [550, "SPF says no for [b.example] from [192.0.2.1]: not listed", "WA_AntiSpam_SPF_Fail"],
  );
});

test("10 the empty country rule is true for no and NO, and does nothing", async () => {
  const called = source.replace(
    'set (GeoIPResult_0, "%GeoIPResult%");',
    'set (isGeoIPBanned_0, "NO"); call (WA_GeoIP);',
  );
  const [connect] = (await run({}, called)).events;
  assert.deepEqual(
    connect!.path.map((tried) => [tried.rule, tried.result]),
    [["WA_GeoIP", true]],
  );
  assert.equal(connect!.action, "");
});

test("11 unknown variables are empty, a lone percent sign stays", () => {
  const session = incoming('event onConnect { set (smtpExplanation, "[%unknown_name%] 100%"); }');
  assert.equal((session.run("onConnect") as EventResult).explanation, "[] 100%");
});

test("12 onRelay knows the sender's domain only when it was exported", async () => {
  const rule =
    '\tif (anyOf (is (mailFromDomain, "b.example"))) { set (remoteSmtpHost, "[192.0.2.99]"); }\n}\n\nevent onDeliveryFailure';
  const reads = source.replace("}\n\nevent onDeliveryFailure", rule);
  const exporting = reads.replace("event onMailFrom {\n", "event onMailFrom {\n\texport (mailFromDomain);\n");
  const session = { auth: "u", rcptTo: ["x@far.example"] };
  assert.equal((await run(session, reads)).route!.host, "[172.30.150.10]");
  assert.equal((await run(session, exporting)).route!.host, "[192.0.2.99]");
});
