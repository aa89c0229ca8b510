/** Runs the .svtest files of this folder and those of the shipped rules; those under failing/ must fail. */
import { deepEqual, equal, ok } from "node:assert/strict";
import { globSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { runSvtest, type SvtestReport, svtestRunner } from "../../src/sieve/testsuite/index.ts";

const folder = import.meta.dirname;

function failures(report: SvtestReport): string[] {
  return report.tests.filter((t) => t.outcome === "failed").map((t) => `${t.name}: ${t.reason}`);
}

for (const file of globSync(["*.svtest", "rfc/*.svtest", "../../rules/*.svtest"], { cwd: folder }).sort()) {
  test(file, async () => {
    const report = await runSvtest(join(folder, file));
    deepEqual(failures(report), []);
    ok(report.passed > 0);
  });
}

for (const file of globSync("failing/*.svtest", { cwd: folder }).sort()) {
  test(`${file} fails`, async () => {
    const path = join(folder, file);
    equal((await runSvtest(path)).ok, false);
    const report = await runSvtest(path, { expectFailure: true });
    equal(report.ok, true);
    equal(report.passed, 0);
  });
}

test("an expected failure that passes is a failure", async () => {
  equal((await runSvtest(join(folder, "base.svtest"), { expectFailure: true })).ok, false);
});

test("stop ends the file without a verdict", async () => {
  const report = await runSvtest(join(folder, "stop.svtest"));
  deepEqual(
    report.tests.map((t) => t.outcome),
    ["passed", "none"],
  );
  equal(report.ok, true);
});

test("the runner takes .svtest files only", () => {
  ok(svtestRunner.accepts("a/b.svtest"));
  ok(!svtestRunner.accepts("a/b.test.yaml"));
});
