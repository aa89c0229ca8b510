import assert from "node:assert/strict";
import { test } from "node:test";
import { budgetWith } from "../../../src/config/budget.ts";
import { WorkingMessage } from "../../../src/processing/content.ts";
import { MemoryWriter, source } from "./house.ts";

const budget = budgetWith({ filteredBytes: 40 });
const large = `Subject: x\r\n\r\n${"0123456789".repeat(10)}`;

const written = async (content: WorkingMessage) =>
  ((await content.write((prefix) => new MemoryWriter(prefix))) as MemoryWriter).text;

test("a message beyond filteredBytes is parsed in part and written whole", async () => {
  const content = await WorkingMessage.open(source(large), budget);
  assert.equal(content.truncated, true);
  assert.equal((await content.parsed()).bytes.length, 40);
  assert.equal(content.size, large.length);
  content.edit([{ op: "add", name: "X", value: "1", at: "top" }]);
  assert.equal(await written(content), `X: 1\r\n${large}`);
  assert.equal(content.size, large.length + 6);
});

test("copies change on their own; the queued message never does", async () => {
  const queued = source(large);
  const content = await WorkingMessage.open(queued, budget);
  const copy = content.copy();
  copy.replace(undefined, Buffer.from("new"));
  assert.equal(await written(copy), "Subject: x\r\n\r\nnew");
  assert.equal(content.changed, false);
  assert.equal(await written(content), large);
});

test("an edit that changes nothing leaves the message as it is", async () => {
  const content = await WorkingMessage.open(source(large), budget);
  content.edit([{ op: "remove", name: "X-Missing", which: "all" }]);
  assert.equal(content.changed, false);
});

test("a header without end is refused at the budget", async () => {
  const endless = source(`X: ${"y".repeat(5_000)}`);
  await assert.rejects(WorkingMessage.open(endless, budgetWith({ headerSection: 1_000 })), /headerSection/);
});

test("a writer that fails leaves nothing behind", async () => {
  const content = await WorkingMessage.open(source(large), budget);
  const writer = new MemoryWriter(Buffer.alloc(0));
  writer.write = () => {
    throw new Error("disk full");
  };
  await assert.rejects(
    content.write(() => writer),
    /disk full/,
  );
  assert.equal(writer.aborted, true);
});
