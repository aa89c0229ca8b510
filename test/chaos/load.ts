/** The load of a chaos run: lanes of numbered messages that reconnect whatever happens, and book each 250. */
import { setTimeout as sleep } from "node:timers/promises";
import { type Dialogue, dialogue } from "../integration/lab.ts";
import type { House } from "./house.ts";
import { type Ledger, messageText } from "./ledger.ts";

const replyTimeoutMs = 20_000;
const pauseMs = 20;
/** After each message, so that two cores have time for the rest of the house. */
const breathMs = 25;

/** Starts the load; the answer stops it and waits for the lanes. */
export function startLoad({ host, gateway: { port }, ledger }: House, lanes: number): () => Promise<void> {
  let stopped = false;
  let next = 0;
  const lane = async (): Promise<void> => {
    while (!stopped) {
      const client = await dialogue(port, undefined, host);
      // A stopped process takes connections without a word; give up on it as a real client does.
      const watchdog = setInterval(() => client.close(), replyTimeoutMs);
      try {
        if ((await client.reply()).startsWith("220")) {
          await client.say("EHLO load.test");
          for (let i = 0; i < 20 && !stopped; i++) {
            watchdog.refresh();
            if (!(await sendOne(client, next++, ledger))) break;
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

async function sendOne(client: Dialogue, number: number, ledger: Ledger): Promise<boolean> {
  ledger.sent++;
  for (const line of ["MAIL FROM:<a@sender.test>", "RCPT TO:<b@out.test>", "DATA"]) {
    if (!/^[23]/.test(await client.say(line))) return false;
  }
  const reply = await client.say(`${messageText(number)}.`);
  if (reply.startsWith("250")) ledger.accepted(number);
  return reply.startsWith("250");
}
