import assert from "node:assert/strict";
import { test } from "node:test";
import { budgetDefaults } from "../../../src/config/budget.ts";
import { emit, emitting } from "../../../src/language/emit.ts";
import type { Block, Module } from "../../../src/language/ir.ts";
import { optimise } from "../../../src/language/optimise/optimise.ts";
import { pack } from "../../../src/language/pack.ts";
import { header, is, moduleOf, note, one, recorder, set, slot, text, when } from "./fixtures.ts";

const limits = { budget: budgetDefaults };
const ruleCount = 1_000;

const rules: Block = Array.from({ length: ruleCount }, (_, i) =>
  when(is(i % 2 ? one(slot(0)) : header("Subject"), `word ${i}`), [set(1, text(`rule ${i}`)), note(text(`${i}`))]),
);

/** As it comes to another process. */
const packedOf = (main: Block): Module => structuredClone(pack(optimise(moduleOf(main))));

function indexed(module: Module) {
  const [s] = module.entries.main!;
  assert.ok(s?.op === "indexed");
  return s;
}

test("a long run becomes text: no rule, no entry and no span of it is left as an object", () => {
  const { ifs, plan, packed } = indexed(packedOf(rules));
  assert.equal(ifs.length, 0);
  assert.deepEqual(
    plan.probes.map(({ entries }) => entries.length),
    plan.probes.map(() => 0),
  );
  assert.equal(packed?.rules.ends.length, ruleCount);
  assert.ok(!Buffer.from(packed.rules.octets).includes('"span"'));
});

test("a run of 63 rules stays as it is, one of 64 is packed", () => {
  assert.equal(indexed(packedOf(rules.slice(0, 63))).packed, undefined);
  assert.equal(indexed(packedOf(rules.slice(0, 64))).packed?.rules.ends.length, 64);
});

test("what a packed program does is what the program does", () => {
  const programs = [emit(optimise(moduleOf(rules)), limits), emit(packedOf(rules), limits)];
  for (const word of ["word 1", "word 998", "word 999", "word 1000", ""]) {
    const [before, after] = programs.map((program) => {
      const host = recorder({ source: () => [word] });
      const slots = [word, ""];
      program.run("main", slots, host);
      return { slots, acts: host.acts };
    });
    assert.deepEqual(after, before);
  }
});

test("rules without an index keep their order, a chain its last else", async () => {
  const never = header("X");
  const chain = rules.reduceRight<Block>(
    (rest, _, i) => [when(is(never, `${i}`), [note(text(`${i}`))], rest)],
    [note(text("else"))],
  );
  const { packed, otherwise } = indexed(packedOf(chain));
  assert.ok(packed && otherwise);
  const host = recorder({ source: () => ["nothing"] });
  await emit(packedOf(chain), limits).run("main", ["", ""], host);
  assert.equal(host.acts.length, 1);
});

test("opening a packed program is many short steps", () => {
  const work = emitting(packedOf(rules), limits);
  let steps = 0;
  while (!work.next().done) steps++;
  assert.ok(steps >= ruleCount / 256, `${steps} steps`);
});
