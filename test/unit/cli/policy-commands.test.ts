/** `postern check`, `explain`, `test` and `fmt`: output, JSON, exit codes; and the shipped policies are clean and covered. */
import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { after, test } from "node:test";
import { command as check } from "../../../src/cli/check.ts";
import type { Command } from "../../../src/cli/command.ts";
import { command as explain } from "../../../src/cli/explain.ts";
import { command as fmt } from "../../../src/cli/fmt.ts";
import { command as policyTest } from "../../../src/cli/test.ts";

const root = resolve(import.meta.dirname, "../../..");
const folder = mkdtempSync(join(tmpdir(), "postern-cli-"));
after(() => rmSync(folder, { recursive: true }));

async function run(command: Command, argv: string[], cwd = folder) {
  let out = "";
  let err = "";
  const code = await command.run(argv, { out: (text) => (out += text), err: (text) => (err += text), cwd });
  return { code, out, err };
}

function write(name: string, text: string): string {
  writeFileSync(join(folder, name), text);
  return name;
}

test("check: place, caret and hint of each mistake, exit 1", async () => {
  const file = write(
    "five.script",
    `event onConnect {\n\tset (smtpGreetng, "x");\n\tcall (chekSPF);\n\tset (maxRcptCount "5");\n}\nevent onConect { }\nmethod x { if (equals (a, "b")) { } }\n`,
  );
  const { code, out } = await run(check, [file]);
  assert.equal(code, 1);
  for (const line of [
    "five.script:2:7: warning P017 smtpGreetng becomes a variable of your own",
    "five.script:3:8: error P014 unknown method chekSPF",
    "    hint: did you mean checkSPF?",
    'five.script:4:20: error P001 expected "," but found ""5""',
    "five.script:6:7: error P010 unknown event onConect",
    "five.script:7:16: error P018 unknown test equals",
    "        call (chekSPF);\n              ^^^^^^^",
  ]) {
    assert.ok(out.includes(line), `${line}\n---\n${out}`);
  }
});

test("check --json is one document; warnings alone exit 0; wrong usage exits 2", async () => {
  const file = write("warn.script", 'event onConnect { set (maxDataSize, "1"); }');
  const { code, out } = await run(check, [file, "--json"]);
  assert.equal(code, 0);
  const document = JSON.parse(out);
  assert.equal(document.ok, true);
  assert.deepEqual([document.diagnostics[0].code, document.diagnostics[0].line], ["P020", 1]);
  assert.equal((await run(check, [])).code, 2);
  assert.equal((await run(check, ["missing.script"])).code, 2);
  assert.equal((await run(check, ["notes.txt"])).code, 2);
  assert.equal((await run(check, [file, "--nope"])).code, 2);
  const ours = write("ours.script", 'event onConnect { log ("x"); }');
  assert.match((await run(check, [ours, "--strict"])).out, /P050/);
});

const session = {
  connect: { remoteIp: "198.51.100.7" },
  ehlo: "client.example",
  mailFrom: "a@client.example",
  rcptTo: ["b@example.org", "c@far.example"],
  localDomains: ["example.org"],
  facts: { checkSPF: { SPFResult: "fail", SPFExplanation: "no" } },
};

test("explain: the contract's JSON", async () => {
  const file = write(
    "e.script",
    `event onEhlo { set (maxDataSize, "100"); set (remoteDelivery, "all"); }
event onMailFrom { call (Spf); }
event onRcptTo { if (is (SPFResult, "fail")) { if (is (rcptToDomain, "nobody.example")) { log ("x"); } } }
event onRelay { set (remoteSmtpHost, "[192.0.2.9]"); }
event onDeliveryFailure { set (ndrSubject, "Sorry"); }
method Spf {
  call (checkSPF) onError ignore;
  if (is (SPFResult, "pass")) { set (smtpAction, "reject"); }
}
`,
  );
  const sessionFile = write(
    "s.json",
    JSON.stringify({ ...session, failure: { recipients: [{ address: "c@far.example", info: "550 no" }] } }),
  );
  const { code, out } = await run(explain, [file, "--session", sessionFile, "--json"]);
  assert.equal(code, 0);
  const played = JSON.parse(out);
  assert.match(played.policy, /^[0-9a-f]{32}$/);
  const mail = played.events.find((event: { event: string }) => event.event === "onMailFrom");
  assert.deepEqual([mail.path[0].line, mail.path[0].rule, mail.path[0].result], [8, "Spf", false]);
  assert.deepEqual(mail.path[0].tests[0].values, ["fail"]);
  assert.deepEqual(mail.writes, { SPFResult: "fail", SPFExplanation: "no", SPFHeader: "" });
  assert.ok(played.ehlo.includes("SIZE 102400"));
  assert.deepEqual(
    played.replies.map((reply: { code: number }) => reply.code),
    [220, 250, 250, 250, 250, 354, 250],
  );
  assert.equal(played.route.host, "[192.0.2.9]");
  assert.equal(played.reports[0].subject, "Sorry");
});

test("explain: the human form shows values, and why a rule was not tried", async () => {
  const file = write(
    "h.script",
    `event onMailFrom {
  if (is (mailFromDomain, "b.example")) {
    if (is (ehloHost, "x")) { set (smtpAction, "reject"); }
  } else {
    call (checkSPF) onError ignore;
  }
}`,
  );
  const { out } = await run(explain, [file, "--session", write("h.json", JSON.stringify({ ...session, facts: {} }))]);
  for (const line of [
    'false is (mailFromDomain, "b.example")   saw "client.example"',
    "line 3: not tried, the test in line 2 is false",
    "asked checkSPF",
    'SPFResult = "temperror"',
    "550 5.7.1 Relay denied   [engine]",
    "note: the session gives no answer for checkSPF",
  ]) {
    assert.ok(out.includes(line), `${line}\n---\n${out}`);
  }
});

test("explain: lists come from the session or from files beside the script; a list that is nowhere defers the mail", async () => {
  const file = write(
    "l.script",
    'event onMailFrom { if (inList (mailFromDomain, "file:blocked.domains")) { set (smtpAction, "reject"); } }',
  );
  const codes = async (lists: Record<string, string[]>) => {
    const { out } = await run(explain, [
      file,
      "--session",
      write("l.json", JSON.stringify({ mailFrom: "a@x.bad.example", lists })),
      "--json",
    ]);
    return JSON.parse(out).replies.at(-1).code;
  };
  assert.equal(await codes({}), 450);
  assert.equal(await codes({ "file:blocked.domains": ["other.example"] }), 250);
  write("blocked.domains", "# a list\nbad.example\n");
  assert.equal(await codes({}), 550);
});

test("explain: bad input has one clear line", async () => {
  const file = write("ok.script", "");
  assert.equal((await run(explain, [file])).code, 2);
  const unknown = await run(explain, [file, "--session", write("u.json", '{"mailfrom":"a"}')]);
  assert.deepEqual([unknown.code, unknown.err.split("\n").length], [2, 2]);
  assert.match(unknown.err, /u\.json: .*mailfrom/);
  assert.equal((await run(explain, [file, "--session", write("j.json", "{")])).code, 2);
  const broken = await run(explain, [write("b.script", "event {"), "--session", write("s2.json", "{}")]);
  assert.equal(broken.code, 1);
  assert.match(broken.err, /P001/);
});

test("check and test take Sieve too, and check the configuration", async () => {
  const sieve = write("s.sieve", 'require "fileinto";\nfileinto "a"\n');
  const { code, out } = await run(check, [sieve]);
  assert.equal(code, 1);
  assert.match(out, /^s\.sieve:\d+:\d+: error S/m);
  assert.match((await run(check, [write("c.yaml", "serverr: {}\n")])).out, /^c\.yaml:1:1: error C/m);
  write(
    "t.svtest",
    'require "vnd.dovecot.testsuite";\ntest "good" { keep; }\ntest "bad" { test_fail "on purpose"; }\n',
  );
  const tests = await run(policyTest, ["t.svtest"]);
  assert.equal(tests.code, 1);
  assert.match(tests.out, /1 passed, 1 failed\n$/);
});

test("test: failures say what was wanted, coverage counts branches, --min decides", async () => {
  write(
    "t.script",
    'event onMailFrom { if (is (mailFrom, "bad@x.example")) { set (smtpAction, "reject"); set (smtpExplanation, "no"); } }',
  );
  write(
    "t.test.yaml",
    "tests:\n  - {name: good, session: {mailFrom: a@b.example}, expect: {mail: 250}}\n  - {name: wrong, session: {mailFrom: a@b.example}, expect: {mail: 550 5.7.1 no, report: none}}\n",
  );
  const { code, out } = await run(policyTest, ["t.test.yaml", "--coverage"]);
  assert.equal(code, 1);
  assert.match(out, /^ok {3}t\.test\.yaml: good$/m);
  assert.match(out, /MAIL FROM: wanted "550 5\.7\.1 no", got "250 2\.1\.0 Sender accepted"/);
  assert.match(out, /1 of 2 branches \(50 %\)\n {2}line 1: never true/);
  assert.match(out, /1 passed, 1 failed\n$/);
  write("c.script", 'event onMailFrom { if (is (mailFrom, "bad@x.example")) { set (smtpAction, "reject"); } }');
  write("c.test.yaml", "tests: [{name: good, session: {mailFrom: a@b.example}, expect: {mail: 250}}]\n");
  assert.equal((await run(policyTest, ["c.test.yaml", "--min", "50"])).code, 0);
  assert.equal((await run(policyTest, ["c.test.yaml", "--min", "51"])).code, 1);
  const json = JSON.parse((await run(policyTest, ["c.test.yaml", "--json"])).out);
  assert.deepEqual([json.passed, json.failed, json.coverage.percent], [1, 0, 50]);
  assert.equal(json.coverage.files[0].rules[0].taken, 0);
});

test("test: an expectation of each kind can fail", async () => {
  write("x.script", "");
  const failing = [
    "greeting: 554",
    "ehlo: 550",
    "announces: DSN",
    "hides: SIZE",
    "rcpt: [550]",
    "data: 550",
    "headers: {X-A: b}",
    "headers: {Subject: null}",
    "route: {host: h}",
    "report: {subject: s}",
    "does: tag",
  ];
  const tests = failing.map(
    (expect) =>
      `  - {name: "${expect.replaceAll('"', "")}", session: {mailFrom: a@b.example, rcptTo: [u@local], localDomains: [local]}, expect: {${expect}}}`,
  );
  write("x.test.yaml", `tests:\n${tests.join("\n")}\n`);
  const { out } = await run(policyTest, ["x.test.yaml"]);
  assert.match(out, new RegExp(`0 passed, ${failing.length} failed\n$`), out);
});

test("test: a bad test file is named with the place", async () => {
  write("bad.script", "");
  write("bad.test.yaml", "tests: [{name: x, session: {}, expect: {mial: 250}}]\n");
  const { code, err } = await run(policyTest, ["bad.test.yaml"]);
  assert.equal(code, 2);
  assert.match(err, /bad\.test\.yaml: tests\.0\.expect: .*mial/);
  assert.equal((await run(policyTest, ["nowhere"])).code, 2);
  assert.equal((await run(policyTest, ["bad.test.yaml", "--min", "200"])).code, 2);
});

test("fmt: lays out, is idempotent, --check writes nothing, errors leave the file alone", async () => {
  const file = write("f.script", 'event onConnect{set(a,"1");}# end\n');
  assert.equal((await run(fmt, ["--check", file])).code, 1);
  assert.equal((await run(fmt, [file])).out, "f.script\n");
  assert.equal(readFileSync(join(folder, file), "utf8"), 'event onConnect {\n  set (a, "1");\n} # end\n');
  assert.deepEqual(await run(fmt, ["--check", file]), { code: 0, out: "", err: "" });
  const broken = write("g.script", "event onConnect {");
  assert.equal((await run(fmt, [broken])).code, 1);
  assert.equal(readFileSync(join(folder, broken), "utf8"), "event onConnect {");
});

test("the shipped policies: no warning, laid out, every branch tested", async () => {
  const scripts = readdirSync(join(root, "rules"))
    .filter((name) => name.endsWith(".script"))
    .map((name) => `rules/${name}`);
  assert.ok(scripts.length >= 3);
  assert.match((await run(check, scripts, root)).out, /: 0 errors, 0 warnings, 0 notes\n$/);
  assert.equal((await run(fmt, ["--check", ...scripts], root)).code, 0);
  const { code, out } = await run(policyTest, ["rules", "--coverage", "--min", "100"], root);
  assert.equal(code, 0, out);
});
