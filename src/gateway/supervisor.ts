/**
 * The parent process: checks that everything can start, starts the workers, replaces those that die, reloads, drains.
 * It touches no mail. Each worker listens on the same ports (SO_REUSEPORT) and owns queue shards; a dead worker's
 * shards go to its successor (DESIGN §5).
 * Invariants: nothing is started unless configuration, policy, data folder and ports are all usable; one gateway a
 * data folder. Failure: one clear line through `fail`, exit code 1; a worker that keeps dying is restarted with
 * a growing pause, at most 5 s.
 */
import { type ChildProcess, fork } from "node:child_process";
import { randomBytes } from "node:crypto";
import { accessSync, constants, mkdirSync, readdirSync } from "node:fs";
import { getCompileCacheDir } from "node:module";
import { createServer, type Server } from "node:net";
import { join } from "node:path";
import type { LoadedConfig } from "../config/load.ts";
import type { Logger } from "../telemetry/log.ts";
import { exposition, type MetricValues } from "../telemetry/metrics.ts";
import { type AdminView, serveAdmin } from "./admin.ts";
import { type ControlAnswer, serveControl } from "./control.ts";
import type { FromWorker, ToWorker } from "./protocol.ts";
import { FlowLedger } from "./shared-flow.ts";
import { takeSerialized, takeSerializedAside } from "./snapshot-thread.ts";
import { stoppedIn, TrialControl } from "./trial-control.ts";

const firstRestartPauseMs = 50;
const lastRestartPauseMs = 5_000;
/** A worker that lived this long is forgiven its earlier deaths. */
const healthyAfterMs = 10_000;
const drainTimeoutMs = 30_000;
const startTimeoutMs = 60_000;

export class StartError extends Error {}

interface Worker {
  index: number;
  shards: number[];
  process: ChildProcess | undefined;
  startedAt: number;
  pauseMs: number;
  addresses: string[];
  /** As last told by the worker; {} while there is none. */
  metrics: MetricValues;
}

export interface Supervisor {
  /** Addresses that are listened on, as "host:port". */
  readonly addresses: string[];
  reload(): Promise<{ ok: boolean; text: string }>;
  /** Stops accepting, lets transactions end, stops the workers. */
  stop(): Promise<void>;
  /** Resolves when the gateway has stopped, with the exit code. */
  readonly done: Promise<number>;
}

/** Starts the gateway; throws StartError with one line that says what is in the way. */
export async function startSupervisor(configFile: string, log: Logger): Promise<Supervisor> {
  const taken = takeSerialized(configFile, stoppedIn(configFile));
  if (!taken.ok) throw new StartError(taken.problems.trimEnd());
  if (taken.warnings) process.stderr.write(taken.warnings);
  let { octets } = taken;
  let stoppedCandidate: string | undefined;
  const { loaded } = taken.snapshot;
  prepareDataFolder(loaded.config.data);
  const tlsTicketKeys = randomBytes(48).toString("base64");
  const workers = planWorkers(loaded);
  const ledger = new FlowLedger(loaded.budget, (bans) => {
    for (const { process: child } of workers) if (child) send(child, { type: "bans", bans });
  });
  const trials = new TrialControl(log, {
    reload: () => reload(),
    stopWorkers(hash) {
      // For workers that start later.
      stoppedCandidate = hash;
      for (const { process: child } of workers) if (child) send(child, { type: "trialStopped" });
    },
  });
  trials.take(taken.snapshot);
  let stopping = false;
  let finish: (code: number) => void = () => {};
  const done = new Promise<number>((resolve) => {
    finish = resolve;
  });

  const control = await serveControl(join(loaded.config.data, "control.sock"), {
    reload: () => reload(),
    "policy status": async () => trials.status(),
    "policy promote": () => trials.promote(),
    "policy abort": async () => trials.abort(),
    status: async () => ({
      ok: true,
      text: workers
        .map((w) => `worker ${w.index} pid ${w.process?.pid ?? "-"} shards ${w.shards.join(",")}`)
        .join("\n"),
    }),
  }).catch((error: Error) => {
    throw new StartError(error.message);
  });
  await checkPorts(loaded).catch(async (error: Error) => {
    await control.close();
    throw error;
  });

  function start(worker: Worker): Promise<void> {
    const child = fork(join(import.meta.dirname, "worker.ts"), [], {
      // Octets read from sockets live outside the heap and die with the next scavenge: a larger young generation is
      // scavenged so seldom that they pile up to full collections, which cost a 64 KiB message more than all the rest.
      execArgv: ["--max-semi-space-size=8"],
      serialization: "advanced",
      env: { ...process.env, NODE_NO_WARNINGS: "1", NODE_COMPILE_CACHE: getCompileCacheDir() ?? "" },
    });
    worker.process = child;
    worker.startedAt = Date.now();
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        child.kill("SIGKILL");
        reject(new StartError(`worker ${worker.index} did not start within ${startTimeoutMs / 1_000} s`));
      }, startTimeoutMs);
      child.on("message", (message: FromWorker) => {
        if (message.type === "ready") {
          clearTimeout(timer);
          worker.addresses = [...message.addresses];
          resolve();
        } else if (message.type === "metrics") worker.metrics = message.values;
        else if (message.type === "trial") trials.add(message.hash, message.counts);
        else if (message.type === "flow") {
          if (worker.process !== child) return; // said before it died, and given back already
          const answers = ledger.take(worker.index, message.notes);
          if (answers.length > 0) send(child, { type: "flow", answers });
        } else if (message.type === "failed") {
          clearTimeout(timer);
          reject(new StartError(message.reason));
        }
      });
      child.once("exit", (code, signal) => {
        clearTimeout(timer);
        worker.process = undefined;
        worker.addresses = [];
        worker.metrics = {};
        ledger.forget(worker.index);
        reject(new StartError(`worker ${worker.index} ended with ${signal ?? `exit code ${code}`}`));
        if (stopping) return;
        restartLater(worker, signal ?? `exit code ${code}`);
      });
      sendSnapshot(child, octets);
      const { index, shards } = worker;
      send(child, { type: "start", index, shards, tlsTicketKeys, ...(stoppedCandidate ? { stoppedCandidate } : {}) });
      send(child, { type: "bans", bans: ledger.bans() });
    });
  }

  let started = false;
  function restartLater(worker: Worker, reason: string): void {
    if (!started) return;
    if (Date.now() - worker.startedAt > healthyAfterMs) worker.pauseMs = firstRestartPauseMs;
    log.error(
      { worker: worker.index, reason, pauseMs: worker.pauseMs },
      "worker died; a new one takes its queue shards",
    );
    setTimeout(() => {
      if (stopping) return;
      start(worker).catch((error: Error) => log.error({ worker: worker.index }, error.message));
    }, worker.pauseMs);
    worker.pauseMs = Math.min(worker.pauseMs * 2, lastRestartPauseMs);
  }

  /** One after the other: what was asked for last is in force in the end. */
  let reloading: Promise<unknown> = Promise.resolve();
  function reload(): Promise<ControlAnswer> {
    const answer = reloading.then(reloadNow);
    reloading = answer.catch(() => {}); // whoever asked for it is told
    return answer;
  }

  async function reloadNow(): Promise<ControlAnswer> {
    const next = await takeSerializedAside(configFile, stoppedIn(configFile));
    if (!next.ok) {
      log.error("reload refused, the running policy stays in force");
      return { ok: false, text: `${next.problems}reload refused, the running policy stays in force\n` };
    }
    octets = next.octets;
    trials.take(next.snapshot);
    const answers = await Promise.all(workers.map((worker) => reloadWorker(worker, next.octets)));
    const problems = answers.filter((answer) => answer !== "");
    log.info({ workers: workers.length, problems }, "configuration and policy reloaded");
    return { ok: problems.length === 0, text: `${next.warnings}${problems.map((p) => `${p}\n`).join("")}reloaded\n` };
  }

  async function stop(): Promise<void> {
    if (stopping) return;
    stopping = true;
    await Promise.all(workers.map(drain));
    await control.close();
    admin?.close();
    finish(0);
  }

  let admin: Server | undefined;
  try {
    await Promise.all(workers.map(start));
    started = true;
    admin = await openAdmin(loaded.config.admin.address, {
      healthy: () => workers.every((worker) => worker.addresses.length > 0),
      metrics: () => exposition(workers.map((worker) => worker.metrics)),
    });
  } catch (error) {
    stopping = true;
    for (const worker of workers) worker.process?.kill("SIGKILL");
    await control.close();
    throw error;
  }
  return { addresses: workers[0]?.addresses ?? [], reload, stop, done };
}

async function openAdmin(address: string | null, view: AdminView): Promise<Server | undefined> {
  if (address === null) return undefined;
  const { host, port } = splitAddress(address);
  try {
    return await serveAdmin(host, port, view);
  } catch (error) {
    throw new StartError(`cannot listen on ${address} (admin): ${(error as Error).message}`);
  }
}

function send(child: ChildProcess, message: ToWorker): void {
  if (child.connected) child.send(message);
}

/** So much is read at once: a snapshot may have many megabytes, and the worker has sessions to serve. */
const partOctets = 128 * 1024;

function sendSnapshot(child: ChildProcess, octets: Uint8Array): void {
  for (let at = 0; at < octets.length; at += partOctets) {
    send(child, { type: "snapshot", part: octets.subarray(at, at + partOctets), at, total: octets.length });
  }
}

/** "" when the worker took the new snapshot, else why not. */
function reloadWorker(worker: Worker, octets: Uint8Array): Promise<string> {
  const child = worker.process;
  // A worker that is down gets the new snapshot when it is started.
  if (!child?.connected) return Promise.resolve("");
  return new Promise((resolve) => {
    const timer = setTimeout(() => finish(`worker ${worker.index} did not answer`), 30_000);
    const finish = (reason: string): void => {
      clearTimeout(timer);
      child.off("message", onMessage);
      child.off("exit", onExit);
      resolve(reason);
    };
    const onMessage = (message: FromWorker): void => {
      if (message.type === "reloaded") finish(message.ok ? "" : message.reason);
    };
    const onExit = (): void => finish("");
    child.on("message", onMessage);
    child.on("exit", onExit);
    sendSnapshot(child, octets);
    send(child, { type: "reload" });
  });
}

function drain(worker: Worker): Promise<void> {
  const child = worker.process;
  if (!child || child.exitCode !== null) return Promise.resolve();
  return new Promise((resolve) => {
    const timer = setTimeout(() => child.kill("SIGKILL"), drainTimeoutMs);
    child.once("exit", () => {
      clearTimeout(timer);
      resolve();
    });
    if (child.connected) send(child, { type: "drain" });
    else child.kill("SIGKILL");
  });
}

/** Worker i owns shard i; shards left over from a larger fleet are shared out. */
function planWorkers(loaded: LoadedConfig): Worker[] {
  const count = loaded.config.workers;
  const queue = join(loaded.config.data, "queue");
  mkdirSync(queue, { recursive: true });
  const onDisk = readdirSync(queue)
    .map((name) => /^(\d+)$/.exec(name)?.[1])
    .filter((digits) => digits !== undefined)
    .map(Number);
  return Array.from({ length: count }, (_, index) => ({
    index,
    shards: [index, ...onDisk.filter((shard) => shard >= count && shard % count === index)],
    process: undefined,
    startedAt: 0,
    pauseMs: firstRestartPauseMs,
    addresses: [],
    metrics: {},
  }));
}

function prepareDataFolder(data: string): void {
  try {
    mkdirSync(data, { recursive: true, mode: 0o750 });
    accessSync(data, constants.R_OK | constants.W_OK | constants.X_OK);
  } catch (error) {
    throw new StartError(`cannot use the data folder ${data}: ${(error as Error).message}`);
  }
}

/** SO_REUSEPORT would let two gateways share a port silently: bind each once without it first. */
async function checkPorts(loaded: LoadedConfig): Promise<void> {
  const { listeners, managesieve } = loaded.config;
  for (const { address } of managesieve ? [...listeners, managesieve] : listeners) {
    const { host, port } = splitAddress(address);
    if (port === 0) continue;
    await new Promise<void>((resolve, reject) => {
      const probe = createServer();
      probe.once("error", (error: NodeJS.ErrnoException) => {
        const reason =
          error.code === "EADDRINUSE"
            ? "the port is in use"
            : error.code === "EACCES"
              ? "this user may not open that port"
              : error.message;
        reject(new StartError(`cannot listen on ${address}: ${reason}`));
      });
      probe.listen({ host, port, exclusive: true }, () => probe.close(() => resolve()));
    });
  }
}

/** Host and port of "127.0.0.1:25", "[::1]:25" or "*:25" (undefined host: all interfaces). */
export function splitAddress(address: string): { host: string | undefined; port: number } {
  const colon = address.lastIndexOf(":");
  const host = address.slice(0, colon).replace(/^\[|\]$/g, "");
  return { host: host === "*" ? undefined : host, port: Number(address.slice(colon + 1)) };
}
