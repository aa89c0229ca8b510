/** The load of a chaos run: lanes of numbered messages that reconnect whatever happens, and book each 250. */
import { setTimeout as sleep } from "node:timers/promises";
import { type Dialogue, dialogue, secured } from "../integration/lab.ts";
import type { House } from "./house.ts";
import { type Ledger, messageText } from "./ledger.ts";

const replyTimeoutMs = 20_000;
const pauseMs = 20;
/** After each message, so that two cores have time for the rest of the house. */
const breathMs = 25;

export interface LoadOptions {
  /** Of the lanes, so many speak TLS. */
  secure?: number;
  /** Bodies that take turns with our own; their lines end in CRLF. */
  bodies?: readonly string[];
}

/** Starts the load; the answer stops it and waits for the lanes. */
export function startLoad(house: House, lanes: number, options: LoadOptions = {}): () => Promise<void> {
  const { host, gateway, ledger } = house;
  const { secure = 0, bodies = [] } = options;
  let stopped = false;
  let next = 0;
  const lane = async (_: unknown, index: number): Promise<void> => {
    while (!stopped) {
      const tls = index < secure;
      const client = await (tls ? secured(gateway.port, host) : dialogue(gateway.port, undefined, host));
      // A stopped process takes connections without a word; give up on it as a real client does.
      const watchdog = setInterval(() => client.close(), replyTimeoutMs);
      try {
        if (tls || (await client.reply()).startsWith("220")) {
          await client.say("EHLO load.test");
          for (let i = 0; i < 20 && !stopped; i++) {
            watchdog.refresh();
            const number = next++;
            const body = number % 2 === 0 ? undefined : bodies[(number >> 1) % bodies.length];
            if (!(await sendOne(client, number, messageText(number, body), ledger))) break;
            await sleep(breathMs);
          }
        }
      } finally {
        clearInterval(watchdog);
        client.close();
      }
      await sleep(pauseMs);
    }
  };
  const done = Promise.all(Array.from({ length: lanes }, lane));
  return async () => {
    stopped = true;
    await done;
  };
}

async function sendOne(client: Dialogue, number: number, text: string, ledger: Ledger): Promise<boolean> {
  ledger.sent++;
  for (const line of ["MAIL FROM:<a@sender.test>", "RCPT TO:<b@out.test>", "DATA"]) {
    if (!/^[23]/.test(await client.say(line))) return false;
  }
  const reply = await client.say(`${text.replace(/^\./gm, "..")}.`);
  if (reply.startsWith("250")) ledger.accepted(number);
  return reply.startsWith("250");
}
