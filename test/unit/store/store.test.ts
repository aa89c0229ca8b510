import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { type TestContext, test } from "node:test";
import { pino } from "pino";
import { budgetWith } from "../../../src/config/budget.ts";
import { openStore, type StoreOptions } from "../../../src/store/store.ts";
import { type MessageMeta, quarantineAccount, StoreError } from "../../../src/store/types.ts";

const log = pino({ level: "silent" });
const meta: MessageMeta = {
  queueId: "000100",
  mailFrom: "a@b.example",
  receivedAt: 1_000,
  subject: "Hello",
  from: "A <a@b.example>",
};

function scratch(t: TestContext): string {
  const dir = mkdtempSync(join(tmpdir(), "postern-store-"));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  return join(dir, "store");
}

function open(dir: string, more: Partial<StoreOptions> = {}) {
  return openStore({ dir, budget: budgetWith({ storeBodyInDatabase: 1_000 }), log, ...more });
}

const inbox = (account: string, flags: string[] = []) => ({ account, folder: "INBOX", flags });

async function text(chunks: AsyncIterable<Uint8Array> | undefined): Promise<string> {
  assert.ok(chunks);
  const parts: Uint8Array[] = [];
  for await (const chunk of chunks) parts.push(chunk);
  return Buffer.concat(parts).toString();
}

async function* stream(...parts: string[]): AsyncGenerator<Uint8Array> {
  for (const part of parts) yield Buffer.from(part);
}

test("one body serves many mailboxes, small or large, and goes with the last of them", async (t) => {
  const dir = scratch(t);
  const store = await open(dir);
  const large = "large ".repeat(2_000);
  await store.deliver(Buffer.from("small"), meta, [inbox("u@x.example", ["\\Seen", "a"]), inbox("v@x.example")]);
  await store.deliver(stream(large.slice(0, 700), large.slice(700)), meta, [inbox("u@x.example")]);
  await store.deliver(Buffer.from(large), { ...meta, queueId: "000200" }, [
    { account: "v@x.example", folder: "Lists/node", flags: [] },
  ]);
  assert.equal(readdirSync(join(dir, "bodies")).length, 1, "the large body is there once");
  await store.close();

  const again = await open(dir);
  const listed = await again.list("u@x.example");
  assert.deepEqual(
    listed.map(({ uid, folder, flags, size, queueId, subject }) => [uid, folder, flags, size, queueId, subject]),
    [
      [1, "INBOX", ["\\Seen", "a"], 5, "000100", "Hello"],
      [2, "INBOX", [], 12_000, "000100", "Hello"],
    ],
  );
  assert.deepEqual(await again.mailboxes("v@x.example"), [
    { name: "INBOX", specialUse: [] },
    { name: "Lists/node", specialUse: [] },
  ]);
  assert.deepEqual(await again.accounts(), [
    { account: "u@x.example", messages: 2, octets: 12_005 },
    { account: "v@x.example", messages: 2, octets: 12_005 },
  ]);
  assert.equal(await text(await again.read("u@x.example", "INBOX", 1)), "small");
  assert.equal(await text(await again.read("v@x.example", "Lists/node", 1)), large);
  assert.equal(await again.read("v@x.example", "INBOX", 9), undefined);
  assert.equal(await again.remove("u@x.example", "INBOX", 2), true);
  assert.equal(await again.remove("u@x.example", "INBOX", 2), false);
  assert.equal(readdirSync(join(dir, "bodies")).length, 1);
  assert.equal(await again.remove("v@x.example", "Lists/node", 1), true);
  assert.deepEqual(readdirSync(join(dir, "bodies")), []);
  assert.equal((await again.quota("u@x.example")).octets, 5);
  await again.deliver(Buffer.from("x"), meta, [inbox("u@x.example")]);
  assert.deepEqual(
    (await again.list("u@x.example", "INBOX")).map(({ uid }) => uid),
    [1, 3],
    "uids are not reused",
  );
  await again.close();
});

test("a full mailbox defers with 4.2.2, all or nothing, and disturbs no delivery beside it", async (t) => {
  const store = await open(scratch(t), { defaultQuota: 100 });
  await store.setQuota("big@x.example", 1_000);
  const body = Buffer.alloc(80, 97);
  await store.deliver(body, meta, [inbox("u@x.example")]);
  const results = await Promise.allSettled([
    store.deliver(body, meta, [inbox("v@x.example"), inbox("u@x.example")]),
    store.deliver(body, meta, [inbox("big@x.example")]),
    store.deliver(body, meta, [inbox("big@x.example")]),
  ]);
  assert.deepEqual(
    results.map(({ status }) => status),
    ["rejected", "fulfilled", "fulfilled"],
  );
  const error = (results[0] as PromiseRejectedResult).reason as StoreError;
  assert.ok(error instanceof StoreError);
  assert.deepEqual([error.outcome.code, error.outcome.enhanced], [452, "4.2.2"]);
  assert.deepEqual(await store.list("v@x.example"), [], "nothing was stored for the other target");
  assert.deepEqual(await store.quota("big@x.example"), { octets: 160, limit: 1_000 });
  await store.close();
});

test("a body that breaks off leaves nothing", async (t) => {
  const dir = scratch(t);
  const store = await open(dir);
  async function* broken() {
    yield Buffer.alloc(5_000);
    throw new Error("connection lost");
  }
  await assert.rejects(store.deliver(broken(), meta, [inbox("u@x.example")]), StoreError);
  assert.deepEqual(readdirSync(join(dir, "bodies")), []);
  assert.deepEqual(await store.accounts(), []);
  await store.close();
});

test("quarantined messages carry reason and score and expire", async (t) => {
  let now = 1_000;
  const store = await open(scratch(t), { quarantineMs: 500, now: () => now });
  const details = { ...meta, reason: "spam", score: 12.5, rcptTo: ["u@x.example"] };
  await store.deliver(Buffer.from("bad"), details, [inbox(quarantineAccount)]);
  await store.deliver(Buffer.from("good"), meta, [inbox("u@x.example")]);
  const [entry] = await store.list(quarantineAccount);
  assert.deepEqual(
    [entry?.reason, entry?.score, entry?.rcptTo, entry?.expires],
    ["spam", 12.5, ["u@x.example"], 1_500],
  );
  assert.equal(await store.expire(), 0);
  now = 1_500;
  assert.equal(await store.expire(), 1);
  assert.deepEqual(
    (await store.accounts()).map(({ account }) => account),
    ["u@x.example"],
  );
  await store.close();
});

test("several have the store open at once", async (t) => {
  const dir = scratch(t);
  const stores = await Promise.all([open(dir), open(dir), open(dir)]);
  await Promise.all(
    Array.from({ length: 60 }, (_, i) => stores[i % 3]!.deliver(Buffer.from(`m${i}`), meta, [inbox("u@x.example")])),
  );
  const uids = (await stores[0]!.list("u@x.example")).map(({ uid }) => uid);
  assert.deepEqual(
    uids,
    Array.from({ length: 60 }, (_, i) => i + 1),
  );
  await Promise.all(stores.map((store) => store.close()));
});

test("check finds what is inconsistent and repair puts it right", async (t) => {
  const dir = scratch(t);
  const store = await open(dir);
  await store.deliver(Buffer.alloc(5_000), meta, [inbox("u@x.example")]);
  await store.deliver(Buffer.from("fine"), meta, [inbox("u@x.example")]);
  assert.deepEqual(await store.check(false), { problems: [], repaired: 0 });
  for (const file of readdirSync(join(dir, "bodies"))) rmSync(join(dir, "bodies", file));
  for (const name of ["mold", "myoung"]) writeFileSync(join(dir, "bodies", name), "x");
  utimesSync(join(dir, "bodies", "mold"), 1, 1);
  const database = new DatabaseSync(join(dir, "store.db"));
  database.exec("UPDATE account SET octets = 7");
  database.close();
  const { problems } = await store.check(false);
  assert.equal(problems.length, 3, problems.join("\n"));
  assert.ok((await store.check(true)).repaired >= 3);
  assert.deepEqual(await store.check(false), { problems: [], repaired: 0 });
  assert.deepEqual(readdirSync(join(dir, "bodies")), ["myoung"], "a file that may be in use is left");
  assert.deepEqual(await store.accounts(), [{ account: "u@x.example", messages: 1, octets: 4 }]);
  await store.close();
});

test("a backup is a store of its own", async (t) => {
  const dir = scratch(t);
  const store = await open(dir);
  await store.deliver(Buffer.alloc(5_000, 98), meta, [inbox("u@x.example")]);
  await store.deliver(Buffer.from("small"), meta, [inbox("u@x.example")]);
  assert.deepEqual(await store.backup(`${dir}-copy`), { messages: 2, files: 1 });
  await assert.rejects(store.backup(`${dir}-copy`), /EEXIST/);
  await store.remove("u@x.example", "INBOX", 1);
  const copy = await open(`${dir}-copy`);
  assert.equal((await text(await copy.read("u@x.example", "INBOX", 1))).length, 5_000);
  await copy.close();
  await store.close();
});

test("a damaged database is one clear error", async (t) => {
  const dir = scratch(t);
  await (await open(dir)).close();
  writeFileSync(join(dir, "store.db"), "not a database at all, whatever its name may say");
  await assert.rejects(open(dir), /store in .* can't be opened/);
});
