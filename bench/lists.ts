/**
 * Named lists of 1,000,000 entries: time to load and to reload, the longest that the event loop was held up meanwhile,
 * and the cost of one question. Usage: node bench/lists.ts [--json]
 */
import { spawn } from "node:child_process";
import { mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { parseArgs } from "node:util";
import { budgetDefaults } from "../src/config/budget.ts";
import { ListRegistry } from "../src/language/lists/registry.ts";

export interface ListBenchRow {
  kind: string;
  entries: number;
  loadMs: number;
  /** From the change of the file to its new content in use, the half second between looks at the file included. */
  reloadMs: number;
  /** Longest delay of the event loop while loading and reloading. */
  worstBlockMs: number;
  /** The same over a second of doing nothing: what the machine itself adds. */
  idleBlockMs: number;
  microsPerQuestion: number;
}

const entries = 1_000_000;
const kinds: ReadonlyArray<{ file: string; line: (i: number) => string; ask: (i: number) => string }> = [
  { file: "senders.txt", line: (i) => `user${i}@sender${i % 5_000}.example`, ask: (i) => `User${i}@good.example` },
  { file: "hosts.domains", line: (i) => `host${i}.bad.example`, ask: (i) => `x@mail.host${i}.bad.example` },
  {
    file: "nets.cidr",
    line: (i) => `10.${i >> 12}.${(i >> 4) & 255}.${(i & 15) << 4}/29`,
    ask: (i) => `10.1.2.${i & 255}`,
  },
];

export async function run(): Promise<ListBenchRow[]> {
  const folder = mkdtempSync(join(tmpdir(), "postern-lists-"));
  const rows: ListBenchRow[] = [];
  // Watching a list keeps no process alive by itself.
  const awake = setInterval(() => {}, 1_000);
  try {
    for (const kind of kinds) rows.push(await measure(folder, kind));
  } finally {
    clearInterval(awake);
    rmSync(folder, { recursive: true });
  }
  return rows;
}

async function measure(folder: string, { file, line, ask }: (typeof kinds)[number]): Promise<ListBenchRow> {
  const path = join(folder, file);
  write(path, line, entries);
  let reloaded = (): void => {};
  const registry = new ListRegistry({ limits: budgetDefaults, onEvent: () => reloaded(), pollMs: 500 });
  try {
    const idle = monitorEventLoopDelay({ resolution: 1 });
    idle.enable();
    await new Promise((done) => setTimeout(done, 1_000));
    idle.disable();
    const idleBlockMs = idle.max / 1e6;
    const delay = monitorEventLoopDelay({ resolution: 1 });
    const started = performance.now();
    delay.enable();
    const list = registry.open(`file:${file}`, folder);
    await list.ready;
    delay.disable();
    const loadMs = performance.now() - started;
    const again = new Promise<void>((done) => (reloaded = done));
    // Another process writes, as in life: it must not count as a pause of ours.
    const writer = spawn(process.execPath, [import.meta.filename, "--write", path], { stdio: "inherit" });
    const written = new Promise<number>((done) => writer.once("exit", () => done(performance.now())));
    // Starting it held up the loop; a new turn begins before anything is measured. It takes longer than that to write.
    await new Promise((done) => setTimeout(done, 5));
    delay.enable();
    await again;
    const changed = await written;
    delay.disable();
    const reloadMs = performance.now() - changed;
    const asked = performance.now();
    for (let i = 0; i < 100_000; i++) list.has(ask(i));
    const microsPerQuestion = (performance.now() - asked) / 100;
    return { kind: file, entries, loadMs, reloadMs, worstBlockMs: delay.max / 1e6, idleBlockMs, microsPerQuestion };
  } finally {
    registry.close();
  }
}

/** The file is there whole or not at all, as an editor leaves it. */
function write(path: string, line: (i: number) => string, count: number): void {
  writeFileSync(`${path}.new`, Array.from({ length: count }, (_, i) => line(i)).join("\n"));
  renameSync(`${path}.new`, path);
}

if (import.meta.main) {
  const { values } = parseArgs({ options: { json: { type: "boolean" }, write: { type: "string" } } });
  if (values.write !== undefined) {
    const path = values.write;
    write(path, kinds.find(({ file }) => path.endsWith(file))!.line, entries - 1);
    process.exit();
  }
  const rows = await run();
  if (values.json) console.log(JSON.stringify(rows, null, 2));
  else console.table(rows);
}
