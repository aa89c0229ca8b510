/**
 * Mail between the running gateway and Postfix, Exim and OpenSMTPD, both ways, under STARTTLS: each passes a message of
 * ours on to a sink, and each sends one to us that we pass on. Transcripts of the gateway show what each spoke.
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { after, type TestContext, test } from "node:test";
import { selfSigned } from "../../src/smtp/incoming/selfsigned.ts";
import { Client } from "../unit/smtp-incoming/site.ts";
import { dumped, Lab, until } from "./lab.ts";
import { missingForLaboratory, type PeerPlan, startExim, startOpenSmtpd, startPostfix } from "./peers.ts";

const lab = new Lab();
after(() => lab.close());

/** PEM files in `folder`; `mode` of the key: Exim reads it as a user of its own. */
function keysIn(folder: string, name: string, mode: number): { cert: string; key: string } {
  const pair = selfSigned([name]);
  const files = { cert: join(folder, `${name}.crt`), key: join(folder, `${name}.key`) };
  writeFileSync(files.cert, pair.cert);
  writeFileSync(files.key, pair.key, { mode });
  return files;
}

const eightBit = "Subject: interop\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n..dots\r\n.\xc3\xa9t\xc3\xa9\r\n";

/** Sends the message over a socket to port 25 of `address`. */
async function submit(address: string, to: string): Promise<void> {
  const socket = connect({ port: 25, host: address });
  await once(socket, "connect");
  const client = new Client(socket);
  await client.hello();
  assert.match(await client.ask("MAIL FROM:<a@x.test> BODY=8BITMIME"), /^250/);
  assert.match(await client.ask(`RCPT TO:<${to}>`), /^250/);
  assert.match(await client.ask("DATA"), /^354/);
  client.write(Buffer.from(eightBit.replace(/^\./gm, ".."), "latin1"));
  assert.match(await client.ask("."), /^250/);
  client.end();
}

interface Expected {
  start(t: TestContext, plan: PeerPlan): Promise<unknown>;
  keyMode: number;
  /** The peer's Received field for mail of ours. */
  received: RegExp;
  /** Commands of the peer in our transcript. */
  spoke: readonly RegExp[];
}

async function bothWays(t: TestContext, name: string, third: number, expected: Expected): Promise<void> {
  const missing = missingForLaboratory();
  if (missing !== undefined) {
    if (process.env.POSTERN_REQUIRE_PEERS === "1") assert.fail(missing);
    return t.skip(missing);
  }
  const [behindPeer, behindUs] = [await lab.sink(), await lab.sink()];
  const folder = join(lab.folder, name);
  mkdirSync(folder);
  chmodSync(folder, 0o755);
  const [address, ours] = [`127.0.${third}.1`, `127.0.${third}.2`];
  const domain = `${name}.test`;
  await expected.start(t, {
    ...{ folder, address, domain, sink: behindPeer, gateway: ours },
    tls: keysIn(folder, domain, expected.keyMode),
  });
  const gateway = await lab.gateway({
    listeners: [{ address: `${ours}:25`, tls: keysIn(folder, "gw.test", 0o600) }],
    domains: { local: [], routes: { [domain]: `[${address}]:25`, "in.test": `[127.0.0.1]:${behindUs.port}` } },
    log: { level: 31, pretty: false },
  });
  await submit(ours, `u@${domain}`);
  await submit(address, "u@in.test");
  const arrived = (dump: string) =>
    until("it arrived", () => dumped(dump).find((mail) => mail.endsWith("t\xc3\xa9\n\n")), 30_000);
  const [there, here] = await Promise.all([arrived(behindPeer.dump), arrived(behindUs.dump)]);
  for (const mail of [there, here]) {
    assert.ok(mail.replaceAll("\r\n", "\n").includes("\n\n..dots\n.\xc3\xa9t\xc3\xa9\n"), "the body is what was sent");
  }
  assert.match(there.replace(/\n[ \t]+/g, " "), expected.received);
  assert.match(
    here.replace(/\r?\n[ \t]+/g, " "),
    /^Received: from \S+ \(.*using TLSv1\.3 .*by gw\.test with (?:UTF8)?E?SMTPS /m,
  );
  const transcript = gateway.output();
  for (const command of expected.spoke) assert.match(transcript, command);
  await gateway.kill("SIGTERM");
}

test("Postfix, both ways", { timeout: 180_000 }, (t) =>
  bothWays(t, "postfix", 21, {
    start: (t, plan) =>
      startPostfix(t, plan, readFileSync(plan.tls!.key, "utf8") + readFileSync(plan.tls!.cert, "utf8")),
    keyMode: 0o600,
    received: /^Received: from gw\.test .*using TLSv1\.3.*by postfix\.test \(Postfix\) with ESMTPS/m,
    spoke: [/<< STARTTLS/, /<< MAIL FROM:<a@x\.test> .*BODY=8BITMIME/, /<< DATA|<< BDAT/],
  }),
);

test("Exim, both ways", { timeout: 180_000 }, (t) =>
  bothWays(t, "exim", 22, {
    start: startExim,
    keyMode: 0o644,
    received: /^Received: from .*by exim\.test with esmtps +\(TLS1\.3\)/m,
    spoke: [/<< STARTTLS/, /<< BDAT \d+ LAST/],
  }),
);

test("OpenSMTPD, both ways", { timeout: 180_000 }, (t) =>
  bothWays(t, "opensmtpd", 23, {
    // Debian's OpenSMTPD 6.8 fails every handshake as a server (alert 80): it takes plain text and sends over TLS.
    start: (t, { tls: _none, ...plan }) => startOpenSmtpd(t, plan),
    keyMode: 0o600,
    received: /^Received: from gw\.test .*by opensmtpd\.test \(OpenSMTPD\) with ESMTP /m,
    spoke: [/<< STARTTLS/, /<< DATA/],
  }),
);
