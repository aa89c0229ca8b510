import assert from "node:assert/strict";
import { test } from "node:test";
import { outcome } from "../../../src/message/outcome.ts";
import { StoreError } from "../../../src/store/types.ts";
import { bodyOf, delivererWith, memoryStore, messageTo, sample } from "./fixtures.ts";
import { startNextHop } from "./next-hop-server.ts";

test("local recipients reach the store once, with their folders", async () => {
  const store = memoryStore();
  const deliverer = delivererWith({ store, subaddressFolders: true });
  const message = messageTo(["Ann@local.example", "bob+lists@local.example"]);
  const results = await deliverer.deliver(message, message.recipients, bodyOf(sample));
  assert.deepEqual(
    results.map((result) => [result.kind, result.destination, result.outcome.code]),
    [
      ["delivered", "store", 250],
      ["delivered", "store", 250],
    ],
  );
  assert.equal(store.stored.length, 1);
  assert.deepEqual(store.stored[0]!.targets, [
    { account: "ann@local.example", folder: "INBOX", flags: [] },
    { account: "bob@local.example", folder: "lists", flags: [] },
  ]);
});

test("one mailbox over quota does not keep the others from their mail", async () => {
  const full = outcome.defer({ code: 452, enhanced: "4.2.2", text: "over quota", origin: "store" });
  const store = memoryStore((target) => (target.account.startsWith("full") ? new StoreError(full) : undefined));
  const message = messageTo(["full@local.example", "ok@local.example"]);
  const results = await delivererWith({ store }).deliver(message, message.recipients, bodyOf(sample));
  assert.deepEqual(
    results.map((result) => [result.recipient.address, result.kind]),
    [
      ["full@local.example", "deferred"],
      ["ok@local.example", "delivered"],
    ],
  );
  assert.equal(store.stored.length, 1);
});

test("processing's marks choose folder and flags", async () => {
  const store = memoryStore();
  const message = messageTo(["ann@local.example"]);
  message.marks.deliveries = [{ recipient: "ann@local.example", folder: "Work", flags: ["\\Seen"] }];
  await delivererWith({ store }).deliver(message, message.recipients, bodyOf(sample));
  assert.deepEqual(store.stored[0]!.targets, [{ account: "ann@local.example", folder: "Work", flags: ["\\Seen"] }]);
});

test("a routed message arrives whole, one transaction for recipients of one hop", async () => {
  const hop = await startNextHop();
  const deliverer = delivererWith({ routes: { "y.example": `[127.0.0.1]:${hop.port}` } });
  const message = messageTo(["b@y.example", "c@y.example"]);
  const results = await deliverer.deliver(message, message.recipients, bodyOf(sample));
  assert.deepEqual(
    results.map((result) => result.kind),
    ["relayed", "relayed"],
  );
  assert.deepEqual(hop.messages, [sample]);
  assert.equal(results[0]!.destination, `127.0.0.1 [127.0.0.1]:${hop.port}`);
  const again = await deliverer.deliver(message, message.recipients, bodyOf(sample, 7));
  assert.deepEqual(
    again.map((result) => result.kind),
    ["relayed", "relayed"],
  );
  assert.deepEqual(hop.messages, [sample, sample]);
  assert.equal(hop.sessions, 1, "the connection is reused");
  deliverer.close();
  await hop.close();
});

test("recipients of one message finish independently", async () => {
  const hop = await startNextHop({
    answer: (line) =>
      line.includes("<no@")
        ? "550 5.1.1 no such user\r\n"
        : line.includes("<later@")
          ? "450 4.2.0 greylisted\r\n"
          : undefined,
  });
  const deliverer = delivererWith({ routes: { "y.example": `[127.0.0.1]:${hop.port}` } });
  const message = messageTo(["yes@y.example", "no@y.example", "later@y.example", "me@local.example"]);
  const results = await deliverer.deliver(message, message.recipients, bodyOf(sample));
  const kinds = Object.fromEntries(results.map((result) => [result.recipient.address, result.kind]));
  assert.deepEqual(kinds, {
    "yes@y.example": "relayed",
    "no@y.example": "failed",
    "later@y.example": "deferred",
    "me@local.example": "delivered",
  });
  const failed = results.find((result) => result.kind === "failed")!;
  assert.equal(failed.outcome.enhanced, "5.1.1");
  assert.equal(failed.outcome.text, "no such user");
  deliverer.close();
  await hop.close();
});

test("onRelay decides, and may refuse", async () => {
  const hop = await startNextHop();
  const seen: string[] = [];
  const deliverer = delivererWith({
    relayPolicy: async (_message, domain, preset) => {
      seen.push(`${domain} ${preset.host}`);
      if (domain === "never.example") {
        const refused = outcome.reject({ code: 550, enhanced: "5.7.1", text: "not there", origin: "onRelay" });
        return { route: preset, origin: "onRelay line 3", refused };
      }
      return { route: { ...preset, host: "[127.0.0.1]", port: hop.port }, origin: "onRelay line 9" };
    },
  });
  const message = messageTo(["a@y.example", "b@y.example", "c@never.example"]);
  const results = await deliverer.deliver(message, message.recipients, bodyOf(sample));
  assert.deepEqual(results.map((result) => result.kind).sort(), ["failed", "relayed", "relayed"]);
  assert.deepEqual(seen.sort(), ["never.example ", "y.example "], "asked once a domain");
  deliverer.close();
  await hop.close();
});
