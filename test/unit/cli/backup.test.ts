/** `postern backup` and back: stored mail and the accounts' Sieve scripts. */
import assert from "node:assert/strict";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { pino } from "pino";
import { command } from "../../../src/cli/backup.ts";
import { budgetWith } from "../../../src/config/budget.ts";
import { ScriptDatabase } from "../../../src/sieve/managesieve/database.ts";
import { openStore } from "../../../src/store/store.ts";

const folder = mkdtempSync(join(tmpdir(), "postern-backup-"));
after(() => rmSync(folder, { recursive: true }));

async function postern(...argv: string[]): Promise<{ code: number; said: string }> {
  let said = "";
  const out = (text: string) => (said += text);
  const code = await command.run([...argv, "--data", "var"], { cwd: folder, out, err: out });
  return { code, said };
}

const store = () => openStore({ dir: join(folder, "var/store"), budget: budgetWith(), log: pino({ level: "silent" }) });
const scriptsFile = join(folder, "var/sieve/scripts.db");

async function deliver(queueId: string): Promise<void> {
  const opened = await store();
  const meta = { queueId, mailFrom: "", receivedAt: 1, subject: "", from: "" };
  await opened.deliver(Buffer.from(queueId), meta, [{ account: "one@l.example", folder: "INBOX", flags: [] }]);
  await opened.close();
}

test("mail and scripts of the time of the backup come back; what was there is kept aside", async () => {
  await deliver("first");
  const scripts = new ScriptDatabase(scriptsFile);
  await scripts.put("one@l.example", "main", "keep;");
  await scripts.activate("one@l.example", "main");
  const made = await postern("backup");
  assert.equal(made.code, 0, made.said);
  assert.match(made.said, /^1 messages and 0 body files, and Sieve scripts, copied to .*backup$/m);
  assert.equal((await postern("backup")).code, 1, "a backup is never written over");

  await deliver("second");
  await scripts.put("one@l.example", "main", "discard;");
  scripts.close();
  const restored = await postern("backup", "--restore");
  assert.equal(restored.code, 0, restored.said);
  const opened = await store();
  assert.deepEqual(
    (await opened.list("one@l.example")).map((message) => message.queueId),
    ["first"],
  );
  await opened.close();
  const back = new ScriptDatabase(scriptsFile);
  assert.equal(back.active("one@l.example")?.text, "keep;");
  back.close();
  assert.ok(existsSync(join(folder, "var/sieve.before-restore/scripts.db")));
  assert.equal((await postern("backup", "--restore")).code, 1, "what was put aside is in the way");
});
