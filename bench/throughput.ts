/**
 * Messages a second and processor time a message of several servers at several kinds of load. All are started and
 * warmed up first; then each round goes over all of them, so that a disturbance hits every one alike; ratios are taken
 * within a round. Used by the questions smtp, durable and relay.
 */
import { cpuSeconds, type Figure, figure, load, type Point, pointName, ratio, shown } from "./measure.ts";
import type { Subject } from "./peers/subject.ts";
import type { Table } from "./report.ts";

export interface ThroughputPlan {
  title: string;
  /** The first is ours. */
  subjects: readonly Subject[];
  points: readonly Point[];
  rounds: number;
  /** Aimed length of one measurement, s. */
  seconds: number;
  /** Core of the load generator; undefined: any. */
  core?: number;
  /** Resolves when what was sent to this subject has gone all the way, if that is more than its 250. */
  settled?: (subject: Subject, sent: number) => Promise<void>;
}

/** Messages that bring a server's hot code to speed. */
const warmUp = 3_000;

export async function throughput(plan: ThroughputPlan): Promise<Table> {
  const { subjects, points } = plan;
  const sentTo = new Map<Subject, number>();
  const send = async (subject: Subject, point: Point, count: number): Promise<{ rate: number; cpu: number }> => {
    const sent = (sentTo.get(subject) ?? 0) + count;
    sentTo.set(subject, sent);
    const before = cpuSeconds(subject.roots);
    const started = performance.now();
    await load(subject.port, point, count, plan.core);
    await plan.settled?.(subject, sent);
    const seconds = (performance.now() - started) / 1_000;
    return { rate: count / seconds, cpu: ((cpuSeconds(subject.roots) - before) / count) * 1e6 };
  };
  const rows: string[][] = [];
  for (const subject of subjects) await send(subject, { size: 4_096, mode: "many", sessions: 20 }, warmUp);
  for (const point of points) {
    const rates = new Map<Subject, number[]>(subjects.map((subject) => [subject, []]));
    const cpus = new Map<Subject, number[]>(subjects.map((subject) => [subject, []]));
    const counts = new Map<Subject, number>();
    for (const subject of subjects) {
      // A short run tells how many messages fill the time.
      const { rate } = await send(subject, point, Math.max(point.sessions, 300));
      counts.set(subject, Math.max(point.sessions, Math.round(rate * plan.seconds)));
    }
    for (let round = 0; round < plan.rounds; round++) {
      for (const subject of subjects) {
        const { rate, cpu } = await send(subject, point, counts.get(subject)!);
        rates.get(subject)!.push(rate);
        cpus.get(subject)!.push(cpu);
      }
    }
    const ours = rates.get(subjects[0]!)!;
    for (const subject of subjects) {
      const theirs = rates.get(subject)!;
      const factor: Figure | undefined = subject === subjects[0] ? undefined : ratio(ours, theirs);
      rows.push([
        pointName(point),
        subject.name,
        shown(figure(theirs)),
        shown(figure(cpus.get(subject)!)),
        factor ? `${shown(factor, 2)}` : "–",
      ]);
    }
  }
  const columns = ["load", "server", "messages/s", "CPU µs a message", "ours ÷ this"];
  return { title: plan.title, columns, rows };
}
