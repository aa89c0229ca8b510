/**
 * The child of queue-crash.test.ts: commits and delivers messages as fast as it can until it is killed. It tells what it
 * was promised on standard output, one line each: "C id key" after a commit's promise, "D key" when a delivery was made.
 * Arguments: folder, first key.
 */
import { writeSync } from "node:fs";
import { pino } from "pino";
import { budgetWith } from "../../src/config/budget.ts";
import { outcome } from "../../src/message/outcome.ts";
import { createScheduler } from "../../src/queue/scheduler.ts";
import { openSpool } from "../../src/queue/spool.ts";
import { newMessage } from "../unit/queue/fixtures.ts";

const [dir = "", first = "0"] = process.argv.slice(2);
const budget = budgetWith({ queueSegmentBytes: 300_000, queueBodyInLog: 20_000, queueCacheBytes: 100_000 });
const log = pino({ level: "silent" });
const spool = await openSpool({ dir, shard: 0, budget, log });
const accepted = outcome.accept({ code: 250, enhanced: "2.0.0", text: "ok", origin: "test" });
const later = outcome.defer({ code: 450, enhanced: "4.2.0", text: "later", origin: "test" });

createScheduler({
  spool,
  retry: { firstMs: 20, maxMs: 40, attempts: 1_000 },
  hostName: "mx.test",
  budget,
  log,
  deliverer: {
    async deliver(message, recipients) {
      const key = message.envelope.mailFrom;
      // Some of the mail never goes out, so that old segments are pinned and compaction has work to do.
      const number = Number.parseInt(key, 10);
      const goes = number % 50 !== 0 && (number % 5 !== 0 || message.attempts > 0);
      if (goes) writeSync(1, `D ${key}\n`);
      return recipients.map((recipient) => ({
        recipient,
        outcome: goes ? accepted : later,
        destination: "test",
        kind: goes ? "delivered" : "deferred",
      }));
    },
  },
}).start();

let next = Number(first);
async function commitForever(): Promise<never> {
  for (;;) {
    const number = next++;
    const key = `${number}@sender.example`;
    const body = spool.openBody(Buffer.from(`X-Key: ${key}\r\n`));
    const wait = body.write(Buffer.alloc(number % 40 === 0 ? 60_000 : 1_000 + (number % 3_000), 120));
    if (wait !== undefined) await wait;
    const id = await spool.commit(body, newMessage(key));
    writeSync(1, `C ${id} ${key}\n`);
    if (number % 7 === 0) await new Promise((resolve) => setTimeout(resolve, 1));
  }
}
for (let i = 0; i < 10; i++) void commitForever();
