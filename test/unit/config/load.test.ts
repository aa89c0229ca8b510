import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { budgetDefaults } from "../../../src/config/budget.ts";
import { loadConfig, parseConfig } from "../../../src/config/load.ts";
import { parseDuration } from "../../../src/config/schema.ts";

function problems(source: string): string[] {
  const result = parseConfig(source, "postern.yaml");
  return result.ok
    ? []
    : result.diagnostics.map((d) => `${d.span.start.line}:${d.span.start.column} ${d.code} ${d.hint ?? d.message}`);
}

test("an empty file is the default configuration", () => {
  const result = parseConfig("", "/etc/postern/postern.yaml");
  assert.ok(result.ok);
  assert.equal(result.loaded.config.listeners[0]?.address, "127.0.0.1:2525");
  assert.equal(result.loaded.config.data, "/etc/postern/var");
  assert.equal(result.loaded.config.queue.firstRetry, 300_000);
  assert.equal(result.loaded.budget.recipients, budgetDefaults.recipients);
});

test("unknown keys are errors at their own line and column, with the nearest name", () => {
  assert.deepEqual(problems("server: { name: a }\nlistners: []\n"), ['2:1 C004 did you mean "listeners"?']);
  assert.deepEqual(problems("relay:\n  trustedNetwork: []\n"), ['2:3 C004 did you mean "trustedNetworks"?']);
  assert.deepEqual(problems('listeners:\n  - { address: "127.0.0.1:1", tsl: {} }\n'), [
    '2:31 C004 did you mean "tls"?',
  ]);
});

test("all mistakes of a file are told in one pass, in the order of the file", () => {
  const list = problems('workers: two\nqueue: { attempts: 0 }\nlisteners: [ { address: "zzz" } ]\n');
  assert.deepEqual(
    list.map((line) => line.split(" ")[0]),
    ["1:10", "2:20", "3:25"],
  );
});

test("limits override the budget, and only known limits may be set", () => {
  const result = parseConfig("limits: { recipients: 5 }", "x.yaml");
  assert.ok(result.ok);
  assert.equal(result.loaded.budget.recipients, 5);
  assert.deepEqual(problems("limits: { recipient: 5 }"), ['1:11 C004 did you mean "recipients"?']);
});

test("broken YAML, an alias bomb and an oversized file are refused with a diagnostic", () => {
  assert.match(problems("a: [1\nb: 2")[0]!, /C003/);
  const bomb = ["a: &a [x,x,x,x,x,x,x,x,x,x]"];
  for (let i = 0; i < 8; i++)
    bomb.push(
      `a${i}: &a${i} [${Array(10)
        .fill(`*a${i === 0 ? "" : i - 1}`)
        .join(",")}]`,
    );
  assert.match(problems(bomb.join("\n"))[0]!, /C003/);
  assert.match(problems(`# ${"x".repeat(1024 * 1024)}`)[0]!, /C002/);
});

test("a missing file is a diagnostic, and paths are relative to the file", () => {
  const missing = loadConfig("/nonexistent/postern.yaml");
  assert.ok(!missing.ok);
  assert.equal(missing.diagnostics[0]?.code, "C001");
  const folder = mkdtempSync(join(tmpdir(), "postern-config-"));
  try {
    writeFileSync(join(folder, "postern.yaml"), "data: d\npolicy: { smtpFilters: rules/a.script }\n");
    const loaded = loadConfig(join(folder, "postern.yaml"));
    assert.ok(loaded.ok);
    assert.equal(loaded.loaded.config.data, join(folder, "d"));
    assert.equal(loaded.loaded.config.policy.smtpFilters, join(folder, "rules/a.script"));
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("durations are read with their unit", () => {
  assert.equal(parseDuration("5m"), 300_000);
  assert.equal(parseDuration("1500ms"), 1_500);
  assert.equal(parseDuration(2), 2_000);
  assert.equal(parseDuration("5 fortnights"), undefined);
  assert.equal(parseDuration(-1), undefined);
});
