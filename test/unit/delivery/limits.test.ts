/** Limits of outgoing connections and transactions, each crossed. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { budgetWith } from "../../../src/config/budget.ts";
import { StsPolicies } from "../../../src/delivery/tls/mta-sts.ts";
import { bodyOf, delivererWith, messageTo, resolverOf, sample } from "./fixtures.ts";
import { startNextHop } from "./next-hop-server.ts";

test("connections to a host are bounded; those beyond wait their turn", async () => {
  const hop = await startNextHop();
  const routes = { "y.example": `[127.0.0.1]:${hop.port}` };
  const deliverer = delivererWith({ routes, pool: { connectionsPerHost: 3 } });
  const results = await Promise.all(
    Array.from({ length: 30 }, () => {
      const message = messageTo(["b@y.example"]);
      return deliverer.deliver(message, message.recipients, bodyOf(sample));
    }),
  );
  assert.ok(results.flat().every((result) => result.kind === "relayed"));
  assert.equal(hop.sessions, 3);
  assert.equal(hop.messages.length, 30);
  deliverer.close();
  await hop.close();
});

test("a connection carries a bounded number of messages", async () => {
  const hop = await startNextHop();
  const routes = { "y.example": `[127.0.0.1]:${hop.port}` };
  const deliverer = delivererWith({ routes, pool: { messagesPerConnection: 2 } });
  for (let count = 0; count < 5; count++) {
    const message = messageTo(["b@y.example"]);
    await deliverer.deliver(message, message.recipients, bodyOf(sample));
  }
  assert.equal(hop.sessions, 3);
  deliverer.close();
  await hop.close();
});

test("an idle connection is closed", async () => {
  const hop = await startNextHop();
  const routes = { "y.example": `[127.0.0.1]:${hop.port}` };
  const deliverer = delivererWith({ routes, pool: { idleMs: 100 } });
  const message = messageTo(["b@y.example"]);
  await deliverer.deliver(message, message.recipients, bodyOf(sample));
  for (let tries = 0; tries < 40 && !hop.commands.includes("QUIT"); tries++)
    await new Promise((r) => setTimeout(r, 50));
  assert.ok(hop.commands.includes("QUIT"));
  await hop.close();
});

test("waiting users learn that a host can't be reached", async () => {
  const hop = await startNextHop({ greeting: "CLOSE" });
  const routes = { "y.example": `[127.0.0.1]:${hop.port}` };
  const deliverer = delivererWith({ routes, pool: { connectionsPerHost: 1 } });
  const results = await Promise.all(
    Array.from({ length: 10 }, () => {
      const message = messageTo(["b@y.example"]);
      return deliverer.deliver(message, message.recipients, bodyOf(sample));
    }),
  );
  assert.ok(results.flat().every((result) => result.kind === "deferred"));
  await hop.close();
});

test("recipients of one transaction are bounded", async () => {
  const hop = await startNextHop();
  const routes = { "y.example": `[127.0.0.1]:${hop.port}` };
  const deliverer = delivererWith({ routes, budget: budgetWith({ recipientsPerTransaction: 4 }) });
  const message = messageTo(Array.from({ length: 10 }, (_, index) => `u${index}@y.example`));
  const results = await deliverer.deliver(message, message.recipients, bodyOf(sample));
  assert.equal(results.length, 10);
  assert.equal(hop.messages.length, 3);
  deliverer.close();
  await hop.close();
});

test("8-bit content for a 7-bit host is converted, or refused when it is too large", async () => {
  const hop = await startNextHop({ extensions: ["PIPELINING"] });
  const routes = { "y.example": `[127.0.0.1]:${hop.port}` };
  const eightBit = "Subject: x\r\nContent-Type: text/plain; charset=utf-8\r\n\r\ngrün\r\n";
  for (const [convertedBody, kind] of [
    [1_000, "relayed"],
    [10, "failed"],
  ] as const) {
    const deliverer = delivererWith({ routes, budget: budgetWith({ convertedBody }) });
    const message = messageTo(["b@y.example"], { body: "8BITMIME" });
    const [result] = await deliverer.deliver(message, message.recipients, bodyOf(eightBit, 16));
    assert.equal(result!.kind, kind);
    if (kind === "failed") assert.equal(result!.outcome.enhanced, "5.6.3");
    deliverer.close();
  }
  assert.equal(hop.messages.length, 1);
  assert.ok(hop.messages[0]!.includes("gr=C3=BCn"));
  await hop.close();
});

test("an MTA-STS policy host that never answers is given up", async (t) => {
  const hop = await startNextHop({ greeting: "" });
  t.after(() => hop.close());
  const resolver = resolverOf({
    "_mta-sts.y.example": { TXT: ["v=STSv1; id=1;"] },
    "mta-sts.y.example": { A: ["127.0.0.1"] },
  });
  const sts = new StsPolicies({ resolver, budget: budgetWith({ stsFetchMs: 1_000, stsPolicies: 1 }), port: hop.port });
  assert.equal(await sts.policyFor("y.example"), undefined);
  assert.equal(await sts.policyFor("y.example"), undefined);
  assert.equal(hop.sessions, 1, "a failed fetch is not repeated at once");
});
