/** The debugger's record of a session: what is a step, what isn't, its limit, and walking it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { budgetWith } from "../../../src/config/budget.ts";
import { compilePolicy } from "../../../src/policy/compile.ts";
import { Timeline } from "../../../src/workbench/dap/timeline.ts";
import { readSession } from "../../../src/workbench/play/session.ts";
import { recordSteps } from "../../../src/workbench/play/steps.ts";

const source = `event onConnect {
  set (own, "1");
  call (checkReverseDNS) onError tmpreject;
}

event onMailFrom {
  if (is (mailFrom, "a@b")) {
    rule "named" {
      set (own, "2");
      export (own);
    }
  }
}
`;

async function recorded(debugSteps = 1_000) {
  const compiled = compilePolicy(source, { file: "p.script" });
  assert.ok(compiled.ok);
  const session = readSession({ mailFrom: "a@b", facts: { checkReverseDNS: { ReverseDNSResult: "pass" } } });
  const loaded = { policy: compiled.program, source, folder: "." };
  return recordSteps(loaded, session, undefined, budgetWith({ debugSteps }));
}

test("steps are the author's statements, with an event before and an end behind", async () => {
  const { steps, lines } = await recorded();
  assert.deepEqual(
    steps.map(({ kind, line, rule }) => `${kind} ${line} ${rule}`.trim()),
    ["event 1", "set 2", "lookup 3", "end 4", "event 6", "test 7", "if 7", "set 9 named", "export 10", "end 13"],
  );
  assert.deepEqual(lines, [1, 2, 3, 6, 7, 9, 10]);
});

test("values are those of the step one stands on", async () => {
  const timeline = new Timeline(await recorded());
  assert.equal(timeline.values().get("own"), undefined);
  const own: Array<string | undefined> = [];
  while (timeline.go(1, ({ kind }) => kind === "set")) own.push(timeline.values().get("own"));
  assert.deepEqual(own, ["1", "2"]);
  assert.ok(timeline.go(-1, ({ kind }) => kind === "lookup"));
  assert.equal(timeline.values().get("own"), "1");
  assert.equal(timeline.values().get("ReverseDNSResult"), "pass");
  assert.equal(
    timeline.go(-1, ({ line }) => line === 99),
    false,
  );
  assert.equal(timeline.current?.kind, "lookup", "it stays where it is");
});

test("steps beyond the budget are left out, and that is said", async () => {
  const { steps, transcript } = await recorded(4);
  assert.deepEqual(
    steps.filter(({ kind }) => kind !== "end").map(({ line }) => line),
    [1, 2, 3, 6],
  );
  assert.ok(transcript.includes("4 more steps were not recorded"));
});
