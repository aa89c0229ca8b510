/** Runs: results as transactions, budgets, hostile input. */
import { deepEqual, equal, match, ok } from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { budgetWith } from "../../../src/config/budget.ts";
import { type CompileSieveOptions, compileSieve, loadModule } from "../../../src/sieve/compile.ts";
import type { SieveInput } from "../../../src/sieve/host.ts";
import type { RedirectAction } from "../../../src/sieve/result.ts";
import { type RunOptions, runSieve } from "../../../src/sieve/run.ts";
import { defaultSettings } from "../../../src/sieve/settings.ts";

const message = "From: a@b.example\r\nTo: c@d.example\r\nSubject: Hello\r\n\r\nbody\r\n";

/** Variable "a" in a script. */
const reference = ["$", "{a}"].join("");

function play(
  source: string,
  input: Partial<SieveInput> = {},
  options: RunOptions & Partial<CompileSieveOptions> = {},
) {
  const compiled = compileSieve(source, { file: "t.sieve", ...options });
  if (!compiled.ok) throw new Error(compiled.diagnostics.map((d) => d.message).join("; "));
  const envelope = { from: "a@b.example", to: "c@d.example" };
  return runSieve(compiled.script, { message: Buffer.from(message), envelope, ...input }, options);
}

test("no action is an implicit keep", () => {
  const result = play("stop; discard;");
  deepEqual([result.actions, result.implicitKeep, result.errors], [[], true, []]);
});

test("an error undoes all actions and keeps", () => {
  const result = play('require "ihave"; redirect "x@y.example"; error "enough";');
  deepEqual(result.actions, []);
  equal(result.implicitKeep, true);
  deepEqual(result.errors, [{ line: 1, message: "enough" }]);
});

test("which actions cancel the implicit keep", () => {
  const cancels = (body: string) =>
    !play(`require ["copy", "fileinto", "vacation", "enotify", "reject"]; ${body}`).implicitKeep;
  for (const body of ["keep;", "discard;", 'fileinto "a";', 'redirect "a@b.c";', 'reject "x";'])
    ok(cancels(body), body);
  for (const body of ['fileinto :copy "a";', 'redirect :copy "a@b.c";', 'vacation "x";', 'notify "mailto:a@b.c";'])
    ok(!cancels(body), body);
});

test("forbidden combinations", () => {
  const error = (body: string) =>
    play(`require ["fileinto", "vacation", "reject", "ereject"]; ${body}`).errors[0]?.message ?? "";
  match(error('keep; reject "x";'), /conflicts/);
  match(error('reject "x"; fileinto "a";'), /conflicts/);
  match(error('reject "x"; ereject "y";'), /duplicate reject/);
  match(error('vacation "x"; vacation "y";'), /duplicate vacation/);
  match(error('vacation "x"; reject "y";'), /conflicts/);
});

test("limits of a run", () => {
  const settings = { ...defaultSettings, maxActions: 2, maxRedirects: 1, maxNotifications: 1 };
  const error = (body: string) =>
    play(`require ["fileinto", "enotify"]; ${body}`, {}, { settings }).errors[0]?.message ?? "";
  match(error('redirect "a@b.c"; redirect "b@b.c";'), /number of redirect actions exceeds policy limit \(2 > 1\)/);
  match(error('fileinto "a"; fileinto "b"; fileinto "c";'), /total number of actions exceeds policy limit \(3 > 2\)/);
  match(error('notify "mailto:a@b.c"; notify "mailto:b@b.c";'), /number of notify actions/);
  const twoActions = { budget: budgetWith({ sieveActions: 1, sieveRedirects: 1 }) };
  match(play('require "fileinto"; fileinto "a"; keep;', {}, twoActions).errors[0]!.message, /total number of actions/);
  const twoRedirects = { budget: budgetWith({ sieveRedirects: 1 }) };
  match(play('redirect "a@b.c"; redirect "b@b.c";', {}, twoRedirects).errors[0]!.message, /number of redirect actions/);
  const edits = 'require "editheader"; addheader "X" "1"; addheader "X" "2"; addheader "X" "3";';
  match(play(edits, {}, { budget: budgetWith({ headerEdits: 2 }) }).errors[0]!.message, /headerEdits/);
  const steps = `require ["variables", "fileinto"]; ${`set "a" "${reference}b"; `.repeat(50)} fileinto "${reference}";`;
  match(play(steps, {}, { budget: budgetWith({ sieveInstructions: 20 }) }).errors[0]!.message, /sieveInstructions/);
});

test("variables stay within their size", () => {
  const twice = `set "a" "${reference}${reference}"; `;
  const source = `require ["variables", "fileinto"]; set "a" "${"x".repeat(100)}"; ${twice.repeat(40)} set :length "a" "${reference}"; fileinto "${reference}";`;
  const [action] = play(source).actions;
  ok(action?.action === "fileinto" && action.folder === "4096");
});

test("hostile messages", () => {
  const body =
    'require ["foreverypart", "mime", "body"]; foreverypart { if header :mime :type "content-type" "x" { discard; } } if body :contains "x" { keep; }';
  const parts = `Content-Type: multipart/mixed; boundary=b\r\n\r\n${"--b\r\n\r\nx\r\n".repeat(10_000)}--b--\r\n`;
  match(play(body, { message: Buffer.from(parts) }).errors[0]!.message, /mimeParts/);
  const long = `Subject: ${"a".repeat(1_000_000)}\r\n\r\nx`;
  match(play("keep;", { message: Buffer.from(long) }).errors[0]!.message, /headerSection/);
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 400 }), (bytes) => {
      ok(
        play(
          'require "body"; if anyof (header :matches "subject" "*a*", address :domain "from" "x", body :text :contains "q") { discard; }',
          { message: bytes },
        ).actions.length <= 1,
      );
    }),
    { numRuns: 200, seed: 2 },
  );
});

test("edits give a new message and leave the old one", () => {
  const original = Buffer.from(message);
  const result = play('require ["editheader", "fileinto"]; fileinto "before"; addheader "X-New" "a\r\n b"; keep;', {
    message: original,
  });
  equal(original.toString(), message);
  equal(result.editedMessage?.toString(), `X-New: a b\r\n${message}`);
  const [before, after] = result.actions;
  ok(before?.action === "fileinto" && !before.mail.edited);
  ok(after?.action === "keep" && after.mail.edited);
});

test("RFC 5703: replace and enclose", () => {
  const enclosed = play('require "enclose"; enclose :subject "Warning" "Careful.";').editedMessage!.toString();
  match(
    enclosed,
    /^From: a@b.example\r\nTo: c@d.example\r\nSubject: Warning\r\nMIME-Version: 1.0\r\nContent-Type: multipart\/mixed/,
  );
  match(enclosed, /Content-Type: message\/rfc822\r\n\r\nFrom: a@b.example/);
  const parts =
    "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\nkept\r\n--b\r\nContent-Type: application/x\r\n\r\nbad\r\n--b--\r\n";
  const source =
    'require ["replace", "foreverypart", "mime"]; foreverypart { if header :mime :type "content-type" "application" { replace "gone"; } }';
  const replaced = play(source, { message: Buffer.from(parts) }).editedMessage!.toString();
  match(replaced, /kept\r\n--b\r\nContent-Type: text\/plain; charset=utf-8/);
  ok(!replaced.includes("bad"));
});

test("facts from outside: lists, duplicates, scores, environment, DSN parameters", () => {
  const lists = {
    known: () => true,
    has: (list: string, value: string) => list === "tag:friends" && value === "a@b.example",
  };
  equal(play('require "extlists"; if address :list "from" "tag:friends" { discard; }', { lists }).actions.length, 1);
  const first = play('require "duplicate"; if duplicate :uniqueid "1" :seconds 60 { discard; }');
  deepEqual([first.actions.length, first.remember.length, first.remember[0]?.seconds], [0, 1, 60]);
  equal(
    play('require "duplicate"; if duplicate :uniqueid "1" { discard; }', {
      seen: (key) => key === first.remember[0]!.key,
    }).actions.length,
    1,
  );
  equal(
    play('require ["spamtestplus"]; if spamtest :percent "87" { discard; }', { scores: { spam: 87 } }).actions.length,
    1,
  );
  equal(
    play('require "environment"; if environment "remote-ip" "192.0.2.1" { discard; }', {
      environment: { "remote-ip": "192.0.2.1" },
    }).actions.length,
    1,
  );
  const envelope = { from: "", to: "c@d.example", parts: { notify: "never" } };
  equal(
    play('require ["envelope", "envelope-dsn"]; if envelope "notify" "NEVER" { discard; }', { envelope }).actions
      .length,
    1,
  );
});

test("a stored module runs like the fresh one", () => {
  const compiled = compileSieve('require "fileinto"; if header :contains "subject" "hell" { fileinto "x"; }', {
    file: "t",
  });
  ok(compiled.ok);
  const { script } = compiled;
  const stored = loadModule(JSON.parse(JSON.stringify(script.module)), script.entries, script.capabilities, {
    file: "t",
  });
  equal(stored.hash, script.hash);
  const input = { message: Buffer.from(message), envelope: { from: "", to: "" } };
  deepEqual(
    runSieve(stored, input).actions.map((a) => a.action),
    ["fileinto"],
  );
});

test("many rules, each other's order kept", () => {
  const rules = Array.from(
    { length: 300 },
    (_, i) => `if header :contains "subject" "${i % 7 === 3 ? "ell" : `none${i}`}" { fileinto "f${i}"; stop; }`,
  );
  const [only, ...more] = play(`require "fileinto"; ${rules.join("\n")}`).actions;
  ok(only?.action === "fileinto" && only.folder === "f3" && more.length === 0);
});

test("addresses beyond ASCII: redirect and envelope where the settings allow, an error elsewhere (RFC 6531)", () => {
  const source = `require ["envelope", "subaddress", "copy"];
if envelope :domain "to" "bücher.example" { redirect :copy "jürgen@bücher.example"; }
if envelope :user "to" "jürgen" { redirect "other@x.example"; }`;
  const compiled = compileSieve(source, { file: "t" });
  ok(compiled.ok, JSON.stringify(compiled.diagnostics));
  const envelope = { from: "", to: "jürgen+a@bücher.example" };
  const { actions } = runSieve(compiled.script, { message: Buffer.from("Subject: x\r\n\r\n"), envelope });
  deepEqual(
    actions.map((action) => action.action === "redirect" && action.address),
    ["jürgen@bücher.example", "other@x.example"],
  );
  equal(compileSieve(source, { file: "t", settings: { ...defaultSettings, utf8Addresses: false } }).ok, false);
});

test("redirect carries DSN and DELIVERBY parameters, checked in the script or in the run (RFC 6009)", () => {
  const now = new Date("2026-01-01T00:00:00Z");
  const run = (tags: string) => {
    const source = `require ["redirect-dsn", "redirect-deliverby", "variables"]; set "a" "x"; redirect ${tags} "a@x.example";`;
    const compiled = compileSieve(source, { file: "t" });
    if (!compiled.ok) return compiled.diagnostics.filter(({ severity }) => severity === "error").length;
    const input = { message: Buffer.from("\r\n"), envelope: { from: "", to: "" }, now };
    const { actions, errors } = runSieve(compiled.script, input);
    if (errors.length > 0) return errors[0]!.message;
    const {
      mail: _mail,
      action: _action,
      copy: _copy,
      address: _address,
      ...parameters
    } = actions[0] as RedirectAction;
    return parameters;
  };
  const at = now.getTime() / 1_000;
  deepEqual(run(':notify "success,delay" :ret "hdrs"'), { notify: "SUCCESS,DELAY", ret: "HDRS" });
  deepEqual(run(":bytimerelative 600"), { deliverBy: { deadline: at + 600, mode: "N", trace: false } });
  deepEqual(run(':bytimeabsolute "2026-01-01T02:00:00+0100" :bymode "return" :bytrace'), {
    deliverBy: { deadline: at + 3_600, mode: "R", trace: true },
  });
  for (const wrong of [
    ':notify "never,delay"',
    ':ret "all"',
    ':bytimerelative 1 :bytimeabsolute "2026-01-01T02:00:00Z"',
    ':bytimeabsolute "tomorrow"',
    ':bytimerelative 1 :bymode "n"',
    ":bytrace",
    ':bymode "notify" :bytrace',
  ]) {
    equal(run(wrong), 1, wrong);
  }
  for (const wrong of [
    `:notify "${reference}"`,
    `:ret "${reference}"`,
    `:bytimeabsolute "${reference}"`,
    `:bytimerelative 1 :bymode "${reference}"`,
  ]) {
    match(String(run(wrong)), /^invalid :/, wrong);
  }
});
