/** What each pass does; that it keeps the meaning is the differential test's. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { compileModule } from "../../../src/language/compile.ts";
import type { Block, Statement, Subject, Test } from "../../../src/language/ir.ts";
import { foldConstants } from "../../../src/language/optimise/constants.ts";
import { removeDead } from "../../../src/language/optimise/dead.ts";
import { indexRules } from "../../../src/language/optimise/index-rules.ts";
import { shareTests } from "../../../src/language/optimise/share.ts";
import { noSpan as span } from "../../../src/language/span.ts";
import { header, is, lookup, moduleOf, note, one, recorder, set, slot, stop, text, when, yes } from "./fixtures.ts";

const folded = (block: Block): Block => foldConstants(moduleOf(block)).entries.main!;
const live = (block: Block): Block => removeDead(moduleOf(block)).entries.main!;
const shared = (block: Block): Block => shareTests(moduleOf(block)).entries.main!;
const indexed = (block: Block): Block => indexRules(moduleOf(block)).entries.main!;
const rules = (count: number, testOf: (i: number) => Test, then: Block = [note()]): Block =>
  Array.from({ length: count }, (_, i) => when(testOf(i), then));
const no: Test = { op: "const", value: false, span };

test("constants: known slots are put in place until something writes them", () => {
  const greeting = { op: "concat", parts: [text("Hello "), slot(0)] } as const;
  assert.deepEqual(
    folded([set(0, text("you")), set(1, { ...greeting, parts: [...greeting.parts] })])[1],
    set(1, text("Hello you")),
  );
  const test = is(one(slot(0)), "a");
  assert.deepEqual(folded([set(0, text("a")), when(test, [note()], [stop])]), [set(0, text("a")), note()]);
  const unknown = [set(0, text("a")), lookup("x", [], [0]), when(test, [note()])];
  assert.deepEqual(folded(unknown), unknown);
  const branch = [set(0, text("a")), when(is(one(slot(1)), "b"), [set(0, text("c"))]), when(test, [note()])];
  assert.deepEqual(folded(branch), branch);
});

test("constants: any and all are decided, flattened and joined, side effects kept", () => {
  const [a, b] = [is(one(slot(0)), "a"), is(one(slot(0)), "b")];
  const impure: Test = { op: "ask", name: "duplicate", args: [], data: {}, pure: false, span };
  const testOf = (test: Test): Test | undefined => {
    const [s] = folded([when(test, [note()], [stop])]);
    return s?.op === "if" ? s.test : undefined;
  };
  const any = (...tests: Test[]): Test => ({ op: "any", tests, span });
  const all = (...tests: Test[]): Test => ({ op: "all", tests, span });
  assert.deepEqual(testOf(any(a, any(no, b))), is(one(slot(0)), "a", "b"));
  assert.deepEqual(testOf(all(a, all(yes, impure))), all(a, impure));
  assert.equal(testOf(any(a, yes)), undefined);
  assert.deepEqual(testOf(any(impure, yes, a)), any(impure, yes));
  assert.deepEqual(testOf(all(impure, no, a)), all(impure, no));
  assert.deepEqual(testOf({ op: "not", test: { op: "not", test: a, span }, span }), a);
  assert.deepEqual(folded([when(any(), [note()], [stop])]), [stop]);
});

test("dead code: behind a stop, overwritten stores, tests without branches", () => {
  assert.deepEqual(live([note(), stop, note()]), [note(), stop]);
  assert.deepEqual(live([set(0, text("a")), set(1, text("b")), set(0, text("c"))]), [
    set(1, text("b")),
    set(0, text("c")),
  ]);
  const read = [set(0, text("a")), set(1, slot(0)), set(0, text("c"))];
  assert.deepEqual(live(read), read);
  const seen = [set(0, text("a")), note(), set(0, text("c"))];
  assert.deepEqual(live(seen), seen);
  assert.deepEqual(live([when(is(one(slot(0)), "a"), [])]), []);
  const impure = [when({ op: "ask", name: "duplicate", args: [], data: {}, pure: false, span }, [])];
  assert.deepEqual(live(impure), impure);
});

test("sharing: equal neighbouring tests are asked once, unless the first rule changes the answer", () => {
  const test = is(one(slot(0)), "a");
  assert.deepEqual(shared([when(test, [note()]), when(test, [set(1, text("b"))])]), [
    when(test, [note(), set(1, text("b"))]),
  ]);
  for (const body of [set(0, text("b")), stop, lookup("x", [], [0])]) {
    const kept = [when(test, [body]), when(test, [note()])];
    assert.deepEqual(shared(kept), kept);
  }
  const edit: Statement = { op: "effect", kind: "edit", args: [], data: {}, span };
  const edited = [when(is(header("Subject"), "a"), [edit]), when(is(header("Subject"), "a"), [note()])];
  assert.deepEqual(shared(edited), edited);
});

/** How many rules are tried for given slot values. */
function tried(block: Block, slots: string[], subjects: string[] = []): number {
  let asked = 0;
  const counting: Test = { op: "ask", name: "count", args: [], data: {}, pure: true, span };
  const counted = block.map((s) =>
    s.op === "if" ? when({ op: "all", tests: [s.test, counting], span }, s.then, s.else) : s,
  );
  const program = compileModule(moduleOf(counted));
  const host = recorder({ ask: () => asked++ >= 0, source: () => subjects });
  assert.equal(program.run("main", slots, host), undefined);
  return asked;
}

test("index: each kind of test leads to its candidates only", () => {
  const on = (how: string, fold: string, key: (i: number) => string, subject: Subject = one(slot(0))): Block =>
    rules(200, (i) => ({ ...is(subject, key(i)), how: how as "is", fold: fold as "ascii" }));
  assert.equal(
    tried(
      on("is", "ascii", (i) => `User${i}@x.example`),
      ["uSER7@X.example"],
    ),
    1,
  );
  assert.equal(
    tried(
      on("domain", "ascii", (i) => `d${i}.example`),
      ["a.b.D7.example"],
    ),
    1,
  );
  assert.equal(
    tried(
      on("cidr", "octet", (i) => `10.${i}.0.0/16`),
      ["10.7.8.9"],
    ),
    1,
  );
  assert.equal(
    tried(
      on("cidr", "octet", (i) => `2001:db8:${i}::/48`),
      ["2001:db8:10::1"],
    ),
    1,
  );
  assert.equal(
    tried(
      on("contains", "ascii", (i) => `word${i}.`, header("Subject")),
      [],
      ["a WORD7. b"],
    ),
    1,
  );
  assert.equal(
    tried(
      on("glob", "ascii", (i) => `*list-${i}-x*`),
      ["my List-7-x y"],
    ),
    1,
  );
  assert.equal(
    tried(
      on("regex", "ascii", (i) => `^x+ invoice no${i}: \\d+`),
      ["xx Invoice no7: 42"],
    ),
    1,
  );
  assert.equal(
    tried(
      on("eq", "integer", (i) => `${i}`),
      [" 007 "],
    ),
    1,
  );
  assert.equal(
    tried(
      on("gt", "integer", (i) => `${i}`),
      ["3"],
    ),
    3,
  );
  assert.equal(
    tried(
      on("ge", "numeric", (i) => `${i}`),
      ["3"],
    ),
    4,
  );
  assert.equal(
    tried(
      on("lt", "integer", (i) => `${i}`),
      ["197"],
    ),
    2,
  );
  assert.equal(
    tried(
      on("le", "integer", (i) => `${i}`),
      ["197"],
    ),
    3,
  );
});

test("one test with 20,000 keys costs about what one with ten does", () => {
  const many = (how: string, key: (i: number) => string) => {
    const test = { ...is(header("x"), ...Array.from({ length: 20_000 }, (_, i) => key(i))), how: how as "is" };
    const program = compileModule(moduleOf([when(test, [set(0, text("yes"))])]));
    return (value: string): boolean => {
      const slots = [""];
      assert.equal(program.run("main", slots, recorder({ source: () => [value] })), undefined);
      return slots[0] === "yes";
    };
  };
  const domain = many("domain", (i) => `d${i}.example`);
  const cidr = many("cidr", (i) => `10.${i >> 8}.${i & 255}.0/24`);
  const contains = many("contains", (i) => `offer ${i}.`);
  assert.deepEqual([domain("a.d19999.example"), domain("xd7.example"), domain("d20000.example")], [true, false, false]);
  assert.deepEqual([cidr("10.0.7.9"), cidr("10.200.0.1"), cidr("x")], [true, false, false]);
  assert.deepEqual(
    [contains("an offer 777. to"), contains("an Offer 777. to"), contains("offer")],
    [true, false, false],
  );
  const started = performance.now();
  for (let i = 0; i < 500; i++) domain("a.good.example");
  assert.ok(performance.now() - started < 200);
});

test("index: a condition that every rule repeats is not the one they are found by", () => {
  const block = rules(200, (i) => ({
    op: "all",
    tests: [is(one(slot(1)), "corp.example"), is(one(slot(0)), `u${i}`)],
    span,
  }));
  assert.equal(tried(block, ["u7", "corp.example"]), 1);
});

test("index: typical bodies don't split a run; a rule that tests what others write is tried always", () => {
  const run = rules(100, (i) => is(one(slot(0)), `u${i}`), [set(5, text("reject"))]);
  const testsAction = when(is(one(slot(5)), "reject"), [note()]);
  const [only, ...rest] = indexed([...run, testsAction]);
  assert.equal(rest.length, 0);
  assert.deepEqual(only?.op === "indexed" && only.plan.always, [100]);
});

test("index: where many rules test what earlier ones write, a new run begins", () => {
  const first = rules(50, (i) => is(one(slot(0)), `u${i}`), [set(1, text("seen"))]);
  const second = rules(50, (i) => is(one(slot(1)), `v${i}`));
  assert.deepEqual(
    indexed([...first, ...second]).map((s) => s.op === "indexed" && s.ifs.length),
    [50, 50],
  );
});

test("index: short runs, and rules with an else, stay as they are", () => {
  const short = rules(7, (i) => is(one(slot(0)), `u${i}`));
  assert.deepEqual(indexed(short), short);
  const withElse = Array.from({ length: 20 }, (_, i) => when(is(one(slot(0)), `u${i}`), [note()], [stop]));
  assert.deepEqual(indexed(withElse), withElse);
});

test("index: a long elsif chain becomes one run with its last else", () => {
  let chain: Block = [stop];
  for (let i = 30; i > 0; i--) chain = [when(is(header("Subject"), `s${i}`), [note()], chain)];
  const [only] = indexed(chain);
  assert.ok(only?.op === "indexed");
  assert.equal(only.ifs.length, 30);
  assert.deepEqual(only.otherwise, [stop]);
});

test("100,000 rules cost about what 100 do", () => {
  const cost = (count: number): number => {
    const program = compileModule(
      moduleOf(rules(count, (i) => is(one(slot(0)), `user${i}@x.example`), [set(1, text("x"))])),
    );
    const host = recorder();
    let best = Number.POSITIVE_INFINITY;
    for (let round = 0; round < 20; round++) {
      const started = performance.now();
      for (let i = 0; i < 200; i++) void program.run("main", ["nobody@x.example", ""], host);
      best = Math.min(best, performance.now() - started);
    }
    return best;
  };
  const [few, many] = [cost(100), cost(100_000)];
  // Twice is what bench/policy.ts shows; ten times still tells an index from a list on a busy machine.
  assert.ok(many < few * 10, `${few} ms, ${many} ms`);
});
