/** The reference pages are those that the vocabulary makes, and each diagnostic has its section. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { codes } from "../../../src/policy/codes.ts";
import { diagnosticsFile, diagnosticsPage, vocabularyFile, vocabularyPage } from "../../../src/policy/docs.ts";
import { variables } from "../../../src/policy/variables.ts";
import { methods } from "../../../src/policy/vocabulary.ts";

const advice = "run: node src/policy/docs.ts --write";

test("docs/reference/smtpfilters.md is current", () => {
  assert.equal(readFileSync(vocabularyFile, "utf8"), vocabularyPage(), advice);
});

test("docs/reference/diagnostics.md is current and has a section for each code", () => {
  const page = readFileSync(diagnosticsFile, "utf8");
  assert.equal(page, diagnosticsPage(page), advice);
  for (const code of Object.keys(codes)) assert.ok(page.includes(`### ${code} `), code);
});

test("the vocabulary agrees with itself", () => {
  const names = new Set(variables.map((row) => row.name));
  for (const method of methods) {
    for (const name of [...method.reads, ...method.writes]) assert.ok(names.has(name), `${method.name}: ${name}`);
    assert.deepEqual(Object.keys(method.failure).sort(), [...method.writes].sort(), method.name);
  }
  const known = new Set(methods.map((row) => row.name));
  for (const row of variables) {
    if (row.producer) assert.ok(known.has(row.producer), row.name);
    const { type } = row;
    if (type.kind === "choice" && row.default) assert.ok(type.values.includes(row.default), row.name);
    if (type.kind === "numeric" && row.default) {
      assert.ok(Number(row.default) >= type.min && Number(row.default) <= type.max, row.name);
    }
  }
});
