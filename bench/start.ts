/**
 * Cold start: from the command to the first greeting. Reload: a policy of 10,000 rules is compiled and swapped while a
 * session says NOOP as fast as it is answered; the longest wait for an answer is the pause that clients feel.
 */
import { spawn } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { ended, figure, shown } from "./measure.ts";
import { harakaMissing, startHaraka } from "./peers/haraka.ts";
import { policyFor, startPostern } from "./peers/postern.ts";
import { postfixMissing, startPostfix } from "./peers/postfix.ts";
import type { SubjectOptions } from "./peers/subject.ts";
import { startPinger } from "./pinger.ts";
import { ruleScript } from "./policy-rules.ts";
import type { BenchOptions, Report, Table } from "./report.ts";

const main = resolve(import.meta.dirname, "../src/cli/main.ts");
const rules = 10_000;

export async function run({ quick, peers }: BenchOptions): Promise<Report> {
  const notes: string[] = [];
  const options: SubjectOptions = { job: { kind: "hold" }, workers: 1 };
  const starts = [startPostern];
  const postfix = peers ? postfixMissing() : "Postfix: left out without --peers";
  const haraka = peers ? harakaMissing() : "Haraka: left out without --peers";
  for (const reason of [postfix, haraka]) if (reason) notes.push(`Not measured: ${reason}`);
  const all = [...starts, ...(postfix ? [] : [startPostfix]), ...(haraka ? [] : [startHaraka])];
  const rows: string[][] = [];
  for (const start of all) {
    const times: number[] = [];
    let name = "";
    for (let round = 0; round < (quick ? 3 : 7); round++) {
      const started = performance.now();
      const subject = await start(options);
      times.push(performance.now() - started);
      name = subject.name;
      await subject.stop();
    }
    rows.push([name, shown(figure(times))]);
  }
  const cold = { title: "From command to greeting", columns: ["server", "ms"], rows };
  return { tables: [cold, await reload()], notes };
}

async function reload(): Promise<Table> {
  const subject = await startPostern({ job: { kind: "hold" }, workers: 1 });
  try {
    const stop = await startPinger(subject.port);
    const quiet = await stop();
    const again = await startPinger(subject.port);
    // The event of the rules is added to the default policy's; a comment makes each reload a new one.
    writeFileSync(join(subject.folder, "policy.script"), `${policyFor({ kind: "hold" })}${ruleScript(rules)}`);
    const started = performance.now();
    const command = [main, "reload", "--config", subject.configFile];
    await ended(spawn(process.execPath, command, { cwd: subject.folder, stdio: ["ignore", "ignore", "pipe"] }));
    const took = performance.now() - started;
    const loaded = await again();
    return {
      title: `Reload of ${rules.toLocaleString("en-US")} rules under traffic, one worker`,
      columns: ["reload command, ms", "longest pause, ms", "longest pause without reload, ms"],
      rows: [[Math.round(took), loaded.toFixed(1), quiet.toFixed(1)]],
    };
  } finally {
    await subject.stop();
  }
}
