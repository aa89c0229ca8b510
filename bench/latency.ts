/**
 * Time to the 250 at half load: messages are due at fixed moments, at half the rate that the server reached when pushed,
 * and the clock of each runs from the moment it was due, so that a stall counts for all that it delays. Durable accept,
 * 4 KiB, kept connections.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { openSession, say } from "./client.ts";
import { load } from "./measure.ts";
import { startPostern } from "./peers/postern.ts";
import { postfixMissing, startPostfix } from "./peers/postfix.ts";
import type { Subject, SubjectOptions } from "./peers/subject.ts";
import type { BenchOptions, Report } from "./report.ts";

const lanes = 50;
const lines = `${"x".repeat(76)}\r\n`.repeat(52);
const message = `Subject: latency\r\n\r\n${lines}.\r\n`;

export async function run({ quick, peers, workers = 1 }: BenchOptions): Promise<Report> {
  const notes = ["From the moment a message was due to its 250; the load shares the cores with the server."];
  const options: SubjectOptions = { job: { kind: "hold" }, workers };
  const starts = [startPostern];
  const missing = peers ? postfixMissing() : "Postfix: left out without --peers";
  if (missing) notes.push(`Not measured: ${missing}`);
  const rows: Array<Array<string | number>> = [];
  for (const start of missing ? starts : [...starts, startPostfix]) {
    const subject: Subject = await start(options);
    try {
      const point = { size: 4_096, mode: "many", sessions: lanes } as const;
      await load(subject.port, point, 3_000); // warm-up
      const count = quick ? 2_000 : 6_000;
      const full = count / (await load(subject.port, point, count));
      const times = await paced(subject.port, full / 2, quick ? 3 : 10);
      const at = (share: number): string => times[Math.floor((times.length - 1) * share)]!.toFixed(1);
      rows.push([subject.name, Math.round(full), Math.round(full / 2), times.length, at(0.5), at(0.99), at(1)]);
    } finally {
      await subject.stop();
    }
  }
  const columns = ["server", "most messages/s", "sent messages/s", "messages", "p50 ms", "p99 ms", "longest ms"];
  return { tables: [{ title: "Time to the 250 at half load", columns, rows }], notes };
}

/** Sorted times, ms. */
async function paced(port: number, perSecond: number, seconds: number): Promise<number[]> {
  const times: number[] = [];
  const start = performance.now() + 100;
  const total = Math.round(perSecond * seconds);
  let next = 0;
  await Promise.all(
    Array.from({ length: lanes }, async () => {
      const client = await openSession(port);
      while (next < total) {
        const due = start + (next++ * 1_000) / perSecond;
        const wait = due - performance.now();
        if (wait > 1) await sleep(wait);
        await say(client, "MAIL FROM:<a@bench.test>\r\n", "250");
        await say(client, "RCPT TO:<b@out.test>\r\n", "250");
        await say(client, "DATA\r\n", "354");
        await say(client, message, "250");
        times.push(performance.now() - due);
      }
      client.end("QUIT\r\n");
    }),
  );
  return times.sort((a, b) => a - b);
}
