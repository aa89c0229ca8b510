/** Postfix's smtp-sink as the next hop of bench/relay.ts, with its running count of messages. */
import { spawn } from "node:child_process";
import { setTimeout as sleep } from "node:timers/promises";
import { freePort, greeted } from "../measure.ts";
import { stopProcess } from "./subject.ts";

export interface Sink {
  readonly port: number;
  /** Resolves when `total` messages have come since the start; rejects after a minute. */
  received(total: number): Promise<void>;
  stop(): Promise<void>;
}

export async function startSink(): Promise<Sink> {
  const port = await freePort();
  const child = spawn("/usr/sbin/smtp-sink", ["-c", "-u", "nobody", `127.0.0.1:${port}`, "1000"], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let count = 0;
  child.stdout.on("data", (chunk: Buffer) => {
    // "sess=1 quit=0 mesg=17\r", again and again.
    const text = chunk.toString("latin1");
    const last = /mesg=(\d+)(?=\D)(?!.*mesg=\d+\D)/s.exec(text);
    if (last) count = Number(last[1]);
  });
  await greeted(port);
  return {
    port,
    async received(total) {
      for (const end = Date.now() + 60_000; count < total; await sleep(2)) {
        if (Date.now() > end) throw new Error(`only ${count} of ${total} messages came to the sink`);
      }
    },
    stop: () => stopProcess(child),
  };
}
