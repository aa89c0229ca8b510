/**
 * Durable accept: messages a second that get a 250 after fsync, and server CPU per message, from Postfix's smtp-source
 * over loopback to our SMTP reception with the spool. bench/relay.ts has the sending half.
 * Usage: node bench/durable.ts [--seconds N]
 */
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { pino } from "pino";
import { budgetWith } from "../src/config/budget.ts";
import { outcome } from "../src/message/outcome.ts";
import { openSpool } from "../src/queue/spool.ts";
import type { Spool } from "../src/queue/types.ts";
import type { SessionHandler, SessionHandlerFactory } from "../src/smtp/incoming/hooks.ts";
import { createSmtpServer } from "../src/smtp/incoming/server.ts";

export interface DurableBenchOptions {
  /** Aimed length of each measurement. */
  seconds?: number;
  /** Folder for the scratch queue: it decides which disk is measured. Default /var/tmp. */
  folder?: string;
}

export interface DurableBenchRow {
  size: number;
  sessions: number;
  messagesPerSecond: number;
  cpuMicrosPerMessage: number;
}

const source = "/usr/sbin/smtp-source";
const points = [
  { size: 4_096, sessions: 1 },
  { size: 4_096, sessions: 20 },
  { size: 4_096, sessions: 100 },
  { size: 65_536, sessions: 20 },
] as const;

export async function run(options: DurableBenchOptions = {}): Promise<DurableBenchRow[]> {
  if (!existsSync(source)) throw new Error(`needs ${source} (Debian package postfix)`);
  const seconds = options.seconds ?? 2;
  const folder = mkdtempSync(join(options.folder ?? "/var/tmp", "postern-bench-"));
  try {
    return await measure(folder, seconds);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function measure(dir: string, seconds: number): Promise<DurableBenchRow[]> {
  const log = pino({ level: "silent" });
  const budget = budgetWith({
    connections: 1_000,
    connectionsPerPeer: 1_000,
    newConnectionsPerPeerPerMinute: 1_000_000,
  });
  const spool = await openSpool({ dir, shard: 0, budget, log });
  const server = createSmtpServer({ host: "127.0.0.1", port: 0, budget }, acceptAll(spool));
  const { port } = await server.listen();
  const rows: DurableBenchRow[] = [];
  try {
    await load(port, 4_096, 20, 2_000); // warm-up
    for (const { size, sessions } of points) {
      let count = 0;
      spool.onCommitted = (ids) => {
        count += ids.length;
        for (const id of ids) void spool.remove(id); // as if delivered at once: the mark is part of the cost
      };
      const cpu = process.cpuUsage();
      const took = await timed(port, size, sessions, seconds);
      const used = process.cpuUsage(cpu);
      const messagesPerSecond = Math.round(count / took);
      const cpuMicrosPerMessage = Math.round((used.user + used.system) / count);
      rows.push({ size, sessions, messagesPerSecond, cpuMicrosPerMessage });
    }
  } finally {
    await server.close(0);
    await spool.close();
  }
  return rows;
}

/** Accepts everything and answers 250 after the commit. */
function acceptAll(spool: Spool): SessionHandlerFactory {
  return (client) => {
    const handler: SessionHandler = {
      settings: {
        greeting: "bench ESMTP",
        hostName: "bench",
        maxMessageBytes: 10_000_000,
        maxRecipients: 100,
        maxReceivedHeaders: 30,
        allowStartTls: false,
        allow8bitMime: true,
        allowBinary: false,
        allowPipelining: true,
        allowDsn: true,
        allowSmtpUtf8: true,
        authSecure: [],
        authPlain: [],
      },
      onConnect: () => undefined,
      onEhlo: () => undefined,
      onAuth: () => ({ ok: false, user: "" }),
      onMailFrom: () => undefined,
      onRcptTo: () => undefined,
      onReset() {},
      onClose() {},
      onData(envelope) {
        const body = spool.openBody(Buffer.from(`Received: from ${client.ehlo} by bench; now\r\n`));
        return {
          write: (chunk) => body.write(chunk),
          async end() {
            const message = { envelope, client: { ...client }, exports: {}, marks: {}, runFilters: false };
            const id = await spool.commit(body, message);
            return outcome.accept({ code: 250, enhanced: "2.0.0", text: `queued as ${id}`, origin: "bench" });
          },
          abort: () => body.abort(),
        };
      },
    };
    return handler;
  };
}

/** Runs smtp-source for about `seconds`; answers the time it took, in s. */
function timed(port: number, size: number, sessions: number, seconds: number): Promise<number> {
  const expected = size > 10_000 ? 3_000 : sessions === 1 ? 1_500 : 8_000; // messages a second, roughly
  return load(port, size, sessions, Math.round(seconds * expected));
}

function load(port: number, size: number, sessions: number, messages: number): Promise<number> {
  const args = ["-d", "-s", String(sessions), "-m", String(messages), "-l", String(size)];
  const started = performance.now();
  const child = spawn(source, [...args, "-f", "a@bench.test", "-t", "b@bench.test", `127.0.0.1:${port}`], {
    stdio: ["ignore", "ignore", "inherit"],
  });
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code) => {
      if (code === 0) resolve((performance.now() - started) / 1_000);
      else reject(new Error(`smtp-source ended with ${code}`));
    });
  });
}

if (import.meta.main) {
  const { values } = parseArgs({ options: { seconds: { type: "string" } } });
  for (const row of await run(values.seconds ? { seconds: Number(values.seconds) } : {})) {
    const { size, sessions, messagesPerSecond, cpuMicrosPerMessage } = row;
    process.stdout.write(
      `${size} octets, ${sessions} sessions: ${messagesPerSecond} messages/s, ${cpuMicrosPerMessage} µs CPU a message\n`,
    );
  }
}
