import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { writeFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import pino from "pino";
import { verifyDkim } from "../../../src/checks/dkim/verify.ts";
import { readMessage } from "../../../src/checks/message.ts";
import { configSchema } from "../../../src/config/schema.ts";
import type { Live } from "../../../src/gateway/live.ts";
import { createSeal } from "../../../src/gateway/signing.ts";
import { memoryBody } from "../../../src/queue/body.ts";
import type { BodySource, QueuedMessage } from "../../../src/queue/types.ts";
import { ContentEncoder } from "../../../src/smtp/outgoing/content.ts";
import { contextFor } from "../checks/zone.ts";

const folder = await mkdtemp(join(tmpdir(), "postern-signing-"));
after(() => rm(folder, { recursive: true }));
const pair = generateKeyPairSync("ed25519");
const key = join(folder, "k.pem");
writeFileSync(key, pair.privateKey.export({ type: "pkcs8", format: "pem" }));
const publicKey = Buffer.from(pair.publicKey.export({ format: "jwk" }).x!, "base64url").toString("base64");
const record = { TXT: [`v=DKIM1; k=ed25519; p=${publicKey}`] };
const ctx = contextFor(
  Object.fromEntries(Array.from({ length: 20 }, (_, i) => [`s${i}._domainkey.ours.test`, record])),
  { dkimSignatures: 20 },
  Date.now(),
);

function seal(settings: object, trusted: string[] = ["10.0.0.1"]) {
  const config = configSchema.parse({ policy: { smtpFilters: join(folder, "p.script") }, ...settings });
  const live = { config, budget: ctx.budget, trusts: (ip: string) => trusted.includes(ip) } as unknown as Live;
  return createSeal({ live: () => live, context: () => ctx, log: pino({ level: "silent" }) });
}

function message(remoteIp: string, marks: Record<string, unknown> = {}): QueuedMessage {
  const client = { remoteIp, authUser: "", protocol: "ESMTP" };
  return { id: "Q", client, marks, envelope: { mailFrom: "a@ours.test" } } as unknown as QueuedMessage;
}

const text = "From: a@ours.test\r\nSubject: x\r\n\r\n";
const entry = { domain: "ours.test", selector: "s0", key };

async function verdicts(body: BodySource): Promise<string[]> {
  const chunks: Uint8Array[] = [];
  const encoder = new ContentEncoder({ dots: false, maxLine: 998 });
  for await (const chunk of body.stream()) chunks.push(Buffer.from(encoder.push(chunk)));
  const wire = Buffer.concat([...chunks, encoder.end()]);
  return (await verifyDkim(await readMessage(wire, ctx.budget), ctx)).map(({ result }) => result);
}

test("only mail of our own is signed by configuration", async () => {
  const body = memoryBody(Buffer.from(`${text}hi\r\n`));
  const sign = seal({ dkim: [entry] });
  assert.deepEqual(await verdicts(await sign(message("10.0.0.1"), body, [])), ["pass"]);
  assert.equal(await sign(message("192.0.2.1"), body, []), body, "a stranger may write any From");
  const elsewhere = memoryBody(Buffer.from("From: a@elsewhere.test\r\n\r\nhi\r\n"));
  assert.equal(await sign(message("10.0.0.1"), elsewhere, []), elsewhere);
});

test("what is signed is what the wire carries: repaired line ends, folded lines, streamed bodies", async () => {
  const sign = seal({ dkim: [entry] });
  const odd = Buffer.from(`${text}bare\nends\rhere\r\n${"x".repeat(2_500)}\r\n.dot`);
  assert.deepEqual(await verdicts(await sign(message("10.0.0.1"), memoryBody(odd), [])), ["pass"]);
  let open = 0;
  const streamed: BodySource = {
    size: odd.length,
    inMemory: () => undefined,
    async *stream() {
      open++;
      try {
        for (let at = 0; at < odd.length; at += 700) yield odd.subarray(at, at + 700);
      } finally {
        open--;
      }
    },
  };
  const signed = await sign(message("10.0.0.1"), streamed, []);
  assert.equal(open, 0, "no reader stays open");
  assert.ok(signed.size > odd.length);
  assert.deepEqual(await verdicts(signed), ["pass"]);
});

test("a script's request: paths beside the script, domain of the author, eight at most, once each", async () => {
  const body = memoryBody(Buffer.from(`${text}hi\r\n`));
  const request = (selector: string) => ({ domain: "", selector, keyPath: "k.pem" });
  const many = Array.from({ length: 12 }, (_, i) => request(`s${i}`));
  const stranger = message("192.0.2.1", { signatures: [request("s0"), request("s0")] });
  assert.deepEqual(await verdicts(await seal({})(stranger, body, [])), ["pass"]);
  assert.equal((await verdicts(await seal({})(message("192.0.2.1"), body, many))).length, 8);
  const empty = { domain: "", selector: "", keyPath: "" };
  assert.equal(await seal({})(message("192.0.2.1"), body, [empty]), body, "ignored");
});

test("a key that can't be used rejects", async () => {
  const body = memoryBody(Buffer.from(`${text}hi\r\n`));
  await assert.rejects(seal({ dkim: [{ ...entry, key: join(folder, "gone") }] })(message("10.0.0.1"), body, []));
  writeFileSync(join(folder, "bad.pem"), "no key");
  const request = { domain: "ours.test", selector: "s0", keyPath: "bad.pem" };
  await assert.rejects(seal({})(message("10.0.0.1"), body, [request]));
});
