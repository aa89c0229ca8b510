/** Next hops that misbehave: the outcome is temporary or permanent as it must be, and nothing is lost. */
import assert from "node:assert/strict";
import { type AddressInfo, createServer } from "node:net";
import { test } from "node:test";
import type { DelivererOptions } from "../../../src/delivery/deliverer.ts";
import type { DeliveryResult } from "../../../src/queue/types.ts";
import { bodyOf, delivererWith, messageTo, sample } from "./fixtures.ts";
import { type NextHopServer, type Script, startNextHop } from "./next-hop-server.ts";

const quick = { connect: 2_000, greeting: 600, command: 600, dataInit: 600, dataBlock: 600, dataEnd: 600 };

async function deliverTo(
  script: Script,
  options: Partial<DelivererOptions> = {},
  recipients = ["b@y.example"],
  chunk = 0,
): Promise<{ results: DeliveryResult[]; hop: NextHopServer; ambiguous: number }> {
  const hop = await startNextHop(script);
  const scheme = script.lmtp ? "lmtp:" : "";
  const routes = { "y.example": `${scheme}[127.0.0.1]:${hop.port}` };
  const deliverer = delivererWith({ routes, timeouts: quick, ...options });
  const message = messageTo(recipients);
  const results = await deliverer.deliver(message, message.recipients, bodyOf(sample, chunk));
  const { ambiguous } = deliverer.counters;
  deliverer.close();
  await hop.close();
  return { results, hop, ambiguous };
}

const megabyte = `250-${"x".repeat(100)}\r\n`.repeat(10_000);

const cases: Array<[name: string, script: Script, kind: string, text: RegExp]> = [
  ["greets with 554", { greeting: "554 5.7.1 go away\r\n" }, "failed", /go away/],
  ["greets with 421", { greeting: "421 busy\r\n" }, "deferred", /busy/],
  ["greets with 250", { greeting: "250 hi\r\n" }, "deferred", /unexpected reply 250/],
  ["greets with garbage", { greeting: "SSH-2.0-OpenSSH\r\n" }, "deferred", /not a reply/],
  ["closes at once", { greeting: "CLOSE" }, "deferred", /closed|reset/i],
  ["never greets", { greeting: "" }, "deferred", /timed out in greeting/],
  [
    "answers half a line",
    { answer: (line) => (line.startsWith("MAIL") ? "250 o" : /^(?:RCPT|DATA)/.test(line) ? "" : undefined) },
    "deferred",
    /timed out/,
  ],
  [
    "sends a megabyte of reply",
    { answer: (line) => (line.startsWith("EHLO") ? megabyte : undefined) },
    "deferred",
    /limit/,
  ],
  ["stalls at EHLO", { answer: (line) => (line.startsWith("EHLO") ? "" : undefined) }, "deferred", /timed out in ehlo/],
  ["stalls at RCPT", { answer: (line) => (/^(?:RCPT|DATA)/.test(line) ? "" : undefined) }, "deferred", /timed out/],
  ["closes at MAIL", { answer: (line) => (line.startsWith("MAIL") ? "CLOSE" : undefined) }, "deferred", /closed/],
  [
    "says 354 to MAIL",
    { answer: (line) => (line.startsWith("MAIL") ? "354 what\r\n" : undefined) },
    "deferred",
    /unexpected reply 354/,
  ],
  [
    "says 250 to DATA",
    { answer: (line) => (line === "DATA" ? "250 fine\r\n" : undefined) },
    "deferred",
    /unexpected reply 250/,
  ],
  ["refuses MAIL", { answer: (line) => (line.startsWith("MAIL") ? "550 5.1.8 no\r\n" : undefined) }, "failed", /^no$/],
  [
    "refuses DATA for now",
    { answer: (line) => (line === "DATA" ? "451 4.3.0 no\r\n" : undefined) },
    "deferred",
    /^no$/,
  ],
  ["stalls after the final dot", { endOfData: () => "" }, "deferred", /after the end of data/],
  ["closes after the final dot", { endOfData: () => "CLOSE" }, "deferred", /after the end of data/],
  ["says 354 after the final dot", { endOfData: () => "354 more\r\n" }, "deferred", /unexpected reply 354/],
  ["refuses the content", { endOfData: () => "554 5.6.0 no\r\n" }, "failed", /^no$/],
  [
    "sends a bare LF",
    { answer: (line) => (line.startsWith("RCPT") ? "250 ok\n250 ok\r\n" : undefined) },
    "deferred",
    /CRLF/,
  ],
];

test("each misbehaviour has its outcome", { concurrency: true }, async (t) => {
  await Promise.all(
    cases.map(([name, script, kind, text]) =>
      t.test(`next hop ${name}`, async () => {
        const { results } = await deliverTo(script);
        assert.equal(results.length, 1);
        assert.equal(results[0]!.kind, kind, results[0]!.outcome.text);
        assert.match(results[0]!.outcome.text, text);
      }),
    ),
  );
});

test("a loss after the final dot is counted as a possible duplicate", async () => {
  assert.equal((await deliverTo({ endOfData: () => "CLOSE" })).ambiguous, 1);
  assert.equal((await deliverTo({ answer: (line) => (line.startsWith("RCPT") ? "CLOSE" : undefined) })).ambiguous, 0);
});

test("a host without PIPELINING and EHLO gets one command at a time", async () => {
  const { results, hop } = await deliverTo({
    answer: (line) => (line.startsWith("EHLO") ? "502 what\r\n" : undefined),
  });
  assert.equal(results[0]!.kind, "relayed");
  assert.deepEqual(
    hop.commands.filter((line) => line !== "QUIT"),
    ["EHLO gw.test", "HELO gw.test", "MAIL FROM:<a@x.example>", "RCPT TO:<b@y.example>", "DATA"],
  );
});

test("BDAT is used when offered, for small, streamed and dotted content", async () => {
  const extensions = ["PIPELINING", "CHUNKING", "8BITMIME"];
  for (const chunk of [0, 7]) {
    const { results, hop } = await deliverTo({ extensions }, {}, ["b@y.example"], chunk);
    assert.equal(results[0]!.kind, "relayed");
    assert.deepEqual(hop.messages, [sample]);
    assert.ok(hop.commands.some((line) => line.startsWith("BDAT") && line.endsWith("LAST")));
    assert.ok(!hop.commands.includes("DATA"));
  }
});

test("what was said of a recipient before the connection broke holds", async () => {
  const script: Script = {
    answer: (line) => (line.includes("<no@") ? "550 5.1.1 unknown\r\n" : line === "DATA" ? "CLOSE" : undefined),
  };
  const { results } = await deliverTo(script, {}, ["no@y.example", "yes@y.example"]);
  assert.deepEqual(Object.fromEntries(results.map((one) => [one.recipient.address, one.kind])), {
    "no@y.example": "failed",
    "yes@y.example": "deferred",
  });
});

test("LMTP answers for each recipient", async () => {
  const script: Script = {
    lmtp: true,
    endOfData: () => "250 2.0.0 one\r\n452 4.2.2 full\r\n",
  };
  const { results, hop } = await deliverTo(script, {}, ["one@y.example", "two@y.example"]);
  assert.ok(hop.commands[0]!.startsWith("LHLO"));
  assert.deepEqual(
    results.map((one) => [one.recipient.address, one.kind]),
    [
      ["one@y.example", "relayed"],
      ["two@y.example", "deferred"],
    ],
  );
});

test("LMTP that closes after the first answer: the first is done, the second waits", async () => {
  const script: Script = { lmtp: true, endOfData: () => "250 2.0.0 one\r\n" };
  const { results } = await deliverTo(script, {}, ["one@y.example", "two@y.example"]);
  assert.deepEqual(
    results.map((one) => one.kind),
    ["relayed", "deferred"],
  );
});

test("an idle connection the host closed costs the next message nothing", async () => {
  const hop = await startNextHop({
    answer: (line, session) => (session === 1 && line.includes("<second@") ? "CLOSE" : undefined),
  });
  const deliverer = delivererWith({ routes: { "y.example": `[127.0.0.1]:${hop.port}` }, timeouts: quick });
  const first = messageTo(["b@y.example"]);
  await deliverer.deliver(first, first.recipients, bodyOf(sample));
  const second = messageTo(["c@y.example"], { mailFrom: "second@x.example" });
  const results = await deliverer.deliver(second, second.recipients, bodyOf(sample));
  assert.equal(results[0]!.kind, "relayed", results[0]!.outcome.text);
  assert.equal(hop.messages.length, 2);
  deliverer.close();
  await hop.close();
});

test("a body that can't be read is deferred and never ended", async () => {
  const hop = await startNextHop();
  const deliverer = delivererWith({ routes: { "y.example": `[127.0.0.1]:${hop.port}` }, timeouts: quick });
  const message = messageTo(["b@y.example"]);
  const broken = {
    size: 100,
    inMemory: () => undefined,
    async *stream() {
      yield Buffer.from("Subject: half\r\n\r\n");
      throw new Error("EIO");
    },
  };
  const results = await deliverer.deliver(message, message.recipients, broken);
  assert.equal(results[0]!.kind, "deferred");
  assert.match(results[0]!.outcome.text, /EIO/);
  assert.equal(hop.messages.length, 0);
  deliverer.close();
  await hop.close();
});

test("a host that says 250 before it was sent everything gets nothing more", { timeout: 20_000 }, async () => {
  let read = 0;
  let ended: () => void;
  const gone = new Promise<void>((resolve) => {
    ended = resolve;
  });
  const server = createServer((socket) => {
    socket.write("220 hop\r\n");
    let content = false;
    socket.on("error", () => {});
    socket.on("close", () => ended());
    socket.on("data", (chunk) => {
      read += chunk.length;
      if (content) return;
      for (const line of chunk.toString("latin1").split("\r\n").slice(0, -1)) {
        if (line !== "DATA") socket.write("250 ok\r\n");
        else {
          content = true;
          socket.write("354 go\r\n");
          socket.pause();
          setTimeout(() => socket.write("250 2.0.0 I have it\r\n"), 100);
          setTimeout(() => socket.resume(), 300);
        }
      }
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const deliverer = delivererWith({ routes: { "y.example": `[127.0.0.1]:${port}` }, timeouts: quick });
  const message = messageTo(["b@y.example"]);
  const body = bodyOf(Buffer.from(`Subject: long\r\n\r\n${`${"x".repeat(98)}\r\n`.repeat(300_000)}`));
  const [result] = await deliverer.deliver(message, message.recipients, body);
  assert.match(result!.outcome.text, /I have it/);
  await gone;
  assert.ok(read < body.size, `${read} of ${body.size} octets were sent`);
  deliverer.close();
  server.close();
});
