/**
 * A session that says NOOP as fast as it is answered, in a thread of its own, which nothing else holds up: the longest
 * wait for an answer is the pause that clients feel. As the thread: node bench/pinger.ts
 */
import { connect } from "node:net";
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";

const shortestMs = 1_000;

/** Begins when the server has greeted; the answer stops it, after a second at least, and tells the longest wait in ms. */
export async function startPinger(port: number): Promise<() => Promise<number>> {
  const thread = new Worker(new URL(import.meta.url), { workerData: port });
  await new Promise((resolve) => thread.once("message", resolve));
  const begun = performance.now();
  return async () => {
    const rest = shortestMs - (performance.now() - begun);
    if (rest > 0) await new Promise((resolve) => setTimeout(resolve, rest));
    const longest = new Promise<number>((resolve) => thread.once("message", resolve));
    thread.postMessage("stop");
    return longest;
  };
}

function ping(port: number): void {
  const socket = connect({ port, host: "127.0.0.1", noDelay: true });
  let longest = 0;
  let asked = Number.POSITIVE_INFINITY;
  const ask = (): void => {
    asked = performance.now();
    socket.write("NOOP\r\n");
  };
  socket.once("data", () => parentPort!.postMessage("greeted"));
  socket.on("data", () => {
    longest = Math.max(longest, performance.now() - asked);
    setTimeout(ask, 1);
  });
  socket.on("error", () => {
    longest = Number.POSITIVE_INFINITY;
  });
  parentPort!.once("message", () => {
    socket.destroy();
    parentPort!.postMessage(longest);
    process.exit();
  });
}

if (!isMainThread) ping(workerData as number);
