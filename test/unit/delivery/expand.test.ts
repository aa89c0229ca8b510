import assert from "node:assert/strict";
import { test } from "node:test";
import { bodyOf, delivererWith, memoryStore, messageTo, sample } from "./fixtures.ts";
import { startNextHop } from "./next-hop-server.ts";

const aliases: Record<string, string[]> = {
  "info@local.example": ["ann@local.example", "bob@local.example", "far@y.example"],
  "chain@local.example": ["info@local.example"],
  "loop@local.example": ["pool@local.example"],
  "pool@local.example": ["loop@local.example"],
  "ann@local.example": ["ann@local.example"],
  "bob@local.example": ["bob@local.example"],
};
for (let index = 0; index < 20; index++) aliases[`deep${index}@local.example`] = [`deep${index + 1}@local.example`];
const resolveLocal = (address: string) => aliases[address.toLowerCase()] ?? [];

test("aliases reach accounts and other hosts; the recipient has one result, its worst", async () => {
  const hop = await startNextHop({ answer: (line) => (line.startsWith("RCPT") ? "450 4.2.0 later\r\n" : undefined) });
  const store = memoryStore();
  const routes = { "y.example": `[127.0.0.1]:${hop.port}` };
  const deliverer = delivererWith({ store, routes, resolveLocal });
  const message = messageTo(["chain@local.example", "ann@local.example"]);
  const results = await deliverer.deliver(message, message.recipients, bodyOf(sample));
  assert.deepEqual(Object.fromEntries(results.map((one) => [one.recipient.address, one.kind])), {
    "chain@local.example": "deferred",
    "ann@local.example": "delivered",
  });
  assert.ok(results.every((one) => message.recipients.includes(one.recipient)));
  const accounts = store.stored.flatMap((one) => one.targets.map((target) => target.account));
  assert.deepEqual([...new Set(accounts)].sort(), ["ann@local.example", "bob@local.example"]);
  assert.ok(hop.commands.includes("RCPT TO:<far@y.example>"));
  deliverer.close();
  await hop.close();
});

test("an unknown address, a loop and an endless chain are refused", async () => {
  const deliverer = delivererWith({ resolveLocal });
  const message = messageTo(["nobody@local.example", "loop@local.example", "deep0@local.example"]);
  const results = await deliverer.deliver(message, message.recipients, bodyOf(sample));
  assert.deepEqual(
    results.map((one) => [one.kind, one.outcome.enhanced]),
    [
      ["failed", "5.1.1"],
      ["failed", "5.1.1"],
      ["failed", "5.4.6"],
    ],
  );
});
