/**
 * A large backlog in one shard of the queue: how long lists with filters take, how much memory it needs, and whether
 * mail for a healthy destination suffers from a dead one. By hand: `node test/chaos/million.ts [MESSAGES [DEAD]]`.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import { budgetWith } from "../../src/config/budget.ts";
import { outcome } from "../../src/message/outcome.ts";
import { createScheduler } from "../../src/queue/scheduler.ts";
import { openSpool } from "../../src/queue/spool.ts";
import type { QueueFilter, ScheduledSpool } from "../../src/queue/types.ts";
import { newMessage } from "../unit/queue/fixtures.ts";

export interface Figures {
  messages: number;
  fillSeconds: number;
  /** Slowest of three, ms, by filter. */
  lists: Record<string, number>;
  /** Resident memory with the backlog, MiB. */
  rssMiB: number;
  /** Messages a second accepted and delivered to the healthy destination: alone, and beside the dead one. */
  healthyAlone: number;
  healthyBesideDead: number;
  /** Deliveries that were tried to the dead destination. */
  deadAttempts: number;
}

const hour = 3_600_000;
const atOnce = 1_000;
const body = Buffer.alloc(1_000, "x");

async function fill(spool: ScheduledSpool, count: number, to: (index: number) => string, notBefore = 0): Promise<void> {
  for (let done = 0; done < count; done += atOnce) {
    const batch = Array.from({ length: Math.min(atOnce, count - done) }, async (_, at) => {
      const index = done + at;
      const message = newMessage(`sender${index % 997}@s.example`, [to(index)]);
      const writer = spool.openBody(Buffer.from(`Subject: ${index}\r\n\r\n`));
      await writer.write(body);
      await spool.commit(writer, notBefore > 0 ? { ...message, notBefore } : message);
    });
    await Promise.all(batch);
  }
}

async function slowest(spool: ScheduledSpool, filter: QueueFilter): Promise<number> {
  let worst = 0;
  for (let round = 0; round < 3; round++) {
    const began = performance.now();
    await spool.list({ ...filter, limit: 100 });
    worst = Math.max(worst, performance.now() - began);
  }
  return Math.round(worst);
}

const accepted = outcome.accept({ code: 250, enhanced: "2.0.0", text: "ok", origin: "test" });
const unreachable = outcome.defer({ code: 451, enhanced: "4.4.1", text: "no answer from host", origin: "test" });

/** Accepts and delivers `count` messages to healthy.example, right after `dead` ones to dead.example. */
async function deliver(spool: ScheduledSpool, count: number, dead: number): Promise<{ rate: number; tried: number }> {
  let delivered = 0;
  let tried = 0;
  const done = Promise.withResolvers<void>();
  const scheduler = createScheduler({
    spool,
    retry: { firstMs: hour, maxMs: hour, attempts: 100 },
    hostName: "mx.test",
    budget: budgetWith(),
    log: pino({ level: "silent" }),
    deliverer: {
      async deliver(_message, recipients) {
        const up = recipients[0]!.address.endsWith("@healthy.example");
        if (!up) tried++;
        await new Promise((resolve) => setTimeout(resolve, up ? 2 : 50));
        if (up && ++delivered === count) done.resolve();
        const kind = up ? "relayed" : "deferred";
        return recipients.map((recipient) => ({
          recipient,
          outcome: up ? accepted : unreachable,
          destination: "test",
          kind,
        }));
      },
    },
  });
  scheduler.start();
  await fill(spool, dead, (index) => `u${index}@dead.example`);
  const began = performance.now();
  await fill(spool, count, (index) => `u${index}@healthy.example`);
  await done.promise;
  const rate = count / ((performance.now() - began) / 1_000);
  await scheduler.stop(5_000);
  return { rate: Math.round(rate), tried };
}

/** @param messages size of the waiting backlog, @param dead messages for the destination that does not answer */
export async function measureBacklog(messages: number, dead: number): Promise<Figures> {
  const dir = mkdtempSync(join(tmpdir(), "postern-million-"));
  const spool = await openSpool({ dir, shard: 0, budget: budgetWith(), log: pino({ level: "silent" }) });
  try {
    const began = performance.now();
    await fill(spool, messages, (index) => `user${index}@d${index % 4_999}.example`, Date.now() + hour);
    const fillSeconds = Math.round((performance.now() - began) / 1_000);
    const middle = Math.floor(messages / 2);
    const lists = {
      sender: await slowest(spool, { sender: "sender7@s.example" }),
      recipient: await slowest(spool, { recipient: `user${middle}@d${middle % 4_999}.example` }),
      "recipient pattern": await slowest(spool, { recipient: "*@d4998.example" }),
      "no match": await slowest(spool, { failure: "never said" }),
    };
    const rssMiB = Math.round(process.memoryUsage.rss() / 1024 ** 2);
    const healthy = Math.min(5_000, messages);
    const alone = await deliver(spool, healthy, 0);
    const beside = await deliver(spool, healthy, dead);
    return {
      messages,
      fillSeconds,
      lists,
      rssMiB,
      healthyAlone: alone.rate,
      healthyBesideDead: beside.rate,
      deadAttempts: beside.tried,
    };
  } finally {
    await spool.close();
    rmSync(dir, { recursive: true, force: true });
  }
}

if (import.meta.main) {
  const [messages = 1_000_000, dead = 100_000] = process.argv.slice(2).map(Number);
  process.stdout.write(`${JSON.stringify(await measureBacklog(messages, dead), null, 2)}\n`);
}
