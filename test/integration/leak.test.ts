/** The soak in small: memory and handles of a worker stop growing while messages, lost clients and reloads go on. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { House } from "../chaos/house.ts";
import { startLoad } from "../chaos/load.ts";
import { usage } from "../chaos/series.ts";
import { dialogue, until } from "./lab.ts";

const rounds = 6;
const messagesARound = 250;

test("messages, clients that vanish and reloads leave neither memory nor handles behind", {
  timeout: 240_000,
}, async (t) => {
  const house = await House.build();
  t.after(() => house.close());
  const { ledger, gateway, host } = house;
  const stop = startLoad(house, 12, { secure: 2 });
  const samples: Array<ReturnType<typeof usage>> = [];
  for (let round = 1; round <= rounds; round++) {
    await until("a round of messages", () => ledger.acceptedCount >= round * messagesARound, 60_000);
    for (let i = 0; i < 10; i++) {
      const gone = await dialogue(gateway.port, undefined, host);
      await gone.reply();
      for (const line of ["EHLO gone.test", "MAIL FROM:<a@sender.test>", "RCPT TO:<b@out.test>", "DATA"]) {
        await gone.say(line);
      }
      gone.raw("Subject: half\r\n\r\nof a message");
      gone.close();
    }
    const { code, err } = gateway.postern("reload", "--config", gateway.configFile);
    assert.equal(code, 0, err);
    await sleep(500);
    samples.push(usage(gateway.workers()));
  }
  await stop();
  await house.settle(20_000);
  t.diagnostic(samples.map(({ memory, handles }) => `${memory.toFixed(0)} MiB, ${handles} handles`).join("; "));
  const [warm, end] = [samples[2]!, samples.at(-1)!];
  assert.ok(end.handles <= warm.handles + 12, "handles: no more than the lanes' own connections in between");
  assert.ok(end.memory < warm.memory * 1.3, "memory");
  assert.deepEqual(ledger.balance(house.queued()).lost, []);
});
