/** The gateway as its users run it: `postern serve` with the default policy, and one event more that says the job. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { stringify } from "yaml";
import { freePort, greeted } from "../measure.ts";
import { type Job, type Subject, type SubjectOptions, startProcess, stopProcess } from "./subject.ts";

const repository = resolve(import.meta.dirname, "../..");
const main = join(repository, "src/cli/main.ts");

export interface PosternSubject extends Subject {
  readonly folder: string;
  readonly configFile: string;
}

export interface PosternOptions extends SubjectOptions {
  /** Script in place of the default policy. */
  script?: string;
  /** A data folder that is there already, which stays; default: a new one. */
  data?: string;
}

export async function startPostern(options: PosternOptions): Promise<PosternSubject> {
  const folder = mkdtempSync("/var/tmp/postern-bench-");
  const port = await freePort();
  const configFile = join(folder, "postern.yaml");
  const workers = options.workers ?? 2;
  writeFileSync(join(folder, "policy.script"), options.script ?? policyFor(options.job));
  writeFileSync(
    configFile,
    stringify({
      server: { name: "bench.test" },
      ...(options.data === undefined ? {} : { data: options.data }),
      listeners: [{ address: `127.0.0.1:${port}`, ...(options.tls ? { tls: options.tls } : {}) }],
      policy: { smtpFilters: "policy.script" },
      domains: {
        local: ["local.test"],
        routes: options.job.kind === "relay" ? { "out.test": `[127.0.0.1]:${options.job.sinkPort}` } : {},
      },
      relay: { trustedNetworks: ["127.0.0.0/8"] },
      // All load comes from one address, more than a real peer sends.
      limits: { connections: 0, connectionsPerPeer: 0, newConnectionsPerPeerPerMinute: 0, scriptBytes: 4_194_304 },
      // What a message logs is written, as in production, but not shown here.
      log: { pretty: false },
      workers,
    }),
  );
  const child = startProcess(options.core, process.execPath, [main, "serve", "--config", configFile], folder);
  await greeted(port);
  // The port greets when the first worker is up.
  if (workers > 1) await sleep(500);
  return {
    name: workers === 1 ? "Postern, 1 worker" : `Postern, ${workers} workers`,
    port,
    roots: [child.pid!],
    folder,
    configFile,
    async stop() {
      await stopProcess(child);
      // Workers end when they see that the supervisor is gone.
      await sleep(200);
      rmSync(folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
    },
  };
}

/** Workers of the gateways to measure: as wanted, and one alone beside it. */
export function workerCounts(workers: number): number[] {
  return workers === 1 ? [1] : [workers, 1];
}

export function policyFor(job: Job): string {
  const policy = readFileSync(join(repository, "rules/default.script"), "utf8");
  const job_ = {
    discard: 'event onRcptTo { set (smtpAction, "discard"); }\n',
    hold: 'event onRcptTo { hold ("bench"); }\n',
    relay: "",
  };
  return `${policy}\n${job_[job.kind]}`;
}
