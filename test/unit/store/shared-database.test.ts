/** Processes that open a new database at the same moment all get it. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

test("eight processes open a new database in WAL mode at once", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "postern-shared-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const module = join(import.meta.dirname, "../../../src/store/shared-database.ts");
  const code = `import { openSharedDatabase } from ${JSON.stringify(module)};
    const at = Number(process.argv[2]);
    while (Date.now() < at);
    const db = openSharedDatabase(process.argv[1], "PRAGMA journal_mode = WAL; CREATE TABLE IF NOT EXISTS t (x)");
    for (let i = 0; i < 20; i++) db.exec("INSERT INTO t VALUES (1)");
    db.close();`;
  const at = String(Date.now() + 1_500);
  const file = join(folder, "x.db");
  const children = Array.from({ length: 8 }, () =>
    spawn(process.execPath, ["--input-type=module-typescript", "-e", code, file, at], { stdio: "inherit" }),
  );
  const codes = await Promise.all(children.map(async (child) => (await once(child, "exit"))[0]));
  assert.deepEqual(codes, Array(8).fill(0));
});
