/** Random scripts of real words: the compiler answers with diagnostics or a script, the script with a result. */
import { ok } from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { compileSieve } from "../../../src/sieve/compile.ts";
import { extensions, registry } from "../../../src/sieve/extensions/index.ts";
import { profiles } from "../../../src/sieve/profile.ts";
import { runSieve } from "../../../src/sieve/run.ts";

const commands = extensions.flatMap((e) => (e.commands ?? []).map((c) => c.name));
const tests = extensions.flatMap((e) => (e.tests ?? []).map((t) => t.name));
const tags = [
  ...new Set(
    extensions.flatMap((e) => [
      ...(e.tags ?? []).map((t) => t.tag.name),
      ...[...(e.commands ?? []), ...(e.tests ?? [])].flatMap((c) => (c.tags ?? []).map((t) => t.name)),
    ]),
  ),
];

const text = fc.constantFrom(
  "a",
  "",
  "subject",
  "a@b.example",
  "gt",
  "i;octet",
  "i;ascii-numeric",
  "\\\\Seen",
  "*",
  "(",
  "$",
  "year",
  "+0100",
  "mailto:a@b.example",
  "x y",
  "é",
  "1",
);
const reference = ["$", "{a}"].join("");
const string = fc
  .oneof(
    text,
    text.map((t) => `${t}${reference}`),
  )
  .map((t) => `"${t}"`);
const argument = fc.oneof(
  { weight: 4, arbitrary: string },
  { weight: 2, arbitrary: fc.array(string, { minLength: 1, maxLength: 3 }).map((all) => `[${all.join(", ")}]`) },
  { weight: 1, arbitrary: fc.constantFrom("0", "1", "7", "3K", "18446744073709551615") },
);
const tagged = fc.tuple(fc.constantFrom(...tags), fc.option(argument)).map(([tag, value]) => `:${tag} ${value ?? ""}`);
const args = fc
  .tuple(fc.array(tagged, { maxLength: 2 }), fc.array(argument, { maxLength: 3 }))
  .map(([t, a]) => [...t, ...a].join(" "));
const { aCommand } = fc.letrec<{ aTest: string; aCommand: string }>((tie) => ({
  aTest: fc.oneof(
    { maxDepth: 3 },
    fc.tuple(fc.constantFrom(...tests), args).map(([name, a]) => `${name} ${a}`),
    tie("aTest").map((t) => `not ${t}`),
    fc
      .tuple(fc.constantFrom("anyof", "allof"), tie("aTest"), tie("aTest"))
      .map(([name, a, b]) => `${name} (${a}, ${b})`),
  ),
  aCommand: fc.oneof(
    { maxDepth: 3 },
    fc.tuple(fc.constantFrom(...commands), args).map(([name, a]) => `${name} ${a};`),
    fc.tuple(tie("aTest"), tie("aCommand")).map(([t, c]) => `if ${t} { ${c} } elsif not ${t} { ${c} } else { ${c} }`),
    tie("aCommand").map((c) => `foreverypart { ${c} }`),
  ),
}));

test("no script of real words makes the compiler or a run throw", () => {
  const requires = `require [${registry.capabilities.map((name) => `"${name}"`).join(", ")}];\n`;
  const message = Buffer.from("From: a@b.example\r\nSubject: a\r\nContent-Type: text/plain\r\n\r\nbody\r\n");
  let ran = 0;
  fc.assert(
    fc.property(fc.array(aCommand, { minLength: 1, maxLength: 3 }), fc.boolean(), (body, axigen) => {
      const profile = axigen ? profiles.axigen : profiles.rfc;
      const compiled = compileSieve(requires + body.join("\n"), { file: "f", profile, includeLoader: () => "keep;" });
      if (!compiled.ok) return ok(compiled.diagnostics.length > 0);
      const result = runSieve(compiled.script, { message, envelope: { from: "", to: "a@b.example" } });
      ok(result.errors.length === 0 || (result.actions.length === 0 && result.implicitKeep));
      ran++;
      return undefined;
    }),
    { numRuns: Number(process.env.POSTERN_FUZZ_RUNS ?? 600), seed: 3 },
  );
  ok(ran > 0);
});
