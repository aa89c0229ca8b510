/**
 * Relaying: messages a second from the deliverer to Postfix's smtp-sink over loopback, and CPU per message, at 4 KiB
 * and 64 KiB, with connections reused. This is the outbound half alone; bench/durable.ts has the accept half.
 * Usage: node bench/relay.ts [--seconds N] [--concurrency N]
 */
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { type AddressInfo, connect, createServer } from "node:net";
import { parseArgs } from "node:util";
import { budgetWith } from "../src/config/budget.ts";
import { createDeliverer } from "../src/delivery/deliverer.ts";
import type { BodySource, QueuedMessage } from "../src/queue/types.ts";

export interface RelayBenchOptions {
  seconds?: number;
  concurrency?: number;
}

export interface RelayBenchRow {
  size: number;
  concurrency: number;
  messagesPerSecond: number;
  cpuMicrosPerMessage: number;
}

const sinkBinary = "/usr/sbin/smtp-sink";

export async function run(options: RelayBenchOptions = {}): Promise<RelayBenchRow[]> {
  const seconds = options.seconds ?? 3;
  const concurrency = options.concurrency ?? 20;
  if (!existsSync(sinkBinary)) throw new Error(`needs ${sinkBinary} (Debian package postfix)`);
  const port = await freePort();
  const sink = spawn(sinkBinary, ["-u", "postfix", `127.0.0.1:${port}`, "1000"], { stdio: "ignore" });
  try {
    await reachable(port);
    const rows: RelayBenchRow[] = [];
    for (const size of [4_096, 65_536]) rows.push(await measure(port, size, concurrency, seconds));
    return rows;
  } finally {
    sink.kill();
  }
}

async function measure(port: number, size: number, concurrency: number, seconds: number): Promise<RelayBenchRow> {
  const deliverer = createDeliverer({
    hostName: "bench.test",
    resolver: { resolve: () => Promise.reject(new Error("no DNS in this bench")), close: () => {} },
    store: undefined as never,
    budget: budgetWith(),
    isLocal: () => false,
    routes: { "sink.test": `[127.0.0.1]:${port}` },
    pool: { connectionsPerHost: concurrency },
  });
  const body = bodyOf(size);
  let sent = 0;
  const until = Date.now() + seconds * 1_000;
  const cpu = process.cpuUsage();
  const started = process.hrtime.bigint();
  await Promise.all(
    Array.from({ length: concurrency }, async (_, lane) => {
      while (Date.now() < until) {
        const message = messageOf(lane, size);
        const [result] = await deliverer.deliver(message, message.recipients, body);
        if (result!.kind !== "relayed") throw new Error(result!.outcome.text);
        sent++;
      }
    }),
  );
  const elapsed = Number(process.hrtime.bigint() - started) / 1e9;
  const used = process.cpuUsage(cpu);
  deliverer.close();
  return {
    size,
    concurrency,
    messagesPerSecond: Math.round(sent / elapsed),
    cpuMicrosPerMessage: Math.round((used.user + used.system) / sent),
  };
}

function bodyOf(size: number): BodySource {
  const head = "From: a@bench.test\r\nTo: b@sink.test\r\nSubject: bench\r\n\r\n";
  const line = `${"X".repeat(76)}\r\n`;
  const bytes = Buffer.from(head + line.repeat(Math.ceil((size - head.length) / line.length))).subarray(0, size);
  bytes.write("\r\n", size - 2);
  return {
    size,
    inMemory: () => bytes,
    async *stream() {
      yield bytes;
    },
  };
}

function messageOf(lane: number, size: number): QueuedMessage {
  const recipient = { address: "b@sink.test" };
  return {
    id: String(lane),
    envelope: {
      mailFrom: "a@bench.test",
      rcptTo: [recipient],
      declaredSize: 0,
      body: "7BIT",
      smtpUtf8: false,
      requireTls: false,
    },
    client: {
      remoteIp: "127.0.0.1",
      remotePort: 0,
      localIp: "127.0.0.1",
      localPort: 25,
      ehlo: "",
      esmtp: true,
      tls: "",
      authUser: "bench",
      protocol: "ESMTP",
      sessionId: "",
    },
    exports: {},
    marks: {},
    runFilters: false,
    state: "sending",
    recipients: [{ ...recipient, index: 0, state: "processed", attempts: 0 }],
    receivedAt: Date.now(),
    size,
    attempts: 0,
    nextAttempt: 0,
    failure: "",
    delayNotified: false,
  };
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise<void>((resolve) => server.close(() => resolve()));
  return port;
}

async function reachable(port: number): Promise<void> {
  for (let tries = 0; tries < 50; tries++) {
    const up = await new Promise<boolean>((resolve) => {
      const socket = connect(port, "127.0.0.1", () => resolve(true));
      socket.on("error", () => resolve(false));
      socket.once("connect", () => socket.destroy());
    });
    if (up) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error("smtp-sink does not start");
}

if (import.meta.main) {
  const { values } = parseArgs({ options: { seconds: { type: "string" }, concurrency: { type: "string" } } });
  const rows = await run({
    ...(values.seconds ? { seconds: Number(values.seconds) } : {}),
    ...(values.concurrency ? { concurrency: Number(values.concurrency) } : {}),
  });
  for (const row of rows) {
    process.stdout.write(
      `${String(row.size).padStart(6)} octets, ${row.concurrency} lanes: ${row.messagesPerSecond} messages/s, ${row.cpuMicrosPerMessage} µs CPU a message\n`,
    );
  }
}
