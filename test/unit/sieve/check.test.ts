/** Static check: messages, hints, folding, and each extension's declaration. */
import { deepEqual, equal, match, ok } from "node:assert/strict";
import { test } from "node:test";
import { compileSieve } from "../../../src/sieve/compile.ts";
import { extensions } from "../../../src/sieve/extensions/index.ts";
import { Registry } from "../../../src/sieve/registry.ts";
import { defaultSettings } from "../../../src/sieve/settings.ts";

function diagnostics(source: string) {
  return compileSieve(source, { file: "t.sieve" }).diagnostics;
}

test("every example of the documentation compiles", () => {
  const all = extensions.map((e) => e.capability).filter((name) => name !== "" && name !== "include");
  for (const { capability, doc } of extensions) {
    const requires = `require [${[...all, "include"].map((name) => `"${name}"`).join(", ")}];\n`;
    const compiled = compileSieve(requires + doc.example, { file: capability, includeLoader: () => "keep;" });
    deepEqual(
      compiled.diagnostics.filter((d) => d.severity === "error").map((d) => d.message),
      [],
      `${capability}: ${doc.example}`,
    );
  }
});

test("hints: a forgotten require, a slip of the pen, a missing colon", () => {
  const hints = diagnostics(
    'fileinto "a";\nhaeder "a" "b";\nif header :contain "a" "b" { keep; }\nif header :count "gt" "a" "1" { keep; }\nkepe;',
  ).map((d) => d.hint);
  deepEqual(hints, [
    'add: require "fileinto";',
    undefined,
    "did you mean ':contains'?",
    'add: require "relational";',
    "did you mean 'keep'?",
  ]);
});

test("positions point at the fault", () => {
  const [only] = diagnostics('keep;\n  redirect "nobody";');
  deepEqual([only!.span.start.line, only!.span.start.column, only!.code], [2, 12, "S009"]);
});

test("unknown words are reported once", () => {
  equal(diagnostics("frop; frop; frop;").length, 1);
  equal(diagnostics('if header :frop "a" "b" {} if header :frop "a" "b" {}').length, 1);
});

test("unreached branches are not checked", () => {
  deepEqual(diagnostics('require "ihave"; if false { frop; } elsif ihave "nothing" { frap; } else { keep; }'), []);
  match(
    diagnostics("if true { frop; } else { frap; }")
      .map((d) => d.message)
      .join(),
    /'frop'/,
  );
});

test("limits: variables, includes", () => {
  const settings = { ...defaultSettings, maxVariables: 2, includes: 1 };
  const three = 'require "variables"; set "a" ""; set "b" ""; set "c" "";';
  match(compileSieve(three, { file: "t", settings }).diagnostics[0]!.message, /limit of 2 variables/);
  const two = 'require "include"; include "a"; include "b";';
  match(
    compileSieve(two, { file: "t", settings, includeLoader: () => "keep;" }).diagnostics[0]!.message,
    /no more than 1 includes/,
  );
});

test("no name is declared twice", () => {
  let message = "";
  try {
    new Registry([...extensions, extensions[1]!]);
  } catch (error) {
    message = (error as Error).message;
  }
  match(message, /declared twice/);
  ok(new Registry(extensions).capabilities.includes("fileinto"));
});

test("what is never taken is not checked; what may be taken is, whatever is wrong around it", () => {
  const errors = (source: string) => diagnostics(source).filter(({ severity }) => severity === "error").length;
  equal(errors('require "ihave"; if ihave "frop" { frop 1; } else { keep; }'), 0);
  equal(errors('require "ihave"; if ihave "fileinto" { keep; } else { keep 1; }'), 0);
  equal(errors("if true { keep; } else { keep 1; }"), 0);
  equal(errors("keep; elsif true { keep 1; }"), 2);
  equal(errors('if allof (header :t "a" "b", false) { keep 1; }'), 2);
});
