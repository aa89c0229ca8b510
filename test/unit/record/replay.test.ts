import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { command } from "../../../src/cli/replay.ts";
import { budgetWith } from "../../../src/config/budget.ts";
import { type Mail, mailsOfFolder, mailsOfMbox } from "../../../src/workbench/replay/mail.ts";

const scratch = mkdtempSync(join(tmpdir(), "postern-replay-"));
after(() => rmSync(scratch, { recursive: true, force: true }));

async function collect(mails: AsyncGenerator<Mail>): Promise<Mail[]> {
  return Array.fromAsync(mails);
}

const message = (subject: string): string =>
  `Return-Path: <bounce@list.test>\nReceived: from localhost [127.0.0.1] by a; 1 Jan\nReceived: from mx.list.test (mx [198.51.100.9]) by a\nDelivered-To: me@local.test\nFrom: Ann <ann@list.test>\nSubject: ${subject}\n\nFrom the heart\n`;

test("envelope and client come from the header section", async () => {
  const folder = join(scratch, "mails");
  mkdirSync(join(folder, "inner"), { recursive: true });
  writeFileSync(join(folder, "inner", "one.eml"), message("one"));
  const [mail] = await collect(mailsOfFolder(folder, budgetWith(), { skipped: 0 }));
  const inputs = Object.assign({}, ...mail!.record.steps.map((step) => step.in)) as Record<string, string>;
  assert.equal(inputs.mailFrom, "bounce@list.test");
  assert.equal(inputs.rcptTo, "me@local.test");
  assert.equal(inputs.remoteSmtpIp, "198.51.100.9");
  assert.equal(inputs.ehloHost, "mx.list.test");
  assert.deepEqual(mail!.strings("mimeTypes"), ["text/plain"]);
});

test("an mbox is cut at its separators only; sender from the separator line; no size beyond messageKiB", async () => {
  const path = join(scratch, "m.mbox");
  const line = (who: string): string => `From ${who} Thu Jan  1 00:00:00 2026\n`;
  const large = `Subject: large\n\n${"x".repeat(3_000)}\n`;
  writeFileSync(
    path,
    `${line("a@b.test")}${message("one")}\nFrom here on it is text\n\n${line("c@d.test")}${large}\n${line("e@f.test")}Subject: three\n\nend`,
  );
  const all = await collect(mailsOfMbox(path, budgetWith(), { skipped: 0 }));
  const senders = all.map(({ record }) => record.steps[2]!.in!.mailFrom);
  assert.deepEqual(senders, ["a@b.test", "c@d.test", "e@f.test"]);
  const count = { skipped: 0 };
  await collect(mailsOfFolder(scratch, budgetWith({ messageKiB: 1 }), count));
  assert.equal(count.skipped, 1, "the mbox as one file is over 1 KiB");
});

test("a message of an mbox over messageKiB is passed over, the next is read", async () => {
  const path = join(scratch, "large.mbox");
  const huge = `From a@b.test Thu Jan  1 00:00:00 2026\nSubject: huge\n\n${"x".repeat(400_000)}\n\n`;
  writeFileSync(path, `${huge}From e@f.test Thu Jan  1 00:00:00 2026\nSubject: next\n\nend\n`);
  const count = { skipped: 0 };
  const mails = await collect(mailsOfMbox(path, budgetWith({ messageKiB: 100 }), count));
  assert.deepEqual(
    mails.map(({ record }) => record.steps[2]!.in!.mailFrom),
    ["e@f.test"],
  );
  assert.equal(count.skipped, 1);
});

test("header sections over a limit are left out and counted", async () => {
  const folder = join(scratch, "headers");
  mkdirSync(folder);
  writeFileSync(join(folder, "a.eml"), "A: 1\nB: 2\nC: 3\n\n");
  const count = { skipped: 0 };
  assert.equal((await collect(mailsOfFolder(folder, budgetWith({ headerFields: 2 }), count))).length, 0);
  assert.equal(count.skipped, 1);
});

async function replay(...argv: string[]): Promise<{ code: number; out: string; err: string }> {
  let [out, err] = ["", ""];
  const code = await command.run(argv, {
    out: (text) => {
      out += text;
    },
    err: (text) => {
      err += text;
    },
    cwd: scratch,
  });
  return { code, out, err };
}

test("the command: two scripts over a folder, assumed answers, wrong usage", async () => {
  writeFileSync(join(scratch, "old.script"), "");
  writeFileSync(
    join(scratch, "new.script"),
    'event onMailFrom { call (checkSPF); if (is (SPFResult, "fail")) { set (smtpAction, "reject"); } }',
  );
  writeFileSync(join(scratch, "facts.json"), '{"checkSPF": {"SPFResult": "fail"}}');
  const args = ["--policy", "new.script", "--against", "old.script", "--folder", "mails"];
  const unknown = await replay(...args);
  assert.equal(unknown.code, 0, unknown.err);
  assert.match(unknown.out, /^1 decisions replayed .* 0 change\n\nnote: checkSPF is not in the records of 1 decisions/);
  const assumed = await replay(...args, "--assume", "facts.json", "--json");
  const found = JSON.parse(assumed.out) as { flips: number; groups: Array<{ change: string; by: string }> };
  assert.deepEqual([found.flips, found.groups[0]?.change, found.groups[0]?.by], [1, "accept → reject", "onMailFrom:1"]);
  assert.equal((await replay(...args, "--assume", "old.script")).code, 2);
  assert.equal((await replay()).code, 2);
  assert.equal((await replay("--policy", "new.script", "--folder", "mails")).code, 2);
  assert.equal((await replay(...args, "--mbox", "m.mbox")).code, 2);
  assert.equal((await replay("--policy", "new.script", "--since", "soon")).code, 2);
  assert.equal((await replay("--policy", "new.script", "--records", "nowhere")).code, 1);
});
