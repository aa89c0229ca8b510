/** Users' scripts on disk: versions, the active one, and two processes' views of one file. */
import { deepEqual, equal, ok, rejects } from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { ScriptDatabase } from "../../../src/sieve/managesieve/database.ts";

test("scripts of each user, seen by another worker at once, and after a restart", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "postern-scripts-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const file = join(folder, "sieve", "scripts.db");
  const [one, two] = [new ScriptDatabase(file), new ScriptDatabase(file)];
  await one.put("a", "first", "keep;");
  await one.put("b", "first", "discard;");
  equal(two.activeVersion("a"), undefined);
  await two.activate("a", "first");
  const { version, ...rest } = one.active("a")!;
  deepEqual(rest, { name: "first", text: "keep;" });
  equal(one.activeVersion("a"), version);
  await one.put("a", "second", "stop;");
  ok(two.activeVersion("a")! > version, "any change raises the version");
  await one.rename("a", "first", "renamed");
  deepEqual(await two.list("a"), [
    { name: "renamed", active: true },
    { name: "second", active: false },
  ]);
  await one.delete("a", "second");
  equal(await two.get("a", "second"), undefined);
  await rejects(one.delete("a", "renamed"), /FOREIGN KEY/, "the active script stays");
  await rejects(one.activate("a", "none"), /FOREIGN KEY/);
  await two.activate("a", "");
  equal(one.active("a"), undefined);
  one.close();
  two.close();
  const again = new ScriptDatabase(file);
  equal(await again.get("a", "renamed"), "keep;");
  equal(await again.get("b", "first"), "discard;");
  again.close();
});
