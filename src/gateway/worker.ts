/**
 * A worker process: composes the services from the snapshot that the supervisor hands over, reloads and drains on
 * request. It ends at once when the supervisor is gone, so that no orphan holds the ports or the queue.
 * Failure: what can't start is told to the supervisor, then exit code 1; an uncaught error ends the process, because
 * the queue is durable and a fresh process is safer than a damaged one.
 */
import { deserialize } from "node:v8";
import { createLogger, type Logger } from "../telemetry/log.ts";
import type { FromWorker, ToWorker } from "./protocol.ts";
import { type Services, startServices } from "./services.ts";
import { SharedFlow } from "./shared-flow.ts";
import { openSnapshot, type Snapshot } from "./snapshot.ts";

const drainMs = 25_000;
const metricsEveryMs = 2_000;
const trialEveryMs = 250;

let services: Services | undefined;
let log: Logger | undefined;

function tell(message: FromWorker): void {
  if (process.connected) process.send?.(message);
}

const flow = new SharedFlow((notes) => tell({ type: "flow", notes }));

/** The next snapshot, as far as it has come. */
let octets = Buffer.alloc(0);

function takePart({ part, at, total }: ToWorker & { type: "snapshot" }): void {
  if (at === 0) octets = Buffer.allocUnsafeSlow(total);
  octets.set(part, at);
}

function takeWhole(): Snapshot {
  const snapshot = deserialize(octets) as Snapshot;
  octets = Buffer.alloc(0);
  return snapshot;
}

async function start(message: ToWorker & { type: "start" }): Promise<void> {
  const { stoppedCandidate } = message;
  const opened = await openSnapshot({ ...takeWhole(), ...(stoppedCandidate ? { stoppedCandidate } : {}) });
  if (!opened.ok) throw new Error(opened.problems);
  const { compiled } = opened;
  const { level, pretty } = compiled.loaded.config.log;
  log = createLogger({ bits: level, pretty: pretty ?? process.stdout.isTTY === true });
  services = await startServices({ ...message, compiled, flow, log });
  tell({ type: "ready", addresses: services.addresses });
  setInterval(() => tell({ type: "metrics", values: services!.metrics.values }), metricsEveryMs).unref();
  setInterval(() => {
    const trial = services!.trial();
    if (trial) tell({ type: "trial", hash: trial.hash, counts: trial.counts });
  }, trialEveryMs).unref();
}

async function drain(): Promise<void> {
  await services?.stop(drainMs);
  tell({ type: "drained" });
  process.exit(0);
}

function fail(error: unknown): never {
  tell({ type: "failed", reason: error instanceof Error ? error.message : String(error) });
  process.exit(1);
}

process.on("message", (message: ToWorker) => {
  if (message.type === "snapshot") takePart(message);
  else if (message.type === "start") start(message).catch(fail);
  else if (message.type === "drain") drain().catch(fail);
  else if (message.type === "flow") flow.answered(message.answers);
  else if (message.type === "bans") flow.banned(message.bans);
  else if (message.type === "trialStopped") services?.stopTrial();
  else if (message.type === "reload") {
    const done = services?.reload(takeWhole()) ?? Promise.resolve();
    done.then(
      () => tell({ type: "reloaded", ok: true, reason: "" }),
      (error: Error) => tell({ type: "reloaded", ok: false, reason: error.message }),
    );
  }
});
process.on("disconnect", () => process.exit(1));
// The supervisor decides when a worker stops: a Ctrl-C reaches the whole process group.
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => {});
process.on("uncaughtException", (error) => {
  log?.fatal({ err: error }, "uncaught error; this worker ends");
  process.exit(1);
});
