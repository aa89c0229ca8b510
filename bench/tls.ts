/**
 * STARTTLS handshakes, full and resumed (TLS 1.3, P-256): connections a second that greet, EHLO, STARTTLS, shake hands,
 * EHLO and quit, and processor time of each on the server's side. Server on core 0, clients on core 1; the client's own
 * cost limits the rate, so compare processor time. As the client: node bench/tls.ts --client PORT SECONDS full|resumed
 */
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { selfSigned } from "../src/smtp/incoming/selfsigned.ts";
import { openSession, say, startTls } from "./client.ts";
import { cpuSeconds, ended, figure, pinned, shown } from "./measure.ts";
import { harakaMissing, startHaraka } from "./peers/haraka.ts";
import { startPostern } from "./peers/postern.ts";
import { postfixMissing, startPostfix } from "./peers/postfix.ts";
import type { Subject, SubjectOptions } from "./peers/subject.ts";
import type { BenchOptions, Report } from "./report.ts";

const lanes = 20;
const kinds = ["full", "resumed"] as const;

interface Count {
  handshakes: number;
  resumed: number;
}

export async function run({ quick, peers, workers = 1 }: BenchOptions): Promise<Report> {
  const notes = ["Resumption is what the client saw (`isSessionReused`)."];
  const postfix = peers ? postfixMissing() : "Postfix: left out without --peers";
  const haraka = peers ? harakaMissing() : "Haraka: left out without --peers";
  for (const reason of [postfix, haraka]) if (reason) notes.push(`Not measured: ${reason}`);
  const folder = mkdtempSync("/var/tmp/postern-bench-tls-");
  const subjects: Subject[] = [];
  try {
    const { cert, key } = selfSigned(["bench.test"]);
    const tls = { cert: join(folder, "bench.crt"), key: join(folder, "bench.key") };
    writeFileSync(tls.cert, cert);
    writeFileSync(tls.key, key);
    const options: SubjectOptions = { job: { kind: "discard" }, core: 0, workers, tls };
    subjects.push(await startPostern(options));
    if (!postfix) subjects.push(await startPostfix(options));
    if (!haraka) subjects.push(await startHaraka(options));
    const seconds = quick ? 1 : 3;
    for (const subject of subjects) await handshakes(subject.port, seconds, "full"); // warm-up
    const rows: string[][] = [];
    for (const kind of kinds) {
      const rates = subjects.map((): number[] => []);
      const cpus = subjects.map((): number[] => []);
      const reused = subjects.map(() => 0);
      for (let round = 0; round < (quick ? 3 : 5); round++) {
        for (const [index, subject] of subjects.entries()) {
          const before = cpuSeconds(subject.roots);
          const count = await handshakes(subject.port, seconds, kind);
          const cpu = cpuSeconds(subject.roots) - before;
          rates[index]!.push(count.handshakes / seconds);
          cpus[index]!.push((cpu / count.handshakes) * 1e6);
          reused[index] = count.resumed / count.handshakes;
        }
      }
      for (const [index, { name }] of subjects.entries()) {
        const share = `${Math.round(reused[index]! * 100)} %`;
        rows.push([kind, name, shown(figure(rates[index]!)), shown(figure(cpus[index]!)), share]);
      }
    }
    const columns = ["handshake", "server", "connections/s", "CPU µs each", "resumed"];
    return { tables: [{ title: "STARTTLS", columns, rows }], notes };
  } finally {
    for (const subject of subjects) await subject.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Runs the client process on core 1. */
async function handshakes(port: number, seconds: number, kind: (typeof kinds)[number]): Promise<Count> {
  const args = [import.meta.filename, "--client", String(port), String(seconds), kind];
  const child = spawn(...pinned(1, process.execPath, args), {
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, NODE_NO_WARNINGS: "1" },
  });
  let text = "";
  child.stdout?.on("data", (chunk: Buffer) => {
    text += chunk.toString();
  });
  await ended(child);
  return JSON.parse(text) as Count;
}

async function client(port: number, seconds: number, resume: boolean): Promise<Count> {
  const count: Count = { handshakes: 0, resumed: 0 };
  const end = performance.now() + seconds * 1_000;
  const lane = async (): Promise<void> => {
    let session: Buffer | undefined;
    while (performance.now() < end) {
      const secure = await startTls(await openSession(port), resume && session ? { session } : {}, (made) => {
        made.on("session", (ticket) => {
          session = ticket;
        });
      });
      count.handshakes++;
      if (secure.isSessionReused()) count.resumed++;
      await say(secure, "QUIT\r\n");
      secure.destroy();
    }
  };
  await Promise.all(Array.from({ length: lanes }, lane));
  return count;
}

if (import.meta.main) {
  const [, port, seconds, kind] = process.argv.slice(2);
  process.stdout.write(JSON.stringify(await client(Number(port), Number(seconds), kind === "resumed")));
  process.exit();
}
