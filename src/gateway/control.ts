/**
 * The supervisor's control socket: one JSON line in, one JSON line out, over a Unix socket in the data folder that only
 * its owner may open. It also proves that a data folder has one gateway: a socket that answers means "already runs".
 * Failure: `serveControl` rejects when another gateway answers; `askControl` answers {ok: false} when none does.
 */
import { chmodSync, rmSync } from "node:fs";
import { connect, createServer, type Server } from "node:net";

export interface ControlAnswer {
  ok: boolean;
  text: string;
}

export type ControlHandlers = Readonly<Record<string, () => Promise<ControlAnswer>>>;

const maxRequest = 4_096;
const maxAnswer = 4 * 1024 * 1024;
const askTimeoutMs = 60_000;

export async function serveControl(path: string, handlers: ControlHandlers): Promise<{ close(): Promise<void> }> {
  if (await answers(path)) throw new Error(`a gateway already runs on this data folder (${path} answers)`);
  rmSync(path, { force: true });
  const server: Server = createServer((socket) => {
    let request = "";
    socket.setEncoding("utf8").setTimeout(askTimeoutMs, () => socket.destroy());
    socket.on("error", () => socket.destroy());
    socket.on("data", (chunk) => {
      request += chunk;
      if (request.length > maxRequest) socket.destroy();
      if (!request.includes("\n")) return;
      const handler = Object.hasOwn(handlers, request.trim()) ? handlers[request.trim()] : undefined;
      const answer = handler?.() ?? Promise.resolve({ ok: false, text: "unknown request\n" });
      answer
        .catch((error: Error) => ({ ok: false, text: `${error.message}\n` }))
        .then(
          (value) => socket.end(`${JSON.stringify(value)}\n`),
          () => socket.destroy(),
        );
    });
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(path, resolve);
  });
  chmodSync(path, 0o600);
  return { close: () => new Promise((resolve) => server.close(() => resolve())) };
}

export function askControl(path: string, request: string): Promise<ControlAnswer> {
  return new Promise((resolve) => {
    const socket = connect(path);
    let text = "";
    socket.setEncoding("utf8").setTimeout(askTimeoutMs, () => socket.destroy());
    socket.once("connect", () => socket.write(`${request}\n`));
    socket.on("data", (chunk) => {
      text += chunk;
      if (text.length > maxAnswer) socket.destroy();
    });
    socket.on("error", () => resolve({ ok: false, text: `no gateway answers at ${path}; is it running?\n` }));
    socket.on("close", () => {
      try {
        resolve(JSON.parse(text) as ControlAnswer);
      } catch {
        resolve({ ok: false, text: `the gateway at ${path} gave no answer\n` });
      }
    });
  });
}

function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
}
