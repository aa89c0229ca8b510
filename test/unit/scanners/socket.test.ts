import assert from "node:assert/strict";
import type { Socket } from "node:net";
import { test } from "node:test";
import { budgetWith } from "../../../src/config/budget.ts";
import { type SocketProtocol, SocketScanner } from "../../../src/scanners/socket.ts";
import type { SocketAddress } from "../../../src/scanners/stream.ts";
import { type ScanInput, ScannerError } from "../../../src/scanners/types.ts";
import { fakeServer, flood } from "./fake-server.ts";

const budget = budgetWith({ scannerLine: 200, scannerReply: 10_000 });

const input: ScanInput = {
  bytes: async function* () {
    yield Buffer.from("Subject: x\r\n.");
    yield Buffer.from("\r\n.dot\r\nend");
  },
  size: 22,
  mailFrom: "a@b\r\nQUIT",
  rcptTo: ["c@d", "e@f"],
  remoteIp: "192.0.2.1",
  remoteHost: "",
  ehlo: "h",
  authUser: "",
  queueId: "Q",
};

const protocol: SocketProtocol = {
  request: [{ text: "SCAN %size% %from% %rcpt% %nothing%\r\n" }, { message: "raw" }],
  replyEnd: "line",
  keepOpen: true,
  rules: [
    { pattern: "^CLEAN$", action: "accept" },
    { pattern: "^VIRUS (\\S+)", virus: "$1", action: "reject", message: "has $1" },
    { pattern: "^SPAM ([-0-9.]+)/([-0-9.]+)", score: "$1", threshold: "$2" },
    { pattern: "^ODD (\\S+)", score: "$1" },
  ],
  ping: { text: "PING\r\n", pattern: "^PONG" },
};

const scannerOf = (address: SocketAddress, changes: Partial<SocketProtocol> = {}) =>
  new SocketScanner({ name: "s", address, timeoutMs: 500, protocol: { ...protocol, ...changes }, budget });

/** Answers every burst of octets with `reply` and keeps what came. */
function answering(reply: string, seen: string[] = []): (socket: Socket) => void {
  return (socket) => {
    let timer: NodeJS.Timeout | undefined;
    socket.on("data", (chunk) => {
      seen.push(chunk.toString("latin1"));
      clearTimeout(timer);
      timer = setTimeout(() => socket.write(reply), 20);
    });
  };
}

test("rules read the reply; the connection is kept; texts can't break lines", async (t) => {
  const seen: string[] = [];
  const server = await fakeServer(t, answering("VIRUS Eicar\r\n", seen));
  const scanner = scannerOf(server.address);
  for (let i = 0; i < 2; i++) {
    const { elapsed: _, ...verdict } = await scanner.scan(input);
    assert.deepEqual(verdict, { scanner: "s", virus: "Eicar", symbols: [], action: "reject", message: "has Eicar" });
  }
  assert.equal(server.connections, 1);
  assert.match(seen.join(""), /^SCAN 22 a@b QUIT c@d,e@f %nothing%\r\nSubject: x\r\n\.\r\n\.dot\r\nend/);
  await scanner.close();
});

test("the message goes dotted or chunked where the protocol says so", async (t) => {
  const seen: string[] = [];
  const server = await fakeServer(t, answering("CLEAN\0", seen));
  await scannerOf(server.address, { replyEnd: "nul", request: [{ message: "dotted" }] }).scan(input);
  assert.equal(seen.join(""), "Subject: x\r\n..\r\n..dot\r\nend\r\n.\r\n");
  seen.length = 0;
  await scannerOf(server.address, { replyEnd: "nul", request: [{ message: "chunked" }] }).scan(input);
  assert.equal(seen.join(""), "\0\0\0\x0dSubject: x\r\n.\0\0\0\x0b\r\n.dot\r\nend\0\0\0\0");
});

test("scores, replies that no rule reads, and the ping", async (t) => {
  const run = async (reply: string) => scannerOf((await fakeServer(t, answering(reply))).address);
  const { score, threshold } = await (await run("SPAM 7.5/5\r\n")).scan(input);
  assert.deepEqual([score, threshold], [7.5, 5]);
  const protocolError = (error: unknown) => error instanceof ScannerError && error.kind === "protocol";
  await assert.rejects((await run("WHAT\r\n")).scan(input), protocolError);
  await assert.rejects((await run("ODD x\r\n")).scan(input), protocolError);
  await assert.rejects((await run("NO\r\n")).ping(), protocolError);
  await (await run("PONG\r\n")).ping();
});

test("a reply without end stops at its limit, silence at the time-out", async (t) => {
  for (const replyEnd of ["line", "nul", "close"] as const) {
    const server = await fakeServer(t, (socket) => flood(socket.resume()));
    await assert.rejects(
      scannerOf(server.address, { replyEnd }).scan(input),
      (error) => error instanceof ScannerError && error.kind === "limit",
    );
  }
  const silent = await fakeServer(t, (socket) => socket.resume());
  await assert.rejects(
    scannerOf(silent.address).scan(input),
    (error) => error instanceof ScannerError && error.kind === "timeout",
  );
});

test("a pattern that would need backtracking is refused when the scanner is made", () => {
  assert.throws(() => scannerOf({ host: "127.0.0.1", port: 1 }, { rules: [{ pattern: "(a)\\1" }] }));
});
