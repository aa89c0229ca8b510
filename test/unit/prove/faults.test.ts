/**
 * The shipped policies are proven; each seeded fault is found, with a session that plays to the same end; and
 * docs/reference/prove.md says so (`node test/unit/prove/table.ts --write` makes its tables).
 */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import type { Finding } from "../../../src/workbench/prove/theorem.ts";
import { theorems } from "../../../src/workbench/prove/theorems.ts";
import { faults } from "./faults.ts";
import { proofOf, shipped, textOf } from "./lab.ts";
import { faultRow, file, theoremRows } from "./table.ts";

const page = readFileSync(file, "utf8");
const proofs: Finding[][] = [];

for (const script of shipped) {
  test(`${script}.script: every theorem holds`, async () => {
    const findings = await proofOf(textOf(script));
    proofs.push(findings);
    assert.ok(findings.length >= 8);
    for (const { theorem, result, reason } of findings) assert.equal(result, "holds", `${theorem}: ${reason}`);
  });
}

test("the page has the theorems, in the words of the code, and what became of them", () => {
  const text = page.replace(/\s+/g, " ");
  for (const { id, says } of theorems) assert.ok(text.includes(`**${id}** ${says}`), id);
  for (const row of theoremRows(proofs)) assert.ok(page.includes(`${row}\n`), row);
});

test("there are thirty faults or more, and the page has no other", () => {
  assert.ok(new Set(faults.map(({ name }) => name)).size >= 30);
  const rows = page.slice(page.indexOf("## Seeded faults")).match(/^\| /gm) ?? [];
  assert.equal(rows.length, faults.length + 1);
});

for (const fault of faults) {
  test(`${fault.script}.script, ${fault.name}: ${fault.found}`, async () => {
    const row = await faultRow(fault);
    assert.doesNotMatch(row, /\| (not found|nothing) \|/);
    assert.ok(page.includes(`${row}\n`), row);
  });
}
