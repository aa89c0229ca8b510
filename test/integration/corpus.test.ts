/** The corpus run in small: `node test/chaos/corpus.ts` does it with ten thousand messages. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { originals } from "../chaos/corpus-messages.ts";
import { runCorpus } from "../chaos/corpus-run.ts";

test("messages in all variations through authentication and ClamAV", { timeout: 120_000 }, async (t) => {
  const own = originals(join(import.meta.dirname, "no-corpus-here"));
  const result = await runCorpus(t, { messages: 100, originals: own, lanes: 4 });
  if (result === undefined) return;
  assert.deepEqual(result.faults, []);
  assert.deepEqual(
    Object.entries(result.replies)
      .map(([reply, count]) => [reply.slice(0, reply.indexOf(":") + 5), count])
      .sort(),
    [
      ["broken: 250", 48],
      ["infected: 552", 2],
      ["plain: 250", 12],
      ["signed: 250", 38],
    ],
  );
  assert.equal(result.delivered, 98);
});
