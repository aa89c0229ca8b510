/**
 * `npm run soak [-- --minutes N] [--svg FILE] [--corpus DIR]`: mixed load on the real gateway (small and large messages,
 * bodies of a corpus with its spam and attachments, TLS, slow clients, connections that vanish, a reload each minute)
 * and a look each few seconds at memory, handles, event-loop lag and errors. Prints the series and draws it to FILE (default bench/soak.svg). Exit code 1 when memory or handles kept
 * growing by a quarter, or mail was lost.
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { dialogue } from "../integration/lab.ts";
import { originals } from "./corpus-messages.ts";
import { House } from "./house.ts";
import { printed } from "./ledger.ts";
import { startLoad } from "./load.ts";
import { drawing, growth, type Sample, usage } from "./series.ts";

const settleMs = 30_000;
const reloadEveryMs = 60_000;
const mostGrowth = 1.25;

const { values } = parseArgs({
  options: {
    minutes: { type: "string", default: "30" },
    corpus: { type: "string", default: join(import.meta.dirname, "../../../shared/conformance/corpus") },
    svg: { type: "string", default: join(import.meta.dirname, "../../bench/soak.svg") },
  },
});
const lengthMs = Number(values.minutes) * 60_000;
const house = await House.build({ admin: true });
const { ledger, gateway } = house;
const started = Date.now();
const samples: Sample[] = [];
let over = false;
const stopLoad = startLoad(house, 8, { secure: 2, bodies: corpusBodies(values.corpus) });
const slow = Promise.all([slowClients(), vanishingClients()]);
let reloadAt = started + reloadEveryMs;
while (Date.now() - started < lengthMs) {
  await sleep(Math.max(1_000, lengthMs / 400));
  if (Date.now() > reloadAt) {
    gateway.process.kill("SIGHUP");
    reloadAt += reloadEveryMs;
  }
  const errors = gateway.output().match(/"level":(50|60|"error"|"critical")/g)?.length ?? 0;
  const lag = Number((await house.metrics()).get("postern_event_loop_lag_ms") ?? 0);
  samples.push({ at: (Date.now() - started) / 1_000, ...usage(gateway.workers()), lag, errors });
}
over = true;
await stopLoad();
await slow;
await house.settle(settleMs);
const balance = ledger.balance(house.queued());
const growths = { memory: growth(samples, "memory"), handles: growth(samples, "handles") };
const last = samples.at(-1)!;
process.stdout.write(`${printed(balance)}\n`);
process.stdout.write(
  `after ${(last.at / 60).toFixed(1)} minutes: ${last.memory.toFixed(0)} MiB (×${growths.memory.toFixed(2)}), ` +
    `${last.handles} handles (×${growths.handles.toFixed(2)}), lag ${last.lag.toFixed(1)} ms, ${last.errors} errors\n`,
);
writeFileSync(
  values.svg,
  drawing(samples, `Soak: ${balance.accepted} messages in ${(last.at / 60).toFixed(1)} minutes`),
);
if (growths.memory > mostGrowth || growths.handles > mostGrowth || balance.lost.length > 0) process.exitCode = 1;
await house.close();

/** Three clients at a time that write a message octet by octet. */
async function slowClients(): Promise<void> {
  const one = async (): Promise<void> => {
    while (!over) {
      const client = await dialogue(gateway.port, undefined, house.host);
      await client.reply();
      await client.say("EHLO slow.test");
      for (const octet of "NOOP\r\nMAIL FROM:<a@sender.test>\r\nRSET\r\n") {
        client.raw(octet);
        await sleep(20);
      }
      await client.say("QUIT");
      client.close();
    }
  };
  await Promise.all([one(), one(), one()]);
}

/** Clients that are gone in the middle of a message. */
async function vanishingClients(): Promise<void> {
  while (!over) {
    const client = await dialogue(gateway.port, undefined, house.host);
    await client.reply();
    for (const line of ["EHLO gone.test", "MAIL FROM:<a@sender.test>", "RCPT TO:<b@out.test>", "DATA"]) {
      await client.say(line);
    }
    client.raw(`Subject: half\r\n\r\n${"x".repeat(900)}`);
    await sleep(50);
    client.close();
  }
}

/** Bodies of a corpus that any server takes: CRLF lines of less than 998 octets (RFC 5321 §4.5.3.1.6), no NUL. */
function corpusBodies(folder: string): string[] {
  return originals(folder)
    .map((original) => original.toString("latin1").replace(/\r?\n/g, "\r\n"))
    .map((text) => `${text.slice(text.indexOf("\r\n\r\n") + 4).trimEnd()}\r\n`)
    .filter((body) => !body.includes("\0") && !/\r(?!\n)/.test(body) && !/[^\n]{990}/.test(body));
}
