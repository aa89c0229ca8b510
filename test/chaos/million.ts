/**
 * A large backlog in one shard of the queue: what it needs in a running gateway, how long lists with filters take, and
 * whether mail for a healthy destination suffers from a dead or a slow one.
 * By hand: node test/chaos/million.ts [MESSAGES [DEAD]]
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { pino } from "pino";
import { backlogRows, measureBacklog } from "../../bench/backlog.ts";
import { budgetWith } from "../../src/config/budget.ts";
import { outcome } from "../../src/message/outcome.ts";
import { createScheduler } from "../../src/queue/scheduler.ts";
import { openSpool } from "../../src/queue/spool.ts";
import type { ScheduledSpool } from "../../src/queue/types.ts";
import { newMessage } from "../unit/queue/fixtures.ts";

export interface Neighbours {
  /** Messages a second accepted and delivered to the healthy destination. */
  alone: number;
  besideDead: number;
  besideSlow: number;
  /** Deliveries that were tried to the dead destination. */
  deadAttempts: number;
}

const hour = 3_600_000;
const atOnce = 1_000;
/** How long a delivery takes, ms. */
const healthyMs = 2;
const deadMs = 50;
const slowMs = 2_000;
const body = Buffer.alloc(1_000, "x");
const accepted = outcome.accept({ code: 250, enhanced: "2.0.0", text: "ok", origin: "test" });
const unreachable = outcome.defer({ code: 451, enhanced: "4.4.1", text: "no answer from host", origin: "test" });

async function fill(spool: ScheduledSpool, count: number, domain: string): Promise<void> {
  for (let done = 0; done < count; done += atOnce) {
    const batch = Array.from({ length: Math.min(atOnce, count - done) }, async (_, at) => {
      const number = done + at;
      const writer = spool.openBody(Buffer.from(`Subject: ${number}\r\n\r\n`));
      await writer.write(body);
      await spool.commit(writer, newMessage(`sender${number % 997}@s.example`, [`u${number}@${domain}`]));
    });
    await Promise.all(batch);
  }
}

/**
 * Accepts and delivers `count` messages to healthy.example while `others` ones for another domain wait and, at the
 * beginning, are all due at once.
 */
async function deliver(count: number, others: number, domain: string): Promise<{ rate: number; tried: number }> {
  const dir = mkdtempSync(join(tmpdir(), "postern-neighbours-"));
  const log = pino({ level: "silent" });
  const spool = await openSpool({ dir, shard: 0, budget: budgetWith(), log });
  let delivered = 0;
  let tried = 0;
  const done = Promise.withResolvers<void>();
  const scheduler = createScheduler({
    spool,
    retry: { firstMs: hour, maxMs: hour, attempts: 100 },
    hostName: "mx.test",
    budget: budgetWith(),
    log,
    deliverer: {
      async deliver(_message, recipients) {
        const to = recipients[0]!.address.split("@")[1]!;
        if (to === "dead.example") tried++;
        await sleep(to === "dead.example" ? deadMs : to === "slow.example" ? slowMs : healthyMs);
        if (to === "healthy.example" && ++delivered === count) done.resolve();
        const [result, kind] =
          to === "dead.example" ? [unreachable, "deferred" as const] : [accepted, "relayed" as const];
        return recipients.map((recipient) => ({ recipient, outcome: result, destination: "test", kind }));
      },
    },
  });
  try {
    scheduler.start();
    await fill(spool, others, domain);
    // Until each was tried, or waits in its destination's line.
    while (((await spool.nextDue()) ?? Number.POSITIVE_INFINITY) < Date.now() + hour / 2) await sleep(50);
    scheduler.flush(domain);
    const began = performance.now();
    await fill(spool, count, "healthy.example");
    await done.promise;
    const rate = count / ((performance.now() - began) / 1_000);
    await scheduler.stop(2 * slowMs);
    return { rate: Math.round(rate), tried };
  } finally {
    await spool.close();
    rmSync(dir, { recursive: true, force: true });
  }
}

/**
 * @param healthy messages for the destination that answers
 * @param others messages for the one that does not, or not soon
 */
export async function measureNeighbours(healthy: number, others: number): Promise<Neighbours> {
  const alone = await deliver(healthy, 0, "");
  const dead = await deliver(healthy, others, "dead.example");
  const slow = await deliver(healthy, others, "slow.example");
  return { alone: alone.rate, besideDead: dead.rate, besideSlow: slow.rate, deadAttempts: dead.tried };
}

if (import.meta.main) {
  const [messages = 1_000_000, others = 100_000] = process.argv.slice(2).map(Number);
  const folder = mkdtempSync(join(tmpdir(), "postern-million-"));
  try {
    const rows = backlogRows(await measureBacklog(join(folder, "var"), messages));
    const { alone, besideDead, besideSlow, deadAttempts } = await measureNeighbours(Math.min(20_000, messages), others);
    const waiting = others.toLocaleString("en-US");
    rows.push(
      ["healthy destination alone, messages/s", String(alone)],
      [`beside ${waiting} for a dead one, messages/s`, String(besideDead)],
      [`beside ${waiting} for a slow one, messages/s`, String(besideSlow)],
      ["attempts at the dead one", String(deadAttempts)],
    );
    for (const [what, figure] of rows) process.stdout.write(`${what!.padEnd(50)}${figure!.padStart(15)}\n`);
  } finally {
    rmSync(folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
  }
}
