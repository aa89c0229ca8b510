/** What the differential test can't see: budgets, synchrony, concurrency of look-ups, and that text never becomes code. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { type BudgetField, budgetWith } from "../../../src/config/budget.ts";
import { type CompiledModule, compileModule } from "../../../src/language/compile.ts";
import type { Host } from "../../../src/language/host.ts";
import type { Block, Module, Statement, Value } from "../../../src/language/ir.ts";
import { noSpan as span } from "../../../src/language/span.ts";
import { header, is, lookup, moduleOf, note, one, recorder, set, slot, stop, text, when, yes } from "./fixtures.ts";

/** Every way to run a module; all must agree. */
const variants = [{}, { optimise: false }, { traced: true }];
const emptySlots = (): string[] => Array.from({ length: 8 }, () => "");

/** Runs a program that makes no pending look-up. */
function run(program: CompiledModule, slots: string[], host: Host): void {
  assert.equal(program.run("main", slots, host), undefined);
}

function exceeds(module: Module, field: BudgetField, limit: number): void {
  for (const variant of variants) {
    const program = compileModule(module, { ...variant, budget: budgetWith({ [field]: limit }) });
    assert.throws(() => run(program, emptySlots(), recorder()), { name: "BudgetExceeded", field });
    const enough = compileModule(module, { ...variant, budget: budgetWith({ [field]: limit + 1 }) });
    run(enough, emptySlots(), recorder());
  }
}

test("statements per event are limited, tests are not counted", () => {
  const tests = Array.from({ length: 50 }, (_, i) => when(is(one(slot(0)), `no ${i}`), [note()]));
  exceeds(moduleOf([note(), ...tests, note(), when(yes, [note()])]), "statementsPerEvent", 2);
  exceeds(moduleOf(Array.from({ length: 100 }, () => note())), "statementsPerEvent", 99);
  exceeds(moduleOf([note(), note()], { language: "sieve" }), "sieveInstructions", 1);
});

test("look-ups per event are limited", () => {
  exceeds(moduleOf([1, 2, 3].map((i) => lookup(`fact${i}`, [], []))), "lookupsPerEvent", 2);
});

test("a computed value has a largest size: smtpFilters stops, Sieve cuts (RFC 5229 §3)", () => {
  const doubling = Array.from({ length: 8 }, (): Statement => set(0, { op: "concat", parts: [slot(0), slot(0)] }));
  for (const variant of variants) {
    const budget = budgetWith({ variableBytes: 100 });
    const strict = compileModule(moduleOf([set(0, slot(1)), ...doubling]), { ...variant, budget });
    const slots = ["", "x", "", "", "", "", "", ""];
    assert.throws(() => run(strict, slots, recorder()), { field: "variableBytes" });
    const cutting = compileModule(moduleOf([set(0, slot(1)), ...doubling], { language: "sieve" }), {
      ...variant,
      budget,
    });
    const cut = ["", "x", "", "", "", "", "", ""];
    run(cutting, cut, recorder());
    assert.equal(cut[0], "x".repeat(100));
  }
});

test("a loop over hostile many items is limited", () => {
  const each: Statement = { op: "each", source: "parts", data: {}, body: [], span };
  for (const variant of variants) {
    const program = compileModule(moduleOf([each]), { ...variant, budget: budgetWith({ statementsPerEvent: 1_000 }) });
    let ended = 0;
    const host = recorder({ eachNext: () => true, eachEnd: () => void ended++ });
    assert.throws(() => run(program, emptySlots(), host), { field: "statementsPerEvent" });
    assert.equal(ended, 1);
  }
});

test("author text in any string position stays text", () => {
  const attack = "`$" + "{globalThis.broken = 1}`'];globalThis.broken=1;//\"\\\n\u2028*/ globalThis.broken=1 /*";
  const data = { [attack]: attack, names: [attack] };
  const host: Value = { op: "host", name: attack, args: [text(attack)], data };
  const main: Block = [
    set(1, text(attack)),
    set(2, { op: "concat", parts: [text(attack), slot(0), { op: "pure", name: attack, args: [host], data }] }),
    { op: "effect", kind: attack, args: [text(attack), slot(1)], data, span: { ...span, file: attack }, rule: attack },
    { op: "lookup", name: attack, reads: [], writes: [3], data, span, rule: attack },
    when({ op: "ask", name: attack, args: [text(attack)], data, pure: true, span }, [note(text(attack))]),
    when({ op: "inList", subject: header(attack), lists: [text(attack)], span }, [note()]),
    { op: "each", source: attack, data, name: attack, body: [{ op: "break", name: attack, span }], span },
    ...Array.from({ length: 40 }, (_, i) => when(is(header(attack), `${attack}${i % 20}`), [set(4, text(attack))])),
    ...["is", "contains", "glob", "prefix", "cidr", "gt"].map((how) =>
      when({ ...is(header(attack), attack), how: how as "is", capture: true }, [note()]),
    ),
  ];
  for (const variant of variants) {
    const program = compileModule(moduleOf(main, { file: attack }), variant);
    const slots = emptySlots();
    const seen = recorder({ source: () => [`${attack}7`], lookup: () => [attack], ask: () => true });
    run(program, slots, seen);
    assert.deepEqual([slots[1], slots[3], slots[4]], [attack, attack, attack]);
    assert.ok(seen.acts.includes(`${attack} ${attack} ${attack}`));
  }
  assert.equal("broken" in globalThis, false);
});

test("synchronous unless a look-up answers a promise", async () => {
  for (const variant of variants) {
    const program = compileModule(moduleOf([lookup("spf", [], [0]), note(slot(0))]), variant);
    const now = recorder({ lookup: () => ["pass"] });
    assert.equal(program.run("main", emptySlots(), now), undefined);
    assert.deepEqual(now.acts, ["note pass"]);
    const later = recorder({ lookup: () => Promise.resolve(["fail"]) });
    const running = program.run("main", emptySlots(), later);
    assert.deepEqual(later.acts, []);
    await running;
    assert.deepEqual(later.acts, ["note fail"]);
  }
});

test("four independent look-ups of 100 ms take about 100 ms and are applied in order", async () => {
  const verdict = (i: number) => when(is(one(slot(i)), "bad"), [set(7, text(`rule ${i}`))]);
  const main = [0, 1, 2, 3].flatMap((i) => [lookup(`check${i}`, [], [i], []), verdict(i), note(slot(7))]);
  const program = compileModule(moduleOf(main));
  const host = recorder({ lookup: (name) => sleep(100, [name === "check1" ? "bad" : "good"]) });
  const started = performance.now();
  await program.run("main", emptySlots(), host);
  const took = performance.now() - started;
  assert.ok(took < 250, `${took} ms`);
  assert.deepEqual(host.acts, ["note ", "note rule 1", "note rule 1", "note rule 1"]);
});

test("a look-up waits for what it reads, for effects it sees, and for being certain", async () => {
  const order = async (main: Block): Promise<string[]> => {
    const program = compileModule(moduleOf(main));
    const events: string[] = [];
    const lookUp = async (name: string): Promise<string[]> => {
      events.push(`start ${name}`);
      await sleep(1);
      events.push(`end ${name}`);
      return ["x"];
    };
    await program.run("main", emptySlots(), recorder({ lookup: lookUp }));
    return events;
  };
  const inSeries = ["start a", "end a", "start b", "end b"];
  assert.deepEqual(await order([lookup("a", [], [0]), lookup("b", [0], [1])]), inSeries);
  assert.deepEqual(await order([lookup("a", [], [0]), note(), lookup("b", [], [1])]), inSeries);
  assert.deepEqual(await order([lookup("a", [], [0]), note(), lookup("b", [], [1], ["note"])]), inSeries);
  assert.deepEqual(
    await order([lookup("a", [], [0]), when(is(one(slot(0)), "y"), [stop]), lookup("b", [], [1])]),
    inSeries,
  );
  const together = ["start a", "start b", "end a", "end b"];
  assert.deepEqual(await order([lookup("a", [], [0]), note(), lookup("b", [], [1], [])]), together);
  assert.deepEqual(await order([lookup("a", [], [0]), set(5, slot(0)), lookup("b", [2], [1])]), together);
});

test("when one of several started look-ups fails, the run fails once and nothing is left unhandled", async () => {
  const program = compileModule(moduleOf([lookup("a", [], [0], []), lookup("b", [], [1], []), note()]));
  const host = recorder({ lookup: async (name) => Promise.reject(new Error(name)) });
  await assert.rejects(async () => program.run("main", emptySlots(), host), { message: "a" });
  await sleep(1);
  assert.deepEqual(host.acts, []);
});

test("an elsif chain of 20,000 branches compiles, and takes the first true branch", () => {
  let chain: Block = [note(text("none"))];
  for (let i = 20_000; i > 0; i--)
    chain = [when(is(one(slot(i % 3)), `v${i % 9_000}`), [note(text(`branch ${i}`))], chain)];
  for (const variant of variants) {
    const program = compileModule(moduleOf(chain), variant);
    const host = recorder();
    run(program, ["", "v7501", "", "", "", "", "", ""], host);
    run(program, emptySlots(), host);
    assert.deepEqual(host.acts, ["note branch 7501", "note none"]);
  }
});

test("an unknown or empty entry point does nothing", () => {
  const program = compileModule(moduleOf([], { entries: { main: [], other: [note()] } }));
  assert.equal(program.has("main"), false);
  assert.equal(program.has("other"), true);
  assert.equal(program.run("nothing", emptySlots(), recorder()), undefined);
});
