import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import {
  type AuthenticationResults,
  formatAuthenticationResults,
  isForgedAuthenticationResults,
  parseAuthenticationResults,
} from "../../../src/checks/authres.ts";

test("what is refused", () => {
  for (const value of [
    "",
    "example.com",
    "example.com;",
    "example.com; none; spf=pass",
    "example.com; spf=pass;",
    "example.com; spf",
    "example.com; spf=pass smtp.mailfrom",
    "example.com; spf=pass (unclosed",
    'example.com; spf=pass reason="unclosed',
    "; spf=pass",
    "exa mple.com; spf=pass",
    `example.com; spf=pass ${"(".repeat(100)}${")".repeat(100)}`,
  ]) {
    assert.equal(parseAuthenticationResults(value), undefined, value);
  }
});

test("hostile values are read or refused in no time", () => {
  const length = 250_000;
  const started = process.cpuUsage();
  for (const value of [
    `${"(".repeat(length)}`,
    `a.test; spf=pass ${"(a)".repeat(length / 3)}`,
    `a.test; spf=pass "${"\\".repeat(length)}`,
    `"${'\\"'.repeat(length / 2)}`,
    `a.test${"; spf=pass".repeat(length / 10)}`,
    `a.test; spf=pass${" x.y=z".repeat(length / 6)}`,
    `a.test; spf=pass${" x . y =".repeat(length / 8)}`,
    `a.test; none${" ".repeat(length)}x`,
    `a.test; ${"-".repeat(length)}=pass`,
    `a.test; ${"a-".repeat(length / 2)}=pass`,
    "\u0000".repeat(length),
  ]) {
    parseAuthenticationResults(value);
    isForgedAuthenticationResults({ name: "authentication-results", raw: `X: ${value}` }, new Set(["a.test"]));
  }
  const { user } = process.cpuUsage(started);
  assert.ok(user < 2_000_000, `${user} µs of processor time`);
});

test("versions, comments, folds and none", () => {
  assert.deepEqual(parseAuthenticationResults(' "ex ample" 1 (c (d) \\) e) ; none '), {
    authservId: "ex ample",
    version: "1",
    results: [],
  });
  assert.deepEqual(parseAuthenticationResults("a.test;\r\n\tDKIM / 1 = PASS (x) reason = ok header (y) . D = b.test"), {
    authservId: "a.test",
    results: [
      {
        method: "dkim",
        version: "1",
        result: "pass",
        reason: "ok",
        properties: [{ type: "header", name: "d", value: "b.test" }],
      },
    ],
  });
});

test("what is written is read back the same, whatever the values hold", () => {
  const word = fc.stringMatching(/^[a-z][a-z0-9]{0,8}$/);
  const value = fc
    .string({ minLength: 1, maxLength: 20, unit: fc.constantFrom(...'abc.@"\\() ;=/\r\nü') })
    .map((text) => text.replace(/[\r\n]/g, " "));
  const result = fc.record({
    method: word,
    result: word,
    reason: value,
    comment: fc.string({ maxLength: 20 }),
    properties: fc.array(fc.record({ type: word, name: word, value }), { maxLength: 3 }),
  });
  fc.assert(
    fc.property(word, fc.array(result, { minLength: 1, maxLength: 3 }), (authservId, results) => {
      const written = formatAuthenticationResults({ authservId, results });
      assert.doesNotMatch(written, /\r\n(?!\t)|[^\r]\n|\r(?!\n)/);
      const read = parseAuthenticationResults(written);
      const expected: AuthenticationResults = { authservId, results: results.map(({ comment: _, ...rest }) => rest) };
      assert.deepEqual(JSON.parse(JSON.stringify(read ?? null)), JSON.parse(JSON.stringify(expected)), written);
    }),
    { numRuns: 300, seed: 1 },
  );
});

test("fields that claim to be ours are found, unreadable ones too", () => {
  const ours = new Set(["mx.example.net"]);
  const forged = (value: string, name = "authentication-results") =>
    isForgedAuthenticationResults({ name, raw: `X: ${value}` }, ours);
  assert.equal(forged("mx.example.net; spf=pass"), true);
  assert.equal(forged("(hi) MX.Example.NET 1; spf=pass"), true);
  assert.equal(forged('"mx.example.net"; spf=pass'), true);
  assert.equal(forged("mx.example.net garbage"), true);
  assert.equal(forged("((("), true);
  assert.equal(forged("other.example; spf=pass"), false);
  assert.equal(forged("mx.example.net; spf=pass", "received-spf"), false);
});
