import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { test } from "node:test";
import { command as backup } from "../../../src/cli/backup.ts";
import type { Command } from "../../../src/cli/command.ts";
import { command as quarantine } from "../../../src/cli/quarantine.ts";
import { command as queue } from "../../../src/cli/queue.ts";
import { command as storeCommand } from "../../../src/cli/store.ts";
import { budgetWith } from "../../../src/config/budget.ts";
import { askOperations, controlPath, serveOperations } from "../../../src/queue/control.ts";
import { createOperations } from "../../../src/queue/operations.ts";
import type { QueuedMessage } from "../../../src/queue/types.ts";
import { openStore } from "../../../src/store/store.ts";
import { quarantineAccount } from "../../../src/store/types.ts";
import { newMessage, open, put, scratch, silent, textOf } from "./fixtures.ts";

/** Runs a command on the data folder; answers exit code and what it wrote. */
async function run(command: Command, cwd: string, ...argv: string[]) {
  let [out, err] = ["", ""];
  const io = { out: (text: string) => void (out += text), err: (text: string) => void (err += text), cwd };
  return { code: await command.run([...argv, "--data", cwd], io), out, err };
}

async function operationsOn(t: Parameters<typeof scratch>[0]) {
  const dir = scratch(t);
  const spool = await open(dir);
  const journal = join(dir, "journal.log");
  const operations = createOperations({ spool, hostName: "mx.test", log: silent, journal });
  return { dir, spool, operations, journal };
}

const account = { who: "root", why: "a test" };

test("hold, release, reroute, retry, bounce and delete change what they should, and are journaled", async (t) => {
  const { spool, operations, journal } = await operationsOn(t);
  const id = await put(spool, "x");
  const filter = { ids: [id] };
  const get = async () => (await spool.get(id))!;
  assert.deepEqual(await operations({ operation: "hold", filter, ...account }), { done: [id], busy: [] });
  assert.deepEqual([(await get()).state, (await get()).held], ["held", "a test"]);
  assert.deepEqual(await operations({ operation: "hold", filter, ...account }), { done: [], busy: [] });
  assert.deepEqual(await operations({ operation: "release", filter, ...account }), { done: [id], busy: [] });
  assert.equal((await get()).state, "received", "it was never processed");
  await operations({ operation: "reroute", filter, host: "[192.0.2.9]", port: 2525, ...account });
  assert.deepEqual((await get()).recipients[0]?.route, { host: "[192.0.2.9]", port: 2525 });
  (await spool.take(id))!.nextAttempt = 9e15;
  assert.deepEqual(await operations({ operation: "delete", filter, ...account }), { done: [], busy: [id] });
  await spool.update(await get());
  await operations({ operation: "retry", filter, ...account });
  assert.ok((await get()).nextAttempt <= Date.now());
  await operations({ operation: "bounce", filter, ...account });
  const [report] = await spool.list({});
  assert.match(await textOf(spool, report!.id), /Diagnostic-Code: smtp; 550 5\.0\.0 a test/);
  await operations({ operation: "delete", filter: { recipient: "*" }, ...account });
  assert.equal((await spool.count()).total, 0);
  const lines = readFileSync(journal, "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Record<string, unknown>);
  assert.deepEqual(
    lines.map(({ operation, who, why }) => [operation, who, why]),
    ["hold", "hold", "release", "reroute", "delete", "retry", "bounce", "delete"].map((word) => [
      word,
      "root",
      "a test",
    ]),
  );
  await spool.close();
});

test("the control socket answers, refuses what is no request, and bounds it", async (t) => {
  const { dir, spool, operations } = await operationsOn(t);
  const id = await put(spool, "x");
  const path = controlPath(dir, 0);
  const budget = budgetWith({ controlRequest: 1_000 });
  const server = await serveOperations(path, operations, budget);
  const answer = (await askOperations(path, { operation: "list", filter: {} }, budget)) as {
    messages: QueuedMessage[];
  };
  assert.deepEqual(
    answer.messages.map((message) => message.id),
    [id],
  );
  assert.deepEqual(await askOperations(path, { operation: "count" }, budget), { count: { total: 1, received: 1 } });
  assert.match(JSON.stringify(await askOperations(path, { operation: "nonsense" } as never, budget)), /no operation/);
  const raw = (bytes: string) =>
    new Promise<string>((resolve) => {
      let got = "";
      const socket = connect(path, () => socket.write(bytes));
      socket.on("data", (chunk) => (got += String(chunk)));
      socket.on("close", () => resolve(got));
      socket.on("error", () => undefined);
    });
  assert.match(await raw("not json\n"), /"error"/);
  assert.match(await raw("x".repeat(5_000)), /line above 1000 octets/);
  await server.close();
  await spool.close();
});

test("postern queue works on a folder without a gateway, and through the socket with one", async (t) => {
  const data = scratch(t);
  const dir = join(data, "queue");
  let spool = await open(dir);
  const one = await put(spool, "x", newMessage("a@one.example", ["u@x.example"]));
  const two = await put(spool, "x".repeat(3_000), newMessage("evil\x1b[2J@two.example", ["v@x.example"]));
  await spool.close();
  const listed = await run(queue, data, "list");
  assert.equal(listed.code, 0);
  assert.match(listed.out, new RegExp(`${one}.*a@one\\.example`));
  assert.doesNotMatch(listed.out, /\x1b/, "nothing from outside reaches the terminal raw");
  const json = JSON.parse((await run(queue, data, "list", "--json", "--size", ">2K")).out) as {
    messages: QueuedMessage[];
  };
  assert.deepEqual(
    json.messages.map(({ id }) => id),
    [two],
  );
  assert.match(
    (await run(queue, data, "show", one)).out,
    /Next Send Schedule: As Soon As Possible\n.*\nReverse Path: <a@one\.example>\n/,
  );
  assert.equal((await run(queue, data, "show", "FFFFFF")).code, 1);
  assert.equal((await run(queue, data, "delete")).code, 2, "not everything by mistake");
  assert.equal((await run(queue, data, "list", "--size", "huge")).code, 2);
  assert.equal((await run(queue, data, "dance")).code, 2);
  assert.match((await run(queue, data, "hold", one)).out, /hold: 1 messages/);
  assert.match((await run(queue, data, "count")).out, /total: 2\nreceived: 1\nheld: 1\n/);

  spool = await open(dir);
  await assert.rejects(open(dir));
  assert.equal((await run(queue, data, "list")).code, 1, "in use, and no socket: an error, not a wrong answer");
  const operations = createOperations({ spool, hostName: "mx.test", log: silent, journal: join(dir, "journal.log") });
  const server = await serveOperations(controlPath(dir, 0), operations, budgetWith());
  assert.match((await run(queue, data, "delete", "--status", "held")).out, /delete: 1 messages/);
  assert.equal((await spool.count()).total, 1);
  await server.close();
  await spool.close();
  assert.match((await run(queue, data, "repair")).out, /shard 0: 1 messages kept, 0 damaged ranges/);
});

test("store, quarantine and backup commands", async (t) => {
  const data = scratch(t);
  const store = await openStore({ dir: join(data, "store"), budget: budgetWith(), log: silent });
  const meta = { queueId: "000100", mailFrom: "a@b.example", receivedAt: 1_000, subject: "Hello", from: "A" };
  const inbox = (name: string) => [{ account: name, folder: "INBOX", flags: [] }];
  await store.deliver(Buffer.from("Subject: Grüße\r\n\r\nbody\r\n"), meta, inbox("u@x.example"));
  const bad = { ...meta, reason: "spam", score: 9, rcptTo: ["u@x.example"] };
  await store.deliver(Buffer.from("Subject: bad\x1b[2J\r\n\r\nx\r\n"), bad, inbox(quarantineAccount));
  await store.close();
  await (await open(join(data, "queue"))).close();

  assert.match((await run(storeCommand, data, "list")).out, /u@x\.example {2}1 messages/);
  assert.match((await run(storeCommand, data, "list", "u@x.example")).out, /1 {2}INBOX.*Hello/);
  assert.match((await run(storeCommand, data, "show", "u@x.example", "1")).out, /Subject: Grüße/);
  assert.equal((await run(storeCommand, data, "show", "u@x.example", "7")).code, 1);
  const file = join(data, "out.eml");
  assert.equal((await run(storeCommand, data, "export", "u@x.example", "1", "--out", file)).code, 0);
  assert.match(readFileSync(file, "utf8"), /^Subject: Grüße\r\n/);
  assert.match((await run(storeCommand, data, "check")).out, /^0 problems, 0 repaired/);
  assert.equal((await run(storeCommand, data, "what")).code, 2);

  assert.match((await run(quarantine, data, "list")).out, /\[spam, score 9\]/);
  assert.match((await run(quarantine, data, "show", "1")).out, /^Subject: bad\?\[2J\n/);
  const saved = await run(backup, data, join(data, "copy"));
  assert.match(saved.out, /^2 messages and 0 body files/);
  const released = await run(quarantine, data, "release", "1");
  assert.match(released.out, /^released as [0-9A-F]{6}/, released.err);
  assert.equal((await run(quarantine, data, "release", "1")).code, 1);
  const spool = await open(join(data, "queue"));
  const [message] = await spool.list({});
  assert.deepEqual([message?.envelope.mailFrom, message?.runFilters], ["a@b.example", false]);
  await spool.close();
  assert.equal((await run(quarantine, data, "delete", "1")).code, 1);

  assert.equal((await run(backup, data, "--restore", join(data, "nothing"))).code, 1);
  assert.match((await run(backup, data, "--restore", join(data, "copy"))).out, /^restored/);
  assert.match((await run(quarantine, data, "list")).out, /spam/, "the message is in the quarantine again");
  assert.equal((await run(backup, data, "--restore", join(data, "copy"))).code, 1, "what was replaced is not replaced");
});
