/**
 * Accept and discard: what a session and a message cost without a disk. The gateway runs the default policy plus one
 * event that discards each recipient, on core 0 with one worker; the load runs on core 1. Measuring sticks: a bare `net`
 * responder, smtp-server, smtp-sink; peer: Haraka.
 */
import type { Point } from "./measure.ts";
import { harakaMissing, startHaraka } from "./peers/haraka.ts";
import { startPostern } from "./peers/postern.ts";
import { responders, startResponder } from "./peers/responder.ts";
import type { Subject, SubjectOptions } from "./peers/subject.ts";
import type { BenchOptions, Report } from "./report.ts";
import { throughput } from "./throughput.ts";

export async function run({ quick, peers, workers = 1 }: BenchOptions): Promise<Report> {
  const notes = ["Server on core 0, load on core 1. Discarding is decided by policy at RCPT; nothing is written."];
  const options: SubjectOptions = { job: { kind: "discard" }, core: 0, workers };
  const subjects: Subject[] = [];
  try {
    subjects.push(await startPostern(options));
    for (const name of responders) subjects.push(await startResponder(name, options));
    const missing = peers ? harakaMissing() : "Haraka: left out without --peers";
    if (missing) notes.push(`Not measured: ${missing}`);
    else subjects.push(await startHaraka(options));
    const table = await throughput({
      title: "Accept and discard",
      ...{ subjects, ours: 1 },
      points: points(quick),
      rounds: quick ? 3 : 5,
      seconds: quick ? 0.5 : 2,
      core: 1,
    });
    return { tables: [table], notes };
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
