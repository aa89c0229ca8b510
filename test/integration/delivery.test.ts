/**
 * Delivery to real servers: Postfix's smtp-sink under load, Postfix with STARTTLS, BDAT and DSN, Dovecot's LMTP server.
 */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { makePki } from "../unit/delivery/certificates.ts";
import { bodyOf, delivererWith, messageTo } from "../unit/delivery/fixtures.ts";
import { startNextHop } from "../unit/delivery/next-hop-server.ts";
import { freePort, peer, scratch, start } from "./daemons.ts";
import { startDovecot } from "./dovecot.ts";
import { runPostfix } from "./peers.ts";

const text = (mark: string) =>
  `From: ann@x.example\r\nTo: bob@y.example\r\nSubject: ${mark}\r\nMessage-ID: <${mark}@x.example>\r\n\r\n.dot\r\n..two\r\nend ${mark}\r\n`;

test("smtp-sink: every message arrives once over few connections", async (t) => {
  const binary = peer(t, "smtp-sink");
  if (binary === undefined) return;
  const folder = scratch(t);
  execFileSync("/bin/chown", ["postfix", folder]);
  const port = await freePort();
  await start(t, binary, ["-u", "postfix", "-D", "dump", `127.0.0.1:${port}`, "100"], port, { cwd: folder });
  const deliverer = delivererWith({ routes: { "y.example": `[127.0.0.1]:${port}` }, pool: { connectionsPerHost: 5 } });
  t.after(() => deliverer.close());
  const marks = Array.from({ length: 300 }, (_, index) => `mark-${index}-`);
  const results = await Promise.all(
    marks.map((mark, index) => {
      const message = messageTo(["bob@y.example"]);
      return deliverer.deliver(message, message.recipients, bodyOf(text(mark), index % 2 === 0 ? 0 : 50));
    }),
  );
  assert.ok(results.flat().every((result) => result.kind === "relayed"));
  const dump = readFileSync(join(folder, "dump"), "latin1");
  for (const mark of marks) assert.equal(dump.split(`Subject: ${mark}`).length, 2, mark);
  assert.equal(dump.match(/^X-Helo-Args: gw\.test/gm)?.length, 300);
});

/** Postfix that takes mail for y.example over STARTTLS and passes it to `sinkPort`. */
async function startPostfix(t: TestContext, sinkPort: number, tls: { cert: string; key: string }): Promise<number> {
  const folder = mkdtempSync(join(tmpdir(), "postern-postfix-"));
  const port = await freePort();
  const chain = join(folder, "tls.pem");
  writeFileSync(chain, tls.key + tls.cert, { mode: 0o600 });
  await runPostfix(t, {
    ...{ folder, address: "127.0.0.1", port },
    settings: {
      myhostname: "mx.y.example",
      relayhost: `[127.0.0.1]:${sinkPort}`,
      smtpd_tls_security_level: "encrypt",
      smtpd_tls_chain_files: chain,
      smtpd_recipient_restrictions:
        "check_recipient_access inline:{{no@y.example=550 5.1.1 not here}},permit_mynetworks,reject",
    },
  });
  // Hooks run in order of registration: Postfix is stopped before.
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return port;
}

test("Postfix as next hop: required TLS, BDAT, DSN parameters, recipients judged one by one", async (t) => {
  if (peer(t, "postfix") === undefined) return;
  const pki = makePki();
  if (pki === undefined) {
    t.skip("needs openssl");
    return;
  }
  const sink = await startNextHop({ extensions: ["PIPELINING", "8BITMIME", "DSN"] });
  t.after(() => sink.close());
  const port = await startPostfix(t, sink.port, pki.issue("localhost"));
  const deliverer = delivererWith({
    routes: { "y.example": `[localhost]:${port}` },
    tls: "required",
    tlsSettings: { ca: [pki.ca] },
  });
  t.after(() => deliverer.close());
  const envelope = { ret: "HDRS", envid: "id+1" } as const;
  const message = messageTo(
    [{ address: "bob@y.example", notify: ["FAILURE"], orcpt: "rfc822;b+o@y.example" }, "no@y.example"],
    envelope,
  );
  const results = await deliverer.deliver(message, message.recipients, bodyOf(text("one")));
  assert.deepEqual(
    results.map((result) => [result.recipient.address, result.kind, result.outcome.enhanced]),
    [
      ["bob@y.example", "relayed", "2.0.0"],
      ["no@y.example", "failed", "5.1.1"],
    ],
  );
  assert.equal(results[0]!.dsnPassedOn, true);
  // 300 KiB in pieces: several BDAT chunks.
  const long = text("two") + `${"x".repeat(70)}\r\n`.repeat(4_300);
  const big = messageTo(["bob@y.example"]);
  assert.equal((await deliverer.deliver(big, big.recipients, bodyOf(long, 16_384)))[0]!.kind, "relayed");
  for (let tries = 0; tries < 100 && sink.messages.length < 2; tries++)
    await new Promise((resolve) => setTimeout(resolve, 100));
  const bodies = sink.messages.map((one) => one.slice(one.indexOf("\r\n\r\n") + 4)).sort((a, b) => a.length - b.length);
  assert.equal(bodies[0], ".dot\r\n..two\r\nend one\r\n");
  assert.ok(bodies[1] === long.slice(long.indexOf("\r\n\r\n") + 4), "300 KiB arrive octet for octet");
  assert.ok(
    sink.commands.some((line) => line.startsWith("MAIL FROM:<a@x.example>") && line.includes("ENVID=id+2B1 RET=HDRS")),
  );
  assert.ok(sink.commands.some((line) => line.includes("ORCPT=rfc822;b+2Bo@y.example NOTIFY=FAILURE")));
});

test("Dovecot's LMTP server: a result for each recipient, mail in the maildir", async (t) => {
  const dovecot = await startDovecot(t, ["ann@local.test", "bob@local.test"]);
  if (dovecot === undefined) return;
  const { port } = dovecot;
  const deliverer = delivererWith({ routes: { "local.test": `lmtp:[127.0.0.1]:${port}` } });
  t.after(() => deliverer.close());
  const message = messageTo(["ann@local.test", "nobody@local.test", "bob@local.test"]);
  const results = await deliverer.deliver(message, message.recipients, bodyOf(text("lmtp")));
  assert.deepEqual(
    results.map((result) => [result.recipient.address, result.kind]),
    [
      ["ann@local.test", "relayed"],
      ["nobody@local.test", "failed"],
      ["bob@local.test", "relayed"],
    ],
    dovecot.log(),
  );
  for (const user of ["ann", "bob"]) assert.ok(dovecot.mail(`${user}@local.test`)[0]!.includes("..two"));
  const again = await deliverer.deliver(message, message.recipients.slice(0, 1), bodyOf(text("again"), 20));
  assert.equal(again[0]!.kind, "relayed", "the connection is reused");
});
