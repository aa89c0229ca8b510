import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { budgetWith } from "../../../src/config/budget.ts";
import { outcome } from "../../../src/message/outcome.ts";
import { retryDelay } from "../../../src/queue/retry.ts";
import { createScheduler, type Scheduler, type SchedulerOptions } from "../../../src/queue/scheduler.ts";
import { Suspensions } from "../../../src/queue/suspensions.ts";
import type { DeliveryResult, QueuedMessage, QueuedRecipient } from "../../../src/queue/types.ts";
import { newMessage, open, put, scratch, silent, textOf } from "./fixtures.ts";

type Spool = Awaited<ReturnType<typeof open>>;
type Answer = (message: QueuedMessage, recipient: QueuedRecipient) => DeliveryResult["kind"] | "down" | Promise<"down">;

const accept = outcome.accept({ code: 250, enhanced: "2.0.0", text: "ok", origin: "test" });
const busy = outcome.defer({ code: 450, enhanced: "4.2.1", text: "mailbox busy", origin: "test" });
const unreachable = outcome.defer({ code: 451, enhanced: "4.4.1", text: "connection refused", origin: "test" });
const unknown = outcome.reject({ code: 550, enhanced: "5.1.1", text: "no such user", origin: "test" });

interface Bench {
  spool: Spool;
  scheduler: Scheduler;
  /** "recipient" per attempt, in order. */
  attempts: string[];
  settled: (count: number) => Promise<void>;
  options: SchedulerOptions;
}

async function bench(t: TestContext, answer: Answer, more: Partial<SchedulerOptions> = {}): Promise<Bench> {
  const spool = await open(scratch(t));
  const attempts: string[] = [];
  let settled = 0;
  let waiting: (() => void) | undefined;
  const options: SchedulerOptions = {
    spool,
    retry: { firstMs: 60, maxMs: 200, attempts: 4 },
    hostName: "mx.test",
    budget: budgetWith(),
    log: silent,
    onSettled: () => {
      settled++;
      waiting?.();
    },
    deliverer: {
      async deliver(message, recipients) {
        const results: DeliveryResult[] = [];
        for (const recipient of recipients) {
          attempts.push(recipient.address);
          const said = await answer(message, recipient);
          const kind = said === "down" ? "deferred" : said;
          const byKind = { delivered: accept, relayed: accept, discarded: accept, deferred: busy, failed: unknown };
          results.push({ recipient, outcome: said === "down" ? unreachable : byKind[kind], destination: "x", kind });
        }
        return results;
      },
    },
    ...more,
  };
  const scheduler = createScheduler(options);
  t.after(async () => {
    await scheduler.stop(1_000);
    await spool.close();
  });
  const until = async (count: number) => {
    const deadline = Date.now() + 15_000;
    while (settled < count && Date.now() < deadline) {
      await Promise.race([new Promise<void>((resolve) => (waiting = resolve)), delay(100)]);
    }
    assert.ok(settled >= count, `${settled} of ${count} settled`);
  };
  return { spool, scheduler, attempts, settled: until, options };
}

test("the delay doubles from the first to the longest", () => {
  const schedule = { firstMs: 300, maxMs: 1_000, attempts: 5 };
  assert.deepEqual(
    [1, 2, 3, 4].map((n) => retryDelay(schedule, n)),
    [300, 600, 1_000, 1_000],
  );
});

test("a delivered message leaves the queue; each recipient ends on its own", async (t) => {
  const { spool, scheduler, attempts, settled } = await bench(t, (_message, { address, attempts: tried }) =>
    address.startsWith("late") && tried === 0 ? "deferred" : "delivered",
  );
  scheduler.start();
  await put(spool, "x", newMessage("a@b.example", ["now@one.example", "late@two.example"]));
  await settled(2);
  assert.deepEqual(attempts.sort(), ["late@two.example", "late@two.example", "now@one.example"]);
  assert.equal((await spool.count()).total, 0);
});

test("what waited before the start is delivered, what has its time later is not", async (t) => {
  const { spool, scheduler, attempts, settled } = await bench(t, () => "delivered");
  await put(spool, "x", newMessage("a@b.example", ["old@x.example"]));
  await put(spool, "x", { ...newMessage("a@b.example", ["later@x.example"]), notBefore: Date.now() + 60_000 });
  await put(spool, "x", { ...newMessage("a@b.example", ["held@x.example"]), held: "by policy" });
  scheduler.start();
  await settled(1);
  await delay(50);
  assert.deepEqual(attempts, ["old@x.example"]);
});

test("after the last attempt the sender gets one report, from the null reverse-path", async (t) => {
  const { spool, scheduler, attempts, settled } = await bench(t, ({ envelope }) =>
    envelope.mailFrom === "" ? "delivered" : "deferred",
  );
  scheduler.start();
  await put(spool, "Subject: hi\r\n\r\nbody\r\n", newMessage("a@b.example", ["u@x.example"]));
  await settled(5);
  assert.deepEqual(attempts, ["u@x.example", "u@x.example", "u@x.example", "u@x.example", "a@b.example"]);
  assert.equal((await spool.count()).total, 0);
});

test("permanent failures of two destinations make reports only for what failed; none for null senders", async (t) => {
  const { spool, scheduler, settled } = await bench(t, (_message, { address }) =>
    address.startsWith("bad") ? "failed" : address === "a@b.example" ? "deferred" : "delivered",
  );
  scheduler.start();
  await put(spool, "x", newMessage("a@b.example", ["bad@one.example", "good@one.example"]));
  await put(spool, "x", newMessage("", ["bad@one.example"]));
  await settled(3);
  const [report] = await spool.list({ recipient: "a@b.example" });
  assert.equal(report?.envelope.mailFrom, "");
  const text = await textOf(spool, report!.id);
  assert.match(text, /Final-Recipient: rfc822; bad@one\.example\r\nAction: failed\r\nStatus: 5\.1\.1\r\n/);
  assert.doesNotMatch(text, /good@one/);
  assert.equal((await spool.count()).total, 1);
});

test("a destination that is down costs one attempt, others go on, and its first success frees what waits", async (t) => {
  let up = false;
  const { spool, scheduler, attempts, settled } = await bench(
    t,
    (_message, { address }) => (address.endsWith("@dead.example") && !up ? "down" : "delivered"),
    { retry: { firstMs: 60_000, maxMs: 60_000, attempts: 10 } },
  );
  for (let i = 0; i < 300; i++) await put(spool, "x", newMessage("a@b.example", [`u${i}@dead.example`]));
  scheduler.start();
  await put(spool, "x", newMessage("a@b.example", ["u@alive.example"]));
  await settled(301);
  const tried = attempts.filter((address) => address.endsWith("@dead.example")).length;
  assert.ok(tried <= 20, `${tried} attempts at a dead host`);
  assert.ok(attempts.includes("u@alive.example"));
  assert.equal(scheduler.destinations().find(({ destination }) => destination === "dead.example")?.state, "down");
  assert.equal((await spool.count())["send failure"], 300);
  up = true;
  assert.equal(scheduler.flush("dead.example"), 300);
  await settled(601);
  assert.equal((await spool.count()).total, 0);
});

test("a destination has only so many deliveries at a time, and so many a second", async (t) => {
  let active = 0;
  let most = 0;
  const starts: number[] = [];
  const { spool, scheduler, settled } = await bench(
    t,
    async () => {
      starts.push(Date.now());
      most = Math.max(most, ++active);
      await delay(5);
      active--;
      return "down" as const;
    },
    { limitsOf: () => ({ concurrency: 3, perSecond: 50 }), effectOf: () => "none" },
  );
  for (let i = 0; i < 10; i++) await put(spool, "x", newMessage("a@b.example", [`u${i}@x.example`]));
  scheduler.start();
  await settled(10);
  assert.ok(most <= 3, `${most} at a time`);
  assert.ok(starts[9]! - starts[0]! >= 150, `ten starts within ${starts[9]! - starts[0]!} ms`);
});

test("the line of a slow destination does not hold up another, and memory is bounded", async (t) => {
  let release: (() => void) | undefined;
  const gate = new Promise<void>((resolve) => (release = resolve));
  const { spool, scheduler, attempts, settled } = await bench(
    t,
    async (_message, { address }) => {
      if (address.endsWith("@slow.example")) await gate;
      return "delivered" as never;
    },
    { budget: budgetWith({ queueInHand: 60, queuePerDestination: 10 }) },
  );
  for (let i = 0; i < 200; i++) await put(spool, "x", newMessage("a@b.example", [`u${i}@slow.example`]));
  for (let i = 0; i < 50; i++) await put(spool, "x", newMessage("a@b.example", [`u${i}@quick.example`]));
  scheduler.start();
  await settled(50);
  assert.equal(attempts.filter((address) => address.endsWith("@quick.example")).length, 50);
  assert.ok(attempts.length <= 50 + 20, "no more than 20 at a time for the slow one");
  release?.();
  await settled(250);
  assert.equal((await spool.count()).total, 0);
});

test("senders take turns, priority goes first", async (t) => {
  const { spool, scheduler, attempts, settled } = await bench(t, () => "delivered", {
    limitsOf: () => ({ concurrency: 1, perSecond: undefined }),
  });
  for (let i = 0; i < 5; i++) await put(spool, "x", newMessage("bulk@b.example", [`bulk${i}@x.example`]));
  await put(spool, "x", newMessage("single@b.example", ["single@x.example"]));
  const urgent = newMessage("urgent@b.example", ["urgent@x.example"]);
  urgent.envelope.priority = 5;
  await put(spool, "x", urgent);
  scheduler.start();
  await settled(7);
  assert.ok(attempts.indexOf("urgent@x.example") <= 1, attempts.join());
  assert.ok(attempts.indexOf("single@x.example") <= 3, attempts.join());
});

test("a mailing that fills its destination's line keeps no other source or sender waiting", async (t) => {
  const { spool, scheduler, attempts, settled } = await bench(
    t,
    async () => {
      await delay(1);
      return "delivered" as never;
    },
    {
      limitsOf: () => ({ concurrency: 1, perSecond: undefined }),
      budget: budgetWith({ queuePerDestination: 10 }),
    },
  );
  // A reverse-path for each recipient: turns by sender alone would not help.
  for (let i = 0; i < 300; i++) await put(spool, "x", newMessage(`list+${i}@b.example`, [`list${i}@x.example`]));
  const other = newMessage("single@b.example", ["single@x.example"]);
  other.client.remoteIp = "192.0.2.99";
  await put(spool, "x", other);
  const user = newMessage("user@b.example", ["user@x.example"]);
  user.client.authUser = "user";
  await put(spool, "x", user);
  const urgent = newMessage("list@b.example", ["urgent@x.example"]);
  urgent.envelope.priority = 3;
  await put(spool, "x", urgent);
  scheduler.start();
  await settled(303);
  for (const one of ["single", "user", "urgent"]) {
    const place = attempts.indexOf(`${one}@x.example`);
    assert.ok(place >= 0 && place < 60, `${one} was number ${place}`);
  }
});

test("a message that waits outside memory and is retried by hand is delivered once", async (t) => {
  let release: (() => void) | undefined;
  const gate = new Promise<void>((resolve) => (release = resolve));
  const { spool, scheduler, attempts, settled } = await bench(
    t,
    async () => {
      await gate;
      return "delivered" as never;
    },
    { limitsOf: () => ({ concurrency: 1, perSecond: undefined }), budget: budgetWith({ queuePerDestination: 2 }) },
  );
  const ids: string[] = [];
  for (let i = 0; i < 12; i++) ids.push(await put(spool, "x", newMessage("a@b.example", [`u${i}@x.example`])));
  scheduler.start();
  await delay(50);
  await scheduler.retryNow(ids);
  await delay(20);
  release?.();
  await settled(12);
  await delay(50);
  assert.equal(attempts.length, 12, attempts.join());
  assert.equal(new Set(attempts).size, 12);
});

test("a suspension outlives a restart", async (t) => {
  const folder = scratch(t);
  const suspension = { destination: "x.example", who: "ann", why: "they move house", since: 5 };
  await (await Suspensions.open(folder)).suspend(suspension);
  const { spool, scheduler, attempts, settled } = await bench(t, () => "delivered", {
    suspensions: await Suspensions.open(folder),
  });
  scheduler.start();
  await put(spool, "x", newMessage("a@b.example", ["waits@x.example"]));
  await put(spool, "x", newMessage("a@b.example", ["goes@y.example"]));
  await settled(1);
  await delay(30);
  assert.deepEqual(attempts, ["goes@y.example"]);
  const status = scheduler.destinations().find(({ destination }) => destination === "x.example");
  assert.equal(status?.state, "suspended");
  assert.deepEqual(status?.suspended, suspension);
  await scheduler.resume("x.example");
  await settled(2);
  assert.deepEqual([...(await Suspensions.open(folder)).all()], []);
});

test("processing decides: continue with a new body, reject with a report, discard, hold, defer", async (t) => {
  const seen: string[] = [];
  const { spool, scheduler, settled } = await bench(t, () => "deferred", {
    processor: {
      async process(message) {
        const word = message.recipients[0]!.address.split("@")[0]!;
        seen.push(word);
        if (word === "discard") return { kind: "discard", reason: "virus" };
        if (word === "hold") return { kind: "hold", reason: "look at it" };
        if (word === "reject") return { kind: "reject", outcome: unknown };
        if (word === "throw") throw new Error("scanner is gone");
        return { kind: "continue", replacedBody: spool.openBody(Buffer.from("new body")) };
      },
    },
    retry: { firstMs: 60_000, maxMs: 60_000, attempts: 3 },
  });
  scheduler.start();
  const ids: Record<string, string> = {};
  for (const word of ["discard", "hold", "reject", "throw", "edit"]) {
    ids[word] = await put(spool, "x", { ...newMessage("a@b.example", [`${word}@x.example`]), runFilters: true });
  }
  await settled(2); // the edited message, and the report on the rejected one
  await delay(50);
  assert.deepEqual(seen.sort(), ["discard", "edit", "hold", "reject", "throw"]);
  assert.equal(await textOf(spool, ids.edit!), "new body");
  assert.equal((await spool.get(ids.hold!))?.state, "held");
  assert.equal(await spool.get(ids.discard!), undefined);
  assert.equal(await spool.get(ids.reject!), undefined);
  const waiting = (await spool.get(ids.throw!))!;
  assert.deepEqual([waiting.state, waiting.attempts], ["received", 1], "processed again at the next attempt");
  assert.equal((await spool.match({ recipient: "a@b.example" })).length, 1, "one report");
});

test("a deliverer that throws or forgets a recipient defers it", async (t) => {
  const { spool, scheduler, settled } = await bench(t, () => "delivered", {
    retry: { firstMs: 60_000, maxMs: 60_000, attempts: 3 },
    deliverer: {
      async deliver(message, recipients) {
        if (message.envelope.mailFrom === "throw@b.example") throw new Error("bug");
        return [{ recipient: recipients[0]!, outcome: accept, destination: "x", kind: "delivered" }];
      },
    },
  });
  scheduler.start();
  const one = await put(spool, "x", newMessage("throw@b.example"));
  const two = await put(spool, "x", newMessage("a@b.example", ["first@x.example", "second@x.example"]));
  await settled(2);
  assert.equal((await spool.get(one))?.state, "send failure");
  assert.deepEqual(
    (await spool.get(two))?.recipients.map(({ state }) => state),
    ["sent", "processed"],
  );
});

test("stop lets deliveries end and keeps the rest for the next start", async (t) => {
  const { spool, scheduler, attempts, settled, options } = await bench(
    t,
    async () => {
      await delay(30);
      return "delivered" as never;
    },
    { limitsOf: () => ({ concurrency: 2, perSecond: undefined }) },
  );
  for (let i = 0; i < 10; i++) await put(spool, "x", newMessage("a@b.example", [`u${i}@x.example`]));
  scheduler.start();
  await settled(2);
  await scheduler.stop(2_000);
  const left = (await spool.count()).total!;
  assert.equal(left, 10 - attempts.length);
  assert.ok(left > 0);
  const next = createScheduler({ ...options });
  next.start();
  await settled(10);
  await next.stop(1_000);
  assert.equal(attempts.length, 10, "none twice");
});

test("retry, suspend and resume do what they say", async (t) => {
  let good = false;
  const { spool, scheduler, attempts, settled } = await bench(t, () => (good ? "delivered" : "down"), {
    retry: { firstMs: 60_000, maxMs: 60_000, attempts: 9 },
  });
  scheduler.start();
  const [one, two] = [await put(spool, "x"), await put(spool, "y", newMessage("", ["z@other.example"]))];
  await settled(2);
  good = true;
  assert.equal(await scheduler.retryNow([one, "FFFFFF"]), 1);
  await settled(3);
  assert.equal(await spool.get(one), undefined);
  await spool.remove(two);
  await scheduler.suspend({ destination: "example.org", who: "ann", why: "", since: 0 });
  const three = await put(spool, "x");
  await delay(60);
  assert.equal(attempts.length, 3);
  assert.ok(await spool.get(three));
  await scheduler.resume("example.org");
  await settled(4);
  assert.equal((await spool.count()).total, 0);
});

test("a report that can't be queued leaves the message in cleanup error until it can", async (t) => {
  const { spool, scheduler, settled } = await bench(t, () => "failed", {
    reports: {
      permanent: () => Promise.reject(new Error("policy is broken")),
      temporary: async () => undefined,
      success: async () => undefined,
    },
  });
  scheduler.start();
  const id = await put(spool, "x");
  await settled(1);
  const message = (await spool.get(id))!;
  assert.equal(message.state, "cleanup error");
  assert.ok(message.nextAttempt > Date.now() + 200_000);
});
