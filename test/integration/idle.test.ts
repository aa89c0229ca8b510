/**
 * Thousands of idle sessions on the running gateway, in plain text and under TLS: what each costs in memory, and that a
 * message goes through in time beside them.
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import { readFileSync, writeFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { after, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { connect as connectTls } from "node:tls";
import { selfSigned } from "../../src/smtp/incoming/selfsigned.ts";
import { freePort, type Gateway, Lab, sendMessage } from "./lab.ts";

const lab = new Lab();
after(() => lab.close());

/** Connections made at a time. */
const batch = 100;
/** Sessions before those that are counted. */
const warmUp = 1_000;
/** A machine busy with other tests is no reason to end idle sessions early here. */
const overload = { loopDelayMs: [20_000, 30_000, 40_000] };
const script = 'event onDataReceived { hold ("idle test"); }';

/** Resident memory of all workers, KiB. */
function workersKiB(gateway: Gateway): number {
  const of = (pid: number): number => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))![1]);
  return gateway.workers().reduce((sum, pid) => sum + of(pid), 0);
}

async function greeted(open: () => Socket): Promise<Socket> {
  const socket = open();
  socket.on("error", () => {});
  await once(socket, "data");
  return socket;
}

/** The fastest of several messages, ms: the slower ones tell of the machine's other work. */
async function messageMs(port: number): Promise<number> {
  let best = Number.POSITIVE_INFINITY;
  for (let i = 0; i < 5; i++) {
    const started = performance.now();
    const replies = await sendMessage(port, { from: "a@x.test", to: ["b@local.test"], text: "Subject: now\n\nhi\n" });
    assert.match(replies.at(-1)!, /^250/);
    best = Math.min(best, performance.now() - started);
  }
  return best;
}

async function idle(gateway: Gateway, port: number, sessions: number, open: () => Socket): Promise<number> {
  const sockets: Socket[] = [];
  const grow = async (to: number): Promise<void> => {
    while (sockets.length < to) {
      sockets.push(...(await Promise.all(Array.from({ length: batch }, () => greeted(open)))));
    }
  };
  // The first sessions load code and fill the young generation, once; they stay, so that no later one lives in what
  // they left behind.
  await grow(warmUp);
  await messageMs(port);
  await sleep(500);
  const before = workersKiB(gateway);
  await grow(warmUp + sessions);
  const took = await messageMs(port);
  assert.ok(took < 50, `a message took ${took.toFixed(1)} ms beside ${sockets.length} idle sessions`);
  await sleep(500);
  const each = (workersKiB(gateway) - before) / sessions;
  for (const socket of sockets) assert.ok(!socket.destroyed, "an idle session was ended");
  for (const socket of sockets) socket.destroy();
  return each;
}

test("5,000 idle sessions in plain text take at most 16 KiB each", { timeout: 120_000 }, async (t) => {
  const gateway = await lab.gateway({ overload }, script);
  const each = await idle(gateway, gateway.port, 5_000, () => connect(gateway.port, "127.0.0.1"));
  t.diagnostic(`${each.toFixed(1)} KiB a session`);
  assert.ok(each <= 16, `${each.toFixed(1)} KiB a session`);
  await gateway.kill("SIGTERM");
});

test("2,000 idle sessions under TLS take what Node's TLS takes", { timeout: 180_000 }, async (t) => {
  const port = await freePort();
  const pair = selfSigned(["gw.test"]);
  const files = { cert: join(lab.folder, "cert.pem"), key: join(lab.folder, "key.pem") };
  writeFileSync(files.cert, pair.cert);
  writeFileSync(files.key, pair.key);
  const plain = await freePort();
  const gateway = await lab.gateway(
    {
      overload,
      listeners: [
        { address: `127.0.0.1:${plain}` },
        { address: `127.0.0.1:${port}`, tls: { ...files, mode: "implicit" } },
      ],
    },
    script,
  );
  const each = await idle(gateway, plain, 2_000, () =>
    connectTls({ port, host: "127.0.0.1", rejectUnauthorized: false }),
  );
  t.diagnostic(`${each.toFixed(1)} KiB a session`);
  // A bare node:tls server takes 48 KiB, all of it in OpenSSL and Node's buffers (docs/reference/smtp.md, "Memory").
  assert.ok(each <= 64, `${each.toFixed(1)} KiB a session`);
  await gateway.kill("SIGTERM");
});
