/** The smtpFilters parser: what it accepts, what it says about slips, and that any text gets an answer in time. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { Statement } from "../../../grammar/smtpfilters/ast.ts";
import { parse } from "../../../grammar/smtpfilters/parser.ts";
import { constantText, readText } from "../../../grammar/smtpfilters/text.ts";

const limits = { nesting: 64 };
const read = (source: string) => parse(source, limits);

function statements(body: string): Statement[] {
  const { script, problems } = read(`event onConnect { ${body} }`);
  assert.deepEqual(problems, []);
  return script.blocks[0]!.body;
}

test("statements of every kind", () => {
  const kinds = statements(`call (a); call(b) onError reject; set (x, "1"); SET(y,2); export (x);
    if (is (a, "b")) { } else if (not is (c, "d")) { } else { call (e); }
    rule "name" { tag ("t"); }`).map((statement) => statement.kind);
  assert.deepEqual(kinds, ["call", "call", "set", "set", "export", "if", "rule"]);
});

test("keywords may be names", () => {
  const [call, set] = statements(`call (set); set (if, "x");`);
  assert.equal(call?.kind === "call" && call.name.text, "set");
  assert.equal(set?.kind === "set" && set.name.text, "if");
});

test("an if chain is one statement with its branches in order", () => {
  const [statement] = statements(`if (is (a, "1")) {} else if (is (a, "2")) {} else if (is (a, "3")) {} else {}`);
  assert.ok(statement?.kind === "if");
  assert.equal(statement.branches.length, 3);
  assert.deepEqual(statement.otherwise, []);
});

test("comments are kept, # inside a text is data", () => {
  const { script, problems } = read(`# one\nevent onConnect { set (a, "x # y"); # two\n}`);
  assert.deepEqual(problems, []);
  assert.deepEqual(
    script.comments.map((comment) => comment.text),
    ["# one", "# two"],
  );
});

test("texts: escapes, line breaks, expansions, lone percent signs", () => {
  const parts = (raw: string) => readText(raw, 0).parts.map((part) => ("name" in part ? `<${part.name}>` : part.text));
  assert.deepEqual(parts('"a\\"b\\\\c\\d"'), ['a"b\\c\\d']);
  assert.deepEqual(parts('"x%name%y"'), ["x", "<name>", "y"]);
  assert.deepEqual(parts('"100% of %%name%% %no name%"'), ["100% of %name% %no name%"]);
  assert.deepEqual(parts('"%a%%b%"'), ["<a>", "<b>"]);
  assert.deepEqual(parts('"one\r\ntwo\nthree"'), ["one\r\ntwo\nthree"]);
  assert.equal(constantText(readText('""', 0)), "");
  assert.equal(constantText(readText('"%a%"', 0)), undefined);
});

test("five slips give five reports, each at its place, and the rest is read", () => {
  const source = `event onConnect {
  set (smtpGreeting "hello");
  call (x)
  set (a, "b";
  switch (x) { }
}
evnt onFoo { }
method y { call (z); }
`;
  const { script, problems } = read(source);
  const found = problems.map((problem) => [problem.code, source.slice(0, problem.start).split("\n").length]);
  assert.deepEqual(found, [
    ["P001", 2],
    ["P001", 3],
    ["P001", 4],
    ["P007", 5],
    ["P001", 7],
  ]);
  assert.deepEqual(
    script.blocks.map((block) => block.name.text),
    ["onConnect", "y"],
  );
  assert.equal(problems[1]!.hint, 'a statement ends with ";"');
});

test("an unterminated text and comment are found where they begin", () => {
  const text = 'event onConnect { set (a, "b); }';
  assert.deepEqual(
    read(text)
      .problems.filter((p) => p.code === "P003")
      .map((p) => p.start),
    [text.indexOf('"')],
  );
  assert.ok(read("/* never ends").problems.some((p) => p.code === "P004" && p.start === 0));
});

test("nesting is limited before parsing", () => {
  const nested = (depth: number) => `event a { if (${"anyOf (".repeat(depth)}is (x, "y")${")".repeat(depth)}) { } }`;
  assert.deepEqual(read(nested(61)).problems, []);
  assert.deepEqual(
    read(nested(62)).problems.map((p) => p.code),
    ["P005"],
  );
  assert.deepEqual(
    read("(".repeat(500_000)).problems.map((p) => p.code),
    ["P005"],
  );
});

test("hostile texts of 64 KiB get an answer in time", () => {
  const bits = [
    "{",
    "}",
    ";",
    "event ",
    "call ",
    '"\\',
    "/*",
    "+",
    "(a,",
    "if (",
    "'",
    "\0",
    "event onConnect { set (a, }",
  ];
  for (const bit of bits) {
    const started = performance.now();
    const { problems } = read(bit.repeat(Math.ceil(65_536 / bit.length)));
    assert.ok(problems.length > 0 && problems.length <= 50, JSON.stringify(bit));
    assert.ok(performance.now() - started < 5_000, `${JSON.stringify(bit)} took too long`);
  }
});

test("any text gives an answer, never a throw", () => {
  const word = fc.constantFrom(
    "event",
    "method",
    "onConnect",
    "{",
    "}",
    "(",
    ")",
    ";",
    ",",
    '"a"',
    '"',
    "if",
    "else",
    "anyOf",
    "not",
    "set",
    "call",
    "#",
    "\n",
    "7",
    "is",
    "rule",
    "onError",
  );
  const soup = fc.array(word, { maxLength: 60 }).map((words) => words.join(" "));
  fc.assert(
    fc.property(fc.oneof(soup, fc.string({ unit: "binary", maxLength: 300 })), (source) => {
      const { script, problems } = read(source);
      assert.ok(Array.isArray(script.blocks));
      for (const { start, end } of problems) assert.ok(start >= 0 && start <= end);
    }),
    { numRuns: 500, seed: 1 },
  );
});
