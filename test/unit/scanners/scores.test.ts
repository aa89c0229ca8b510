import assert from "node:assert/strict";
import { test } from "node:test";
import { budgetWith } from "../../../src/config/budget.ts";
import { editHeaders } from "../../../src/message/edit.ts";
import { parseHeaders } from "../../../src/message/headers.ts";
import { levelEdits, levelOf, sieveScores, spamLevel, virusLevel } from "../../../src/scanners/scores.ts";
import type { ScanVerdict } from "../../../src/scanners/types.ts";

const budget = budgetWith();
const verdict = (more: Partial<ScanVerdict>): ScanVerdict => ({
  scanner: "s",
  virus: "",
  symbols: [],
  elapsed: 0,
  ...more,
});
const spam = (score: number, threshold = 5) => spamLevel(verdict({ score, threshold }));

test("spam levels: 1 clean, 2–9 rising below the threshold, 10 from it on", () => {
  assert.deepEqual(
    [-3, 0, 0.1, 2.5, 4.99, 5, 1000].map((score) => spam(score)),
    [1, 1, 2, 5, 9, 10, 10],
  );
  assert.deepEqual([spam(-1, 0), spam(0, 0)], [1, 10]);
  assert.equal(spamLevel(verdict({})), undefined);
  let last = 0;
  for (let score = -1; score < 7; score += 0.05) {
    const level = spam(score)!;
    assert.ok(level >= last);
    last = level;
  }
});

test("virus levels: 1 clean, 5 certain, none from a scanner of spam", () => {
  assert.deepEqual([verdict({}), verdict({ virus: "X" }), verdict({ score: 1, threshold: 5 })].map(virusLevel), [
    1,
    5,
    undefined,
  ]);
});

test("a level is read with blanks around and text after, and bounded", () => {
  const level = (value: string) => levelOf(parseHeaders(Buffer.from(`X-L: ${value}\r\n\r\n`), budget), "x-l", 10);
  assert.deepEqual(
    ["7", "  7  ", "7 probably", "7abc", "99", "", "no 7", "123456"].map(level),
    [7, 7, 7, 7, 10, 0, 0, 0],
  );
});

const after = (header: string, result: ScanVerdict) => {
  const bytes = Buffer.from(header);
  return editHeaders(bytes, levelEdits(parseHeaders(bytes, budget), result), budget).header.toString();
};

test("a level is only raised, and one field of each name stays", () => {
  const high = verdict({ score: 9, threshold: 5 });
  assert.equal(after("A: 1\r\n\r\n", high), "X-AxigenSpam-Level: 10\r\nA: 1\r\n\r\n");
  const twice = "X-AxigenSpam-Level: 2\r\nA: 1\r\nx-axigenspam-level: 3\r\n\r\n";
  assert.equal(after(twice, high), "X-AxigenSpam-Level: 10\r\nA: 1\r\n\r\n");
  assert.equal(after(twice, verdict({ score: 0, threshold: 5 })), twice);
  assert.equal(
    after("A: 1\r\n\r\n", verdict({ virus: "Eicar\r\nEvil: 1" })),
    "X-AxigenVirus-Level: 5 Eicar Evil: 1\r\nA: 1\r\n\r\n",
  );
});

test("Sieve reads the same levels", () => {
  const headers = parseHeaders(Buffer.from("X-AxigenSpam-Level: 4\r\nX-AxigenVirus-Level: 9\r\n\r\n"), budget);
  assert.deepEqual(sieveScores(headers), { spamtest: 4, virustest: 5 });
});
