import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { budgetWith } from "../../../src/config/budget.ts";
import { findingEdits, withoutForgedFields } from "../../../src/gateway/authentication.ts";
import { editHeaders } from "../../../src/message/edit.ts";
import { parseHeaders } from "../../../src/message/headers.ts";

const budget = budgetWith();
const cleaned = (text: string, trusted = false): string => {
  const header = Buffer.from(text, "latin1");
  return withoutForgedFields(header, parseHeaders(header, budget), "gw.test", trusted).toString("latin1");
};

test("fields that claim our name go, however they are written; others stay to the octet", () => {
  const others =
    "Authentication-Results: other.test;\r\n\tspf=pass\r\nARC-Authentication-Results: i=1; gw.test; none\r\n";
  for (const forged of [
    "Authentication-Results: gw.test; dkim=pass\r\n",
    "AUTHENTICATION-results:\r\n GW.Test; dkim=pass\r\n",
    'Authentication-Results: "gw.test"; dkim=pass\r\n',
    "Authentication-Results: (a comment) gw.test 1; dkim=pass\r\n",
    "Authentication-Results : gw.test; dkim=pass\r\n",
    "Authentication-Results: (no end gw.test; dkim=pass\r\n",
    "Authentication-Results:\r\n",
  ]) {
    assert.equal(
      cleaned(`From: a@b\r\n${forged}${others}Subject: x\r\n\r\n`),
      `From: a@b\r\n${others}Subject: x\r\n\r\n`,
    );
  }
  // As many as a header may have: no limit of edits stands in the way.
  assert.equal(cleaned(`${"Authentication-Results: gw.test; spf=pass\r\n".repeat(999)}To: a\r\n\r\n`), "To: a\r\n\r\n");
  const header = Buffer.from("Subject: x\r\n\r\n");
  assert.equal(withoutForgedFields(header, parseHeaders(header, budget), "gw.test", false), header, "not copied");
});

test("levels of scanners are taken from trusted clients only", () => {
  const levels = "X-AxigenSpam-Level: 1\r\nx-axigenvirus-LEVEL : 1\r\n";
  assert.equal(cleaned(`${levels}X-Spam-Level: 2\r\n\r\n`), "X-Spam-Level: 2\r\n\r\n");
  assert.equal(cleaned(`${levels}\r\n`, true), `${levels}\r\n`);
});

test("what is found becomes fields that nothing of the sender's can break", () => {
  fc.assert(
    fc.property(fc.string(), (hostile) => {
      const spf = { result: "fail", identity: "mailfrom", sender: `${hostile}@x.test`, domain: "x.test" } as const;
      const found = { spf: { ...spf, mechanism: "", explanation: "", problem: "" }, receivedSpf: "fail (no);" };
      const edits = findingEdits(found, "gw.test", { failed: false, spfWritten: false });
      const { header } = editHeaders(Buffer.from("To: a\r\n\r\n"), edits, budget);
      const names = parseHeaders(header, budget).fields.map(({ lower }) => lower);
      assert.deepEqual(names, ["authentication-results", "received-spf", "to"]);
    }),
    { numRuns: 300 },
  );
});

test("nothing is written when nothing was checked; a failure is told; policy's own Received-SPF stands alone", () => {
  const none = { failed: false, spfWritten: false };
  assert.deepEqual(findingEdits({}, "gw.test", none), []);
  const [failed] = findingEdits({}, "gw.test", { ...none, failed: true });
  assert.equal(failed?.op === "add" && failed.value, "gw.test; dmarc=temperror");
  const spf = {
    result: "none",
    identity: "helo",
    sender: "",
    domain: "h.test",
    mechanism: "",
    explanation: "",
  } as const;
  const edits = findingEdits({ spf: { ...spf, problem: "" }, receivedSpf: "none" }, "gw.test", {
    ...none,
    spfWritten: true,
  });
  assert.equal(edits.length, 1);
  assert.equal(edits[0]?.op === "add" && edits[0].value, "gw.test; spf=none smtp.helo=h.test");
});
