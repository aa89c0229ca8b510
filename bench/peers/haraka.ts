/**
 * Haraka from npm, installed on first use into a cache folder outside this project, at its fastest: one process, no log,
 * a plugin that takes every recipient. "hold": its outbound queue with delivery switched off; "relay": the same with a
 * get_mx hook to the sink.
 */
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { freePort, greeted } from "../measure.ts";
import { type Subject, type SubjectOptions, startProcess, stopProcess } from "./subject.ts";

const version = "3.3.4";
const cache = join(homedir(), ".cache/postern-bench/haraka");
const installed = join(cache, "node_modules/Haraka");

/** Installs it when it is missing; answers what is in the way, if anything. */
export function harakaMissing(): string | undefined {
  if (existsSync(join(installed, "package.json"))) return undefined;
  mkdirSync(cache, { recursive: true });
  // Haraka names releases of these two that not every registry has; neither is on the path of a message.
  const overrides = { "encoding-japanese": "2.2.0", libqp: "2.1.2" };
  writeFileSync(
    join(cache, "package.json"),
    JSON.stringify({ private: true, dependencies: { Haraka: version }, overrides }),
  );
  try {
    const quiet = ["--ignore-scripts", "--omit=optional", "--no-audit", "--no-fund"];
    execFileSync("npm", ["install", ...quiet], { cwd: cache, stdio: ["ignore", "ignore", "pipe"] });
    return undefined;
  } catch (error) {
    return `Haraka: npm could not install it: ${String((error as { stderr?: Buffer }).stderr).slice(0, 300)}`;
  }
}

export function harakaVersion(): string {
  return (JSON.parse(readFileSync(join(installed, "package.json"), "utf8")) as { version: string }).version;
}

export async function startHaraka({ job, core, tls }: SubjectOptions): Promise<Subject> {
  const folder = mkdtempSync("/var/tmp/postern-bench-haraka-");
  const port = await freePort();
  for (const name of ["config", "plugins", "queue"]) mkdirSync(join(folder, name));
  const write = (file: string, text: string): void => writeFileSync(join(folder, file), text);
  write("config/smtp.ini", `listen=127.0.0.1:${port}\nnodes=0\n`);
  write("config/loglevel", "EMERG\n");
  write("config/me", "bench.test\n");
  const connection = readFileSync(join(installed, "config/connection.ini"), "utf8");
  // 3.3.4 ends at the first connection unless it is told a greeting.
  write("config/connection.ini", `${connection}\n[message]\ngreeting[]=bench.test ESMTP\n`);
  // Switched off, it looks at each message in hand once a second: one in hand is the least work.
  const hold = job.kind === "hold" ? "disabled=true\nconcurrency_max=1\n" : "";
  write("config/outbound.ini", `${hold}local_mx_ok=true\nenable_tls=false\n`);
  write("config/plugins", `${tls ? "tls\n" : ""}bench\n`);
  if (tls) write("config/tls.ini", `key=${tls.key}\ncert=${tls.cert}\n`);
  const rcpt = "exports.hook_rcpt = (next, connection) => { connection.relaying = true; next(OK); };\n";
  const rest = {
    // Mail of a relaying connection goes to the second hook; without it Haraka's own outbound queue would take it.
    discard: "exports.hook_queue = exports.hook_queue_outbound = (next) => next(OK, 'discarded');\n",
    hold: "",
    relay:
      job.kind === "relay"
        ? `exports.hook_get_mx = (next) => next(OK, { priority: 0, exchange: '127.0.0.1', port: ${job.sinkPort} });\n`
        : "",
  };
  write("plugins/bench.js", rcpt + rest[job.kind]);
  const child = startProcess(core, process.execPath, [join(installed, "bin/haraka"), "-c", folder]);
  await greeted(port);
  return {
    name: "Haraka",
    port,
    roots: [child.pid!],
    async stop() {
      await stopProcess(child);
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
