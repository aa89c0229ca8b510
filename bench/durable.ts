/**
 * Durable accept: 250 after fsync. The gateway runs the default policy plus one event that holds each message, so that
 * it stays in the queue; Postfix puts it on hold, Haraka keeps it in its outbound queue with delivery off. Both cores are
 * free to all sides, the load included. An strace of the gateway's workers counts fsyncs under load, apart from the
 * figures.
 */
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { load, type Point, pointName, tree } from "./measure.ts";
import { harakaMissing, startHaraka } from "./peers/haraka.ts";
import { startPostern, workerCounts } from "./peers/postern.ts";
import { postfixMissing, startPostfix } from "./peers/postfix.ts";
import type { Subject, SubjectOptions } from "./peers/subject.ts";
import type { BenchOptions, Report, Table } from "./report.ts";
import { throughput } from "./throughput.ts";

const points: readonly Point[] = [
  { size: 4_096, mode: "many", sessions: 100 },
  { size: 4_096, mode: "one", sessions: 100 },
  { size: 65_536, mode: "many", sessions: 20 },
  { size: 4_096, mode: "many", sessions: 20 },
  { size: 4_096, mode: "many", sessions: 1 },
  { size: 4_096, mode: "one", sessions: 20 },
];

export async function run({ quick, peers, workers = 2 }: BenchOptions): Promise<Report> {
  const notes = [
    "Accepted mail stays in the queue: a policy hold here, the hold queue in Postfix, outbound `disabled` in Haraka.",
  ];
  const options: SubjectOptions = { job: { kind: "hold" }, workers };
  const subjects: Subject[] = [];
  try {
    for (const count of workerCounts(workers)) subjects.push(await startPostern({ ...options, workers: count }));
    const ours = subjects.length;
    const postfix = peers ? postfixMissing() : "Postfix: left out without --peers";
    const haraka = peers ? harakaMissing() : "Haraka: left out without --peers";
    if (!postfix) subjects.push(await startPostfix(options));
    if (!haraka) subjects.push(await startHaraka(options));
    for (const reason of [postfix, haraka]) if (reason) notes.push(`Not measured: ${reason}`);
    const table = await throughput({
      title: "Durable accept",
      ...{ subjects, ours },
      points: quick ? points.slice(0, 3) : points,
      rounds: quick ? 3 : 5,
      seconds: quick ? 1 : 2,
    });
    const proof = await countSyncs(subjects[0]!, points[0]!);
    if (!proof) notes.push("Not measured: fsyncs (needs strace)");
    return { tables: proof ? [table, proof] : [table], notes };
  } finally {
    for (const subject of subjects) await subject.stop();
  }
}

/** Traces the workers while 2,000 messages arrive: how many syncs. Tracing slows everything, so rates come from elsewhere. */
async function countSyncs(ours: Subject, point: Point): Promise<Table | undefined> {
  if (!existsSync("/usr/bin/strace")) return undefined;
  const folder = mkdtempSync(join(tmpdir(), "postern-strace-"));
  const messages = 2_000;
  try {
    const output = join(folder, "trace");
    const pids = tree(ours.roots).flatMap((pid) => ["-p", String(pid)]);
    const tracer = spawn("/usr/bin/strace", ["-f", "-e", "trace=fsync,fdatasync", "-o", output, ...pids], {
      stdio: "ignore",
    });
    await sleep(500);
    await load(ours.port, point, messages);
    await sleep(200);
    const gone = new Promise((resolve) => tracer.once("exit", resolve));
    tracer.kill("SIGINT");
    await gone;
    const syncs = readFileSync(output, "utf8").match(/\bf(data)?sync\(/g)?.length ?? 0;
    return {
      title: `Syncs while ${messages.toLocaleString("en-US")} messages arrive (strace; ${pointName(point)})`,
      columns: ["messages with a 250", "fsync and fdatasync", "messages a sync"],
      rows: [[messages, syncs, Number((messages / syncs).toFixed(1))]],
    };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
