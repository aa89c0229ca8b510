/** Back ends asked while a client waits: what is kept, for how long, how much of it, and what a silent one means. */
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { budgetWith } from "../../../src/config/budget.ts";
import { BackEnds } from "../../../src/delivery/back-ends.ts";
import { mxHop } from "../../../src/delivery/next-hop.ts";
import { defaultTimeouts, SmtpConnection } from "../../../src/smtp/outgoing/client.ts";
import { networkError } from "../../../src/smtp/outgoing/error.ts";
import { type NextHopServer, type Script, startNextHop } from "./next-hop-server.ts";

const hop = mxHop({ domain: "y.example", tls: "none", localAddress: "" }, "user map m");

async function backEnds(t: TestContext, script: Script, backEndAnswers = 10) {
  const host = await startNextHop(script);
  t.after(() => host.close());
  const clock = { now: 0 };
  const asked = new BackEnds({
    hopOf: (address) => (address.endsWith("@y.example") ? hop : undefined),
    open: ({ authUser, authPass }, timeouts) =>
      SmtpConnection.open({
        ...{ host: "127.0.0.1", addresses: ["127.0.0.1"], port: host.port, localAddress: "", lmtp: false },
        tls: { mode: "none", implicit: false, minVersion: "TLSv1.2", maxVersion: "TLSv1.3" },
        credentials: authUser === "" ? undefined : { user: authUser, password: authPass, mechanisms: [] },
        ...{ ehloName: "gw.test", timeouts: { ...defaultTimeouts, ...timeouts }, budget: budgetWith() },
      }),
    budget: budgetWith({ backEndAnswers }),
    now: () => clock.now,
  });
  return { host, asked, clock };
}

const questions = (host: NextHopServer) => host.commands.filter((line) => line.startsWith("RCPT")).length;

test("a final answer is kept for minutes, in bounded memory; others are asked for again", async (t) => {
  const answers: Record<string, string> = {
    "no@y.example": "550 5.1.1 nobody\r\n",
    "busy@y.example": "450 4.2.0 wait\r\n",
  };
  const script: Script = {
    answer: (line) => Object.entries(answers).find(([address]) => line === `RCPT TO:<${address}>`)?.[1],
  };
  const { host, asked, clock } = await backEnds(t, script, 2);
  assert.equal(await asked.refusal("yes@y.example"), undefined);
  assert.equal((await asked.refusal("no@y.example"))?.enhanced, "5.1.1");
  assert.equal((await asked.refusal("NO@y.example"))?.enhanced, "5.1.1");
  assert.equal(await asked.refusal("yes@y.example"), undefined);
  assert.equal(questions(host), 2, "kept");
  assert.equal(await asked.refusal("busy@y.example"), undefined);
  assert.equal(await asked.refusal("busy@y.example"), undefined);
  assert.equal(questions(host), 4, "not final, not kept");
  await asked.refusal("third@y.example");
  await asked.refusal("yes@y.example");
  assert.equal(questions(host), 6, "the oldest made room");
  clock.now += 61_000;
  await asked.refusal("third@y.example");
  assert.equal(questions(host), 6, "good answers hold longer");
  clock.now += 300_000;
  await asked.refusal("third@y.example");
  assert.equal(questions(host), 7);
  assert.ok(host.commands.includes("MAIL FROM:<>"));
  assert.ok(!host.commands.includes("DATA"));
});

test("no line of a client's reaches the back end; one that can't be asked refuses nobody", async (t) => {
  const { host, asked } = await backEnds(t, {});
  assert.equal((await asked.refusal("a>\r\nRCPT TO:<b@y.example"))?.code, 553);
  assert.equal(questions(host), 0);
  assert.equal(await asked.refusal("a@elsewhere.example"), undefined, "no map has it");
  const gone = new BackEnds({
    hopOf: () => hop,
    open: () => Promise.reject(networkError("connect", "refused", "remote y")),
    budget: budgetWith(),
  });
  assert.equal(await gone.refusal("a@y.example"), undefined);
  const verdict = await gone.authenticate({ mechanism: "PLAIN", username: "a@y.example", authzid: "", password: "p" });
  assert.equal(verdict.ok, false);
  assert.equal(verdict.outcome?.code, 454);
});

test("passwords: right, wrong, empty, for another", async (t) => {
  const right = `AUTH PLAIN ${Buffer.from("\0a@y.example\0right").toString("base64")}`;
  const script: Script = {
    extensions: ["AUTH PLAIN"],
    answer: (line) => (line.startsWith("AUTH") ? (line === right ? "235 in\r\n" : "535 5.7.8 no\r\n") : undefined),
  };
  const { host, asked } = await backEnds(t, script);
  const logIn = (password: string | undefined, authzid = "") =>
    asked.authenticate({
      ...{ mechanism: "PLAIN", username: "a@y.example", authzid },
      ...(password === undefined ? {} : { password }),
    });
  assert.deepEqual(await logIn("right"), { ok: true, user: "a@y.example" });
  assert.deepEqual(await logIn("right", "A@y.example"), { ok: true, user: "a@y.example" });
  const before = host.commands.length;
  for (const verdict of [await logIn(""), await logIn(undefined), await logIn("right", "b@y.example")]) {
    assert.deepEqual(verdict, { ok: false, user: "" });
  }
  assert.equal(host.commands.length, before, "not even asked");
  assert.deepEqual(await logIn("wrong"), { ok: false, user: "" });
});
