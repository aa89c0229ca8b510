/** Assertions in comments: what they mean, and what is wrong with those that can't be read. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { budgetDefaults } from "../../../src/config/budget.ts";
import { assertionsOf } from "../../../src/policy/assertion.ts";
import { proofOf } from "./lab.ts";

const read = (source: string) => assertionsOf(source, "t.script", budgetDefaults);

async function resultOf(assertion: string, rules = ""): Promise<string> {
  const [finding] = await proofOf(`# assert ${assertion}\n${rules}`, { wanted: "assert" });
  return finding!.result;
}

const corp =
  'event onMailFrom { if (allOf (isCase (mailFromDomain, "corp.example"), is (authUser, ""))) { set (smtpAction, "reject"); } }';

test("an assertion holds with the rule and fails without", async () => {
  const text = 'never accept when mailFromDomain is "corp.example" and not authenticated';
  assert.equal(await resultOf(text, corp), "holds");
  assert.equal(await resultOf(text), "fails");
});

test("each outcome and connective", async () => {
  assert.equal(await resultOf("never relay when not authenticated and not trusted"), "holds");
  assert.equal(await resultOf("never relay when not trusted"), "fails");
  assert.equal(
    await resultOf('always refuse when mailFromDomain is "corp.example" and not authenticated', corp),
    "holds",
  );
  assert.equal(
    await resultOf('always accept when local and (authenticated or mailFromDomain inDomain "corp.example")'),
    "holds",
  );
  assert.equal(await resultOf("always accept when local or authenticated"), "holds");
  assert.equal(await resultOf("always accept"), "fails");
  assert.equal(await resultOf('never report when mailFrom is ""'), "holds");
  assert.equal(await resultOf('never report when not mailFrom is ""'), "fails");
  assert.equal(
    await resultOf(
      "never quarantine when encrypted",
      'event onDataReceived { if (is (isSSLConnection, "no")) { quarantine ("x"); } }',
    ),
    "holds",
  );
  assert.equal(
    await resultOf(
      'always deliver when local and remoteSmtpIp ipRange "192.0.2.0/24"',
      'event onDataReceived { hold ("x"); }',
    ),
    "fails",
  );
});

test("patterns that cross a boundary are found: a suffix is no domain", async () => {
  const rules =
    'event onMailFrom { if (not (match (mailFromDomain, "corp\\.example$"))) { set (smtpAction, "reject"); } }';
  assert.equal(await resultOf('never accept when not mailFromDomain inDomain "corp.example"', rules), "fails");
  const dotted =
    'event onMailFrom { if (not (inDomain (mailFromDomain, "corp.example"))) { set (smtpAction, "reject"); } }';
  assert.equal(await resultOf('never accept when not mailFromDomain inDomain "corp.example"', dotted), "holds");
});

test("what can't be read is pointed at", () => {
  const cases: ReadonlyArray<readonly [string, RegExp, string]> = [
    ["never acept", /accept or deliver/, "acept"],
    ["sometimes accept", /never or always/, "sometimes"],
    ['never accept when mailFromDomian is "x"', /unknown variable/, "mailFromDomian"],
    ['never accept when mailFrom equals "x"', /unknown comparator/, "equals"],
    ["never accept when mailFrom is x", /text in quotes/, "x"],
    ['never accept when remoteSmtpIp ipRange "10.0.0/8"', /not an address/, '"10.0.0/8"'],
    ['never accept when mailFrom match "("', /missing|paren/i, '"("'],
    ["never accept when (local", /"\)" is missing/, ""],
    ["never accept when local local", /not expected/, "local"],
    ["never accept when", /missing/, ""],
  ];
  for (const [text, message, at] of cases) {
    const source = `event onConnect { }\n  # assert ${text}\n`;
    const { assertions, diagnostics } = read(source);
    assert.equal(assertions.length, 0, text);
    assert.match(diagnostics[0]!.message, message, text);
    const { start, end } = diagnostics[0]!.span;
    assert.equal(source.slice(start.offset, end.offset), at, text);
    assert.equal(start.line, 2);
  }
});

test("conditions nest within the budget, and any text is answered", () => {
  const nested = (depth: number): string => `# assert never accept when ${"(".repeat(depth)}local${")".repeat(depth)}`;
  assert.equal(read(nested(budgetDefaults.nesting)).diagnostics.length, 0);
  assert.match(read(nested(budgetDefaults.nesting + 1)).diagnostics[0]!.message, /too deeply/);
  const words = fc.constantFrom(
    "never",
    "accept",
    "when",
    "not",
    "(",
    ")",
    '"x"',
    "mailFrom",
    "is",
    "and",
    "or",
    "local",
    '"',
  );
  fc.assert(
    fc.property(fc.array(words, { maxLength: 12 }), (list) => {
      const { assertions, diagnostics } = read(`# assert ${list.join(" ")}.`);
      assert.equal(assertions.length + diagnostics.length, 1);
    }),
    { numRuns: 300 },
  );
});
