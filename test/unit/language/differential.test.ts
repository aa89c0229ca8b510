/**
 * The optimised program, the packed one, the plain one and the interpreter do the same on random modules and random sessions.
 * POSTERN_DIFF_MODULES sets the number of modules, POSTERN_DIFF_SEED the first seed; a failure names both.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { budgetDefaults } from "../../../src/config/budget.ts";
import { type CompiledModule, compileModule } from "../../../src/language/compile.ts";
import { emit } from "../../../src/language/emit.ts";
import type { Module } from "../../../src/language/ir.ts";
import { optimise } from "../../../src/language/optimise/optimise.ts";
import { pack } from "../../../src/language/pack.ts";
import { verify } from "../../../src/language/verify.ts";
import { walkStatements } from "../../../src/language/walk.ts";
import { type Log, Random, randomHost, randomModule, randomSlots } from "./random-module.ts";

const modules = Number(process.env.POSTERN_DIFF_MODULES ?? 400);
const firstSeed = Number(process.env.POSTERN_DIFF_SEED ?? 1);
const sessionsPerModule = 250;

function observe(program: CompiledModule, seed: number): string | Promise<string> {
  const slots = randomSlots(new Random(seed));
  const log: Log = { acts: [], lookups: [] };
  const quiet = { test: () => {}, statement: () => {} };
  const running = program.run("main", slots, randomHost(seed, slots, log), quiet);
  const seen = (): string => JSON.stringify({ slots, ...log });
  return running ? running.then(seen) : seen();
}

test(`${modules} random modules × ${sessionsPerModule} sessions: one meaning`, async () => {
  let indexed = 0;
  for (let seed = firstSeed; seed < firstSeed + modules; seed++) {
    const module = randomModule(new Random(seed));
    const optimised = optimise(module);
    assert.deepEqual([...verify(module), ...verify(optimised)], [], `module seed ${seed}`);
    indexed += countIndexed(optimised);
    const reference = compileModule(module, { traced: true });
    const programs = {
      plain: compileModule(module, { optimise: false }),
      optimised: compileModule(module),
      packed: emit(structuredClone(pack(optimised, 2)), { budget: budgetDefaults }),
    };
    for (let session = 0; session < sessionsPerModule; session++) {
      const sessionSeed = seed * 10_000 + session;
      const expected = await observe(reference, sessionSeed);
      for (const [name, program] of Object.entries(programs)) {
        const actual = await observe(program, sessionSeed);
        if (actual !== expected) {
          assert.equal(actual, expected, `${name} differs: module seed ${seed}, session ${session}`);
        }
      }
    }
  }
  assert.ok(indexed > modules / 4, `too few indexes to prove anything: ${indexed}`);
});

function countIndexed(module: Module): number {
  let count = 0;
  walkStatements([...Object.values(module.entries), ...module.routines], (s) => {
    if (s.op === "indexed") count++;
  });
  return count;
}
