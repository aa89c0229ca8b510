/**
 * Accept and discard: messages a second and server CPU per message, by size, sessions and messages per connection,
 * for our reception, a bare `net` responder (Node's own limit here), the smtp-server package, Postfix's smtp-sink and,
 * when a folder with Haraka installed is named, Haraka. Load comes from Postfix's smtp-source.
 * Each server is a process of its own on core 0, the generator runs on core 1.
 * Usage: node bench/smtp.ts [--messages N] [--haraka DIR] [--quick]; as a server: node bench/smtp.ts --worker NAME
 */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { type AddressInfo, connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { SMTPServer } from "smtp-server";
import { budgetWith } from "../src/config/budget.ts";
import { outcome } from "../src/message/outcome.ts";
import type { SessionHandler } from "../src/smtp/incoming/hooks.ts";
import { createSmtpServer } from "../src/smtp/incoming/server.ts";

export interface SmtpBenchOptions {
  /** Messages per row with many messages a connection; a third of it with one. */
  messages?: number;
  /** Folder whose node_modules holds Haraka. */
  haraka?: string;
  /** One size, 20 sessions. */
  quick?: boolean;
}

export interface SmtpBenchRow {
  server: string;
  size: number;
  mode: "one" | "many";
  sessions: number;
  messagesPerSecond: number;
  cpuMicrosPerMessage: number;
}

const source = "/usr/sbin/smtp-source";
const sink = "/usr/sbin/smtp-sink";
/** Clock ticks of /proc/PID/stat a second, as on every Linux that Node runs on. */
const ticks = 100;

export async function run(options: SmtpBenchOptions = {}): Promise<SmtpBenchRow[]> {
  if (!existsSync(source)) throw new Error(`needs ${source} (Debian package postfix)`);
  const rows: SmtpBenchRow[] = [];
  const servers = ["postern", "net", "smtp-server", "smtp-sink", ...(options.haraka ? ["haraka"] : [])];
  for (const name of servers) {
    const port = await freePort();
    const { child, folder } = await start(name, port, options.haraka);
    try {
      await reachable(port);
      load(port, 4_096, "many", 20, 2_000); // warm-up
      for (const size of options.quick ? [4_096] : [4_096, 65_536]) {
        for (const mode of ["one", "many"] as const) {
          for (const sessions of options.quick ? [20] : [1, 20, 100]) {
            rows.push(measure(name, child.pid!, port, size, mode, sessions, options.messages ?? 6_000));
          }
        }
      }
    } finally {
      child.kill("SIGKILL");
      if (folder) await rm(folder, { recursive: true, force: true });
    }
  }
  return rows;
}

function measure(
  server: string,
  pid: number,
  port: number,
  size: number,
  mode: "one" | "many",
  sessions: number,
  messages: number,
): SmtpBenchRow {
  const count = Math.max(sessions, Math.round(messages / (mode === "one" ? 3 : 1) / (sessions === 1 ? 4 : 1)));
  const before = cpuSeconds(pid);
  const seconds = load(port, size, mode, sessions, count);
  const cpu = cpuSeconds(pid) - before;
  return {
    server,
    size,
    mode,
    sessions,
    messagesPerSecond: Math.round(count / seconds),
    cpuMicrosPerMessage: Math.round((cpu / count) * 1e6),
  };
}

/** Sends `count` messages; answers the seconds it took. */
function load(port: number, size: number, mode: "one" | "many", sessions: number, count: number): number {
  const many = mode === "many" ? ["-d"] : [];
  const args = [...many, "-s", String(sessions), "-m", String(count), "-l", String(size)];
  const started = process.hrtime.bigint();
  const [command, ...rest] = pinned(1, source, [...args, "-f", "a@x.test", "-t", "b@y.test", `127.0.0.1:${port}`]);
  const result = spawnSync(command!, rest, { encoding: "utf8", timeout: 120_000 });
  if (result.status !== 0) throw new Error(`smtp-source failed: ${result.stderr}`);
  return Number(process.hrtime.bigint() - started) / 1e9;
}

function pinned(core: number, command: string, args: string[]): string[] {
  return existsSync("/usr/bin/taskset")
    ? ["/usr/bin/taskset", "-c", String(core), command, ...args]
    : [command, ...args];
}

function cpuSeconds(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]!.split(" ");
  return (Number(fields[11]) + Number(fields[12])) / ticks;
}

async function start(
  name: string,
  port: number,
  haraka: string | undefined,
): Promise<{ child: ChildProcess; folder?: string }> {
  if (name === "haraka") {
    const folder = await harakaConfig(port);
    const [command, ...args] = pinned(0, process.execPath, [`${haraka}/node_modules/Haraka/bin/haraka`, "-c", folder]);
    return { child: spawn(command!, args, { stdio: "ignore" }), folder };
  }
  const [command, ...args] =
    name === "smtp-sink"
      ? pinned(0, sink, ["-u", "postfix", `127.0.0.1:${port}`, "1000"])
      : pinned(0, process.execPath, [fileURLToPath(import.meta.url), "--worker", name, "--port", String(port)]);
  return { child: spawn(command!, args, { stdio: ["ignore", "ignore", "inherit"] }) };
}

/** Haraka at its fastest: one process, no log, a plugin that accepts every recipient, the discard queue. */
async function harakaConfig(port: number): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "postern-haraka-"));
  await mkdir(join(folder, "config"));
  await mkdir(join(folder, "plugins"));
  const write = (file: string, text: string): Promise<void> => writeFile(join(folder, file), text);
  await write("config/smtp.ini", `listen=127.0.0.1:${port}\nnodes=0\n`);
  await write("config/loglevel", "EMERG\n");
  await write("config/me", "bench.test\n");
  await write("config/plugins", "accept_all\n");
  await write(
    "plugins/accept_all.js",
    "exports.hook_rcpt = (next) => next(OK);\nexports.hook_queue = (next) => next(OK, 'discarded');\n",
  );
  return folder;
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

async function reachable(port: number): Promise<void> {
  for (let attempt = 0; attempt < 200; attempt++) {
    const up = await new Promise<boolean>((resolve) => {
      const socket = connect(port, "127.0.0.1");
      socket.once("data", () => {
        socket.destroy();
        resolve(true);
      });
      socket.once("error", () => resolve(false));
    });
    if (up) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`nothing answers on port ${port}`);
}

// The servers.

const queued = outcome.accept({ code: 250, enhanced: "2.0.0", text: "Mail queued for delivery", origin: "bench" });

/** A handler that accepts and discards everything; the base line of what a session costs. */
function discardHandler(): SessionHandler {
  return {
    settings: {
      greeting: "bench.test ESMTP ready",
      hostName: "bench.test",
      maxMessageBytes: 10 * 1024 * 1024,
      maxRecipients: 1_000,
      maxReceivedHeaders: 30,
      allowStartTls: false,
      allow8bitMime: true,
      allowBinary: true,
      allowPipelining: true,
      allowDsn: true,
      allowSmtpUtf8: true,
      authSecure: [],
      authPlain: [],
    },
    onConnect: () => undefined,
    onEhlo: () => undefined,
    onAuth: () => ({ ok: false, user: "" }),
    onMailFrom: () => undefined,
    onRcptTo: () => undefined,
    onData: () => ({ write: () => undefined, end: () => queued, abort: () => {} }),
    onReset: () => {},
    onClose: () => {},
  };
}

async function servePostern(port: number): Promise<void> {
  const budget = budgetWith({ connections: 0, connectionsPerPeer: 0, newConnectionsPerPeerPerMinute: 0 });
  await createSmtpServer({ host: "127.0.0.1", port, budget }, discardHandler).listen();
}

function serveSmtpServer(port: number): void {
  const server = new SMTPServer({
    authOptional: true,
    disableReverseLookup: true,
    disabledCommands: ["AUTH", "STARTTLS"],
    onData: (stream, _session, done) => {
      stream.on("data", () => {});
      stream.on("end", () => done());
    },
  });
  server.listen(port, "127.0.0.1");
}

/** Answers what smtp-source says without reading more of it than the end of data: Node's own limit. */
function serveNet(port: number): void {
  createServer({ noDelay: true }, (socket) => {
    let inData = false;
    let tail = "";
    socket.write("220 bench.test ESMTP\r\n");
    socket.on("error", () => socket.destroy());
    socket.on("data", (chunk: Buffer) => {
      if (inData) {
        tail = (tail + chunk.toString("latin1", Math.max(0, chunk.length - 5))).slice(-5);
        if (tail !== "\r\n.\r\n") return;
        inData = false;
        tail = "";
        socket.write("250 2.0.0 Ok\r\n");
        return;
      }
      switch (chunk[0]! | 0x20) {
        case 0x64: // DATA
          inData = true;
          socket.write("354 Go\r\n");
          break;
        case 0x71: // QUIT
          socket.end("221 Bye\r\n");
          break;
        default:
          socket.write("250 2.1.0 Ok\r\n");
      }
    });
  }).listen(port, "127.0.0.1");
}

if (import.meta.main) {
  const { values } = parseArgs({
    options: {
      worker: { type: "string" },
      port: { type: "string", default: "2525" },
      messages: { type: "string" },
      haraka: { type: "string" },
      quick: { type: "boolean", default: false },
    },
  });
  const port = Number(values.port);
  if (values.worker === "postern") await servePostern(port);
  else if (values.worker === "net") serveNet(port);
  else if (values.worker === "smtp-server") serveSmtpServer(port);
  else {
    const options: SmtpBenchOptions = { quick: values.quick };
    if (values.messages) options.messages = Number(values.messages);
    if (values.haraka) options.haraka = values.haraka;
    console.table(await run(options));
  }
}
