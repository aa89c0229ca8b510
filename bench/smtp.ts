/**
 * Accept and discard: what a session and a message cost without a disk. The gateway runs the default policy plus one
 * event that discards each recipient, on core 0 with one worker; the load runs on core 1. Measuring sticks: a bare `net`
 * responder, smtp-server, smtp-sink; peer: Haraka. Then the same as it is shipped, with two workers on all cores.
 */
import type { Point } from "./measure.ts";
import { harakaMissing, startHaraka } from "./peers/haraka.ts";
import { startPostern, workerCounts } from "./peers/postern.ts";
import { responders, startResponder } from "./peers/responder.ts";
import type { Subject, SubjectOptions } from "./peers/subject.ts";
import type { BenchOptions, Report, Table } from "./report.ts";
import { type ThroughputPlan, throughput } from "./throughput.ts";

export async function run({ quick, peers, workers = 2 }: BenchOptions): Promise<Report> {
  const notes = [
    "Discarding is decided by policy at RCPT; nothing is written.",
    "First table: server on core 0, load on core 1. Second: both cores are free to both.",
  ];
  const missing = peers ? harakaMissing() : "Haraka: left out without --peers";
  if (missing) notes.push(`Not measured: ${missing}`);
  const haraka = missing ? [] : [startHaraka];
  const discard: SubjectOptions = { job: { kind: "discard" }, workers: 1 };
  const onOneCore = await measure(
    [startPostern, ...responders.map((name) => (options: SubjectOptions) => startResponder(name, options)), ...haraka],
    { ...discard, core: 0 },
    { ...effort(quick), title: "Accept and discard", ours: 1, points: points(quick), core: 1 },
  );
  const counts = workerCounts(workers);
  const asShipped = await measure(
    [...counts.map((count) => (options: SubjectOptions) => startPostern({ ...options, workers: count })), ...haraka],
    discard,
    { ...effort(quick), title: "As shipped, on all cores", ours: counts.length, points: points(true) },
  );
  return { tables: [onOneCore, asShipped], notes };
}

const effort = (quick: boolean): { rounds: number; seconds: number } => ({
  rounds: quick ? 3 : 5,
  seconds: quick ? 0.5 : 1,
});

/** Starts all, measures, stops all. */
async function measure(
  starts: ReadonlyArray<(options: SubjectOptions) => Promise<Subject>>,
  options: SubjectOptions,
  plan: Omit<ThroughputPlan, "subjects">,
): Promise<Table> {
  const subjects: Subject[] = [];
  try {
    for (const start of starts) subjects.push(await start(options));
    return await throughput({ ...plan, subjects });
  } finally {
    for (const subject of subjects) await subject.stop();
  }
}

function points(quick: boolean): Point[] {
  const list: Point[] = [];
  for (const size of quick ? [4_096] : [4_096, 65_536]) {
    for (const mode of ["many", "one"] as const) {
      for (const sessions of quick ? [100] : [1, 20, 100]) list.push({ size, mode, sessions });
    }
  }
  return list;
}
