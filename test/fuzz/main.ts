/**
 * `npm run fuzz -- TARGET...|all [--seconds N] [--seed N] [--keep]`: fuzzes parsers, guided by coverage. Prints
 * executions, rate, blocks of code reached and findings; a finding is written to the target's corpus. --keep writes small
 * inputs that reached new code there too. Exit code: 1 at a finding, 2 for wrong usage.
 * The loop runs in a worker thread; this thread watches it: an input that hangs can be told by nobody else.
 */
import { parseArgs } from "node:util";
import { isMainThread, Worker, workerData } from "node:worker_threads";
import { budgetDefaults } from "../../src/config/budget.ts";
import { readCorpus, writeCorpus, writeFinding } from "./corpus.ts";
import { Coverage } from "./coverage.ts";
import { fuzz } from "./fuzzer.ts";
import { random } from "./mutate.ts";
import { targets } from "./targets.ts";

const hangMs = 10_000;
/** Shared with the worker: number of the input, its length, its octets. */
const headerBytes = 8;
const sharedBytes = headerBytes + budgetDefaults.scriptBytes;

interface Job {
  name: string;
  seconds: number;
  seed: number;
  keep: boolean;
  shared: SharedArrayBuffer;
}

async function work({ name, seconds, seed, keep, shared }: Job): Promise<void> {
  const target = targets[name]!;
  const numbers = new Int32Array(shared, 0, 2);
  const octets = new Uint8Array(shared, headerBytes);
  const coverage = await Coverage.start(new URL("../../", import.meta.url).href);
  const { executions, corpus, finding } = await fuzz(target, {
    coverage,
    pick: random(seed),
    forMs: seconds * 1_000,
    corpus: readCorpus(name),
    onInput(input) {
      octets.set(input);
      numbers[1] = input.length;
      Atomics.add(numbers, 0, 1);
    },
  });
  const { functions, share } = coverage.reached;
  const rate = Math.round(executions / Math.max(seconds, 0.001));
  process.stdout.write(
    `${name}: ${executions} executions, ${rate}/s, ${functions} functions, ${Math.round(share * 100)} % of their text, ${corpus.length} inputs\n`,
  );
  if (keep) writeCorpus(name, corpus);
  if (finding) {
    process.stdout.write(`${name}: finding in ${writeFinding(name, finding.input)}: ${finding.reason}\n`);
    process.exitCode = 1;
  }
}

/** Resolves with true when the target ended without a finding. */
function watched(job: Job): Promise<boolean> {
  const worker = new Worker(new URL(import.meta.url), { workerData: job });
  const numbers = new Int32Array(job.shared, 0, 2);
  let last = -1;
  return new Promise((resolve, reject) => {
    const watchdog = setInterval(() => {
      const current = Atomics.load(numbers, 0);
      if (current === last && current > 0) {
        const input = Buffer.from(new Uint8Array(job.shared, headerBytes, numbers[1]));
        process.stdout.write(`${job.name}: finding in ${writeFinding(job.name, input)}: hangs\n`);
        void worker.terminate();
      }
      last = current;
    }, hangMs);
    worker.once("error", reject);
    worker.once("exit", (code) => {
      clearInterval(watchdog);
      resolve(code === 0);
    });
  });
}

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      seconds: { type: "string", default: "60" },
      seed: { type: "string", default: "1" },
      keep: { type: "boolean", default: false },
      help: { type: "boolean", default: false },
    },
  });
  const names = positionals.includes("all") ? Object.keys(targets) : positionals;
  if (values.help || names.length === 0 || names.some((name) => !(name in targets))) {
    const list = Object.entries(targets).map(([name, { about }]) => `  ${name.padEnd(11)} ${about}\n`);
    process.stderr.write(`usage: npm run fuzz -- TARGET...|all [--seconds N] [--seed N] [--keep]\n\n${list.join("")}`);
    process.exit(values.help ? 0 : 2);
  }
  for (const name of names) {
    const shared = new SharedArrayBuffer(sharedBytes);
    const job: Job = { name, seconds: Number(values.seconds), seed: Number(values.seed), keep: values.keep, shared };
    if (!(await watched(job))) process.exitCode = 1;
  }
}

if (isMainThread) await main();
else await work(workerData as Job);
