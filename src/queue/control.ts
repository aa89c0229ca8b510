/**
 * The queue's operations over a Unix socket: one JSON line with a request, one JSON line with the answer. Each worker
 * serves its own shard.
 * Invariants: only the gateway's own user can connect (mode 0600 in a folder of mode 0700); a request has a limit
 * (`controlRequest`), and so has an answer (`controlReply`). Failure: a request that is no JSON is answered `error`.
 */
import { chmod, rm } from "node:fs/promises";
import { connect, createServer, type Socket } from "node:net";
import { join } from "node:path";
import type { Budget } from "../config/budget.ts";
import type { QueueAnswer, QueueOperations, QueueRequest } from "./operations.ts";

/** Where the worker that has a shard listens. `dir` is the queue's folder. */
export function controlPath(dir: string, shard: number): string {
  return join(dir, String(shard), "control.sock");
}

export interface ControlServer {
  close(): Promise<void>;
}

/** Silence after which a connection is closed, ms. */
const idleMs = 10_000;

/** Serves until closed. The caller holds the shard, so a socket file left by a crash may be removed. */
export async function serveOperations(
  path: string,
  operations: QueueOperations,
  budget: Budget,
): Promise<ControlServer> {
  await rm(path, { force: true });
  const open = new Set<Socket>();
  const server = createServer((socket) => {
    open.add(socket);
    socket.once("close", () => open.delete(socket));
    socket.on("error", () => socket.destroy());
    socket.setTimeout(idleMs, () => socket.destroy());
    void answerOne(socket, operations, budget);
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(path, resolve);
  });
  await chmod(path, 0o600);
  server.unref();
  return {
    async close() {
      for (const socket of open) socket.destroy();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}

async function answerOne(socket: Socket, operations: QueueOperations, budget: Budget): Promise<void> {
  let answer: QueueAnswer;
  try {
    const request = JSON.parse(await readLine(socket, budget.controlRequest)) as QueueRequest;
    socket.setTimeout(0); // an operation on a million messages takes its time
    answer = await operations(request);
  } catch (error) {
    answer = { error: (error as Error).message };
  }
  socket.end(`${JSON.stringify(answer)}\n`);
}

/** Asks a running worker; rejects with ENOENT or ECONNREFUSED when there is none. */
export async function askOperations(path: string, request: QueueRequest, budget: Budget): Promise<QueueAnswer> {
  const socket = connect(path);
  try {
    await new Promise<void>((resolve, reject) => {
      socket.once("connect", resolve);
      socket.once("error", reject);
    });
    socket.write(`${JSON.stringify(request)}\n`);
    return JSON.parse(await readLine(socket, budget.controlReply)) as QueueAnswer;
  } finally {
    socket.destroy();
  }
}

function readLine(socket: Socket, limit: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let size = 0;
    socket.on("data", (chunk: Buffer) => {
      const end = chunk.indexOf(10);
      chunks.push(end < 0 ? chunk : chunk.subarray(0, end));
      size += chunk.length;
      if (end >= 0) resolve(Buffer.concat(chunks).toString("utf8"));
      else if (size > limit) reject(new Error(`line above ${limit} octets`));
    });
    socket.once("error", reject);
    socket.once("close", () => reject(new Error("connection closed")));
  });
}
