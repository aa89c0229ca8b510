/**
 * Memory: resident octets for each idle session, plain and after STARTTLS, with one worker; and of a gateway that has a
 * backlog of a million messages.
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import type { Socket } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { selfSigned } from "../src/smtp/incoming/selfsigned.ts";
import { backlogRows, measureBacklog } from "./backlog.ts";
import { openSession, startTls } from "./client.ts";
import { residentBytes } from "./measure.ts";
import { harakaMissing, startHaraka } from "./peers/haraka.ts";
import { startPostern } from "./peers/postern.ts";
import type { Subject, SubjectOptions } from "./peers/subject.ts";
import type { BenchOptions, Report } from "./report.ts";

export async function run({ quick, peers }: BenchOptions): Promise<Report> {
  const warmUp = quick ? 500 : 2_000;
  const notes = [
    `Resident memory of all processes of a server, after less before, for each session after the first ${warmUp}; one worker.`,
  ];
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
        rows.push(await idle(await start(options), kind, warmUp, quick ? 1_000 : 5_000));
      }
    }
    const idleTable = { title: "Idle sessions", columns: ["server", "kind", "sessions", "KiB a session"], rows };
    const figures = await measureBacklog(join(folder, "backlog"), quick ? 100_000 : 1_000_000);
    const backlog = { title: "Backlog, one worker", columns: ["what", "figure"], rows: backlogRows(figures) };
    return { tables: [idleTable, backlog], notes };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/**
 * Opens sessions, waits, looks. What the first `warmUp` take is not counted: they fill the young generation and load
 * code, once in the life of a process. They stay open, so that later ones can't live in what they left behind.
 */
async function idle(
  subject: Subject,
  kind: "plain" | "STARTTLS",
  warmUp: number,
  count: number,
): Promise<Array<string | number>> {
  const sockets: Socket[] = [];
  const open = async (sessions: number): Promise<void> => {
    for (let done = 0; done < sessions; done += 50) {
      sockets.push(...(await Promise.all(Array.from({ length: 50 }, () => session(subject.port, kind)))));
    }
  };
  try {
    await open(warmUp);
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
