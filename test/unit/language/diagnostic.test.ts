import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { type Diagnostic, diagnosticJson, formatDiagnostic, hasErrors } from "../../../src/language/diagnostic.ts";
import { nearest } from "../../../src/language/nearest.ts";

const at = (line: number, column: number, endLine: number, endColumn: number): Diagnostic["span"] => ({
  file: "a.script",
  start: { offset: 0, line, column },
  end: { offset: 0, line: endLine, column: endColumn },
});

test("file, line, column, code, the line, a caret under the place, a hint", () => {
  const wrong: Diagnostic = {
    severity: "error",
    code: "P020",
    message: "unknown variable",
    hint: "mailFrom?",
    span: at(2, 7, 2, 12),
  };
  assert.equal(
    formatDiagnostic(wrong, "first\n\tset (malFr, 1)\nlast"),
    "a.script:2:7: error P020 unknown variable\n        set (malFr, 1)\n             ^^^^^\n    hint: mailFrom?\n",
  );
  assert.equal(formatDiagnostic(wrong, undefined), "a.script:2:7: error P020 unknown variable\n    hint: mailFrom?\n");
  assert.deepEqual(diagnosticJson(wrong).line, 2);
  assert.ok(hasErrors([wrong]));
  assert.ok(!hasErrors([{ ...wrong, severity: "warning" }]));
});

test("did you mean: a slip is found, a different word is not", () => {
  const names = ["mailFrom", "mailFromDomain", "rcptTo"];
  assert.equal(nearest("malFrom", names), "mailFrom");
  assert.equal(nearest("RCPTOT", names), "rcptTo");
  assert.equal(nearest("greylist", names), undefined);
  assert.equal(nearest("x".repeat(100_000), names), undefined);
});

test("control bytes of a script don't reach the terminal, odd spans don't throw", () => {
  const span = fc.tuple(fc.nat(9), fc.nat(40), fc.nat(9), fc.nat(40)).map((numbers) => at(...numbers));
  fc.assert(
    fc.property(fc.string({ unit: "binary", maxLength: 60 }), span, (source, where) => {
      const shown = formatDiagnostic({ severity: "warning", code: "P001", message: "m", span: where }, source);
      assert.doesNotMatch(shown, /[\x00-\x09\x0b-\x1f\x7f]/);
    }),
    { numRuns: 500, seed: 1 },
  );
});
