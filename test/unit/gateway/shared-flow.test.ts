import assert from "node:assert/strict";
import { test } from "node:test";
import { budgetWith } from "../../../src/config/budget.ts";
import { type Ban, type FlowAnswer, FlowLedger, type FlowNote, SharedFlow } from "../../../src/gateway/shared-flow.ts";
import { unlimited } from "../../../src/smtp/incoming/flow.ts";

const scope = (name: string, limits: Partial<typeof unlimited>) => ({ name, limits: { ...unlimited, ...limits } });

/** A ledger and workers joined by plain calls; `messages` counts what would have been IPC messages. */
function fleet(workers: number, budget = budgetWith()) {
  let messages = 0;
  const flows: SharedFlow[] = [];
  const ledger = new FlowLedger(budget, (bans) => {
    for (const flow of flows) flow.banned(bans);
  });
  for (let index = 0; index < workers; index++) {
    const flow: SharedFlow = new SharedFlow((notes) => {
      messages++;
      flow.answered(structuredClone(ledger.take(index, structuredClone(notes) as FlowNote[])) as FlowAnswer[]);
    });
    flows.push(flow);
  }
  return { flows, ledger, messages: () => messages };
}

test("counts are exact over workers, and what one leaves another may take", async () => {
  const { flows } = fleet(3);
  const scopes = [scope("listener", { maxConnections: 6 }), scope("rule", { maxPerPeer: 4 })];
  const asked = Array.from({ length: 9 }, (_, i) => flows[i % 3]!.enter("192.0.2.1", scopes));
  const answers = await Promise.all(asked);
  assert.deepEqual(
    [...answers].sort(),
    ["peer", "peer", "peer", "peer", "peer", undefined, undefined, undefined, undefined].sort(),
  );
  assert.equal(await flows[0]!.enter("192.0.2.2", scopes), undefined);
  assert.equal(await flows[1]!.enter("192.0.2.3", scopes), undefined);
  assert.equal(await flows[2]!.enter("192.0.2.4", scopes), "total");
  flows[answers.indexOf(undefined) % 3]!.leave("192.0.2.1", scopes);
  assert.equal(await flows[2]!.enter("192.0.2.4", scopes), undefined);
});

test("a dead worker's connections are given back; giving back more than was taken changes nothing", async () => {
  const { flows, ledger } = fleet(2);
  const scopes = [scope("listener", { maxPerPeer: 2 })];
  assert.equal(await flows[0]!.enter("192.0.2.1", scopes), undefined);
  assert.equal(await flows[1]!.enter("192.0.2.1", scopes), undefined);
  assert.equal(await flows[1]!.enter("192.0.2.1", scopes), "peer");
  ledger.forget(0);
  ledger.forget(0);
  flows[0]!.leave("192.0.2.1", scopes);
  assert.equal(await flows[1]!.enter("192.0.2.1", scopes), undefined);
  assert.equal(await flows[1]!.enter("192.0.2.1", scopes), "peer");
});

test("what nothing limits is not asked about; one turn's questions travel together", async () => {
  const { flows, messages } = fleet(1);
  assert.equal(flows[0]!.enter("192.0.2.1", [scope("rule", {})]), undefined, "answered at once");
  flows[0]!.leave("192.0.2.1", [scope("rule", {})]);
  await new Promise(setImmediate);
  assert.equal(messages(), 0);
  const limited = [scope("listener", { maxConnections: 100 })];
  await Promise.all(Array.from({ length: 50 }, () => flows[0]!.enter("192.0.2.1", limited)));
  assert.equal(messages(), 1);
});

test("a ban reaches every worker, holds without limits too, is told to new workers, and ends", async (t) => {
  t.mock.timers.enable({ apis: ["Date"], now: 1_000_000 });
  const budget = budgetWith({ authBanFailures: 2, authBanMs: 60_000 });
  const { flows, ledger } = fleet(2, budget);
  const free = [scope("rule", {})];
  assert.equal(await flows[0]!.authFailed("2001:db8::1"), false);
  assert.equal(await flows[1]!.authFailed("2001:db8::2"), true, "one /64 network is one peer");
  assert.equal(flows[0]!.enter("2001:db8::3", free), "banned");
  assert.equal(flows[0]!.enter("2001:db8:1::3", free), undefined);
  const late = new SharedFlow(() => {});
  const known: Ban[] = ledger.bans();
  late.banned(known);
  assert.equal(late.enter("2001:db8::4", free), "banned");
  t.mock.timers.setTime(1_000_000 + 60_001);
  assert.equal(flows[0]!.enter("2001:db8::3", free), undefined);
  assert.deepEqual(ledger.bans(), []);
});

test("a success clears the count of failures", async () => {
  const { flows } = fleet(2, budgetWith({ authBanFailures: 2 }));
  assert.equal(await flows[0]!.authFailed("192.0.2.1"), false);
  flows[1]!.authSucceeded("192.0.2.1");
  await new Promise(setImmediate);
  assert.equal(await flows[0]!.authFailed("192.0.2.1"), false);
});
