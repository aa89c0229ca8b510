/**
 * Takes a snapshot in a thread of its own: compiling a large policy takes a second, in which new connections would wait
 * for the supervisor's answer (shared-flow.ts). Failure: a thread that dies (out of memory) is told as a problem.
 */
import { getCompileCacheDir } from "node:module";
import { setPriority } from "node:os";
import { dirname } from "node:path";
import { deserialize, serialize } from "node:v8";
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";
import { type Result, type Snapshot, takeSnapshot } from "./snapshot.ts";

/** A snapshot and the octets that workers get. */
export type Serialized = Result<{ snapshot: Snapshot; octets: Uint8Array<ArrayBuffer> }>;
type Answer = Result<{ octets: Uint8Array<ArrayBuffer> }>;

/** Mail goes first, but a busy machine must not put off a reload for long: a third of a worker's share. */
const threadNiceness = 5;

/** The same in the calling thread. */
export function takeSerialized(configFile: string, stoppedCandidate?: string): Serialized {
  const taken = takeSnapshot(configFile, stoppedCandidate);
  return taken.ok ? { ...taken, octets: new Uint8Array(serialize(taken.snapshot)) } : taken;
}

export function takeSerializedAside(configFile: string, stoppedCandidate?: string): Promise<Serialized> {
  const { promise, resolve } = Promise.withResolvers<Serialized>();
  // The cache is one folder a version of Node; a thread has to be told of it to begin in half the time.
  const cache = getCompileCacheDir();
  const thread = new Worker(new URL(import.meta.url), {
    workerData: { configFile, stoppedCandidate },
    ...(cache ? { env: { ...process.env, NODE_COMPILE_CACHE: dirname(cache) } } : {}),
  });
  thread.once("message", (answer: Answer) => {
    resolve(answer.ok ? { ...answer, snapshot: deserialize(answer.octets) as Snapshot } : answer);
  });
  thread.once("error", ({ message }) => resolve({ ok: false, problems: `the compiler failed: ${message}\n` }));
  thread.once("exit", (code) => resolve({ ok: false, problems: `the compiler ended with exit code ${code}\n` }));
  return promise;
}

if (!isMainThread) {
  const { configFile, stoppedCandidate } = workerData as { configFile: string; stoppedCandidate?: string };
  setPriority(0, threadNiceness); // of this thread alone
  const taken = takeSerialized(configFile, stoppedCandidate);
  if (taken.ok) {
    const { octets, warnings } = taken;
    const answer: Answer = { ok: true, octets, warnings };
    parentPort!.postMessage(answer, [octets.buffer]);
  } else parentPort!.postMessage(taken);
}
