/**
 * `npm run chaos [-- --minutes N] [--kills N] [--only TEXT] [--lanes N]`: the real gateway under load while its
 * processes, disk, clock, network and peers fail. Goes through the list of faults until the time is over (default 5
 * minutes) and so many processes were killed with -9 (default any number), then puts all in order and waits. Every message with a 250 must be delivered, bounced or queued, and whole. Exit code 1 when one is not.
 */

import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { faults } from "./faults.ts";
import { House } from "./house.ts";
import { printed } from "./ledger.ts";
import { startLoad } from "./load.ts";

const settleMs = 45_000;

const { values } = parseArgs({
  options: {
    minutes: { type: "string", default: "5" },
    kills: { type: "string", default: "0" },
    lanes: { type: "string", default: "10" },
    only: { type: "string", default: "" },
  },
});
const chosen = faults.filter(({ name }) => name.includes(values.only));
if (chosen.length === 0) {
  process.stderr.write(`no fault is called "${values.only}":\n${faults.map(({ name }) => `  ${name}\n`).join("")}`);
  process.exit(2);
}
const end = Date.now() + Number(values.minutes) * 60_000;
const wantedKills = Number(values.kills);
if (wantedKills > 0 && !chosen.some(({ name }) => isKill(name))) throw new Error("none of the chosen faults kills");
const house = await House.build();
const { ledger } = house;
const stopLoad = startLoad(house, Number(values.lanes));
let kills = 0;
try {
  await sleep(1_000);
  for (let round = 0; round === 0 || Date.now() < end || kills < wantedKills; round++) {
    for (const fault of chosen) {
      // After the first round the time is the limit; then only kills are still wanted.
      if (round > 0 && Date.now() > end && (kills >= wantedKills || !isKill(fault.name))) continue;
      ledger.fault = fault.name;
      const before = ledger.acceptedCount;
      const result = await fault.run(house);
      if (typeof result === "number") kills += result;
      const remark = typeof result === "string" ? result : `${ledger.acceptedCount - before} accepted meanwhile`;
      process.stdout.write(`${fault.name}: ${remark}\n`);
      ledger.fault = `after ${fault.name}`;
      await sleep(1_000);
    }
  }
} finally {
  await stopLoad();
}
await house.settle(settleMs);
const balance = ledger.balance(house.queued());
process.stdout.write(`${kills} kills; ${printed(balance)}\n`);
for (const { number, during } of balance.lost.slice(0, 50))
  process.stdout.write(`lost: number ${number}, accepted ${during}\n`);
if (balance.lost.length > 0 || balance.damaged > 0) {
  process.stdout.write(house.gateway.output().slice(-4_000));
  process.exitCode = 1;
}
await house.close();

function isKill(name: string): boolean {
  return name.includes("killed");
}
