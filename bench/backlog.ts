/**
 * A large backlog in one shard of the queue: what it costs to open it again, to list it with filters, and to have it in
 * a running gateway. Its messages have 1 KiB, a recipient of their own each, and one failed attempt behind them.
 * As a process: node bench/backlog.ts --fill FOLDER COUNT | --open FOLDER
 */
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { setTimeout as sleep } from "node:timers/promises";
import { pino } from "pino";
import { budgetWith } from "../src/config/budget.ts";
import { outcome } from "../src/message/outcome.ts";
import { askOperations, controlPath } from "../src/queue/control.ts";
import { openSpool } from "../src/queue/spool.ts";
import type { QueueFilter, ScheduledSpool } from "../src/queue/types.ts";
import { newMessage } from "../test/unit/queue/fixtures.ts";
import { startPostern } from "./peers/postern.ts";

export interface BacklogFigures {
  messages: number;
  fillSeconds: number;
  /** Opening the queue alone, as a process that does nothing else. */
  opened: { seconds: number; rssMiB: number; peakMiB: number; longestPauseMs: number };
  /** A gateway with one worker that has this queue: until it greets, and what the worker needs. */
  gateway: { startSeconds: number; rssMiB: number; peakMiB: number };
  /** `list` with 100 messages asked of that worker, slowest of five, ms, by filter. */
  lists: Record<string, number>;
}

const hour = 3_600_000;
const lanes = 500;
const senders = 997;
const domains = 4_999;
const text = Buffer.from(`Subject: backlog\r\n\r\n${`${"x".repeat(76)}\r\n`.repeat(12)}`);
const silent = pino({ level: "silent" });

/** Measures all of it. `folder` is a data folder that does not exist yet. */
export async function measureBacklog(folder: string, messages: number): Promise<BacklogFigures> {
  const queue = join(folder, "queue");
  const { seconds: fillSeconds } = await phase<{ seconds: number }>("--fill", queue, String(messages));
  const opened = await phase<BacklogFigures["opened"]>("--open", queue);
  const started = performance.now();
  const postern = await startPostern({ job: { kind: "hold" }, workers: 1, data: folder });
  try {
    const startSeconds = (performance.now() - started) / 1_000;
    const lists = await timeLists(queue, messages);
    const [worker = 0] = childrenOf(postern.roots[0]!);
    return {
      messages,
      fillSeconds,
      opened,
      gateway: { startSeconds, ...memoryOf(worker) },
      lists,
    };
  } finally {
    await postern.stop();
  }
}

async function timeLists(queue: string, messages: number): Promise<Record<string, number>> {
  const middle = Math.floor(messages / 2);
  const filters: Record<string, QueueFilter> = {
    none: {},
    sender: { sender: "sender7@s.example" },
    recipient: { recipient: `user${middle}@d${middle % domains}.example` },
    "recipient pattern": { recipient: "*@d4998.example" },
    destination: { destination: "smtp:d77.example" },
    "failure text": { failure: "timed out" },
    "nothing matches": { failure: "never said" },
    "state, size, age": { status: "send failure", sizeOver: 100, olderThanMs: 1 },
  };
  const times: Record<string, number> = {};
  for (const [name, filter] of Object.entries(filters)) {
    let worst = 0;
    for (let round = 0; round < 5; round++) {
      const began = performance.now();
      const request = { operation: "list", filter: { ...filter, limit: 100 } } as const;
      const answer = await askOperations(controlPath(queue, 0), request, budgetWith());
      if ("error" in answer) throw new Error(answer.error);
      worst = Math.max(worst, performance.now() - began);
    }
    times[name] = worst;
  }
  return times;
}

function childrenOf(pid: number): number[] {
  return readFileSync(`/proc/${pid}/task/${pid}/children`, "latin1").trim().split(" ").map(Number);
}

/** Resident memory of a process: now, and at most so far. */
function memoryOf(pid: number | "self"): { rssMiB: number; peakMiB: number } {
  const status = readFileSync(`/proc/${pid}/status`, "latin1");
  const of = (name: string): number => Number(new RegExp(`${name}:\\s+(\\d+) kB`).exec(status)?.[1] ?? 0) / 1_024;
  return { rssMiB: of("VmRSS"), peakMiB: of("VmHWM") };
}

/** Runs this file as a process of its own and answers what it printed. */
async function phase<T>(...words: string[]): Promise<T> {
  const child = spawn(process.execPath, [import.meta.filename, ...words], {
    stdio: ["ignore", "pipe", "inherit"],
    env: { ...process.env, NODE_NO_WARNINGS: "1" },
  });
  let said = "";
  child.stdout.on("data", (chunk: Buffer) => {
    said += chunk.toString();
  });
  await new Promise((resolve) => child.once("close", resolve));
  return JSON.parse(said) as T;
}

async function fill(spool: ScheduledSpool, count: number): Promise<void> {
  let next = 0;
  const lane = async (): Promise<void> => {
    while (next < count) {
      const number = next++;
      const domain = `d${number % domains}.example`;
      const body = spool.openBody(text);
      const id = await spool.commit(
        body,
        newMessage(`sender${number % senders}@s.example`, [`user${number}@${domain}`]),
      );
      const message = (await spool.take(id))!;
      const [recipient] = message.recipients;
      const last = `Connection to mx.${domain} timed out`;
      recipient!.lastOutcome = outcome.defer({ code: 451, enhanced: "4.4.1", text: last, origin: "test" });
      recipient!.destination = `smtp:${domain}`;
      recipient!.attempts = message.attempts = 1;
      message.failure = last;
      message.state = "send failure";
      message.nextAttempt = Date.now() + hour;
      await spool.update(message);
    }
  };
  await Promise.all(Array.from({ length: lanes }, lane));
}

async function backlogProcess(word: string, dir: string, count: number): Promise<void> {
  const delay = monitorEventLoopDelay({ resolution: 1 });
  delay.enable();
  const started = performance.now();
  const spool = await openSpool({ dir, shard: 0, budget: budgetWith(), log: silent });
  if (word === "--fill") await fill(spool, count);
  const seconds = (performance.now() - started) / 1_000;
  delay.disable();
  await sleep(1_000);
  process.stdout.write(JSON.stringify({ seconds, ...memoryOf("self"), longestPauseMs: delay.max / 1e6 }));
  await spool.close();
}

/** The figures as rows of a table: what, and how much. */
export function backlogRows({ messages, fillSeconds, opened, gateway, lists }: BacklogFigures): string[][] {
  return [
    ["messages", messages.toLocaleString("en-US")],
    ["written and tried once, s", fillSeconds.toFixed(1)],
    ["opened again, s", opened.seconds.toFixed(1)],
    ["opened again, MiB (peak)", `${opened.rssMiB.toFixed(0)} (${opened.peakMiB.toFixed(0)})`],
    ["longest pause while opening, ms", opened.longestPauseMs.toFixed(0)],
    ["gateway greets after, s", gateway.startSeconds.toFixed(1)],
    ["its worker, MiB (peak)", `${gateway.rssMiB.toFixed(0)} (${gateway.peakMiB.toFixed(0)})`],
    ...Object.entries(lists).map(([filter, ms]) => [`list of 100 by ${filter}, ms`, ms.toFixed(0)]),
  ];
}

if (import.meta.main) {
  const [word = "", folder = "", count = "0"] = process.argv.slice(2);
  await backlogProcess(word, folder, Number(count));
}
