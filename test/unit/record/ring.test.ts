import assert from "node:assert/strict";
import {
  appendFileSync,
  chmodSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { readRecords } from "../../../src/workbench/record/read.ts";
import { Redactor } from "../../../src/workbench/record/redact.ts";
import { lineOf, RecordRing, recordFiles } from "../../../src/workbench/record/ring.ts";
import type { DecisionRecord } from "../../../src/workbench/record/types.ts";
import { sampleRecord } from "./sample.ts";

const scratch = mkdtempSync(join(tmpdir(), "postern-ring-"));
after(() => rmSync(scratch, { recursive: true, force: true }));

const ring = (dir: string, over: object = {}): RecordRing =>
  new RecordRing({
    dir,
    worker: 3,
    maxBytes: 1_000_000,
    pending: 1_000,
    redactor: new Redactor([], "k"),
    onError: (error) => assert.fail(error),
    ...over,
  });

async function readAll(dir: string, options = {}): Promise<DecisionRecord[]> {
  const all: DecisionRecord[] = [];
  for await (const batch of readRecords(dir, options)) all.push(...batch);
  return all;
}

test("what is added is read back as it was, some hundreds of octets each", async () => {
  const dir = join(scratch, "plain");
  const records = ring(dir);
  const given = Array.from({ length: 500 }, (_, i) => sampleRecord({ id: `id${i}` }));
  for (const record of given) records.add(record);
  await records.close();
  assert.deepEqual(await readAll(dir), given);
  assert.ok(statSync(recordFiles(dir)[0]!).size / 500 < 900);
  assert.deepEqual(await readAll(dir, { having: '"id":"id7"' }), [given[7]]);
  assert.deepEqual(await readAll(dir, { since: given[0]!.time + 1 }), []);
});

test("the ring keeps to its size: the oldest files go, another worker's stay", async () => {
  const dir = join(scratch, "ring");
  const other = ring(dir, { worker: 4 });
  other.add(sampleRecord({ id: "other" }));
  await other.close();
  const records = ring(dir, { maxBytes: 80_000 });
  for (let i = 0; i < 600; i++) {
    records.add(sampleRecord({ id: `id${i}` }));
    if (i % 10 === 9) await records.flush();
  }
  await records.close();
  const own = recordFiles(dir).filter((file) => file.includes("/3-"));
  assert.equal(own.length, 8);
  assert.ok(own.reduce((sum, file) => sum + statSync(file).size, 0) <= 80_000);
  const ids = (await readAll(dir)).map(({ id }) => id);
  assert.ok(ids.includes("other") && ids.includes("id599") && !ids.includes("id0"));
  const again = ring(dir, { maxBytes: 80_000 });
  again.add(sampleRecord({ id: "later" }));
  await again.close();
  assert.ok(
    (await readAll(dir)).some(({ id }) => id === "later"),
    "a new start goes on behind the last file",
  );
});

test("records that the disk has not taken are bounded by `pending`; the rest is dropped and counted", async () => {
  const dir = join(scratch, "pending");
  const records = ring(dir, { pending: 10 });
  for (let i = 0; i < 25; i++) records.add(sampleRecord({ id: `id${i}` }));
  await records.close();
  assert.equal(records.dropped, 15);
  assert.equal((await readAll(dir)).length, 10);
});

test("a disk that refuses costs records, never an error to the caller", async (t) => {
  if (process.getuid?.() === 0) {
    // Root may write anywhere: a file in the folder's place refuses as well.
    const dir = join(scratch, "refuses");
    const records = ring(dir, { onError: (error: Error) => errors.push(error) });
    const errors: Error[] = [];
    rmSync(dir, { recursive: true });
    writeFileSync(dir, "");
    records.add(sampleRecord());
    await records.close();
    assert.equal(errors.length, 1);
    assert.equal(records.dropped, 1);
    return;
  }
  const dir = join(scratch, "readonly");
  const errors: Error[] = [];
  const records = ring(dir, { onError: (error: Error) => errors.push(error) });
  chmodSync(dir, 0o500);
  t.after(() => chmodSync(dir, 0o700));
  records.add(sampleRecord());
  await records.close();
  assert.equal(errors.length, 1);
  assert.equal(records.dropped, 1);
});

test("a cut and damaged file: what stands before and behind the damage is read", async () => {
  const dir = join(scratch, "damaged");
  const records = ring(dir);
  for (let i = 0; i < 20; i++) records.add(sampleRecord({ id: `id${String(i).padStart(2, "0")}` }));
  await records.close();
  const [file] = recordFiles(dir);
  const bytes = readFileSync(file!);
  const line = bytes.indexOf(0x0a) + 1;
  bytes[line * 5 + 40]! ^= 0x01; // one bit of the sixth record
  bytes.fill(0xff, line * 9, line * 9 + 30); // the begin of the tenth
  bytes[line * 12 - 1] = 0x20; // the line end between the twelfth and the thirteenth
  writeFileSync(file!, bytes);
  truncateSync(file!, bytes.length - 10); // and the twentieth is cut
  const count = { damaged: 0 };
  const ids = (await readAll(dir, { count })).map(({ id }) => id);
  assert.equal(count.damaged, 4);
  assert.equal(ids.length, 15);
  for (const lost of ["id05", "id09", "id11", "id12", "id19"]) assert.ok(!ids.includes(lost), lost);
});

test("a line without end and a record of another shape are left out", async () => {
  const dir = join(scratch, "shapes");
  const records = ring(dir);
  records.add(sampleRecord({ id: "good" }));
  await records.close();
  const [file] = recordFiles(dir);
  appendFileSync(file!, lineOf('{"id":"old"}') + lineOf("[]") + lineOf("null"));
  appendFileSync(file!, `${"x".repeat(5 * 1024 * 1024)}\n${lineOf(JSON.stringify(sampleRecord({ id: "behind" })))}`);
  const count = { damaged: 0 };
  assert.deepEqual(
    (await readAll(dir, { count })).map(({ id }) => id),
    ["good", "behind"],
  );
  assert.ok(count.damaged >= 4);
});
