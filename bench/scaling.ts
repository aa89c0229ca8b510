/**
 * Scaling: what two workers on two cores do, over one. The load needs processor time of its own, so that on two cores
 * two workers never have them to themselves: what n workers could do with n cores follows from the processor time that
 * the gateway, all its processes together, needs for a message: n ÷ that time. Durable accept; rates as measured beside it.
 */
import { figure, type Point, pointName, ratio, shown } from "./measure.ts";
import { startPostern } from "./peers/postern.ts";
import type { Subject } from "./peers/subject.ts";
import type { BenchOptions, Report } from "./report.ts";
import { measured } from "./throughput.ts";

const points: readonly Point[] = [
  { size: 4_096, mode: "many", sessions: 100 },
  { size: 4_096, mode: "one", sessions: 100 },
  { size: 65_536, mode: "many", sessions: 20 },
];

export async function run({ quick }: BenchOptions): Promise<Report> {
  const subjects: Subject[] = [];
  try {
    for (const workers of [1, 2]) subjects.push(await startPostern({ job: { kind: "hold" }, workers }));
    const results = await measured({ subjects, points, rounds: quick ? 3 : 5, seconds: quick ? 1 : 2 });
    const rows = [...results].map(([point, [one, two]]) => {
      const { median, spread } = ratio(one!.cpus, two!.cpus);
      return [
        pointName(point),
        ...[one!, two!].flatMap(({ rates, cpus }) => [shown(figure(rates)), shown(figure(cpus))]),
        shown({ median: 2 * median, spread }, 2),
      ];
    });
    const columns = [
      "load",
      "1 worker, messages/s",
      "CPU µs a message",
      "2 workers, messages/s",
      "CPU µs a message",
      "scaling",
    ];
    const notes = ["scaling = 2 × CPU time a message with one worker ÷ that with two; the load shares the cores."];
    return { tables: [{ title: "Scaling from one worker to two", columns, rows }], notes };
  } finally {
    for (const subject of subjects) await subject.stop();
  }
}
