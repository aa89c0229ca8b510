import assert from "node:assert/strict";
import { test } from "node:test";
import { imageOf, openImage } from "../../../src/policy/image.ts";
import type { PolicyProgram } from "../../../src/policy/types.ts";
import { compiled, noFacts } from "./session.ts";

const rules = Array.from(
  { length: 200 },
  (_, i) =>
    `  if (isCase (mailFrom, "u${i}@bad.test")) { set (smtpAction, "reject"); export (score); set (score, "${i}"); }\n`,
);
const source = `event onMailFrom {\n${rules.join("")}}\nevent onRcptTo { log ("%score%"); }\n`;

/** Result, origin and exports of both events for one sender. */
function played(program: PolicyProgram, mailFrom: string): unknown {
  const session = program.session("smtpIn", noFacts);
  session.input("mailFrom", mailFrom);
  return [session.run("onMailFrom"), session.run("onRcptTo"), session.exports()];
}

test("a program opened from an image does what the compiled one does, and is known by the same", async () => {
  const result = imageOf(source, { file: "t.script" });
  assert.ok(result.ok);
  const opened = await openImage(structuredClone(result.image));
  const policy = compiled(source);
  assert.deepEqual(
    [opened.hash, opened.file, opened.lists, opened.warnings],
    [policy.hash, policy.file, policy.lists, policy.warnings],
  );
  for (const event of ["onMailFrom", "onRcptTo", "onConnect"] as const) {
    assert.equal(opened.isEmpty(event), policy.isEmpty(event));
  }
  for (const sender of ["u0@bad.test", "U199@BAD.test", "good@bad.test", ""]) {
    assert.deepEqual(played(opened, sender), played(policy, sender), sender);
  }
});

test("a script with an error has no image", () => {
  const result = imageOf("event onMailFrom { set (smtpAction, ); }", { file: "t.script" });
  assert.equal(result.ok, false);
  assert.ok(result.diagnostics.length > 0);
});
