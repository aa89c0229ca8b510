/** `postern fmt`: what is printed means the same, keeps every comment, and printing again changes nothing. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { Script } from "../../../grammar/smtpfilters/ast.ts";
import { parse } from "../../../grammar/smtpfilters/parser.ts";
import { print } from "../../../grammar/smtpfilters/print.ts";
import { randomScript } from "./random-script.ts";

/** The tree without places. */
const bare = (script: Script): unknown =>
  JSON.parse(JSON.stringify(script.blocks, (key, value) => (key === "start" || key === "end" ? undefined : value)));
const read = (source: string) => {
  const { script, problems } = parse(source, { nesting: 64 });
  assert.deepEqual(
    problems.filter((problem) => !problem.warning),
    [],
    source,
  );
  return script;
};

test("parse(print(x)) means x, with the same comments, and print is idempotent", () => {
  fc.assert(
    fc.property(randomScript, (source) => {
      const script = read(source);
      const printed = print(script, source);
      const again = read(printed);
      assert.deepEqual(bare(again), bare(script));
      assert.deepEqual(
        again.comments.map((c) => c.text.trimEnd()),
        script.comments.map((c) => c.text.trimEnd()),
      );
      assert.equal(print(again, printed), printed);
    }),
    { numRuns: 500, seed: 7 },
  );
});

test("the layout", () => {
  const source = `# head

event onConnect{call(a);# behind
# above
set(b,"x");


if(anyOf(is(c,"1"),is(d,"2"))){}else{export(e);}}`;
  assert.equal(
    print(read(source), source),
    `# head

event onConnect {
  call (a); # behind
  # above
  set (b, "x");

  if (anyOf (is (c, "1"), is (d, "2"))) {
  } else {
    export (e);
  }
}
`,
  );
});

test("long tests are divided", () => {
  const member = 'is (mailFromDomain, "a-rather-long-name.example")';
  const source = `event onMailFrom { if (anyOf (${member}, ${member}, ${member})) { } }`;
  assert.match(print(read(source), source), /if \(anyOf \(\n {4}is \(.*\),\n {4}is/);
});
