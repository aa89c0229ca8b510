import assert from "node:assert/strict";
import { test } from "node:test";
import { summary, tablesOf } from "../../../bench/targets.ts";

const durable = `## durable

2026, commit x

**Durable accept**

| load | server | messages/s | 2 workers ÷ this | 1 worker ÷ this |
|---|---|---|---|---|
| 4 KiB, many, 100 sessions | Postern, 2 workers | 6,100 ±4 % | – | 1.20 ±1 % |
| 4 KiB, many, 100 sessions | Postfix | 1,000 ±4 % | 6.10 ±4 % | 5.00 ±3 % |
| 4 KiB, one, 100 sessions | Postfix | 1,000 ±4 % | 2.40 ±4 % | 2.60 ±3 % |
`;

test("tables are read back as they were printed", () => {
  const [table] = tablesOf(durable);
  assert.equal(table?.title, "Durable accept");
  assert.deepEqual(table?.rows[1]?.slice(1, 3), ["Postfix", "1,000 ±4 %"]);
});

test("a target is held, missed or not measured by what stands in the tables, ours as shipped", () => {
  const lines = summary(new Map([["durable", durable]])).split("\n");
  const of = (what: string) => lines.filter((line) => line.includes(what)).map((line) => line.split(" | ").slice(2));
  assert.deepEqual(of("4 KiB, many, 100 sessions: times Postfix")[0], ["≥ 6", "6.1", "held |"]);
  assert.deepEqual(of("4 KiB, one, 100 sessions: times Postfix")[0], ["≥ 2.5", "2.4", "missed |"]);
  assert.deepEqual(of("times Haraka")[0], ["≥ 5", "–", "not measured |"]);
});

test("a bound from above: a figure with thousands is compared as a number", () => {
  const start = "**From command to greeting**\n\n| server | ms |\n|---|---|\n| Postern, 1 worker | 1,501 ±5 % |\n";
  assert.match(summary(new Map([["start", start]])), /cold start, ms \| ≤ 1,500 \| 1,500 \| missed/);
});
