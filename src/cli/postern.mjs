#!/usr/bin/env node
/**
 * The `postern` executable: hands over to Node 26 (the one in node_modules when the calling Node is older).
 * Plain JavaScript so that any Node >= 20 can start it. Failure: the child's exit code is passed on.
 */
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";

const main = fileURLToPath(new URL("./main.ts", import.meta.url));
if (Number(process.versions.node.split(".")[0]) >= 26) {
  await import(main);
} else {
  const bundled = fileURLToPath(new URL("../../node_modules/.bin/node", import.meta.url));
  if (!existsSync(bundled)) {
    process.stderr.write("postern: Node 26 is needed; run `npm start` or `npm test` once, they install it\n");
    process.exit(1);
  }
  const run = spawnSync(bundled, [main, ...process.argv.slice(2)], { stdio: "inherit" });
  process.exit(run.status ?? 1);
}
