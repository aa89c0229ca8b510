import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { openSnapshot, type Snapshot, takeSnapshot } from "../../../src/gateway/snapshot.ts";
import { takeSerializedAside } from "../../../src/gateway/snapshot-thread.ts";

const live = 'event onConnect { set (smtpAction, "reject"); }\n';
const changed = 'event onConnect { set (smtpAction, "tmpreject"); }\n';

/** A configuration file whose policy and candidate have these texts. */
function configured(t: TestContext, policy: string, candidate = policy): string {
  const folder = mkdtempSync(join(tmpdir(), "postern-snapshot-"));
  t.after(() => rmSync(folder, { recursive: true }));
  writeFileSync(join(folder, "live.script"), policy);
  writeFileSync(join(folder, "candidate.script"), candidate);
  const file = join(folder, "postern.yaml");
  const policies = "{ smtpFilters: live.script, candidate: { smtpFilters: candidate.script } }";
  writeFileSync(
    file,
    `server: { name: gw.test }\nlisteners: [{ address: "127.0.0.1:2525" }]\npolicy: ${policies}\ndata: ./var\n`,
  );
  return file;
}

function taken(file: string, stopped?: string): Snapshot {
  const result = takeSnapshot(file, stopped);
  assert.ok(result.ok, result.ok ? "" : result.problems);
  return result.snapshot;
}

test("a candidate is on trial unless it is the live policy or was stopped, before the snapshot or after", async (t) => {
  const file = configured(t, live, changed);
  assert.equal(taken(configured(t, live)).candidate, undefined);
  const snapshot = taken(file);
  const { hash } = snapshot.candidate!.identity;
  assert.equal(taken(file, hash).candidate, undefined);
  const opened = [await openSnapshot(snapshot), await openSnapshot({ ...snapshot, stoppedCandidate: hash })];
  const candidates = opened.map((one) => one.ok && one.compiled.candidate?.hash);
  assert.deepEqual(candidates, [hash, undefined]);
});

test("a broken script is refused with its place, in a thread of its own too", async (t) => {
  const file = configured(t, "event onConnect { set (smtpAction ); }\n");
  for (const result of [takeSnapshot(file), await takeSerializedAside(file)]) {
    assert.equal(result.ok, false);
    assert.match(result.ok ? "" : result.problems, /live\.script:1:\d+: error P/);
  }
});

test("the thread's snapshot is the one that the same files give here", async (t) => {
  const file = configured(t, live, changed);
  const aside = await takeSerializedAside(file);
  assert.ok(aside.ok);
  assert.deepEqual(aside.snapshot, taken(file));
});
