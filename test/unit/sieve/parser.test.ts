/** The Sieve grammar: recovery, limits, and that no text makes it throw. */
import { deepEqual, equal, match, ok } from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { parserLimits, parseSieve } from "../../../grammar/sieve/parser.ts";

function errors(source: string, limits = parserLimits): string[] {
  return parseSieve(source, "t.sieve", limits).errors.map((e) => `${e.span.start.line}: ${e.message}`);
}

test("reports each mistake once and reads on", () => {
  deepEqual(errors('keep 3,4;\nif anyof (true, ) { keep; }\nkeep ["a" 3];\nkeep 99999999999999999999;\nkeep'), [
    "1: expected end of command ';' or the beginning of a compound block '{', but found ','",
    "2: expecting test identifier after ',' in test list, but found ')'",
    "3: expecting ',' or end of string list ']', but found number",
    "4: number exceeds integer limits (max 18446744073709551615)",
    "5: expected end of command ';' or the beginning of a compound block '{', but found end of file",
  ]);
});

test("strings: escapes, dot-stuffing, line ends", () => {
  const { commands, errors } = parseSieve('a "x\\"\\\\\\n" text: # comment\n..dot\nline\n.\n;', "t");
  deepEqual(errors, []);
  deepEqual(
    commands[0]!.arguments.map((argument) => argument.kind === "string" && argument.text),
    ['x"\\n', ".dot\r\nline\r\n"],
  );
});

test("numbers with quantifiers", () => {
  const { commands } = parseSieve("a 1K 2m 3G 0;", "t");
  deepEqual(
    commands[0]!.arguments.map((argument) => argument.kind === "number" && argument.value),
    [1_024, 2_097_152, 3_221_225_472, 0],
  );
});

test("comments may stand anywhere, and must end", () => {
  deepEqual(errors("if /* a */ true # b\n { keep /* c */ ; }"), []);
  match(errors("keep; /* open")[0]!, /end of file before end of bracket comment/);
  match(errors('keep "open')[0]!, /end of file before end of quoted string started at line 1/);
  match(errors("keep; # \0")[0]!, /NUL character in hash comment/);
});

test("limits are crossed with a message each", () => {
  const nested = (n: number) => `${"if true {".repeat(n)}${"}".repeat(n)}`;
  deepEqual(errors(nested(32)), []);
  match(errors(nested(33))[0]!, /cannot nest command blocks deeper than 32 levels/);
  match(errors(`if ${"not ".repeat(40)}true {}`)[0]!, /cannot nest tests deeper than 32 levels/);
  match(errors(`keep ${"1 ".repeat(33)};`)[0]!, /too many arguments/);
  match(errors(`${"a".repeat(33)};`)[0]!, /impossibly long identifier/);
  match(errors('a "12345";', { ...parserLimits, string: 4 })[0]!, /too long/);
  match(errors("keep;", { ...parserLimits, script: 4 })[0]!, /script is too large/);
  ok(errors("keep 1,2;\n".repeat(500)).length <= 101);
});

test("nesting bombs end at once", () => {
  const start = performance.now();
  for (const piece of ["{", "(", "[", "not ", "if true {", "anyof (", '"', "/*", "text:\n"]) {
    ok(parseSieve(piece.repeat(20_000), "bomb").errors.length > 0);
  }
  ok(performance.now() - start < 2_000);
});

test("any text gives a tree or errors, with spans inside the text", () => {
  const piece = fc.constantFrom(
    "keep",
    "if",
    "true",
    ";",
    "{",
    "}",
    "(",
    ")",
    "[",
    "]",
    ",",
    ":tag",
    '"a"',
    "1K",
    "text:\n.\n",
    "#",
    "/*",
    "*/",
    "\0",
    "\r\n",
    "é",
  );
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string(),
        fc.array(piece).map((all) => all.join(" ")),
      ),
      (source) => {
        for (const { span } of parseSieve(source, "f").errors) {
          ok(span.start.offset <= span.end.offset && span.end.offset <= source.length);
        }
      },
    ),
    { numRuns: 400, seed: 1 },
  );
});

test("parsing is linear in the text", () => {
  const many = 'if header :contains ["a", "b"] "c" { fileinto "d"; }\n';
  equal(parseSieve(many.repeat(5_000), "long").commands.length, 5_000);
});

test("each broken list is one mistake, or two when its end is not found; reading goes on behind it", () => {
  const counts: Array<[text: string, errors: number]> = [
    ['if allof (header "a" ["b" ) "c" ], true) { keep; }', 2],
    ['if header "a" [ 3 ) "c" ] "d" { keep; }', 2],
    ['setflag [ [ "a" , "b" ] ;', 2],
    ["if allof (true, (false, true), false) { keep; }", 1],
    ["if allof (true, anyof(true; false), false ) { keep; }", 3],
    ['if anyof (allof (header "a" ["b", 3 { keep; } keep;', 4],
    ["if anyof (true, allof (3 { keep; } keep;", 3],
    ["if anyof (true, not allof (3 { keep; }", 4],
    ["if anyof (not allof (3 , false ), true ) { keep; }", 2],
    ["if allof (true,, false) { keep; }", 1],
  ];
  for (const [text, errors] of counts) equal(parseSieve(text, "t").errors.length, errors, text);
});
