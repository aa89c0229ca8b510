/**
 * Messages a second and processor time a message of several servers at several kinds of load. All are started and
 * warmed up first; then each round goes over all of them, so that a disturbance hits every one alike; ratios are taken
 * within a round. While one is measured the others are stopped (SIGSTOP): what they do in the background, as looking
 * through a full queue, is not for it to pay. Used by the questions smtp, durable and relay.
 */
import { alone, cpuSeconds, figure, load, type Point, pointName, ratio, shown } from "./measure.ts";
import type { Subject } from "./peers/subject.ts";
import type { Table } from "./report.ts";

export interface ThroughputPlan {
  title: string;
  subjects: readonly Subject[];
  /** How many of the subjects, the first ones, are ours: all are compared with each of them. */
  ours: number;
  points: readonly Point[];
  rounds: number;
  /** Aimed length of one measurement, s. */
  seconds: number;
  /** Core of the load generator; undefined: any. */
  core?: number;
  /** Resolves when what was sent to this subject has gone all the way, if that is more than its 250. */
  settled?: (subject: Subject, sent: number) => Promise<void>;
}

/** What one subject did at one point, round by round. */
export interface Measured {
  readonly subject: Subject;
  /** Messages a second. */
  readonly rates: number[];
  /** Processor time a message, µs. */
  readonly cpus: number[];
}

/** Messages that bring a server's hot code to speed. */
const warmUp = 3_000;

/** Measures all subjects at all points. */
export async function measured(plan: Omit<ThroughputPlan, "title" | "ours">): Promise<Map<Point, Measured[]>> {
  const { subjects, points } = plan;
  const sentTo = new Map<Subject, number>();
  const send = async (subject: Subject, point: Point, count: number): Promise<{ rate: number; cpu: number }> => {
    const sent = (sentTo.get(subject) ?? 0) + count;
    sentTo.set(subject, sent);
    const others = subjects.filter((other) => other !== subject).flatMap(({ roots }) => roots);
    return alone(others, async () => {
      const before = cpuSeconds(subject.roots);
      const started = performance.now();
      await load(subject.port, point, count, plan.core);
      await plan.settled?.(subject, sent);
      const seconds = (performance.now() - started) / 1_000;
      return { rate: count / seconds, cpu: ((cpuSeconds(subject.roots) - before) / count) * 1e6 };
    });
  };
  for (const subject of subjects) await send(subject, { size: 4_096, mode: "many", sessions: 20 }, warmUp);
  const all = new Map<Point, Measured[]>();
  for (const point of points) {
    const results = subjects.map((subject): Measured => ({ subject, rates: [], cpus: [] }));
    const counts: number[] = [];
    for (const subject of subjects) {
      // A short run tells how many messages fill the time.
      const { rate } = await send(subject, point, Math.max(point.sessions, 300));
      counts.push(Math.max(point.sessions, Math.round(rate * plan.seconds)));
    }
    for (let round = 0; round < plan.rounds; round++) {
      for (const [i, { subject, rates, cpus }] of results.entries()) {
        const { rate, cpu } = await send(subject, point, counts[i]!);
        rates.push(rate);
        cpus.push(cpu);
      }
    }
    all.set(point, results);
  }
  return all;
}

export async function throughput(plan: ThroughputPlan): Promise<Table> {
  const rows: string[][] = [];
  for (const [point, results] of await measured(plan)) {
    const ours = results.slice(0, plan.ours);
    for (const { subject, rates, cpus } of results) {
      const factors = ours.map((own) => (own.subject === subject ? "–" : shown(ratio(own.rates, rates), 2)));
      rows.push([pointName(point), subject.name, shown(figure(rates)), shown(figure(cpus)), ...factors]);
    }
  }
  const factors = plan.subjects.slice(0, plan.ours).map(({ name }) => `${name.replace(/^Postern, /, "")} ÷ this`);
  return { title: plan.title, columns: ["load", "server", "messages/s", "CPU µs a message", ...factors], rows };
}
