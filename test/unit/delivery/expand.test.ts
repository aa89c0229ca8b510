import assert from "node:assert/strict";
import { test } from "node:test";
import { expandRecipients, type Names } from "../../../src/delivery/expand.ts";
import { messageTo } from "./fixtures.ts";

const aliases: Record<string, string[]> = {
  "info@local.example": ["ann@local.example", "bob@local.example", "far@y.example"],
  "chain@local.example": ["info@local.example"],
  "loop@local.example": ["pool@local.example"],
  "pool@local.example": ["loop@local.example"],
  "self@local.example": ["self@local.example", "far@y.example"],
  "ann@local.example": ["ann@local.example"],
  "bob@local.example": ["bob@local.example"],
};
for (let index = 0; index < 20; index++) aliases[`deep${index}@local.example`] = [`deep${index + 1}@local.example`];

const names: Names = {
  hasBackEnd: () => false,
  isLocal: (domain) => domain === "local.example",
  resolve: (address) => aliases[address.toLowerCase()] ?? [],
  reverse: (address) => (address === "SRS0=x@gw.test" ? "ann@far.example" : undefined),
};
const budget = { expandedRecipients: 10 };

test("each target of an alias is a recipient of its own, once", async () => {
  const message = messageTo([{ address: "chain@local.example", notify: ["FAILURE"] }, "ann@local.example"]);
  await expandRecipients(message, names, budget);
  assert.deepEqual(
    message.recipients.map(({ address, index, orcpt, notify }) => [address, index, orcpt, notify]),
    [
      ["bob@local.example", 0, "rfc822;chain@local.example", ["FAILURE"]],
      ["far@y.example", 1, "rfc822;chain@local.example", ["FAILURE"]],
      ["ann@local.example", 2, undefined, undefined],
    ],
  );
  const once = structuredClone(message.recipients);
  await expandRecipients(message, names, budget);
  assert.deepEqual(message.recipients, once, "expanding again changes nothing");
});

test("an account that forwards keeps its own copy", async () => {
  const message = messageTo(["self@local.example"]);
  await expandRecipients(message, names, budget);
  assert.deepEqual(
    message.recipients.map(({ address }) => address),
    ["self@local.example", "far@y.example"],
  );
});

test("a bounce to an SRS address goes to the sender it was made for", async () => {
  const message = messageTo(["SRS0=x@gw.test"], { mailFrom: "" });
  await expandRecipients(message, names, budget);
  assert.equal(message.recipients[0]!.address, "ann@far.example");
});

test("an unknown address, a loop and an endless chain fail; what is remote or has a route is left alone", async () => {
  const message = messageTo(["nobody@local.example", "loop@local.example", "deep0@local.example"]);
  await expandRecipients(message, names, budget);
  assert.deepEqual(
    message.recipients.map(({ state, lastOutcome }) => [state, lastOutcome?.enhanced]),
    [
      ["failed", "5.1.1"],
      ["failed", "5.1.1"],
      ["failed", "5.4.6"],
    ],
  );
  const routed = messageTo([
    { address: "info@local.example", route: { host: "[127.0.0.1]", port: 25 } },
    "x@y.example",
  ]);
  assert.equal(expandRecipients(routed, names, budget), undefined);
});

test("an alias beyond the budget fails as a whole", async () => {
  const message = messageTo(["info@local.example"]);
  await expandRecipients(message, names, { expandedRecipients: 3 });
  assert.deepEqual(
    message.recipients.map(({ address, state, lastOutcome }) => [address, state, lastOutcome?.enhanced]),
    [["info@local.example", "failed", "5.2.4"]],
  );
});

test("a recipient that is done is not expanded again", async () => {
  const message = messageTo(["info@local.example"]);
  message.recipients[0]!.state = "sent";
  assert.equal(expandRecipients(message, names, budget), undefined);
});
