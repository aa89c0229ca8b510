/** The shipped policies are proven; each seeded fault is found, with a session that plays to the same end. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { faults } from "./faults.ts";
import { faulty, proofOf, replay, shipped, shownBy, textOf } from "./lab.ts";

for (const script of shipped) {
  test(`${script}.script: every theorem holds`, async () => {
    const findings = await proofOf(textOf(script));
    assert.ok(findings.length >= 8);
    for (const { theorem, result, reason } of findings) assert.equal(result, "holds", `${theorem}: ${reason}`);
  });
}

test("there are thirty faults or more, of different names", () => {
  assert.ok(new Set(faults.map(({ name }) => name)).size >= 30);
});

for (const fault of faults) {
  test(`${fault.script}.script, ${fault.name}: ${fault.found}`, async () => {
    const source = faulty(fault);
    const findings = await proofOf(source, { wanted: fault.found });
    const finding = findings.find(({ result }) => result === "fails");
    assert.ok(finding, JSON.stringify(findings));
    assert.ok(finding.session, "a session shows it");
    assert.ok(shownBy(source, finding, await replay(source, finding)), "and explain plays it to the same end");
  });
}
