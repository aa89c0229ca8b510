/** `postern lsp`: tests run from an editor, and hints how often rules were taken by recorded transactions. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { pathToFileURL } from "node:url";
import type { CodeLens, InlayHint } from "vscode-languageserver/node";
import { Redactor } from "../../src/workbench/record/redact.ts";
import { RecordRing } from "../../src/workbench/record/ring.ts";
import type { DecisionRecord } from "../../src/workbench/record/types.ts";
import { LspClient } from "./lsp-client.ts";

const script = `event onMailFrom {
  if (is (mailFromDomain, "bad.example")) {
    set (smtpAction, "reject");
  }
  if (is (mailFromDomain, "nobody.example")) {
    set (smtpAction, "reject");
  }
}
`;

const tests = `tests:
  - name: bad
    session: { mailFrom: a@bad.example }
    expect: { mail: 550 }
  - name: good
    session: { mailFrom: a@good.example }
    expect: { mail: 250 }
`;

const suite = `require "vnd.dovecot.testsuite";
test "fine" { if not true { test_fail "no"; } }
test "wrong" { test_fail "as it should"; }
`;

let folder: string;
let client: LspClient;
const uri = (name: string): string => pathToFileURL(join(folder, name)).href;

before(async () => {
  folder = mkdtempSync(join(tmpdir(), "postern-lsp-"));
  writeFileSync(join(folder, "policy.script"), script);
  writeFileSync(join(folder, "policy.test.yaml"), tests);
  const redactor = new Redactor([], "");
  const dir = join(folder, "records");
  const ring = new RecordRing({ dir, worker: 0, maxBytes: 1e7, pending: 100, redactor, onError: assert.ifError });
  for (let i = 0; i < 10; i++) ring.add(record(i < 3 ? "a@bad.example" : "a@good.example", i));
  await ring.close();
  client = await LspClient.start({ records: dir, debugTests: true });
});
after(async () => {
  assert.equal(await client.stop(), 0);
  rmSync(folder, { recursive: true });
});

function record(mailFrom: string, time: number): DecisionRecord {
  const decision = { verdict: "accept", at: "onMailFrom", code: 250, text: "", by: "engine", recipients: "" } as const;
  const steps = [{ event: "onMailFrom", in: { mailFrom } }] as const;
  return { id: `id${time}`, time, ms: 1, policy: "p", session: "s", steps: [...steps], facts: [], decision };
}

const run = <T>(...args: string[]): Promise<T> =>
  client.connection.sendRequest("workspace/executeCommand", { command: "postern.runTests", arguments: args });

test("lenses stand above the tests, and at the script that has some", async () => {
  const titles = async (name: string, text: string, language: string): Promise<string[]> => {
    const file = await client.open(uri(name), text, language);
    const lenses = await file.request<CodeLens[]>("textDocument/codeLens");
    return lenses.map(({ command, range }) => `${range.start.line + 1} ${command!.title}`);
  };
  assert.deepEqual(await titles("policy.script", script, "smtpfilters"), ["1 Run policy.test.yaml"]);
  assert.deepEqual(await titles("lenses.test.yaml", tests, "yaml"), [
    ...["1 Run 2 tests", "2 Run test", "2 Debug test", "5 Run test", "5 Debug test"],
  ]);
  assert.deepEqual(await titles("lenses.svtest", suite, "sieve"), ["1 Run 2 tests", "2 Run test", "3 Run test"]);
  assert.deepEqual(await titles("half.test.yaml", "tests:\n  - name: [", "yaml"), []);
});

test("a test runs on texts that are not saved; its failure is a diagnostic until the next edit", async () => {
  const file = await client.open(uri("policy.test.yaml"), tests, "yaml");
  assert.deepEqual(await run(uri("policy.test.yaml"), "bad"), {
    ...{ passed: 1, failed: 0, results: [{ name: "bad", failures: [] }] },
  });
  await file.replace("mail: 550", "mail: 250");
  await file.diagnostics();
  const { passed, failed } = await run<{ passed: number; failed: number }>(uri("policy.test.yaml"));
  assert.deepEqual([passed, failed], [1, 1]);
  const [found] = await client.diagnosticsWhere(uri("policy.test.yaml"), (all) => all.length > 0);
  assert.deepEqual(found!.range.start, file.at("bad"));
  assert.match(String(found!.message), /^MAIL FROM: wanted "250", got "550 /);
  await file.replace("mail: 250", "mail: 550");
  assert.deepEqual(await file.diagnostics(), []);
});

test("Sieve tests are no errors of the language, and run too", async () => {
  const file = await client.open(uri("some.svtest"), suite, "sieve");
  assert.deepEqual(await file.diagnostics(), []);
  const outcome = await run<{ results: unknown }>(uri("some.svtest"), "wrong");
  assert.deepEqual(outcome.results, [{ name: "wrong", failures: ["as it should"] }]);
});

test("what can't be run says why", async () => {
  await assert.rejects(run(uri("policy.script")), /needs the address of a test file/);
  await assert.rejects(run(uri("none.test.yaml")), /no such file/);
  writeFileSync(join(folder, "odd.test.yaml"), "tests: 7\n");
  await assert.rejects(run(uri("odd.test.yaml")), /tests/);
  writeFileSync(join(folder, "lost.test.yaml"), tests);
  const { results } = await run<{ results: Array<{ failures: string[] }> }>(uri("lost.test.yaml"));
  assert.match(results[0]!.failures[0]!, /lost\.script can't be used: ENOENT/);
});

test("rules show how many recorded transactions would take them", async () => {
  const file = await client.open(uri("hints.script"), script, "smtpfilters");
  const range = { start: { line: 0, character: 0 }, end: { line: 99, character: 0 } };
  const hints = async (): Promise<string[]> =>
    (await file.request<InlayHint[]>("textDocument/inlayHint", { range })).map(
      ({ position, label }) => `${position.line + 1}:${position.character} ${String(label)}`,
    );
  assert.deepEqual(await hints(), ["2:43 3×", "5:46 never"]);
  await file.replace("bad.example", "good.example");
  assert.deepEqual(await hints(), ["2:44 7×", "5:46 never"]);
  await file.replace("event", "evnt");
  assert.deepEqual(await hints(), [], "a text that does not compile has none");
});
