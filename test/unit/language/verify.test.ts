import assert from "node:assert/strict";
import { test } from "node:test";
import type { Block } from "../../../src/language/ir.ts";
import { noSpan as span } from "../../../src/language/span.ts";
import { verify } from "../../../src/language/verify.ts";
import { header, is, lookup, moduleOf, note, one, set, slot, text, when } from "./fixtures.ts";

test("a well-formed module has no faults", () => {
  const loop: Block = [
    { op: "each", source: "parts", data: {}, name: "outer", body: [{ op: "break", name: "outer", span }], span },
  ];
  const module = moduleOf([set(0, text("a")), ...loop, { op: "call", routine: 0, span }], {
    routines: [[note(), { op: "return", span }]],
  });
  assert.deepEqual(verify(module), []);
});

test("each kind of fault is named", () => {
  const rows: Array<[block: Block, fault: RegExp]> = [
    [[set(99, text(""))], /no slot 99/],
    [[note(slot(50))], /no slot 50/],
    [[lookup("spf", [7], [8])], /spf: no slot 8/],
    [[when(is(one({ op: "concat", parts: [slot(77)] }), "x"), [])], /no slot 77/],
    [[{ op: "call", routine: 3, span }], /no routine 3/],
    [[{ op: "break", span }], /break/],
    [[{ op: "each", source: "p", data: {}, name: "a", body: [{ op: "break", name: "b", span }], span }], /no loop b/],
    [[{ op: "return", span }], /return/],
    [[when({ ...is(header("x"), "1"), how: "contains", fold: "numeric" }, [])], /contains.*numeric/],
    [[{ op: "indexed", ifs: [], plan: { probes: [], always: [4] }, span }], /no rule 4/],
  ];
  for (const [block, fault] of rows) assert.match(verify(moduleOf(block)).join("; "), fault);
  const circle = moduleOf([], { routines: [[{ op: "call", routine: 1, span }], [{ op: "call", routine: 0, span }]] });
  assert.match(verify(circle).join(), /circle/);
});
