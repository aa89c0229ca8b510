/**
 * Memory: resident octets for each idle session, plain and after STARTTLS, with one worker; and of a queue that opens a
 * backlog of a million messages. As the backlog's process: node bench/memory.ts --backlog FOLDER COUNT
 */
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import type { Socket } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { pino } from "pino";
import { budgetWith } from "../src/config/budget.ts";
import { openSpool } from "../src/queue/spool.ts";
import { selfSigned } from "../src/smtp/incoming/selfsigned.ts";
import { openSession, startTls } from "./client.ts";
import { residentBytes } from "./measure.ts";
import { harakaMissing, startHaraka } from "./peers/haraka.ts";
import { startPostern } from "./peers/postern.ts";
import type { Subject, SubjectOptions } from "./peers/subject.ts";
import type { BenchOptions, Report, Table } from "./report.ts";

const mib = 2 ** 20;

export async function run({ quick, peers }: BenchOptions): Promise<Report> {
  const notes = ["Resident memory of all processes of a server, after less before, for each session; one worker."];
  const haraka = peers ? harakaMissing() : "Haraka: left out without --peers";
  if (haraka) notes.push(`Not measured: ${haraka}`);
  const folder = mkdtempSync("/var/tmp/postern-bench-memory-");
  try {
    const { cert, key } = selfSigned(["bench.test"]);
    const tls = { cert: join(folder, "bench.crt"), key: join(folder, "bench.key") };
    writeFileSync(tls.cert, cert);
    writeFileSync(tls.key, key);
    const options: SubjectOptions = { job: { kind: "discard" }, workers: 1, tls };
    const rows: Array<Array<string | number>> = [];
    for (const start of haraka ? [startPostern] : [startPostern, startHaraka]) {
      for (const kind of ["plain", "STARTTLS"] as const) {
        rows.push(await idle(await start(options), kind, quick ? 1_000 : 5_000));
      }
    }
    const idleTable = { title: "Idle sessions", columns: ["server", "kind", "sessions", "KiB a session"], rows };
    return { tables: [idleTable, await backlog(join(folder, "queue"), quick ? 100_000 : 1_000_000)], notes };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Opens sessions, waits, looks. The first hundred only warm the server up. */
async function idle(subject: Subject, kind: "plain" | "STARTTLS", count: number): Promise<Array<string | number>> {
  const sockets: Socket[] = [];
  const open = async (sessions: number): Promise<void> => {
    for (let done = 0; done < sessions; done += 50) {
      sockets.push(...(await Promise.all(Array.from({ length: 50 }, () => session(subject.port, kind)))));
    }
  };
  try {
    await open(100);
    await sleep(1_000);
    const before = residentBytes(subject.roots);
    await open(count);
    await sleep(3_000);
    const each = (residentBytes(subject.roots) - before) / count / 1_024;
    return [subject.name, kind, count, each.toFixed(1)];
  } finally {
    for (const socket of sockets) socket.destroy();
    await subject.stop();
  }
}

async function session(port: number, kind: "plain" | "STARTTLS"): Promise<Socket> {
  const socket = await openSession(port);
  return kind === "plain" ? socket : startTls(socket, {});
}

async function backlog(folder: string, count: number): Promise<Table> {
  const phases: string[][] = [];
  for (const phase of ["fill", "open"]) {
    const child = spawn(process.execPath, [import.meta.filename, `--${phase}`, folder, String(count)], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    let text = "";
    child.stdout.on("data", (chunk: Buffer) => {
      text += chunk.toString();
    });
    await new Promise((resolve) => child.once("close", resolve));
    const { seconds, rss } = JSON.parse(text) as { seconds: number; rss: number };
    phases.push([phase, count.toLocaleString("en-US"), seconds.toFixed(1), (rss / mib).toFixed(0)]);
  }
  return { title: "Backlog of 1 KiB messages", columns: ["phase", "messages", "seconds", "RSS MiB"], rows: phases };
}

/** Fills the queue, or opens it as after a restart, and prints what it took. */
async function backlogProcess(phase: string, folder: string, count: number): Promise<void> {
  const started = performance.now();
  const spool = await openSpool({ dir: folder, shard: 0, budget: budgetWith(), log: pino({ level: "silent" }) });
  if (phase === "--fill") {
    const text = Buffer.from(`Subject: backlog\r\n\r\n${`${"x".repeat(76)}\r\n`.repeat(12)}`);
    let next = 0;
    const lane = async (): Promise<void> => {
      while (next < count) {
        const number = next++;
        const body = spool.openBody(Buffer.alloc(0));
        await body.write(text);
        await spool.commit(body, {
          envelope: {
            mailFrom: `sender${number}@bench.test`,
            rcptTo: [{ address: `user${number}@domain${number % 1_000}.test` }],
            declaredSize: 0,
            body: "7BIT",
            smtpUtf8: false,
            requireTls: false,
          },
          client: {
            remoteIp: "127.0.0.1",
            remotePort: 1,
            localIp: "127.0.0.1",
            localPort: 25,
            ehlo: "bench.test",
            esmtp: true,
            tls: "",
            authUser: "",
            protocol: "ESMTP",
            sessionId: "bench",
          },
          exports: {},
          marks: {},
          held: "bench",
          runFilters: false,
        });
      }
    };
    await Promise.all(Array.from({ length: 200 }, lane));
  }
  const seconds = (performance.now() - started) / 1_000;
  await sleep(1_000);
  process.stdout.write(JSON.stringify({ seconds, rss: process.memoryUsage.rss() }));
  await spool.close();
}

if (import.meta.main) {
  const [phase = "", folder = "", count = "0"] = process.argv.slice(2);
  await backlogProcess(phase, folder, Number(count));
}
