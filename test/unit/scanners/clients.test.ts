import assert from "node:assert/strict";
import type { Socket } from "node:net";
import { test } from "node:test";
import { budgetWith } from "../../../src/config/budget.ts";
import { GuardedScanner } from "../../../src/scanners/breaker.ts";
import { ClamavScanner } from "../../../src/scanners/clamav.ts";
import { interpret, PolicyDelegation } from "../../../src/scanners/policy-delegation.ts";
import { RspamdScanner } from "../../../src/scanners/rspamd.ts";
import { SpamassassinScanner } from "../../../src/scanners/spamassassin.ts";
import { parseSocketAddress, type SocketAddress } from "../../../src/scanners/stream.ts";
import { type ScanInput, type Scanner, ScannerError } from "../../../src/scanners/types.ts";
import { fakeServer, flood } from "./fake-server.ts";

const budget = budgetWith({ scannerLine: 1_000, scannerReply: 100_000 });
const body = Buffer.from("Subject: x\r\n\r\nhello\r\n");

function input(bytes: Uint8Array = body): ScanInput {
  return {
    bytes: async function* () {
      yield bytes;
    },
    size: bytes.length,
    mailFrom: "a@b",
    rcptTo: ["c@d"],
    remoteIp: "192.0.2.1",
    remoteHost: "",
    ehlo: "x\r\nEvil: 1",
    authUser: "",
    queueId: "Q",
  };
}

const make: Record<string, (address: SocketAddress, timeoutMs?: number) => Scanner> = {
  clamav: (address, timeoutMs = 400) => new ClamavScanner({ name: "c", address, timeoutMs, budget }),
  spamassassin: (address, timeoutMs = 400) => new SpamassassinScanner({ name: "s", address, timeoutMs, budget }),
  rspamd: (address, timeoutMs = 400) => new RspamdScanner({ name: "r", address, timeoutMs, budget }),
};

const fails = (kinds: ScannerError["kind"][]) => (error: unknown) => {
  assert.ok(error instanceof ScannerError, String(error));
  assert.ok(kinds.includes(error.kind), `${error.kind}: ${error.message}`);
  return true;
};

const hostile: Record<string, { talk: (socket: Socket) => void; kinds: ScannerError["kind"][] }> = {
  hangs: { talk: (socket) => socket.resume(), kinds: ["timeout"] },
  "reads nothing": { talk: (socket) => socket.pause(), kinds: ["timeout"] },
  "closes at once": { talk: (socket) => socket.end(), kinds: ["closed", "connect"] },
  resets: { talk: (socket) => socket.resetAndDestroy(), kinds: ["closed", "connect"] },
  "sends garbage": {
    talk: (socket) => socket.resume().end("\x01\x02garbage\r\n\0\r\n\r\n"),
    kinds: ["protocol", "connect", "closed"],
  },
  "sends gigabytes": { talk: (socket) => flood(socket.resume()), kinds: ["limit", "connect", "closed", "protocol"] },
  "dribbles for ever": {
    talk: (socket) => {
      socket.resume();
      const timer = setInterval(() => socket.write("S"), 50);
      socket.on("close", () => clearInterval(timer));
    },
    kinds: ["timeout", "connect"],
  },
};

for (const [name, client] of Object.entries(make)) {
  for (const [manner, { talk, kinds }] of Object.entries(hostile)) {
    test(`${name}: a server that ${manner} is a ScannerError in time`, async (t) => {
      const server = await fakeServer(t, talk);
      const scanner = client(server.address);
      const began = Date.now();
      await assert.rejects(scanner.scan(input()), fails(kinds));
      assert.ok(Date.now() - began < 1_500);
      await scanner.close();
    });
  }
  test(`${name}: nobody there`, async () => {
    await assert.rejects(client({ host: "127.0.0.1", port: 1 }).scan(input()), fails(["connect"]));
    await assert.rejects(client({ host: "127.0.0.1", port: 1 }).ping(), fails(["connect"]));
  });
}

/** clamd's side of IDSESSION: answers each INSTREAM with `answer`, in order. */
function clamd(answers: string[]): (socket: Socket) => void {
  return (socket) => {
    let buffer: Buffer = Buffer.alloc(0);
    let request = 0;
    socket.on("data", (chunk: Buffer) => {
      buffer = Buffer.concat([buffer, chunk]);
      const end = buffer.indexOf(Buffer.from([0, 0, 0, 0]), buffer.indexOf("zINSTREAM\0") + 10);
      if (end < 0) return;
      buffer = buffer.subarray(end + 4);
      socket.write(`${++request}: ${answers[Math.min(request, answers.length) - 1]}\0`);
    });
  };
}

test("clamav: one connection serves many messages, and is renewed when clamd closed it", async (t) => {
  const server = await fakeServer(t, clamd(["stream: OK", "stream: Eicar FOUND", "stream: OK"]));
  const scanner = new ClamavScanner({ name: "c", address: server.address, timeoutMs: 1_000, budget });
  assert.equal((await scanner.scan(input())).virus, "");
  assert.equal((await scanner.scan(input())).virus, "Eicar");
  assert.equal(server.connections, 1);
  await scanner.close();
  const closing = await fakeServer(t, (socket) => {
    clamd(["stream: OK"])(socket);
    socket.on("data", () => setTimeout(() => socket.destroy(), 20));
  });
  const again = new ClamavScanner({ name: "c", address: closing.address, timeoutMs: 1_000, budget });
  await again.scan(input());
  await new Promise((resolve) => setTimeout(resolve, 60));
  assert.equal((await again.scan(input())).virus, "");
  assert.equal(closing.connections, 2);
  await again.close();
});

test("clamav: its own errors are told apart", async (t) => {
  const server = await fakeServer(t, (socket) => socket.resume().end("INSTREAM size limit exceeded. ERROR\0"));
  await assert.rejects(make.clamav!(server.address).scan(input()), fails(["limit"]));
});

const spamdReplies: Array<[string, object]> = [
  [
    "SPAMD/1.1 0 EX_OK\r\nContent-length: 11\r\nSpam: True ; 1000.0 / 5.0\r\n\r\nGTUBE,NO_RE",
    { score: 1000, threshold: 5, action: "add header", symbols: ["GTUBE", "NO_RE"] },
  ],
  [
    "SPAMD/1.1 0 EX_OK\r\nSpam: Yes ; 6.1 / 5.0\r\n\r\n",
    { score: 6.1, threshold: 5, action: "add header", symbols: [] },
  ],
  [
    "SPAMD/1.1 0 EX_OK\r\nSpam: False ; -0.5 / 5.0\r\n\r\n",
    { score: -0.5, threshold: 5, action: "accept", symbols: [] },
  ],
];
for (const [reply, expected] of spamdReplies) {
  test(`spamassassin reads ${JSON.stringify(reply.slice(18, 60))}`, async (t) => {
    const server = await fakeServer(t, (socket) => socket.once("data", () => socket.end(reply)));
    const { elapsed: _, ...verdict } = await make.spamassassin!(server.address).scan(input());
    assert.deepEqual(verdict, { scanner: "s", virus: "", ...expected });
  });
}

test("spamassassin: error codes and replies without a score", async (t) => {
  for (const [reply, kind] of [
    ["SPAMD/1.0 69 Service Unavailable: x\r\n", "protocol"],
    ["SPAMD/1.0 75 EX_TEMPFAIL\r\n", "closed"],
    ["SPAMD/1.1 0 EX_OK\r\n\r\n", "protocol"],
    [`SPAMD/1.1 0 EX_OK\r\n${Array.from({ length: 60 }, (_, i) => `H${i}: x\r\n`).join("")}\r\n`, "limit"],
  ] as const) {
    const server = await fakeServer(t, (socket) => socket.once("data", () => socket.end(reply)));
    await assert.rejects(make.spamassassin!(server.address).scan(input()), fails([kind]));
  }
});

function http(json: string, status = "200 OK"): (socket: Socket) => void {
  return (socket) =>
    socket.on("data", () =>
      socket.write(`HTTP/1.1 ${status}\r\nContent-Length: ${Buffer.byteLength(json)}\r\n\r\n${json}`),
    );
}

test("rspamd: verdicts, kept connections, and no header injection", async (t) => {
  let seen = "";
  const reply =
    '{"score":15.5,"required_score":15,"action":"reject","symbols":{"GTUBE":{"score":1}},"messages":{"smtp_message":"Gtube pattern"}}';
  const server = await fakeServer(t, (socket) => {
    socket.on("data", (chunk) => (seen += chunk));
    http(reply)(socket);
  });
  const scanner = make.rspamd!(server.address);
  for (let i = 0; i < 2; i++) {
    const { elapsed: _, ...verdict } = await scanner.scan(input());
    assert.deepEqual(verdict, {
      scanner: "r",
      virus: "",
      score: 15.5,
      threshold: 15,
      symbols: ["GTUBE"],
      action: "reject",
      message: "Gtube pattern",
    });
  }
  assert.equal(server.connections, 1);
  assert.match(seen, /^Helo: x\?\?Evil: 1\r$/m);
  await scanner.close();
  for (const bad of [http("not json"), http('{"score":"x"}'), http("", "503 Busy")]) {
    const broken = await fakeServer(t, bad);
    await assert.rejects(make.rspamd!(broken.address).scan(input()), fails(["protocol"]));
  }
});

test("policy delegation: connection kept, values cleaned, actions read", async (t) => {
  let seen = "";
  const server = await fakeServer(t, (socket) =>
    socket.on("data", (chunk: Buffer) => {
      seen += chunk;
      socket.write("action=DEFER_IF_PERMIT Greylisted, see x\n\n");
    }),
  );
  const service = new PolicyDelegation("g", server.address, 500, budget);
  for (let i = 0; i < 2; i++) {
    const action = await service.ask({ sender: "a@b\nrequest=evil", recipient: "c@d" });
    assert.ok(action.kind === "reply" && action.outcome.code === 450 && action.outcome.text === "Greylisted, see x");
  }
  assert.equal(server.connections, 1);
  assert.match(seen, /^request=smtpd_access_policy\nsender=a@b request=evil\nrecipient=c@d\n\n/);
  service.close();
});

test("policy delegation: actions of access(5)", () => {
  const kind = (action: string) => interpret(action, "t").kind;
  assert.deepEqual(["OK", "DUNNO", "REJECT", "450 4.1.1 x", "DISCARD", "HOLD x", "REDIRECT a@b", "WARN x"].map(kind), [
    "ok",
    "none",
    "reply",
    "reply",
    "discard",
    "hold",
    "redirect",
    "none",
  ]);
  assert.deepEqual(interpret("PREPEND X-Greylist: delayed 5 s", "t"), {
    kind: "prepend",
    name: "X-Greylist",
    value: "delayed 5 s",
  });
  assert.throws(() => interpret("PREPEND nonsense", "t"), ScannerError);
});

test("policy delegation: lines without end", async (t) => {
  const server = await fakeServer(t, (socket) => socket.once("data", () => flood(socket, 0x0a + 0)));
  await assert.rejects(new PolicyDelegation("g", server.address, 500, budget).ask({}), fails(["protocol"]));
  const noisy = await fakeServer(t, (socket) => socket.once("data", () => socket.write("x=y\n".repeat(1_000))));
  await assert.rejects(new PolicyDelegation("g", noisy.address, 500, budget).ask({}), fails(["limit"]));
});

test("socket addresses in the forms of clamd, milters and axigen.cfg", () => {
  for (const text of [
    "127.0.0.1:99",
    "tcp:127.0.0.1:99",
    "inet:127.0.0.1:99",
    "inet:99@127.0.0.1",
    "inet://127.0.0.1:99",
  ]) {
    assert.deepEqual(parseSocketAddress(text), { host: "127.0.0.1", port: 99 });
  }
  assert.deepEqual(parseSocketAddress("[::1]:99"), { host: "::1", port: 99 });
  for (const text of ["/run/x", "unix:/run/x", "local:/run/x", "local:///run/x"])
    assert.deepEqual(parseSocketAddress(text), { path: "/run/x" });
  for (const text of ["", "host", "host:0", "host:70000", "unix:x"])
    assert.throws(() => parseSocketAddress(text), RangeError);
});

function scripted(
  outcomes: Array<"ok" | "fail" | Promise<void>>,
): Scanner & { scans: number; pings: number; well: boolean } {
  const scanner = {
    name: "s",
    scans: 0,
    pings: 0,
    well: false,
    scan: async () => {
      const step = outcomes[scanner.scans++] ?? "ok";
      if (step === "fail") throw new ScannerError("timeout", "slow");
      if (step !== "ok") await step;
      return { scanner: "s", virus: "", symbols: [], elapsed: 0 };
    },
    ping: async () => {
      scanner.pings++;
      if (!scanner.well) throw new ScannerError("connect", "down");
    },
    close: async () => {},
  };
  return scanner;
}

test("the circuit opens after consecutive failures and a ping closes it", async () => {
  let now = 0;
  const scanner = scripted(["fail", "ok", "fail", "fail"]);
  const guarded = new GuardedScanner(scanner, { failures: 2, openMs: 100, now: () => now });
  await assert.rejects(guarded.scan(input()));
  await guarded.scan(input());
  for (let i = 0; i < 2; i++) await assert.rejects(guarded.scan(input()));
  assert.equal(guarded.open, true);
  await assert.rejects(guarded.scan(input()), fails(["closed"]));
  assert.equal(scanner.scans, 4, "an open circuit asks nobody");
  now = 150;
  await assert.rejects(guarded.scan(input()), fails(["connect"]));
  now = 300;
  scanner.well = true;
  await guarded.scan(input());
  assert.equal(guarded.open, false);
  assert.equal(scanner.pings, 2);
});

test("concurrency, the waiting line and the wait for a turn are limited", async () => {
  const { promise, resolve } = Promise.withResolvers<void>();
  const scanner = scripted([promise, promise, promise, promise]);
  const guarded = new GuardedScanner(scanner, { concurrency: 2, waiting: 2, turnMs: 50 });
  const running = [guarded.scan(input()), guarded.scan(input())];
  const late = assert.rejects(guarded.scan(input()), fails(["timeout"]));
  const next = assert.rejects(guarded.scan(input()), fails(["timeout"]));
  await assert.rejects(guarded.scan(input()), fails(["limit"]));
  assert.equal(scanner.scans, 2);
  await Promise.all([late, next]);
  const third = guarded.scan(input());
  resolve();
  await Promise.all([...running, third]);
  assert.equal(scanner.scans, 3);
});
