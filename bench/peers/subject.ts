/**
 * A server under measurement: started by its file in this folder with a configuration and a folder of its own, on a free
 * loopback port, and stopped with everything it left behind.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { pinned } from "../measure.ts";

export interface Subject {
  /** How tables call it. */
  readonly name: string;
  readonly port: number;
  /** Processes whose trees make up the server. */
  readonly roots: readonly number[];
  stop(): Promise<void>;
}

/** What the server does with a message. */
export type Job =
  /** 250, then forget it. */
  | { kind: "discard" }
  /** 250 after it is durable, then keep it in the queue. */
  | { kind: "hold" }
  /** 250 after it is durable, then send it on to this port. */
  | { kind: "relay"; sinkPort: number };

export interface SubjectOptions {
  job: Job;
  /** Core to run on; undefined: all. */
  core?: number;
  workers?: number;
  /** PEM files: the server offers STARTTLS. */
  tls?: { cert: string; key: string };
}

export function startProcess(
  core: number | undefined,
  command: string,
  args: readonly string[],
  cwd?: string,
): ChildProcess {
  return spawn(...pinned(core, command, args), {
    stdio: ["ignore", "ignore", "inherit"],
    ...(cwd === undefined ? {} : { cwd }),
    env: { ...process.env, NODE_NO_WARNINGS: "1" },
  });
}

export async function stopProcess(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  child.kill("SIGKILL");
  await gone;
}
