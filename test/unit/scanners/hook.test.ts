import assert from "node:assert/strict";
import { test } from "node:test";
import { budgetWith } from "../../../src/config/budget.ts";
import { WorkingMessage } from "../../../src/processing/content.ts";
import { hookJudge } from "../../../src/processing/hook-filter.ts";
import { memoryBody } from "../../../src/queue/body.ts";
import { MtaHook, parseHookReply } from "../../../src/scanners/hook.ts";
import { ScannerError } from "../../../src/scanners/types.ts";
import { fakeServer } from "./fake-server.ts";

const budget = budgetWith({ milterActions: 2 });
const read = (reply: object) => parseHookReply(JSON.stringify(reply), "hook", budget);
const refuses = (kind: ScannerError["kind"]) => (error: unknown) =>
  error instanceof ScannerError && error.kind === kind;

test("an answer of a hook: defaults, codes, limits", () => {
  assert.deepEqual(read({ action: "accept" }), { action: "accept", modifications: [] });
  const reply = (response?: object) => {
    const { code, enhanced, text, temporary } = read({ action: "reject", response }).outcome!;
    return `${code} ${enhanced} ${text}${temporary ? ", later" : ""}`;
  };
  assert.equal(reply(), "550 5.7.1 Message rejected");
  assert.equal(reply({ status: 450, message: "a\r\n250 b" }), "450 4.7.1 a 250 b, later");
  assert.equal(reply({ status: 250, message: "no refusal" }), "550 5.7.1 no refusal");
  assert.equal(reply({ status: 554, enhancedStatus: "4.1.1", message: "x" }), "554 5.0.0 x", "class of the code");
  const add = { type: "addHeader", name: "X-A", value: "b" };
  assert.equal(read({ action: "accept", modifications: [add, add] }).modifications.length, 2);
  assert.throws(() => read({ action: "accept", modifications: [add, add, add] }), refuses("limit"));
  for (const bad of [
    {},
    { action: "explode" },
    { action: "accept", modifications: [{ ...add, name: "X A" }] },
    { action: "accept", modifications: [{ ...add, value: "a\r\nb" }] },
    { action: "accept", modifications: [{ type: "addRecipient", value: "a@b> NOTIFY=NEVER" }] },
    { action: "accept", modifications: [{ ...add, type: "insertHeader", index: -1 }] },
  ]) {
    assert.throws(() => read(bad), refuses("protocol"), JSON.stringify(bad));
  }
});

test("a hook's new body has whole lines; too large a message is not shown", async (t) => {
  const answer = JSON.stringify({
    action: "quarantine",
    modifications: [{ type: "replaceContents", value: "a\n.\r\rb\0" }],
  });
  const server = await fakeServer(t, (socket) => {
    socket.on("data", () => socket.end(`HTTP/1.1 200 OK\r\nContent-Length: ${answer.length}\r\n\r\n${answer}`));
  });
  const url = `http://127.0.0.1:${server.address.port}/`;
  const hook = new MtaHook({ name: "hook", url, headers: {}, timeoutMs: 2_000, hostName: "gw.test", budget });
  t.after(() => hook.close());
  const content = await WorkingMessage.open(memoryBody(Buffer.from("Received: x\r\nTo: c\r\n\r\nhi\r\n")), budget);
  const input = {
    ...{ bytes: () => content.bytes(), size: content.size, mailFrom: "", rcptTo: [], remoteIp: "192.0.2.1" },
    ...{ remoteHost: "", ehlo: "", authUser: "", queueId: "Q" },
  };
  const refuse = () => assert.fail("nothing is refused");
  const { decision } = await hookJudge(hook, 0, budget)(input, content, refuse);
  assert.equal(decision.body?.toString(), "a\r\n.\r\n\r\nb\r\n");
  assert.deepEqual(decision.action, { kind: "quarantine", reason: "hook" });
  assert.deepEqual(await hookJudge(hook, 10, budget)(input, content, refuse), { decision: {} });
  assert.equal(server.connections, 1);
  assert.throws(
    () => new MtaHook({ ...{ name: "h", url: "ftp://x/", headers: {} }, timeoutMs: 1, hostName: "", budget }),
  );
});
