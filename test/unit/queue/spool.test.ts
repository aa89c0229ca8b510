import assert from "node:assert/strict";
import { openSync, readdirSync, readFileSync, rmSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { budgetWith } from "../../../src/config/budget.ts";
import { diskFiles, type FileLayer } from "../../../src/queue/files.ts";
import { DamagedQueueError } from "../../../src/queue/log-reader.ts";
import { repairQueue } from "../../../src/queue/repair.ts";
import { type BodySource, QueueError } from "../../../src/queue/types.ts";
import { failingFiles, newMessage, open, put, scratch, silent, textOf } from "./fixtures.ts";

const logFolder = (dir: string) => join(dir, "0", "log");
const segments = (dir: string) => readdirSync(logFolder(dir)).sort();

test("a committed message is there again after the spool is opened anew", async (t) => {
  const dir = scratch(t);
  const spool = await open(dir);
  const seen: string[][] = [];
  spool.onCommitted = (ids) => seen.push(ids);
  const id = await put(spool, "hello\r\n", newMessage("a@b.example", ["c@d.example", "ü@d.example"]));
  assert.match(id, /^[0-9A-F]{6,}$/);
  assert.deepEqual(seen, [[id]]);
  await spool.close();

  const again = await open(dir);
  const message = await again.get(id);
  assert.equal(message?.envelope.mailFrom, "a@b.example");
  assert.deepEqual(
    message?.recipients.map(({ address, state }) => [address, state]),
    [
      ["c@d.example", "received"],
      ["ü@d.example", "received"],
    ],
  );
  assert.equal(await textOf(again, id), "Received: by test\r\nhello\r\n");
  assert.notEqual(await put(again, "x"), id, "ids are not used twice");
  await again.close();
});

test("messages that arrive during one commit share the next one", async (t) => {
  let syncs = 0;
  const files = failingFiles((operation) => {
    if (operation === "sync") syncs++;
    return undefined;
  });
  const spool = await open(scratch(t), {}, { files });
  syncs = 0;
  await Promise.all(Array.from({ length: 50 }, (_, i) => put(spool, `message ${i}`)));
  assert.ok(syncs <= 3, `${syncs} syncs for 50 messages`);
  assert.equal((await spool.count()).total, 50);
  await spool.close();
});

test("a commit that follows another and a removal does not wait for a timer", async (t) => {
  const spool = await open(scratch(t));
  const started = performance.now();
  for (let i = 0; i < 20; i++) await spool.remove(await put(spool, "x"));
  assert.ok(performance.now() - started < 900, `20 commits in a row took ${performance.now() - started} ms`);
  await spool.close();
});

test("a commit holds no more octets than its limit", async (t) => {
  const sizes: number[] = [];
  const files: FileLayer = {
    ...diskFiles,
    write(fd, data, at) {
      sizes.push(data.length);
      return diskFiles.write(fd, data, at);
    },
  };
  const spool = await open(scratch(t), { queueCommitBytes: 16_384 }, { files });
  await Promise.all(Array.from({ length: 40 }, () => put(spool, "x".repeat(2_000))));
  assert.ok(sizes.length > 5 && Math.max(...sizes) <= 16_384, `largest write ${Math.max(...sizes)}`);
  await spool.close();
});

test("a body above the threshold has a file of its own, which goes with the message", async (t) => {
  const dir = scratch(t);
  const spool = await open(dir, { queueBodyInLog: 1_000 });
  const small = await put(spool, "x".repeat(900));
  const large = await put(spool, "y".repeat(700_001));
  assert.equal((await spool.body(small)).inMemory()?.length, 919);
  assert.equal((await spool.body(large)).inMemory(), undefined);
  assert.equal(readdirSync(join(dir, "0", "bodies")).length, 1);
  assert.equal((await textOf(spool, large)).length, 700_020);
  const aborted = spool.openBody(Buffer.alloc(5_000));
  aborted.abort();
  await spool.remove(large);
  await spool.close();
  const again = await open(dir);
  assert.deepEqual(readdirSync(join(dir, "0", "bodies")), []);
  assert.deepEqual(
    (await again.list({})).map(({ id }) => id),
    [small],
  );
  await again.close();
});

test("removed stays removed, an update stays, a replaced body stays", async (t) => {
  const dir = scratch(t);
  const spool = await open(dir, { queueBodyInLog: 100 });
  const [gone, changed, replaced] = [await put(spool, "1"), await put(spool, "2"), await put(spool, "3".repeat(500))];
  await spool.remove(gone!);
  const message = (await spool.take(changed!))!;
  message.state = "send failure";
  message.failure = "no route";
  message.nextAttempt = 99;
  message.recipients[0]!.destination = "example.org";
  await spool.update(message);
  const body = spool.openBody(Buffer.from("new"));
  await spool.replaceBody(replaced!, body);
  await spool.close();

  const again = await open(dir);
  assert.equal(await again.get(gone!), undefined);
  const found = (await again.get(changed!))!;
  assert.deepEqual([found.state, found.failure, found.nextAttempt], ["send failure", "no route", 99]);
  assert.equal(await textOf(again, replaced!), "new");
  assert.deepEqual(readdirSync(join(dir, "0", "bodies")), [], "the old body's file is gone");
  await again.close();
});

test("due messages come oldest first, once, and come back after release", async (t) => {
  const spool = await open(scratch(t));
  const ids: string[] = [];
  for (const notBefore of [300, 100, 200, 10_000]) ids.push(await put(spool, "x", { ...newMessage(), notBefore }));
  const taken = await spool.takeDue(1_000, 10);
  assert.deepEqual(
    taken.map(({ id }) => id),
    [ids[1], ids[2], ids[0]],
  );
  assert.deepEqual(await spool.takeDue(1_000, 10), []);
  assert.equal(await spool.nextDue(), 10_000);
  spool.release(ids[2]!, 500);
  assert.equal(await spool.nextDue(), 500);
  taken[0]!.nextAttempt = 20_000;
  taken[0]!.recipients[0]!.destination = "x.example";
  await spool.update(taken[0]!);
  assert.equal(spool.hasten("x.example", 1), 1);
  assert.equal(await spool.nextDue(), 1);
  spool.shiftClock(1_000);
  assert.equal(await spool.nextDue(), 1_001);
  assert.equal(await spool.take(ids[0]!), undefined, "is taken already");
  await spool.close();
});

test("held messages are never due", async (t) => {
  const spool = await open(scratch(t));
  const id = await put(spool, "x", { ...newMessage(), held: "by policy" });
  assert.deepEqual(await spool.takeDue(Number.MAX_SAFE_INTEGER, 1), []);
  const message = (await spool.get(id))!;
  assert.equal(message.state, "held");
  delete message.held;
  message.state = "received";
  await spool.update(message);
  assert.equal((await spool.takeDue(Number.MAX_SAFE_INTEGER, 1)).length, 1);
  await spool.close();
});

test("filters choose by each field", async (t) => {
  const spool = await open(scratch(t), { queueListed: 3 }, { now: () => 1_000_000 });
  const a = await put(spool, "x", newMessage("Ann@one.example", ["u@left.example"]));
  const b = await put(spool, "x".repeat(5_000), newMessage("ben@two.example", ["v@left.example", "w@right.example"]));
  const message = (await spool.take(b))!;
  message.failure = "Connection refused";
  message.state = "send failure";
  message.nextAttempt = 2_000_000;
  for (const recipient of message.recipients) recipient.destination = recipient.address.split("@")[1]!;
  await spool.update(message);
  const matched = (filter: Parameters<typeof spool.match>[0]) => spool.match(filter);
  assert.deepEqual(await matched({ sender: "ann@ONE.example" }), [a]);
  assert.deepEqual(await matched({ sender: "*@two.example" }), [b]);
  assert.deepEqual(await matched({ sender: "*n*@*.example" }), [a, b]);
  assert.deepEqual(await matched({ recipient: "w@right.example" }), [b]);
  assert.deepEqual(await matched({ recipient: "*@left.example" }), [a, b]);
  assert.deepEqual(await matched({ sizeOver: 1_000 }), [b]);
  assert.deepEqual(await matched({ sizeUnder: 1_000 }), [a]);
  assert.deepEqual(await matched({ status: "send failure" }), [b]);
  assert.deepEqual(await matched({ failure: "REFUSED" }), [b]);
  assert.deepEqual(await matched({ destination: "right.example" }), [b]);
  assert.deepEqual(await matched({ nextAfter: 1_500_000 }), [b]);
  assert.deepEqual(await matched({ nextBefore: 1_500_000 }), [a]);
  assert.deepEqual(await matched({ olderThanMs: 0 }), []);
  assert.deepEqual(await matched({ youngerThanMs: 1 }), [a, b]);
  assert.deepEqual(await matched({ ids: [b, "nonsense", "FFFFFF"] }), [b]);
  assert.deepEqual(await matched({ limit: 1, offset: 1 }), [b]);
  for (let i = 0; i < 3; i++) await put(spool, "more");
  assert.equal((await spool.list({})).length, 3, "a list is bounded");
  assert.equal((await matched({})).length, 5);
  await spool.close();
});

test("a torn tail is cut off and what was acknowledged stays", async (t) => {
  const dir = scratch(t);
  const spool = await open(dir);
  const ids = [await put(spool, "one"), await put(spool, "two")];
  const file = join(logFolder(dir), segments(dir)[0]!);
  const whole = readFileSync(file);
  await put(spool, "three, torn");
  await spool.close();
  const torn = readFileSync(file);
  for (const cut of [whole.length + 1, whole.length + 40, torn.length - 1]) {
    for (const name of segments(dir).slice(1)) rmSync(join(logFolder(dir), name));
    writeFileSync(file, torn.subarray(0, cut));
    for (const round of ["first start", "start after that"]) {
      const again = await open(dir);
      assert.deepEqual(await again.match({}), ids, `${round}, cut at ${cut}`);
      await again.close();
    }
  }
});

test("damage within the log stops the start with a word on repair, and repair keeps the rest", async (t) => {
  const dir = scratch(t);
  const spool = await open(dir);
  const ids: string[] = [];
  for (let i = 0; i < 5; i++) ids.push(await put(spool, `message ${i} ${"x".repeat(3_000)}`));
  await spool.close();
  const file = join(logFolder(dir), segments(dir)[0]!);
  const fd = openSync(file, "r+");
  writeSync(fd, Buffer.alloc(512), 0, 512, readFileSync(file).indexOf("message 1 ") + 100);
  await assert.rejects(open(dir), (error: Error) => {
    assert.ok(error instanceof DamagedQueueError);
    assert.match(error.message, /postern queue repair/);
    return true;
  });
  const report = await repairQueue({ dir, shard: 0, budget: budgetWith(), log: silent });
  assert.equal(report.kept, 4);
  assert.equal(report.ranges.length, 1);
  const again = await open(dir);
  assert.deepEqual((await again.match({})).sort(), [ids[0], ids[2], ids[3], ids[4]]);
  assert.match(await textOf(again, ids[4]!), /message 4/);
  await again.close();
});

test("a lost body file is damage, and repair names the message", async (t) => {
  const dir = scratch(t);
  const spool = await open(dir, { queueBodyInLog: 10 });
  const id = await put(spool, "x".repeat(5_000));
  await spool.close();
  for (const name of readdirSync(join(dir, "0", "bodies"))) rmSync(join(dir, "0", "bodies", name));
  await assert.rejects(open(dir), DamagedQueueError);
  assert.deepEqual((await repairQueue({ dir, shard: 0, budget: budgetWith(), log: silent })).lost, [id]);
  const again = await open(dir);
  assert.equal((await again.count()).total, 0);
  await again.close();
});

for (const [operation, code, reply] of [
  ["write", "ENOSPC", 452],
  ["write", "EIO", 451],
  ["sync", "EIO", 451],
] as const) {
  test(`${code} at ${operation}: the message is refused with ${reply}, the queue recovers, nothing is left`, async (t) => {
    const dir = scratch(t);
    let failing = false;
    const files = failingFiles((name) => (failing && name === operation ? code : undefined));
    const spool = await open(dir, { queueBodyInLog: 1_000 }, { files });
    const kept = await put(spool, "before");
    const other = await put(spool, "removed while the disk is full");
    failing = true;
    for (const text of ["small", "y".repeat(5_000)]) {
      await assert.rejects(put(spool, text), (error: Error) => {
        assert.ok(error instanceof QueueError);
        assert.equal(error.outcome.code, reply);
        return true;
      });
    }
    await spool.remove(other);
    assert.deepEqual(await spool.takeDue(Number.MAX_SAFE_INTEGER, 9), [], "nothing is sent that can't be recorded");
    failing = false;
    const after = await put(spool, "after");
    await spool.close();
    const again = await open(dir);
    assert.deepEqual(await again.match({}), [kept, after]);
    assert.equal(await textOf(again, after), "Received: by test\r\nafter");
    await again.close();
  });
}

test("a shard is open in one place at a time", async (t) => {
  const dir = scratch(t);
  const spool = await open(dir);
  await assert.rejects(open(dir), /in use by another process/);
  const other = await open(dir, {}, { shard: 1 });
  assert.notEqual(await put(spool, "x"), await put(other, "x"), "ids of shards differ");
  await other.close();
  await spool.close();
});

test("a full queue refuses with 452", async (t) => {
  const spool = await open(scratch(t), { queueMessages: 2 });
  await put(spool, "1");
  await put(spool, "2");
  await assert.rejects(put(spool, "3"), (error: QueueError) => error.outcome.code === 452);
  await spool.close();
});

test("an envelope above its limit is refused", async (t) => {
  const spool = await open(scratch(t), { queueRecordMeta: 2_000 });
  await assert.rejects(
    put(
      spool,
      "x",
      newMessage(
        "a@b.example",
        Array.from({ length: 100 }, (_, i) => `user${i}@example.org`),
      ),
    ),
    (error: QueueError) => error.outcome.code === 452,
  );
  await spool.close();
});

test("old segments go when their messages are gone, and the few that stay are moved", async (t) => {
  const dir = scratch(t);
  const spool = await open(dir, { queueSegmentBytes: 20_000, queueCacheBytes: 5_000 });
  const stays = await put(spool, `stays ${"s".repeat(500)}`);
  for (let i = 0; i < 60; i++) await spool.remove(await put(spool, "x".repeat(2_000)));
  const before = Number.parseInt(segments(dir).at(-1)!, 10);
  assert.ok(before >= 5, "the log went over several segments");
  const until = Date.now() + 4_000;
  while (segments(dir).length > 3 && Date.now() < until) await new Promise((resolve) => setTimeout(resolve, 50));
  assert.ok(segments(dir).length <= 3, `${segments(dir).length} segments left of some ${before}`);
  assert.match(await textOf(spool, stays), /stays s/);
  await spool.close();
  const again = await open(dir);
  assert.deepEqual(await again.match({}), [stays]);
  await again.close();
});

test("a crash while a segment is begun leaves no trace", async (t) => {
  const dir = scratch(t);
  const spool = await open(dir);
  const id = await put(spool, "x");
  await spool.close();
  writeFileSync(join(logFolder(dir), "0000000002.log"), "half a header");
  const again = await open(dir);
  assert.deepEqual(await again.match({}), [id]);
  await again.close();
});

test("memory is used again, and no message ever shows another one's octets", async (t) => {
  const dir = scratch(t);
  let fail = false;
  const files = failingFiles((operation) => (fail && operation === "write" ? "EIO" : undefined));
  const spool = await open(dir, {}, { files });
  const bodies = new Map<string, Buffer>();
  const shown: Array<[BodySource, Buffer]> = [];
  const sizes = [10, 8_000, 8_200, 30_000, 40_000, 120_000, 140_000, 300_000, 600_000];
  for (let round = 0; round < 6; round++) {
    fail = round === 3;
    const some = Array.from({ length: 40 }, async (_, i) => {
      const body = Buffer.alloc(sizes[(i * 7 + round) % sizes.length]! + i, 33 + ((i + round * 40) % 90));
      const writer = spool.openBody(body.subarray(0, 7));
      for (let at = 7; at < body.length; at += 10_000) await writer.write(body.subarray(at, at + 10_000));
      const source = i % 5 === 0 ? await writer.content().catch(() => undefined) : undefined;
      if (source) shown.push([source, body]);
      if (i % 7 === 0) return writer.abort();
      const held = i % 3 === 0 ? { held: "later" } : {};
      const id = await spool.commit(writer, { ...newMessage(), ...held }).catch(() => undefined);
      if (id !== undefined) bodies.set(id, body);
    });
    await Promise.all(some);
  }
  assert.ok(bodies.size > 100);
  for (const [id, body] of bodies) assert.ok(body.equals(await octetsOf(await spool.body(id))), `message ${id}`);
  for (const [source, body] of shown) {
    const memory = source.inMemory();
    if (memory) assert.ok(body.equals(memory), "octets that were shown stay as they were");
  }
  await spool.close();
  const again = await open(dir);
  for (const [id, body] of bodies)
    assert.ok(body.equals(await octetsOf(await again.body(id))), `message ${id} on disk`);
  await again.close();
});

async function octetsOf(body: BodySource): Promise<Buffer> {
  return Buffer.concat(await Array.fromAsync(body.stream()));
}
