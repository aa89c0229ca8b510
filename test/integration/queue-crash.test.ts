/**
 * Crash matrix: a process that commits and delivers under load is killed with -9 at random moments, again and again on
 * the same folder. Each commit it was promised must be delivered or still be queued; deliveries made twice are counted.
 * 20 kills by default; POSTERN_CRASH_KILLS=200 for the long run.
 */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import {
  closeSync,
  cpSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { pino } from "pino";
import { budgetWith } from "../../src/config/budget.ts";
import { DamagedQueueError } from "../../src/queue/log-reader.ts";
import { repairQueue } from "../../src/queue/repair.ts";
import { openSpool } from "../../src/queue/spool.ts";

const kills = Number(process.env.POSTERN_CRASH_KILLS ?? 20);
const log = pino({ level: "silent" });
const child = join(import.meta.dirname, "queue-crash-child.ts");

interface Ledger {
  promised: Map<string, string>;
  delivered: Map<string, number>;
}

/** Runs the child for about `ms` after its first line, kills it, and books what it said. */
async function runAndKill(t: TestContext, dir: string, ledger: Ledger, first: number, ms: number): Promise<void> {
  // A file, not a pipe: the child never waits for a reader that is slow.
  const path = join(dir, "said");
  const file = openSync(path, "w");
  const process_ = spawn(process.execPath, [child, dir, String(first)], { stdio: ["ignore", file, "pipe"] });
  closeSync(file);
  t.after(() => process_.kill("SIGKILL"));
  let trouble = "";
  process_.stderr!.on("data", (chunk) => (trouble += String(chunk)));
  let running = true;
  const ended = new Promise<void>((resolve) => process_.once("close", () => resolve()));
  void ended.then(() => {
    running = false;
  });
  while (running && statSync(path).size === 0) await delay(5);
  await delay(ms);
  process_.kill("SIGKILL");
  await ended;
  const said = readFileSync(path, "latin1");
  assert.equal(trouble.replace(/.*ExperimentalWarning.*\n.*\n/, ""), "", "the child did not end by itself");
  for (const line of said.split("\n").slice(0, -1)) {
    const [word, a = "", b = ""] = line.split(" ");
    if (word === "C") ledger.promised.set(b, a);
    else ledger.delivered.set(a, (ledger.delivered.get(a) ?? 0) + 1);
  }
}

test(`${kills} kills under load: nothing promised is lost`, { timeout: 30_000 + kills * 10_000 }, async (t) => {
  const dir = mkdtempSync(join(tmpdir(), "postern-crash-"));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  const ledger: Ledger = { promised: new Map(), delivered: new Map() };
  for (let i = 0; i < kills; i++) await runAndKill(t, dir, ledger, i * 1_000_000, 5 + Math.random() * 150);

  const spool = await openSpool({ dir, shard: 0, budget: budgetWith(), log });
  const queued = new Set<string>();
  for (const id of await spool.match({})) {
    const message = (await spool.get(id))!;
    queued.add(message.envelope.mailFrom);
    let text = "";
    for await (const chunk of (await spool.body(id)).stream()) text += Buffer.from(chunk).toString("latin1");
    assert.ok(text.startsWith(`X-Key: ${message.envelope.mailFrom}\r\n`), "a body belongs to its envelope");
    assert.equal(text.length, message.size);
  }
  await spool.close();
  const lost = [...ledger.promised.keys()].filter((key) => !queued.has(key) && !ledger.delivered.has(key));
  const twice = [...ledger.delivered.values()].filter((count) => count > 1).length;
  t.diagnostic(
    `${ledger.promised.size} promised, ${ledger.delivered.size} delivered, ${queued.size} queued, ${twice} delivered twice`,
  );
  assert.deepEqual(lost, []);
  assert.ok(ledger.promised.size > kills * 5, "there was load");
  assert.ok(twice <= kills * 60, "only what was under way at a kill can be delivered twice");
});

test("a torn page anywhere in the log: found at the start, repaired, all other messages kept", async (t) => {
  const dir = mkdtempSync(join(tmpdir(), "postern-torn-"));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  const ledger: Ledger = { promised: new Map(), delivered: new Map() };
  await runAndKill(t, dir, ledger, 0, 300);
  const folder = join(dir, "0", "log");
  const files = readdirSync(folder).sort();
  // Repair deletes the body files of messages that are lost: each round begins with all of the shard again.
  const before = join(dir, "before");
  cpSync(join(dir, "0"), before, { recursive: true });
  const options = { dir, shard: 0, budget: budgetWith(), log };
  for (let round = 0; round < 5; round++) {
    rmSync(join(dir, "0"), { recursive: true });
    cpSync(before, join(dir, "0"), { recursive: true });
    const spool = await openSpool(options);
    const whole = new Set(await spool.match({}));
    await spool.close();
    // The first file's middle: later commits follow, so this was acknowledged and its loss must show.
    const name = files[0]!;
    const torn = readFileSync(join(before, "log", name));
    const at = Math.floor((torn.length / 2) * Math.random() * 0.9);
    torn.fill(0xee, at, at + 4_096);
    writeFileSync(join(folder, name), torn);
    await assert.rejects(openSpool(options), DamagedQueueError);
    const { ranges } = await repairQueue(options);
    assert.ok(ranges.length >= 1);
    const again = await openSpool(options);
    const left = new Set(await again.match({}));
    await again.close();
    const missing = [...whole].filter((id) => !left.has(id));
    assert.ok(missing.length <= 6, `${missing.length} messages missing after one torn page`);
  }
});
