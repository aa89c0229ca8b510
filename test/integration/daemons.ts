/**
 * Real daemons for scanner tests: started on free loopback ports with a scratch folder, ended with the test.
 * A missing binary skips the test, or fails it when POSTERN_REQUIRE_PEERS=1.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** What started daemons end with: a test, or a run of a command. */
export interface Scope {
  after(end: () => unknown): void;
  /** A program is missing. */
  skip(reason: string): void;
}

/** The scope of a command: what is missing is an error; `end` ends what was started, in a test's order. */
export class CommandScope implements Scope {
  readonly #ends: Array<() => unknown> = [];

  after(end: () => unknown): void {
    this.#ends.push(end);
  }

  skip(reason: string): never {
    throw new Error(reason);
  }

  async end(): Promise<void> {
    for (const end of this.#ends.splice(0)) await end();
  }
}

const folders = ["/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin", "/sbin", "/bin"];

/** Path of a binary, or undefined after the test was skipped for want of it. */
export function peer(t: Scope, name: string): string | undefined {
  const path = folders.map((folder) => join(folder, name)).find((candidate) => existsSync(candidate));
  if (path === undefined) {
    if (process.env.POSTERN_REQUIRE_PEERS === "1") throw new Error(`needs ${name}`);
    t.skip(`needs ${name}`);
  }
  return path;
}

export function scratch(t: Scope): string {
  const folder = mkdtempSync(join(tmpdir(), "postern-test-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer().once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
  });
}

/** Starts a daemon and resolves once `port` answers; rejects with its output when it ends before. */
export async function start(
  t: Scope,
  command: string,
  args: string[],
  port: number,
  options: { cwd?: string; env?: NodeJS.ProcessEnv; waitMs?: number } = {},
): Promise<ChildProcess> {
  const child = spawn(command, args, {
    cwd: options.cwd,
    env: { ...process.env, ...options.env },
    stdio: ["ignore", "pipe", "pipe"],
    detached: true,
  });
  let output = "";
  let ended = false;
  child.stdout.on("data", (chunk) => (output += chunk));
  child.stderr.on("data", (chunk) => (output += chunk));
  child.on("exit", () => (ended = true));
  t.after(() => {
    try {
      process.kill(-child.pid!, "SIGKILL");
    } catch {
      // it has ended already
    }
  });
  const deadline = Date.now() + (options.waitMs ?? 15_000);
  while (!(await answers(port))) {
    if (ended || Date.now() > deadline) throw new Error(`${command} did not start: ${output.slice(-2000)}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  return child;
}

function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    socket.once("connect", () => resolve(true)).once("error", () => resolve(false));
    socket.once("connect", () => socket.destroy());
  });
}
