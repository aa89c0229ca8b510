/**
 * The chaos harness in small: one round of its quickest faults, and its books balance; books that don't are noticed.
 * The whole is `npm run chaos`.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { faults } from "../chaos/faults.ts";
import { House } from "../chaos/house.ts";
import { Ledger, messageText, printed } from "../chaos/ledger.ts";
import { startLoad } from "../chaos/load.ts";
import { growth, type Sample } from "../chaos/series.ts";

test("kill -9 of everything, a next hop that drops and one that rejects: nothing is lost", {
  timeout: 120_000,
}, async (t) => {
  const house = await House.build();
  t.after(() => house.close());
  const { ledger } = house;
  const stop = startLoad(house, 4);
  for (const name of ["supervisor and workers killed with -9 at once", "next hop: drop", "next hop: reject"]) {
    ledger.fault = name;
    await faults.find((fault) => fault.name === name)!.run(house);
    await sleep(500);
  }
  await stop();
  await house.settle(20_000);
  const balance = ledger.balance(house.queued());
  t.diagnostic(printed(balance));
  assert.deepEqual(balance.lost, []);
  assert.equal(balance.damaged, 0);
  assert.ok(balance.delivered > 0 && balance.bounced > 0, "both ways were taken");
});

test("the ledger notices what is lost, damaged or came twice", () => {
  const ledger = new Ledger();
  for (const number of [1, 2, 3, 4]) ledger.accepted(number);
  ledger.arrived(messageText(1));
  ledger.arrived(messageText(1));
  ledger.arrived(messageText(2).replace(/2 2/, "2 9"));
  ledger.reported(`Subject: sorry\r\n\r\n${messageText(3)}`);
  const { lost, ...counts } = ledger.balance(1);
  assert.deepEqual(counts, { sent: 0, accepted: 4, delivered: 1, bounced: 1, queued: 1, twice: 1, damaged: 1 });
  assert.equal(lost.length, 1);
});

test("growth is told from noise", () => {
  const series = (memory: (i: number) => number): Sample[] =>
    Array.from({ length: 40 }, (_, i) => ({ at: i, memory: memory(i), handles: 1, lag: 1, errors: 0 }));
  assert.ok(
    growth(
      series((i) => 100 + (i % 7)),
      "memory",
    ) < 1.1,
  );
  assert.ok(
    growth(
      series((i) => 100 + 5 * i),
      "memory",
    ) > 1.25,
  );
});
