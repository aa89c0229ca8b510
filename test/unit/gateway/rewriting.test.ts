import assert from "node:assert/strict";
import { test } from "node:test";
import { budgetWith } from "../../../src/config/budget.ts";
import { type Config, configSchema } from "../../../src/config/schema.ts";
import { destinationLimits } from "../../../src/gateway/delivery-options.ts";
import { makeRewriting, rewritingFiles } from "../../../src/gateway/rewriting.ts";
import { WorkingMessage } from "../../../src/processing/content.ts";
import { bodyOf, messageTo, sample } from "../delivery/fixtures.ts";

const config = (settings: object): Config => configSchema.parse({ domains: { local: ["local.example"] }, ...settings });

test("blind copies by sender and recipient, without regard to case", () => {
  const copies = [
    { to: "journal@local.example" },
    { sender: "*@X.example", recipient: "boss@*", to: "log@local.example" },
  ];
  const { copiesFor } = makeRewriting(config({ rewriting: { copies } }), budgetWith(), {});
  assert.deepEqual(copiesFor("a@x.Example", [{ address: "Boss@y.example" }]), [
    "journal@local.example",
    "log@local.example",
  ]);
  assert.deepEqual(copiesFor("a@z.example", [{ address: "boss@y.example" }]), ["journal@local.example"]);
});

test("files are named, read, and refused with file and line", () => {
  const wanted = config({
    domains: { userMaps: [{ name: "backends", file: "/etc/map" }] },
    rewriting: { sender: "/etc/senders" },
  });
  assert.deepEqual(rewritingFiles(wanted).sort(), ["/etc/map", "/etc/senders"]);
  const files = { "/etc/map": "^ann@ [192.0.2.1]:25\n", "/etc/senders": "@old.example @new.example\n" };
  const rewriting = makeRewriting(wanted, budgetWith(), files);
  assert.equal(rewriting.userMaps[0]!.find("ann@x.example"), "[192.0.2.1]:25");
  assert.equal(rewriting.sender!.rewrite("a@old.example"), "a@new.example");
  assert.throws(() => makeRewriting(wanted, budgetWith(), { ...files, "/etc/senders": "x\n" }), /\/etc\/senders:1/);
  assert.throws(() => makeRewriting(wanted, budgetWith(), { ...files, "/etc/map": "a(b host\n" }), /backends:1/);
});

test("the disclaimer: only for authenticated senders, only for those outside, not beyond the budget", async () => {
  const settings = config({ rewriting: { disclaimer: { text: "for your eyes only" } } });
  const budget = budgetWith({ convertedBody: 500 });
  const filter = makeRewriting(settings, budget, {}).disclaimer!;
  assert.equal(filter.applies!("a@local.example"), false);
  assert.equal(filter.applies!("a@y.example"), true);
  const run = async (user: string, text: string) => {
    const message = messageTo(["b@y.example"]);
    message.client.authUser = user;
    return filter.run({
      message,
      content: await WorkingMessage.open(bodyOf(text), budget),
      recipients: message.recipients,
    });
  };
  assert.deepEqual(await run("", sample), {});
  assert.deepEqual(await run("ann", sample + "x".repeat(500)), {});
  assert.match((await run("ann", sample)).body!.toString(), /body[\s\S]*for your eyes only/);
});

test("SRS keys: the first signs, all are accepted", () => {
  const old = makeRewriting(config({ relay: { srsSecret: "an older secret" } }), budgetWith(), {}).srs!;
  const secrets = { relay: { srsSecret: ["the newest secret", "an older secret"] } };
  const now = makeRewriting(config(secrets), budgetWith(), {}).srs!;
  assert.equal(now.reverse(old.forward("a@x.example")), "a@x.example");
  assert.equal(old.reverse(now.forward("a@x.example")), undefined);
});

test("limits of destinations: the first match, else the default", () => {
  const destinations = [
    { match: "*.big.example:25", concurrency: 3, perSecond: 10 },
    { match: "*big*", perSecond: 1 },
  ];
  const limitsOf = destinationLimits(config({ queue: { perDestination: 7, destinations } }));
  assert.deepEqual(limitsOf("smtp:mx.BIG.example:25"), { concurrency: 3, perSecond: 10 });
  assert.deepEqual(limitsOf("smtp:big:26"), { concurrency: 7, perSecond: 1 });
  assert.deepEqual(limitsOf("smtp:small:25"), { concurrency: 7, perSecond: undefined });
});
