import assert from "node:assert/strict";
import { test } from "node:test";
import { lookupsOf } from "../../../src/language/plan.ts";
import { noSpan as span } from "../../../src/language/span.ts";
import { is, lookup, moduleOf, note, one, slot, stop, when } from "./fixtures.ts";

test("which look-ups an entry point may and must make", () => {
  const test = is(one(slot(0)), "x");
  const main = [
    lookup("always", [], [0]),
    when(test, [lookup("both", [], [1]), lookup("sometimes", [], [1])], [lookup("both", [], [1])]),
    { op: "call" as const, routine: 0, span },
    when(test, [note(), stop]),
    lookup("after a stop", [], [2]),
  ];
  const module = moduleOf(main, { routines: [[lookup("called", [], [3])]] });
  const plan = lookupsOf(module).main!;
  assert.deepEqual([...plan.must].sort(), ["always", "both", "called"]);
  assert.deepEqual([...plan.may].sort(), ["after a stop", "always", "both", "called", "sometimes"]);
});
