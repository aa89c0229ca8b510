/**
 * SMTP smuggling through the running gateway and a real Postfix behind it: every short text over CR, LF, dot and NUL in
 * the place of the end of data, sent whole and octet by octet, followed by the commands of a second message. Nowhere may a
 * second message come to be; what is passed on is what was sent.
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import { chmodSync, mkdtempSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { after, type TestContext, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Client } from "../unit/smtp-incoming/site.ts";
import { dumped, type Gateway, Lab, peer, type Sink, until } from "./lab.ts";
import { missingForLaboratory, startPostfix } from "./peers.ts";

const lab = new Lab();
after(() => lab.close());

/** The Postfix behind the gateway: what it takes for peer.test goes to `sink`. */
async function postfixBehind(t: TestContext, sink: Sink): Promise<{ domains: object } | undefined> {
  const missing = missingForLaboratory();
  if (missing !== undefined) {
    if (process.env.POSTERN_REQUIRE_PEERS === "1") assert.fail(missing);
    t.skip(missing);
    return undefined;
  }
  const address = "127.0.7.1";
  const folder = mkdtempSync(join(lab.folder, "postfix-"));
  chmodSync(folder, 0o755);
  await startPostfix(t, { folder, address, domain: "peer.test", sink, gateway: "127.0.7.2" });
  return { domains: { local: [], routes: { "peer.test": `[${address}]:25` } } };
}

/** What may stand between two messages in an attacker's stream: all texts of up to `longest` octets of the alphabet. */
function* sequences(longest: number): Generator<string> {
  const alphabet = ["\r", "\n", ".", "\0"];
  let texts = [""];
  for (let length = 1; length <= longest; length++) {
    texts = texts.flatMap((text) => alphabet.map((octet) => text + octet));
    yield* texts;
  }
}

/** The ends of data that other servers were found to believe in, longer than the texts above. */
const known = [
  "\r\n.\n",
  "\n.\r\n",
  "\r\n.\r",
  "\r.\r\n",
  "\r\n\0.\r\n",
  "\r\n.\0\r\n",
  "\r\r\n.\r\r\n",
  "\n\r\n.\n\r\n",
];

const second =
  "MAIL FROM:<smuggler@evil.test>\r\nRCPT TO:<victim@peer.test>\r\nDATA\r\nSubject: smuggled\r\n\r\nsecond\r\n.\r\n";

/** Octets as they are, or one by one in packets of their own (TCP_NODELAY, a turn of the loop between them). */
async function send(client: Client, text: string, octetwise: boolean): Promise<void> {
  if (!octetwise) {
    client.write(Buffer.from(text, "latin1"));
    return;
  }
  for (const octet of Buffer.from(text, "latin1")) {
    if (client.socket.destroyed) return;
    client.write(Buffer.of(octet));
    await new Promise(setImmediate);
  }
}

/** One attack; answers every reply from the end of data on. */
async function attack(gateway: Gateway, mark: string, sequence: string, octetwise: boolean): Promise<string[]> {
  const socket = connect({ port: gateway.port, host: "127.0.0.1", noDelay: true });
  await once(socket, "connect");
  const client = new Client(socket);
  await client.hello();
  await client.toData("a@x.test", "b@peer.test");
  client.write(`Subject: ${mark}\r\n\r\nfirst`);
  await send(client, sequence, octetwise);
  client.write(`${second}QUIT\r\n`);
  const replies = await client.rest();
  client.end();
  return replies;
}

test("no text over CR, LF, dot and NUL ends a message but CRLF.CRLF; nothing smuggled reaches Postfix", {
  timeout: 180_000,
}, async (t) => {
  if (!peer("smtp-sink")) return t.skip("needs smtp-sink");
  const sink = await lab.sink();
  const routed = await postfixBehind(t, sink);
  if (routed === undefined) return;
  let arrived = 0;
  for (const bareNewline of ["close", "reject"] as const) {
    const gateway = await lab.gateway({ ...routed, smtp: { bareNewline } });
    for (const octetwise of [false, true]) {
      const all = [...sequences(octetwise ? 3 : 4), ...known];
      for (let at = 0; at < all.length; at += 20) {
        const group = all.slice(at, at + 20);
        const replies = await Promise.all(
          group.map((sequence, i) => attack(gateway, `${bareNewline}-${octetwise}-${at + i}`, sequence, octetwise)),
        );
        for (const [i, said] of replies.entries()) arrived += judge(group[i]!, said);
      }
    }
    await until("what was accepted went through Postfix", () => dumped(sink.dump).length >= arrived, 60_000);
    await sleep(300);
    await gateway.kill("SIGTERM");
  }
  assert.ok(arrived > 0, "some texts are plain content");
  const mails = dumped(sink.dump);
  assert.equal(mails.length, arrived, "one message each, through two servers");
  for (const mail of mails) {
    assert.doesNotMatch(mail, /^X-Mail-Args: <smuggler@evil\.test>/m, "no second message");
    assert.match(mail, /^Subject: (?:close|reject)-/m);
    assert.match(mail, /^Subject: smuggled$/m, "the commands stand in the body, where they are text");
  }
});

/** Holds the replies to one attack against the rules; answers the number of messages taken, 0 or 1. */
function judge(sequence: string, replies: readonly string[]): number {
  const said = `${JSON.stringify(sequence)}: ${replies.join(" | ")}`;
  const queued = replies.filter((reply) => reply.startsWith("250 2.0.0 Mail queued")).length;
  if (/\0|\r(?!\n)|(?<!\r)\n/.test(sequence)) {
    assert.equal(queued, 0, said);
    assert.match(said, /521 5\.(?:5\.2|6\.0)/);
  } else assert.equal(queued, 1, said);
  return queued;
}

test("a binary body with bare line ends is never relayed as it is to a server without BINARYMIME", {
  timeout: 60_000,
}, async (t) => {
  if (!peer("smtp-sink")) return t.skip("needs smtp-sink");
  const sink = await lab.sink();
  const routed = await postfixBehind(t, sink);
  if (routed === undefined) return;
  const gateway = await lab.gateway(routed);
  const socket = connect({ port: gateway.port, host: "127.0.0.1" });
  await once(socket, "connect");
  const client = new Client(socket);
  await client.hello();
  await client.ask("MAIL FROM:<a@x.test> BODY=BINARYMIME");
  await client.ask("RCPT TO:<b@peer.test>");
  const header =
    "Subject: binary\r\nMIME-Version: 1.0\r\nContent-Type: text/plain\r\nContent-Transfer-Encoding: binary\r\n\r\n";
  const content = `${header}first\n.\n${second.replaceAll("\r\n", "\n")}end\0\r.\r\n`;
  client.write(`BDAT ${content.length} LAST\r\n${content}`);
  assert.match(await client.reply(), /^250/);
  client.end();
  const [mail] = await until("it arrived", () => {
    const mails = dumped(sink.dump);
    return mails.length > 0 && mails;
  });
  await sleep(300);
  assert.equal(dumped(sink.dump).length, 1);
  assert.doesNotMatch(mail!, /^X-Mail-Args: <smuggler/m);
  assert.match(mail!, /^Content-Transfer-Encoding: (?:base64|quoted-printable)$/im);
  assert.doesNotMatch(mail!, /^MAIL FROM:<smuggler/m);
  await gateway.kill("SIGTERM");
});
