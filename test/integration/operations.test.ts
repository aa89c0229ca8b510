/**
 * `postern queue` on the running gateway: every operation changes what happens to real mail, and is journaled.
 */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { DestinationStatus } from "../../src/queue/destination.ts";
import { dumped, freePort, type Gateway, Lab, peer, sendMessage, until } from "./lab.ts";

const lab = new Lab();
after(() => lab.close());

interface Listed {
  id: string;
  state: string;
  size: number;
  failure: string;
  envelope: { mailFrom: string };
  recipients: Array<{ address: string; destination?: string; attempts: number }>;
}

function list(gateway: Gateway, ...filters: string[]): Listed[] {
  const { out, code, err } = gateway.postern("queue", "list", "--json", ...filters);
  assert.ok(code <= 1, err);
  return (JSON.parse(out) as { messages: Listed[] }).messages;
}

function change(gateway: Gateway, ...words: string[]): string[] {
  const { out, err, code } = gateway.postern("queue", ...words, "--json");
  assert.ok(code === 0 || err === "postern queue: no message matches\n", err);
  return (JSON.parse(out) as { done: string[] }).done;
}

const send = async (gateway: Gateway, from: string, to: string, size = 10): Promise<void> => {
  const replies = await sendMessage(gateway.port, {
    from,
    to: [to],
    text: `From: ${from}\nSubject: to ${to}\n\n${"x".repeat(60).concat("\n").repeat(size)}`,
  });
  assert.match(replies.at(-1)!, /^250/);
};

test("filters, show, hold, release, retry, delete, bounce, reroute, journal", { timeout: 240_000 }, async (t) => {
  if (!peer("smtp-sink")) return t.skip("needs smtp-sink");
  const [down, deferring] = [await freePort(), await lab.sink(["-r", "RCPT"])];
  const [home, elsewhere] = [await lab.sink(), await lab.sink()];
  const routes = {
    "down.test": `[127.0.0.1]:${down}`,
    "slow.test": `[127.0.0.1]:${deferring.port}`,
    "home.test": `[127.0.0.1]:${home.port}`,
  };
  const gateway = await lab.gateway({
    domains: { local: [], routes },
    queue: { firstRetry: "1h", maxRetry: "8h" },
  });
  await send(gateway, "ann@home.test", "bob@down.test");
  await send(gateway, "eve@home.test", "joe@down.test", 200);
  await send(gateway, "ann@home.test", "kim@slow.test");
  await until("all were tried", () => list(gateway).filter(({ failure }) => failure !== "").length === 3);

  // Filters
  const to = (...filters: string[]) => list(gateway, ...filters).map(({ recipients }) => recipients[0]!.address);
  assert.deepEqual(to("--sender", "ANN@home.test").sort(), ["bob@down.test", "kim@slow.test"]);
  assert.deepEqual(to("--recipient", "*@down.test").sort(), ["bob@down.test", "joe@down.test"]);
  assert.deepEqual(to("--size", ">8K"), ["joe@down.test"]);
  assert.deepEqual(to("--size", "<8K").sort(), ["bob@down.test", "kim@slow.test"]);
  assert.deepEqual(to("--age", ">1h"), []);
  assert.equal(to("--age", "<1h").length, 3);
  assert.deepEqual(to("--failure", "refused").sort(), ["bob@down.test", "joe@down.test"]);
  assert.equal(to("--status", "send failure").length, 3);
  assert.deepEqual(to("--destination", `*:${deferring.port}`), ["kim@slow.test"]);
  assert.equal(to("--next-after", new Date(Date.now() + 600_000).toISOString()).length, 3);
  assert.deepEqual(to("--next-before", new Date(Date.now() + 600_000).toISOString()), []);
  assert.equal(to("--limit", "2").length, 2);
  assert.deepEqual(to("--sender", "eve@*", "--recipient", "kim@*"), [], "all filters must hold");

  // Show: the fields of mqview
  const [bob] = list(gateway, "--recipient", "bob@*");
  const shown = gateway.postern("queue", "show", bob!.id).out;
  for (const line of [
    `ID: ${bob!.id}`,
    "State: send failure",
    "Number of RCPTs: 1",
    "Retry Count: 1",
    "Reverse Path: <ann@home.test>",
    "Recipient: <bob@down.test>",
  ]) {
    assert.ok(shown.includes(line), `${line} in\n${shown}`);
  }
  assert.match(shown, /Next Send Schedule: 20\d\d-/);
  assert.match(shown, /Failure Info: .*(?:refused|ECONNREFUSED)/i);

  // Hold keeps it from a retry; release sends it on
  assert.deepEqual(change(gateway, "hold", bob!.id, "--why", "looks odd"), [bob!.id]);
  assert.equal(list(gateway, "--status", "held").length, 1);
  const sink = await lab.sink([], down);
  assert.deepEqual(change(gateway, "retry", bob!.id), []);
  const [joe] = list(gateway, "--recipient", "joe@*");
  assert.deepEqual(change(gateway, "retry", joe!.id), [joe!.id]);
  await until("joe's mail arrives", () => dumped(sink.dump).length === 1);
  await sleep(200);
  assert.equal(dumped(sink.dump).length, 1, "the held one stays");
  assert.deepEqual(change(gateway, "release", bob!.id, "--why", "it is fine"), [bob!.id]);
  await until("bob's mail arrives", () => dumped(sink.dump).length === 2);

  // Reroute
  const [kim] = list(gateway, "--recipient", "kim@*");
  assert.deepEqual(change(gateway, "reroute", kim!.id, "--to", `[127.0.0.1]:${elsewhere.port}`), [kim!.id]);
  await until("kim's mail arrives elsewhere", () => dumped(elsewhere.dump).length === 1);

  // Bounce and delete
  await send(gateway, "ann@home.test", "gone@slow.test");
  await send(gateway, "ann@home.test", "spam@slow.test");
  await until("both were tried", () => list(gateway, "--failure", "").filter(({ failure }) => failure).length === 2);
  assert.equal(change(gateway, "delete", "--recipient", "spam@*", "--why", "spam").length, 1);
  assert.equal(change(gateway, "bounce", "--recipient", "gone@*", "--why", "He has left us").length, 1);
  await until("the report arrives", () => dumped(home.dump).length === 1);
  await sleep(200);
  const [report] = dumped(home.dump);
  assert.match(report!, /report-type=delivery-status/);
  assert.match(report!, /Final-Recipient: rfc822; gone@slow\.test\r?\nAction: failed\r?\nStatus: 5\.0\.0/);
  assert.match(report!, /He has left us/);
  assert.match(report!, /X-Mail-Args: <>/, "the report has the null reverse-path");
  assert.equal(list(gateway).length, 0);

  // Every change with who and why
  const journal = readFileSync(join(gateway.folder, "var/queue/journal.log"), "utf8").trim().split("\n");
  const entries = journal.map(
    (line) => JSON.parse(line) as { operation: string; who: string; why: string; done: string[] },
  );
  const made = entries.filter(({ done }) => done.length > 0).map(({ operation, why }) => `${operation}: ${why}`);
  assert.deepEqual(made, [
    "hold: looks odd",
    "retry: ",
    "release: it is fine",
    "reroute: ",
    "delete: spam",
    "bounce: He has left us",
  ]);
  assert.ok(entries.every(({ who }) => who.length > 0));
  await gateway.kill("SIGTERM");
});

test("destinations: status, suspend, resume, flush", { timeout: 120_000 }, async (t) => {
  if (!peer("smtp-sink")) return t.skip("needs smtp-sink");
  const [port, other] = [await freePort(), await lab.sink()];
  let gateway = await lab.gateway({
    domains: { local: [], routes: { "a.test": `[127.0.0.1]:${port}`, "b.test": `[127.0.0.1]:${other.port}` } },
    queue: { firstRetry: "1h" },
    workers: 1,
  });
  const status = (name: string) => {
    const { out } = gateway.postern("queue", "destinations", "--json");
    const all = (JSON.parse(out) as { destinations: DestinationStatus[] }).destinations;
    return all.find(({ destination }) => destination === name);
  };
  const name = `smtp:[127.0.0.1]:${port}`;
  await send(gateway, "x@y.test", "one@a.test");
  await until("it is known to be down", () => status(name)?.state === "down");
  assert.match(status(name)!.lastError, /refused/i);

  // What is down costs no attempt: the second message shares the outcome at once.
  await send(gateway, "x@y.test", "two@a.test");
  await until("the second waits", () => list(gateway).filter(({ failure }) => failure !== "").length === 2);
  const sink = await lab.sink([], port);
  assert.equal(gateway.postern("queue", "flush", name).code, 0);
  await until("both arrive", () => dumped(sink.dump).length === 2);

  const second = `smtp:[127.0.0.1]:${other.port}`;
  assert.equal(gateway.postern("queue", "suspend", second, "--why", "maintenance").code, 0);
  await send(gateway, "x@y.test", "three@b.test");
  await sleep(500);
  assert.equal(dumped(other.dump).length, 0);
  assert.equal(status(second)!.state, "suspended");
  // It outlives a restart, and so does what waits for it.
  await gateway.kill("SIGTERM");
  gateway = await lab.startGateway(gateway.configFile, gateway.port);
  await sleep(500);
  assert.equal(dumped(other.dump).length, 0);
  assert.equal(status(second)!.state, "suspended");
  assert.equal(status(second)!.suspended?.why, "maintenance");
  assert.equal(gateway.postern("queue", "resume", second).code, 0);
  await until("it arrives after resume", () => dumped(other.dump).length === 1);
  await gateway.kill("SIGTERM");
});
