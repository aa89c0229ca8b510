import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { budgetWith } from "../../../src/config/budget.ts";
import { type ChainAnswer, type ChainResult, MilterChain } from "../../../src/scanners/milter/chain.ts";
import {
  decodeNegotiation,
  decodeReply,
  type Modification,
  type Negotiation,
  offeredSteps,
  packet,
  Step,
  strings,
} from "../../../src/scanners/milter/codec.ts";
import { MilterMessage } from "../../../src/scanners/milter/edits.ts";
import { MilterClient, milterSettings } from "../../../src/scanners/milter/link.ts";
import { replyAnswer } from "../../../src/scanners/milter/session.ts";
import { ScannerError } from "../../../src/scanners/types.ts";
import { type Answer, budget, filter, optneg, proceed } from "./fake-milter.ts";
import { fakeServer } from "./fake-server.ts";

const header = Buffer.from("Received: ours\r\nSubject:  hi\r\nTo: a,\r\n\tb\r\n\r\n");

async function play(...clients: MilterClient[]): Promise<ChainAnswer & Partial<ChainResult>> {
  const macros: Record<string, string> = { i: "Q1", j: "mx.example", mail_addr: "a@b" };
  const chain = new MilterChain(clients, (name) => macros[name], budget);
  const steps: Array<() => Promise<ChainAnswer>> = [
    () => chain.connect({ host: "h.example", ip: "192.0.2.1", port: 99 }),
    () => chain.helo("h"),
    () => chain.mail("a@b", ["SIZE=1"]),
    () => chain.rcpt("c@d"),
    () => chain.data(),
  ];
  try {
    for (const step of steps) {
      const answer = await step();
      if (answer.outcome) return answer;
    }
    return await chain.message(header, 1, () => [Buffer.from("one\r\n"), Buffer.alloc(70_000, 0x61)]);
  } finally {
    await chain.close();
    await new Promise((resolve) => setTimeout(resolve, 10)); // the goodbye is on its way
  }
}

test("commands, macros and content go out as the protocol has them", async (t) => {
  const { client, received } = await filter(t, {});
  await play(client);
  assert.equal(received.map((r) => r.command).join(""), "ODCHDMDRDTLLDNBBDEQ");
  const of = (command: string) => received.filter((r) => r.command === command).map((r) => r.data.toString("latin1"));
  assert.deepEqual(of("C"), ["h.example\x004\x00\x63192.0.2.1\0"]);
  assert.deepEqual(of("M"), ["<a@b>\0SIZE=1\0"]);
  assert.deepEqual(of("L"), ["Subject\0hi\0", "To\0a,\n\tb\0"], "our own Received is not shown");
  assert.deepEqual(of("D").slice(0, 2), ["Cj\0mx.example\0", "Mi\0Q1\0{mail_addr}\0a@b\0"]);
  assert.deepEqual(
    of("B").map((b) => b.length),
    [65_535, 70_005 - 65_535],
  );
});

test("declined steps are not sent, steps without reply not waited for, blanks kept with LEADSPC", async (t) => {
  const steps =
    Step.noHelo |
    Step.noReplyConnect |
    Step.noReplyMail |
    Step.noReplyRcpt |
    Step.noReplyHeader |
    Step.noReplyBody |
    Step.noReplyEoh |
    Step.noReplyData |
    Step.headerLeadingSpace;
  const { client, received } = await filter(t, {}, { negotiation: optneg(0x1ff, steps), silent: "CMRTLNB" });
  await play(client);
  assert.equal(
    received.some((r) => r.command === "H"),
    false,
  );
  assert.equal(received.find((r) => r.command === "L")!.data.toString(), "Subject\0  hi\0");
});

test("symbol lists replace the macros of a stage", async (t) => {
  const list = Buffer.concat([Buffer.from([0, 0, 0, 2]), strings("{mail_addr}")]);
  const { client, received } = await filter(t, {}, { negotiation: optneg(0x1ff, 0, list) });
  await play(client);
  assert.ok(received.some((r) => r.command === "D" && r.data.toString() === "M{mail_addr}\0a@b\0"));
});

test("skip ends the body, accept ends the filter's interest", async (t) => {
  const skipping = await filter(t, { B: packet("s") });
  await play(skipping.client);
  assert.equal(skipping.received.filter((r) => r.command === "B").length, 1);
  const accepting = await filter(t, { M: packet("a") });
  await play(accepting.client);
  assert.equal(
    accepting.received.some((r) => "RTLNBE".includes(r.command)),
    false,
  );
});

const refusals: Array<[string, string, number, string]> = [
  ["C", "r", 550, "Command rejected"],
  ["H", "t", 451, "Service unavailable - try again later"],
  ["M", "y", 554, "no thanks"],
  ["N", "r", 550, "Command rejected"],
  ["B", "t", 451, "Service unavailable - try again later"],
  ["E", "y", 554, "no thanks"],
  ["R", "4", 421, "Service unavailable"],
];
for (const [command, verdict, code, text] of refusals) {
  test(`answer ${verdict} to ${command} is ${code}`, async (t) => {
    const { client } = await filter(t, {
      [command]: packet(verdict, verdict === "y" ? strings("554 5.7.0 no thanks") : Buffer.alloc(0)),
    });
    const answer = await play(client);
    assert.equal(answer.outcome?.code, code);
    assert.equal(answer.outcome?.text, text);
  });
}

test("replies of several lines, and ones that are none", () => {
  const answer = replyAnswer("550-5.7.1 one\r\n550 5.7.1 two", "t");
  assert.ok(answer.kind === "reply" && answer.outcome.text === "one\ntwo" && answer.outcome.enhanced === "5.7.1");
  for (const bad of ["", "250 fine", "nonsense", `550 x\n${"550-x\n".repeat(200)}`])
    assert.throws(() => replyAnswer(bad, "t"), ScannerError);
});

const misbehaviour: Record<string, Partial<Record<string, Answer>>> = {
  "hangs in the negotiation": { O: "hang" },
  "closes in the negotiation": { O: "close" },
  "negotiates version 7": { O: packet("O", Buffer.from([0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0])) },
  "asks for steps never offered": { O: optneg(0x1ff, 0x800) },
  "hangs at MAIL": { M: "hang" },
  "closes at the header": { L: "close" },
  "floods at the end": { E: "flood" },
  "sends a giant packet": { E: Buffer.from([0x7f, 0xff, 0xff, 0xff, 0x63]) },
  "sends an unknown reply": { E: packet("?") },
  "changes before the end": { M: packet("h", strings("X", "y")) },
  "changes without end": { E: Array.from({ length: 8 }, () => packet("h", strings("X", "y"))) },
  "skips where nothing can be skipped": { M: packet("s") },
  "sends an unfinished string": { E: packet("h", Buffer.from("X-No-End")) },
  "makes no progress": { E: Array.from({ length: 3 }, () => packet("p")) },
};
for (const [manner, answers] of Object.entries(misbehaviour)) {
  test(`a filter that ${manner} leads to its declared failure action`, async (t) => {
    for (const [failure, code] of [
      ["tempfail", 450],
      ["reject", 550],
      ["accept", undefined],
    ] as const) {
      const { client } = await filter(t, answers, {
        settings: { failure, connectMs: 100, commandMs: 100, contentMs: 100 },
      });
      assert.equal((await play(client)).outcome?.code, code, failure);
    }
  });
}

test("progress without end stops at the budget", async (t) => {
  const server = await fakeServer(t, (socket) => {
    socket.once("data", () => {
      socket.write(optneg());
      const timer = setInterval(() => socket.write(packet("p")), 20);
      socket.on("close", () => clearInterval(timer));
    });
  });
  const small = budgetWith({ milterMessageMs: 200 });
  const client = new MilterClient(milterSettings({ name: "f", address: server.address, commandMs: 5_000 }), small);
  const chain = new MilterChain([client], () => undefined, small);
  const answer = await chain.connect({ host: "h", ip: "", port: 0 });
  assert.equal(answer.outcome?.code, 450);
  await chain.close();
});

test("a filter that is down keeps its answer for the session", async () => {
  const client = new MilterClient(milterSettings({ name: "f", address: { host: "127.0.0.1", port: 1 } }), budget);
  const chain = new MilterChain([client], () => undefined, budget);
  assert.equal(
    (await chain.connect({ host: "h", ip: "192.0.2.1", port: 1 })).outcome?.text,
    "Error sending connect package",
  );
  assert.equal((await chain.mail("a@b")).outcome?.code, 450);
});

test("connections are kept for the next session", async (t) => {
  const { client, server, received } = await filter(t, {}, { settings: { keepIdle: 2 } });
  for (let i = 0; i < 3; i++) await play(client);
  assert.equal(server.connections, 1);
  assert.equal(received.filter((r) => r.command === "K").length, 3);
});

test("a kept connection that the filter closed is replaced", async (t) => {
  const { client, server } = await filter(t, { K: "close" }, { settings: { keepIdle: 2 } });
  for (let i = 0; i < 2; i++) assert.equal((await play(client)).outcome, undefined);
  assert.equal(server.connections, 2);
});

test("each filter sees the message as the ones before left it", async (t) => {
  const first = await filter(t, {
    E: [packet("h", strings("X-First", "1")), packet("b", Buffer.from("new")), proceed],
  });
  const second = await filter(t, {});
  const result = await play(first.client, second.client);
  assert.equal(result.body?.toString(), "new");
  assert.ok(second.received.some((r) => r.command === "L" && r.data.toString() === "X-First\x001\0"));
  assert.equal(second.received.find((r) => r.command === "B")!.data.toString(), "new");
});

const negotiation: Negotiation = { version: 6, actions: 0x1ff, steps: 0, symbols: new Map() };
const own = "Received: ours\r\n";
const edited = (...changes: Modification[]) => {
  const message = new MilterMessage(Buffer.from(`${own}A: 1\r\nB: 2\r\nA: 3\r\n\r\n`), 1, () => [], budgetWith());
  message.apply(changes, negotiation);
  return message.header.toString();
};
const insert = (index: number, name: string, value = "v"): Modification => ({
  kind: "insertHeader",
  index,
  name,
  value,
});
const change = (index: number, name: string, value: string): Modification => ({
  kind: "changeHeader",
  index,
  name,
  value,
});

test("insert: 0 above our Received, N above the Nth field, beyond the last at the bottom", () => {
  assert.equal(edited(insert(0, "X")), `X: v\r\n${own}A: 1\r\nB: 2\r\nA: 3\r\n\r\n`);
  assert.equal(edited(insert(1, "X")), `${own}X: v\r\nA: 1\r\nB: 2\r\nA: 3\r\n\r\n`);
  assert.equal(edited(insert(2, "X")), `${own}A: 1\r\nX: v\r\nB: 2\r\nA: 3\r\n\r\n`);
  assert.equal(edited(insert(9, "X")), `${own}A: 1\r\nB: 2\r\nA: 3\r\nX: v\r\n\r\n`);
});

test("change: the Nth of its name, added when missing, removed when empty; ours can't be touched", () => {
  assert.equal(edited(change(2, "a", "new")), `${own}A: 1\r\nB: 2\r\na: new\r\n\r\n`);
  assert.equal(edited(change(1, "B", "")), `${own}A: 1\r\nA: 3\r\n\r\n`);
  assert.equal(edited(change(1, "C", "new")), `${own}A: 1\r\nB: 2\r\nA: 3\r\nC: new\r\n\r\n`);
  assert.equal(edited(change(1, "Received", "")), `${own}A: 1\r\nB: 2\r\nA: 3\r\n\r\n`);
});

test("line breaks of a filter become folds, never fields", () => {
  assert.match(
    edited({ kind: "addHeader", name: "X", value: "a\nEvil: 1\r\n b\n" }),
    /\r\nX: a\r\n\tEvil: 1\r\n b\r\n\r\n$/,
  );
});

test("a long value of line breaks costs no time", () => {
  const began = performance.now();
  edited({ kind: "addHeader", name: "X", value: `${"\n".repeat(500_000)}x` });
  assert.ok(performance.now() - began < 1_000);
});

test("what was not negotiated is a protocol error", () => {
  const message = new MilterMessage(Buffer.from("A: 1\r\n\r\n"), 0, () => [], budgetWith());
  assert.throws(() => message.apply([insert(0, "X")], { ...negotiation, actions: 0 }), ScannerError);
});

test("any octets decode or are a ScannerError", () => {
  fc.assert(
    fc.property(fc.string({ minLength: 1, maxLength: 1 }), fc.uint8Array({ maxLength: 60 }), (command, bytes) => {
      for (const decode of [decodeReply, decodeNegotiation]) {
        try {
          decode(command, Buffer.from(bytes));
        } catch (error) {
          assert.ok(error instanceof ScannerError);
        }
      }
    }),
    { numRuns: 500 },
  );
  assert.equal(offeredSteps & 0x800, 0);
});
