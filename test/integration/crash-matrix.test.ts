/**
 * A real disk that fills up under the running gateway: a small tmpfs holds its data folder. What got a 250 arrives once,
 * what did not got a 4xx, and both reception and delivery go on when there is room again. Kills, torn pages and I/O
 * errors are in queue-crash.test.ts and unit/queue/spool.test.ts.
 */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { closeSync, mkdirSync, openSync, rmSync, writeSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import { dumped, freePort, Lab, peer, sendMessage, until } from "./lab.ts";

const lab = new Lab();
after(() => lab.close());

test("the disk is full, then has room again: nothing acknowledged is lost", { timeout: 120_000 }, async (t) => {
  if (!peer("smtp-sink")) return t.skip("needs smtp-sink");
  const folder = join(lab.folder, "small-disk");
  mkdirSync(folder);
  try {
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=24m", "tmpfs", folder], { stdio: "pipe" });
  } catch {
    if (process.env.POSTERN_REQUIRE_PEERS === "1") throw new Error("needs the right to mount a tmpfs");
    return t.skip("needs the right to mount a tmpfs");
  }
  t.after(() => execFileSync("umount", ["-l", folder], { stdio: "pipe" }));
  const port = await freePort();
  const gateway = await lab.gateway({
    data: join(folder, "var"),
    domains: { local: [], routes: { "out.test": `[127.0.0.1]:${port}` } },
    queue: { firstRetry: "1s", maxRetry: "1s", attempts: 200 },
    // The gateway's own reserve is switched off: the disk itself must say no.
    overload: { diskFreeMiB: [0, 0, 0] },
    workers: 1,
  });
  const accepted: string[] = [];
  let refused = 0;
  const send = async (name: string): Promise<string> => {
    const text = `Subject: ${name}.\n\n${`${"x".repeat(70)}\n`.repeat(600)}`;
    const replies = await sendMessage(gateway.port, { from: "a@sender.test", to: ["b@out.test"], text });
    const last = replies.at(-1)!;
    if (last.startsWith("250")) accepted.push(name);
    else {
      assert.match(last, /^4(?:52 4\.3\.1|51 4\.3\.0|21)/);
      refused++;
    }
    return last;
  };
  for (let count = 0; count < 20; count++) await send(`before-${count}`);
  assert.equal(refused, 0);

  // Something else takes the rest of the disk, while a message is coming in and between messages.
  const filler = join(folder, "filler");
  fillUp(filler);
  for (let count = 0; count < 10; count++) await send(`full-${count}`);
  assert.ok(refused > 0, "a full disk refuses");

  const sink = await lab.sink([], port);
  rmSync(filler);
  const again = await until("mail is taken again", async () => (await send("again")).startsWith("250"));
  assert.ok(again);
  // The last line of each, for the sink may still be writing.
  const whole = () => dumped(sink.dump).filter((text) => /x{70}\s*$/.test(text));
  await until("everything acknowledged arrives", () => whole().length >= accepted.length, 40_000);
  const arrived = whole().join("\n");
  for (const name of accepted) assert.equal(arrived.split(`Subject: ${name}.`).length, 2, `${name} arrived once`);
  assert.equal(dumped(sink.dump).length, accepted.length, "and nothing that was refused");
  t.diagnostic(`${accepted.length} accepted and delivered, ${refused} refused`);
  await gateway.kill("SIGTERM");
});

function fillUp(file: string): void {
  const fd = openSync(file, "w");
  try {
    for (;;) writeSync(fd, Buffer.alloc(4_096));
  } catch (error) {
    assert.equal((error as NodeJS.ErrnoException).code, "ENOSPC");
  } finally {
    closeSync(fd);
  }
}
