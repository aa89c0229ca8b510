/**
 * Relay: smtp-source → server → smtp-sink, durable in between, default policy on. Time runs until the sink has the last
 * message. Both cores are free to all sides, source and sink included.
 */
import type { Point } from "./measure.ts";
import { harakaMissing, startHaraka } from "./peers/haraka.ts";
import { startPostern, workerCounts } from "./peers/postern.ts";
import { postfixMissing, startPostfix } from "./peers/postfix.ts";
import { type Sink, startSink } from "./peers/sink.ts";
import type { Subject, SubjectOptions } from "./peers/subject.ts";
import type { BenchOptions, Report } from "./report.ts";
import { throughput } from "./throughput.ts";

const points: readonly Point[] = [
  { size: 4_096, mode: "many", sessions: 100 },
  { size: 4_096, mode: "one", sessions: 20 },
  { size: 65_536, mode: "many", sessions: 20 },
  { size: 4_096, mode: "many", sessions: 20 },
];

export async function run({ quick, peers, workers = 2 }: BenchOptions): Promise<Report> {
  const notes = [
    "Postfix and Haraka with their default concurrency; Haraka without connection reuse, which it has not.",
  ];
  const sinks = new Map<Subject, Sink>();
  const add = async (start: (options: SubjectOptions) => Promise<Subject>, count = workers): Promise<void> => {
    const sink = await startSink();
    sinks.set(await start({ job: { kind: "relay", sinkPort: sink.port }, workers: count }), sink);
  };
  try {
    for (const count of workerCounts(workers)) await add(startPostern, count);
    const ours = sinks.size;
    const postfix = peers ? postfixMissing() : "Postfix: left out without --peers";
    const haraka = peers ? harakaMissing() : "Haraka: left out without --peers";
    if (!postfix) await add(startPostfix);
    if (!haraka) await add(startHaraka);
    for (const reason of [postfix, haraka]) if (reason) notes.push(`Not measured: ${reason}`);
    const table = await throughput({
      title: "Relay, durable",
      subjects: [...sinks.keys()],
      ours,
      points: quick ? points.slice(0, 3) : points,
      rounds: quick ? 3 : 5,
      seconds: quick ? 1 : 2.5,
      settled: (subject, sent) => sinks.get(subject)!.received(sent),
    });
    return { tables: [table], notes };
  } finally {
    for (const [subject, sink] of sinks) {
      await subject.stop();
      await sink.stop();
    }
  }
}
