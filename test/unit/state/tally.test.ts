import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { pino } from "pino";
import { Tally, type TallyKind } from "../../../src/state/tally.ts";

const day = 86_400_000;
const kind: TallyKind = { name: "dmarc", periodMs: day, subjects: 10, rows: 10 };

function scratch(t: TestContext): string {
  const dir = mkdtempSync(join(tmpdir(), "postern-tally-"));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  return join(dir, "state", "reports.db");
}

/** A tally, and what it warned of. */
async function open(path: string): Promise<{ tally: Tally; warnings: object[] }> {
  const warnings: object[] = [];
  const log = pino({ level: "warn" }, { write: (line: string) => warnings.push(JSON.parse(line) as object) });
  return { tally: await Tally.open(path, log), warnings };
}

test("workers count together, one of them takes, and a restart loses nothing", async (t) => {
  const path = scratch(t);
  const now = 5 * day + 1;
  const [first, second] = await Promise.all([open(path), open(path)]);
  for (const { tally } of [first, second, first]) tally.counter(kind, () => now).count("a.test", "v=1", "row");
  first.tally.counter(kind, () => now).count("a.test", "v=1", "other");
  first.tally.counter({ ...kind, name: "tls" }, () => now).count("a.test", "", "row");
  await first.tally.close();
  await second.tally.close();
  const again = await Promise.all([open(path), open(path)]);
  const [taker, other] = [again[0].tally, again[1].tally];
  assert.equal(await taker.take("dmarc", 6 * day - 1), undefined, "the period is not over");
  const taken = await Promise.all([taker.take("dmarc", 6 * day), other.take("dmarc", 6 * day)]);
  const [only, ...none] = taken.filter((one) => one !== undefined);
  assert.equal(none.length, 0);
  const { rows, ...subject } = only!;
  assert.deepEqual(subject, { domain: "a.test", about: "v=1", begins: 5 * day, ends: 6 * day });
  assert.deepEqual(
    rows.toSorted((a, b) => a.count - b.count),
    [
      { row: "other", count: 1 },
      { row: "row", count: 3 },
    ],
  );
  assert.equal((await taker.take("tls", 6 * day))?.rows.length, 1);
  await Promise.all([taker.close(), other.close()]);
});

test("subjects and rows are limited, and a warning says so", async (t) => {
  const { tally, warnings } = await open(scratch(t));
  const counts = tally.counter({ ...kind, subjects: 2, rows: 3 }, () => 1);
  for (let i = 0; i < 5; i++) counts.count(`d${i}.test`, "", "row");
  for (let i = 0; i < 5; i++) counts.count("d0.test", "", `row ${i}`);
  await tally.flush();
  counts.count("d0.test", "", "row");
  await tally.flush();
  const domains = [(await tally.take("dmarc", day))!, (await tally.take("dmarc", day))!];
  assert.equal(await tally.take("dmarc", day), undefined);
  assert.deepEqual(
    domains.map(({ domain, rows }) => [domain, rows.length, Math.max(...rows.map(({ count }) => count))]),
    [
      ["d0.test", 3, 2],
      ["d1.test", 1, 1],
    ],
  );
  assert.match(JSON.stringify(warnings), /"dropped":6/);
  await tally.close();
});

test("periods are apart, the older one first", async (t) => {
  const { tally } = await open(scratch(t));
  let now = 1;
  const counts = tally.counter(kind, () => now);
  counts.count("a.test", "", "row");
  now += day;
  counts.count("a.test", "", "row");
  await tally.flush();
  assert.equal((await tally.take("dmarc", 2 * day))?.begins, 0);
  assert.equal((await tally.take("dmarc", 2 * day))?.begins, day);
  await tally.close();
});
