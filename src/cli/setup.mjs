/**
 * Makes `npm start` and `npm test` work on a fresh clone: installs the locked dependencies when they are missing
 * or older than the lock file, and does nothing otherwise. Plain JavaScript with no dependency, because it runs on
 * the machine's own Node (20 or newer) before Node 26 is there.
 * Failure: one clear line on stderr and a non-zero exit code; nothing is half-started.
 */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../..", import.meta.url));
const stampFile = join(root, "node_modules", ".postern-lock-hash");
const nodeBinary = join(root, "node_modules", ".bin", process.platform === "win32" ? "node.cmd" : "node");
const wanted = createHash("sha256")
  .update(readFileSync(join(root, "package-lock.json")))
  .update(`${process.platform}-${process.arch}`)
  .digest("hex");

function fail(text) {
  process.stderr.write(`postern: ${text}\n`);
  process.exit(1);
}

const current = existsSync(stampFile) ? readFileSync(stampFile, "utf8").trim() : "";
if (current !== wanted) {
  process.stderr.write("postern: installing the locked dependencies (once; takes about 10 s)...\n");
  const install = spawnSync("npm", ["ci", "--no-audit", "--no-fund", "--loglevel=error"], {
    cwd: root,
    stdio: ["ignore", "ignore", "inherit"],
    shell: process.platform === "win32",
  });
  if (install.error) fail(`cannot run npm: ${install.error.message}`);
  if (install.status !== 0) fail(`npm ci failed with exit code ${install.status}; see the lines above`);
  mkdirSync(join(root, "node_modules"), { recursive: true });
  writeFileSync(stampFile, `${wanted}\n`);
}

const runtime = existsSync(nodeBinary) ? nodeBinary : process.execPath;
const version = spawnSync(runtime, ["--version"], { encoding: "utf8", shell: process.platform === "win32" });
const major = Number(/^v(\d+)\./.exec(version.stdout ?? "")?.[1] ?? 0);
if (major < 26) {
  fail(
    `Node 26 is needed, and neither node_modules/.bin/node nor the system's node (${process.version}) is one. ` +
      `No Node 26 package exists for ${process.platform}-${process.arch}: install Node 26 and run this again.`,
  );
}
