/**
 * Takes a snapshot in a thread of its own: compiling a large policy takes a second, in which new connections would wait
 * for the supervisor's answer (shared-flow.ts). Failure: a thread that dies (out of memory) is told as a problem.
 */
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";
import { takeSnapshot } from "./snapshot.ts";

type Taken = ReturnType<typeof takeSnapshot>;

export function takeSnapshotAside(configFile: string, stoppedCandidate?: string): Promise<Taken> {
  const { promise, resolve } = Promise.withResolvers<Taken>();
  const thread = new Worker(new URL(import.meta.url), { workerData: { configFile, stoppedCandidate } });
  thread.once("message", resolve);
  thread.once("error", ({ message }) => resolve({ ok: false, problems: `the compiler failed: ${message}\n` }));
  thread.once("exit", (code) => resolve({ ok: false, problems: `the compiler ended with exit code ${code}\n` }));
  return promise;
}

if (!isMainThread) {
  const { configFile, stoppedCandidate } = workerData as { configFile: string; stoppedCandidate?: string };
  parentPort!.postMessage(takeSnapshot(configFile, stoppedCandidate));
}
