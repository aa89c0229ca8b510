/**
 * What every load benchmark needs: processes pinned to a core, processor time of a process tree, Postfix's smtp-source
 * as the load, medians with their spread. Linux only. Failure: rejects with what the child said.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { type AddressInfo, connect, createServer } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

/** One kind of load. "one": a connection for each message; "many": connections are kept. */
export interface Point {
  size: number;
  mode: "one" | "many";
  sessions: number;
}

export const smtpSource = "/usr/sbin/smtp-source";
/** Clock ticks of /proc/PID/stat a second, as on every Linux that Node runs on. */
const ticks = 100;

export function pointName({ size, mode, sessions }: Point): string {
  return `${size / 1024} KiB, ${mode}, ${sessions} sessions`;
}

/** The command on one core when taskset is there; `core` undefined: wherever the system likes. */
export function pinned(core: number | undefined, command: string, args: readonly string[]): [string, string[]] {
  if (core === undefined || !existsSync("/usr/bin/taskset")) return [command, [...args]];
  return ["/usr/bin/taskset", ["-c", String(core), command, ...args]];
}

/** Sends `count` messages with smtp-source; resolves with the seconds it took. */
export async function load(port: number, point: Point, count: number, core?: number): Promise<number> {
  if (!existsSync(smtpSource)) throw new Error(`needs ${smtpSource} (Debian package postfix)`);
  const many = point.mode === "many" ? ["-d"] : [];
  const shape = ["-s", String(point.sessions), "-m", String(count), "-l", String(point.size)];
  const envelope = ["-f", "a@bench.test", "-t", "b@out.test", `127.0.0.1:${port}`];
  const started = performance.now();
  await ended(
    spawn(...pinned(core, smtpSource, [...many, ...shape, ...envelope]), { stdio: ["ignore", "ignore", "pipe"] }),
  );
  return (performance.now() - started) / 1_000;
}

/** Resolves when the child ended well. */
export function ended(child: ChildProcess): Promise<void> {
  let said = "";
  child.stderr?.on("data", (chunk: Buffer) => {
    said = (said + chunk.toString()).slice(-2_000);
  });
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code, signal) => {
      if (code === 0) resolve();
      else reject(new Error(`${child.spawnfile} ended with ${signal ?? code}: ${said}`));
    });
  });
}

/** Processor seconds that the trees under `roots` have used, children that already ended included. */
export function cpuSeconds(roots: readonly number[]): number {
  let sum = 0;
  for (const pid of tree(roots)) {
    const fields = statOf(pid);
    if (fields) for (const field of fields.slice(11, 15)) sum += Number(field);
  }
  return sum / ticks;
}

/** Resident memory of the trees under `roots`, octets. */
export function residentBytes(roots: readonly number[]): number {
  let sum = 0;
  for (const pid of tree(roots)) {
    const line = /VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, "latin1"));
    sum += Number(line?.[1] ?? 0) * 1_024;
  }
  return sum;
}

/** Does `work` while the trees under `roots` are stopped. */
export async function alone<T>(roots: readonly number[], work: () => Promise<T>): Promise<T> {
  const others = tree(roots);
  const signal = (name: "SIGSTOP" | "SIGCONT"): void => {
    for (const pid of others) {
      try {
        process.kill(pid, name);
      } catch {
        // it has just ended
      }
    }
  };
  signal("SIGSTOP");
  try {
    return await work();
  } finally {
    signal("SIGCONT");
  }
}

/** The processes and all that descend from them. */
export function tree(roots: readonly number[]): number[] {
  const parents = new Map<number, number>();
  for (const name of readdirSync("/proc")) {
    const fields = /^\d+$/.test(name) ? statOf(Number(name)) : undefined;
    if (fields) parents.set(Number(name), Number(fields[1]));
  }
  const found = new Set(roots);
  for (let grown = true; grown; ) {
    grown = false;
    for (const [pid, parent] of parents) {
      if (found.has(parent) && !found.has(pid)) {
        found.add(pid);
        grown = true;
      }
    }
  }
  return [...found].filter((pid) => parents.has(pid));
}

/** Fields of /proc/PID/stat after the name; undefined when the process has just ended. */
function statOf(pid: number): string[] | undefined {
  try {
    return readFileSync(`/proc/${pid}/stat`, "latin1").split(") ").at(-1)!.split(" ");
  } catch {
    return undefined;
  }
}

export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** Waits until the port greets; rejects after a minute. */
export async function greeted(port: number): Promise<void> {
  for (const end = Date.now() + 60_000; Date.now() < end; await sleep(10)) {
    const up = await new Promise<boolean>((resolve) => {
      const socket = connect(port, "127.0.0.1");
      socket.once("data", () => {
        socket.end("QUIT\r\n");
        resolve(true);
      });
      socket.once("error", () => resolve(false));
      socket.once("close", () => resolve(false));
      socket.setTimeout(2_000, () => socket.destroy(new Error("no greeting")));
    });
    if (up) return;
  }
  throw new Error(`nothing greets on port ${port}`);
}

/** A figure over several rounds. */
export interface Figure {
  median: number;
  /** Half the distance between the largest and the smallest, as a share of the median. */
  spread: number;
}

export function figure(rounds: readonly number[]): Figure {
  const sorted = rounds.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  const median = sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
  return { median, spread: median === 0 ? 0 : (sorted.at(-1)! - sorted[0]!) / 2 / median };
}

/** The median of ratios taken within the same round: what disturbs one side mostly disturbs the other. */
export function ratio(ours: readonly number[], theirs: readonly number[]): Figure {
  return figure(ours.map((value, round) => value / theirs[round]!));
}

/** "1,234 ±5 %". */
export function shown({ median, spread }: Figure, digits = 0): string {
  const number = median.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits });
  return `${number} ±${Math.round(spread * 100)} %`;
}
