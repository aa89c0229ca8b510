import assert from "node:assert/strict";
import { test } from "node:test";
import { BudgetExceeded, budgetWith } from "../../../src/config/budget.ts";
import { parseAddressMap } from "../../../src/delivery/address-map.ts";
import { Srs } from "../../../src/delivery/srs.ts";
import { bodyOf, delivererWith, messageTo, sample } from "./fixtures.ts";
import { startNextHop } from "./next-hop-server.ts";

const budget = budgetWith();

test("whole addresses before domains; others and the null path stay", () => {
  const map = parseAddressMap("# ours\nann@in.example Ann.Lee@out.example\n\n@in.example @out.example\n", "m", budget);
  assert.equal(map.rewrite("ANN@in.example"), "Ann.Lee@out.example");
  assert.equal(map.rewrite("bob@IN.example"), "bob@out.example");
  assert.equal(map.rewrite("bob@else.example"), "bob@else.example");
  assert.equal(map.rewrite(""), "");
});

test("lines that can't be used and too many lines are refused", () => {
  for (const bad of ["one", "a@b", "a@b @c", "@a b@c", "a@b c@d e@f"]) {
    assert.throws(() => parseAddressMap(`# x\n${bad}`, "m", budget), /^RangeError: m:2: /);
  }
  assert.throws(() => parseAddressMap("\n\n", "m", budgetWith({ addressMapLines: 2 })), BudgetExceeded);
});

test("on the wire: rewritten sender and recipient, results for the recipient asked", async () => {
  const hop = await startNextHop();
  const deliverer = delivererWith({
    smartHosts: [{ host: `[127.0.0.1]:${hop.port}`, port: 25, tls: "none", user: "", password: "", weight: 1 }],
    rewriteSender: parseAddressMap("@x.example @public.example", "s", budget),
    rewriteRecipient: parseAddressMap("b@y.example c@z.example", "r", budget),
    srs: new Srs({ domain: "gw.test", secrets: ["secret-secret"] }),
  });
  const message = messageTo(["b@y.example"]);
  const [result] = await deliverer.deliver(message, message.recipients, bodyOf(sample));
  assert.equal(result!.kind, "relayed");
  assert.equal(result!.recipient, message.recipients[0]);
  assert.match(hop.commands[1]!, /^MAIL FROM:<SRS0=....=..=public\.example=a@gw\.test>/);
  assert.equal(hop.commands[2], "RCPT TO:<c@z.example>");
  const ours = { ...message, client: { ...message.client, authUser: "ann" } };
  await deliverer.deliver(ours, message.recipients, bodyOf(sample));
  assert.ok(
    hop.commands.some((line) => line.startsWith("MAIL FROM:<a@public.example>")),
    "no SRS for our own senders",
  );
  deliverer.close();
  await hop.close();
});
