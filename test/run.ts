/**
 * `npm test`: runs node:test over test/ (or the paths given) and passes its exit code on.
 * Test files run two at a time: the machine it must fit on has two cores, and several start real daemons.
 */
import { spawnSync } from "node:child_process";
import { globSync } from "node:fs";
import { resolve } from "node:path";

const root = resolve(import.meta.dirname, "..");
const wanted = process.argv.slice(2);
const files =
  wanted.length > 0
    ? wanted
    : globSync("test/{unit,integration,conformance,e2e,sieve}/**/*.test.ts", { cwd: root }).sort();
if (files.length === 0) {
  process.stderr.write("no test file found\n");
  process.exit(1);
}
const run = spawnSync(
  process.execPath,
  ["--test", "--test-concurrency=2", "--test-timeout=300000", "--test-reporter=spec", ...files],
  { cwd: root, stdio: "inherit", env: { ...process.env, NODE_NO_WARNINGS: "1" } },
);
process.exit(run.status ?? 1);
