/** The traced variant reports every rule tried with what its tests saw, in the order of the source. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { compileModule } from "../../../src/language/compile.ts";
import type { Trace } from "../../../src/language/host.ts";
import type { Test } from "../../../src/language/ir.ts";
import { noSpan as span } from "../../../src/language/span.ts";
import { header, is, lookup, moduleOf, note, one, recorder, set, slot, text, when } from "./fixtures.ts";

test("tests with their values, branches, writes and look-ups", async () => {
  const seen: string[] = [];
  const trace: Trace = {
    test: (at, rule, result, values) => seen.push(`${at.file}: ${rule} ${result} [${values.join()}]`),
    statement: (_at, rule, kind, detail) => seen.push(`${rule} ${kind} ${detail}`),
  };
  const at = (file: string, leaf: Extract<Test, { op: "match" }>): Test => ({ ...leaf, span: { ...span, file } });
  const both: Test = { op: "all", tests: [at("a", is(one(slot(0)), "x")), at("b", is(header("Subject"), "y"))], span };
  const main = [
    lookup("spf", [], [0]),
    { ...when(both, [set(1, text("v"))]), rule: "first" },
    { ...when({ op: "not", test: both, span }, [], [note(slot(1))]), rule: "second" },
  ];
  const program = compileModule(moduleOf(main), { traced: true });
  const subjects = Array.from({ length: 30 }, (_, i) => (i === 29 ? "y" : `s${i}`));
  const host = recorder({ lookup: async () => ["x"], source: () => subjects });
  await program.run("main", ["", "", "", "", "", "", "", ""], host, trace);
  const ten = subjects.slice(0, 10).join();
  assert.deepEqual(seen, [
    "undefined lookup spf s0 = x",
    "a: first true [x]",
    `b: first true [${ten}]`,
    "first if then",
    "undefined set s1 = v",
    "a: second true [x]",
    `b: second true [${ten}]`,
    "second if else",
    "undefined effect note v",
  ]);
});
