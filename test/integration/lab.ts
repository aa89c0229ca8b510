/**
 * The laboratory of the integration tests: starts the real gateway as a user would, real peers, and clients.
 * Everything lives in a scratch folder and on free loopback ports, and is stopped and removed by `close`.
 */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { connect, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { connect as connectTls } from "node:tls";
import { stringify } from "yaml";

const main = resolve(import.meta.dirname, "../../src/cli/main.ts");
export const repository = resolve(import.meta.dirname, "../..");

/** Path of a Debian program, or undefined; under POSTERN_REQUIRE_PEERS=1 a missing one is an error. */
export function peer(name: string): string | undefined {
  for (const folder of ["/usr/sbin", "/usr/bin", "/usr/local/bin", "/bin", "/sbin"]) {
    if (existsSync(join(folder, name))) return join(folder, name);
  }
  if (process.env.POSTERN_REQUIRE_PEERS === "1") throw new Error(`needs ${name}, and POSTERN_REQUIRE_PEERS=1`);
  return undefined;
}

export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  const { port } = server.address() as { port: number };
  await new Promise((done) => server.close(done));
  return port;
}

export async function until<T>(
  what: string,
  probe: () => T | undefined | false | Promise<T | undefined | false>,
  timeoutMs = 20_000,
): Promise<T> {
  const end = Date.now() + timeoutMs;
  for (;;) {
    const value = await probe();
    if (value !== undefined && value !== false) return value;
    if (Date.now() > end) throw new Error(`timed out after ${timeoutMs} ms: ${what}`);
    await sleep(25);
  }
}

export interface Gateway {
  process: ChildProcess;
  port: number;
  address: string;
  folder: string;
  configFile: string;
  /** Everything it printed so far. */
  output(): string;
  postern(...args: string[]): { code: number; out: string; err: string };
  workers(): number[];
  writeConfig(config: object): void;
  kill(signal: NodeJS.Signals): Promise<void>;
}

export interface Sink {
  host: string;
  port: number;
  /** Folder with a file for each message. */
  dump: string;
  stop(): Promise<void>;
}

export class Lab {
  readonly folder = mkdtempSync(join(tmpdir(), "postern-lab-"));
  constructor() {
    // smtp-sink gives up root and still has to reach its folder.
    chmodSync(this.folder, 0o755);
  }

  readonly #children: ChildProcess[] = [];
  #sinks = 0;

  /**
   * Starts the gateway with `config` over a small default one; resolves when it listens. `port`: for own listeners;
   * `on`: words that run it on another host.
   */
  async gateway(
    config: Record<string, unknown> = {},
    script?: string,
    port?: number,
    on: readonly string[] = [],
  ): Promise<Gateway> {
    return this.#gatewayAt(port ?? (await freePort()), config, script, on);
  }

  #gatewayAt(
    port: number,
    config: Record<string, unknown>,
    script: string | undefined,
    on: readonly string[],
  ): Promise<Gateway> {
    const folder = join(this.folder, `gateway-${port}`);
    mkdirSync(folder, { recursive: true });
    const configFile = join(folder, "postern.yaml");
    if (script !== undefined) writeFileSync(join(folder, "policy.script"), script);
    const base = {
      server: { name: "gw.test" },
      data: "./var",
      listeners: [{ address: `127.0.0.1:${port}` }],
      policy: { smtpFilters: script === undefined ? null : "policy.script" },
      domains: { local: ["local.test"] },
      relay: { trustedNetworks: ["127.0.0.0/8"] },
      log: { level: 15, pretty: false },
      limits: { connections: 0, connectionsPerPeer: 0, newConnectionsPerPeerPerMinute: 0 },
      workers: 2,
    };
    writeFileSync(configFile, stringify({ ...base, ...config }));
    return this.startGateway(configFile, port, on);
  }

  async startGateway(configFile: string, port: number, on: readonly string[] = []): Promise<Gateway> {
    const folder = resolve(configFile, "..");
    const [program, ...words] = [...on, process.execPath, main, "serve", "--config", configFile];
    const child = spawn(program!, words, {
      cwd: folder,
      stdio: ["ignore", "pipe", "pipe"],
      env: { ...process.env, NODE_NO_WARNINGS: "1" },
    });
    this.#children.push(child);
    let text = "";
    child.stdout?.on("data", (chunk: Buffer) => {
      text += chunk.toString();
    });
    child.stderr?.on("data", (chunk: Buffer) => {
      text += chunk.toString();
    });
    await until(
      "gateway listens",
      () => {
        if (child.exitCode !== null) throw new Error(`gateway ended with ${child.exitCode}:\n${text}`);
        return text.includes("postern: listening on");
      },
      60_000,
    );
    return {
      process: child,
      port,
      address: `127.0.0.1:${port}`,
      folder,
      configFile,
      output: () => text,
      postern: (...args) => posternIn(folder, args),
      workers: () => childrenOf(child.pid!),
      writeConfig: (config) => writeFileSync(configFile, stringify(config)),
      kill: (signal) => endOf(child, signal),
    };
  }

  /** Postfix's smtp-sink on a free port; with `dump`, each message goes to a file of the folder answered. */
  async sink(options: string[] = [], port?: number, host = "127.0.0.1"): Promise<Sink> {
    const program = peer("smtp-sink");
    if (!program) throw new Error("needs smtp-sink");
    const at = port ?? (await freePort());
    const dump = join(this.folder, `sink-${this.#sinks++}`);
    mkdirSync(dump);
    chmodSync(dump, 0o777);
    const user = process.getuid?.() === 0 ? ["-u", "nobody"] : [];
    const child = spawn(program, [...user, ...options, "-d", `${dump}/%M.`, `${host}:${at}`, "1000"], {
      stdio: ["ignore", "ignore", "inherit"],
      cwd: dump,
    });
    this.#children.push(child);
    await until("smtp-sink listens", () => canConnect(at, host));
    return { host, port: at, dump, stop: () => endOf(child, "SIGKILL") };
  }

  /** Removes everything; children are killed. */
  async close(): Promise<void> {
    for (const child of this.#children) await endOf(child, "SIGKILL");
    // Workers end when their supervisor is gone; give them the moment that takes.
    await sleep(100);
    rmSync(this.folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
  }
}

export function posternIn(folder: string, args: string[]): { code: number; out: string; err: string } {
  try {
    const out = execFileSync(process.execPath, [main, ...args], {
      cwd: folder,
      encoding: "utf8",
      stdio: ["ignore", "pipe", "pipe"],
      env: { ...process.env, NODE_NO_WARNINGS: "1" },
      timeout: 60_000,
    });
    return { code: 0, out, err: "" };
  } catch (error) {
    const { status, stdout, stderr } = error as { status: number; stdout: string; stderr: string };
    return { code: status, out: stdout, err: stderr };
  }
}

export async function endOf(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = new Promise<void>((done) => child.once("exit", () => done()));
  child.kill(signal);
  await ended;
}

function childrenOf(pid: number): number[] {
  return readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim().split(/\s+/).filter(Boolean).map(Number);
}

export function canConnect(port: number, host = "127.0.0.1"): Promise<boolean> {
  return new Promise((done) => {
    const socket = connect(port, host);
    socket.once("connect", () => {
      socket.destroy();
      done(true);
    });
    socket.once("error", () => done(false));
  });
}

/** Files that smtp-sink dumped, as texts. */
export function dumped(folder: string): string[] {
  return readdirSync(folder).map((name) => readFileSync(join(folder, name), "latin1"));
}

export interface Dialogue {
  /** Sends a line (CRLF is added) and answers the whole reply, lines joined by "\n". */
  say(line: string): Promise<string>;
  /** Sends octets as they are. */
  raw(bytes: string | Uint8Array): void;
  reply(): Promise<string>;
  close(): void;
}

/** A hand-driven SMTP client; the greeting is the first reply. */
export async function dialogue(port: number, localAddress?: string, host = "127.0.0.1"): Promise<Dialogue> {
  const socket = connect({ port, host, ...(localAddress ? { localAddress } : {}) });
  socket.setNoDelay(true);
  return dialogueOver(socket);
}

/** A dialogue after STARTTLS: offered, asked for and begun; the certificate may be anybody's. */
export async function secured(port: number, host = "127.0.0.1"): Promise<Dialogue> {
  const socket = connect({ port, host });
  const plain = dialogueOver(socket);
  await plain.reply();
  await plain.say("EHLO client.test");
  const reply = await plain.say("STARTTLS");
  if (!reply.startsWith("220")) throw new Error(`no TLS: ${reply}`);
  return dialogueOver(connectTls({ socket, rejectUnauthorized: false }));
}

function dialogueOver(socket: Socket): Dialogue {
  let buffer = "";
  let ended = false;
  let wake: () => void = () => {};
  socket.on("data", (chunk: Buffer) => {
    buffer += chunk.toString("latin1");
    wake();
  });
  for (const event of ["close", "error"] as const) {
    socket.on(event, () => {
      ended = true;
      wake();
    });
  }
  const reply = async (): Promise<string> => {
    for (;;) {
      const match = /^(?:\d{3}-[^\n]*\n)*\d{3}(?: [^\n]*)?\n/.exec(buffer);
      if (match) {
        buffer = buffer.slice(match[0].length);
        return match[0].trimEnd().replace(/\r/g, "");
      }
      if (ended) return "";
      await new Promise<void>((done) => {
        wake = done;
      });
    }
  };
  return {
    reply,
    say: (line) => {
      socket.write(`${line}\r\n`, "latin1");
      return reply();
    },
    raw: (bytes) => void socket.write(bytes),
    close: () => void socket.destroy(),
  };
}

/** One message through a hand-driven client; answers every reply. Stops at the first refusal. */
export async function sendMessage(
  port: number,
  message: { from: string; to: string[]; text: string },
): Promise<string[]> {
  const client = await dialogue(port);
  const replies = [await client.reply()];
  const lines = [
    "EHLO client.test",
    `MAIL FROM:<${message.from}>`,
    ...message.to.map((to) => `RCPT TO:<${to}>`),
    "DATA",
  ];
  for (const line of lines) {
    const reply = await client.say(line);
    replies.push(reply);
    if (/^[45]/.test(reply)) {
      client.close();
      return replies;
    }
  }
  replies.push(await client.say(`${message.text.replace(/\r?\n/g, "\r\n").replace(/^\./gm, "..")}\r\n.`));
  await client.say("QUIT");
  client.close();
  return replies;
}
