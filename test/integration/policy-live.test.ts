/**
 * The scenarios of the policy language over live SMTP: greeting, announcements, who may send, loops, limits, rule order,
 * smart host, reports, checks, countries, expansion, exports, and lists that are reloaded.
 */
import assert from "node:assert/strict";
import { appendFileSync, readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { after, test } from "node:test";
import { startDnsServer } from "../unit/dns/server.ts";
import { dialogue, dumped, Lab, peer, sendMessage, until } from "./lab.ts";

const lab = new Lab();
after(() => lab.close());

/** Our wizard-style script with loopback networks in place of the example ones. */
const wizard = readFileSync(resolve(import.meta.dirname, "../unit/policy/fixtures/wizard.script"), "utf8").replace(
  "10.56.56.0/255.255.255.0",
  "127.0.56.0/255.255.255.0",
);
const config = { domains: { local: ["local.example"] }, relay: { trustedNetworks: [] } };
const front = "127.0.56.7";
const other = "127.0.57.7";

async function replies(port: number, lines: readonly string[], from = front): Promise<string[]> {
  const client = await dialogue(port, from);
  const answers = [await client.reply()];
  for (const line of lines) answers.push(await client.say(line));
  client.close();
  return answers;
}

const begin = ["EHLO client.test", "MAIL FROM:<a@b.example>"];

test("scenarios 1 to 6 and 11: script, greeting, EHLO, senders, loops, order", { timeout: 60_000 }, async () => {
  const gateway = await lab.gateway(config, wizard);
  const [greeting, ehlo] = await replies(gateway.port, ["EHLO client.test"]);
  assert.equal(greeting, "220 The gateway's door, mail only");
  const words = ehlo!.split("\n").map((line) => line.slice(4));
  for (const word of ["SIZE 36700160", "PIPELINING", "8BITMIME", "BINARYMIME", "CHUNKING"]) {
    assert.ok(words.includes(word), word);
  }
  assert.ok(!words.includes("DSN"));

  const rcpt = ["RCPT TO:<u@local.example>", "RCPT TO:<x@far.example>"];
  const codes = async (from: string): Promise<string[]> =>
    (await replies(gateway.port, [...begin, ...rcpt], from)).slice(-2).map((reply) => reply.slice(0, 3));
  assert.deepEqual(await codes(front), ["250", "550"]);
  assert.deepEqual(await codes(other), ["530", "550"]);

  const withReceived = async (count: number): Promise<string> => {
    const client = await dialogue(gateway.port, front);
    await client.reply();
    for (const line of [...begin, rcpt[0]!, "DATA"]) await client.say(line);
    const fields = "Received: from a by b; Mon, 6 Jul 2026 13:10:08 +0000\r\n".repeat(count);
    const reply = await client.say(`${fields}Subject: x\r\n\r\ny\r\n.`);
    client.close();
    return reply.slice(0, 3);
  };
  assert.equal(await withReceived(30), "250");
  assert.equal(await withReceived(31), "554");

  const many = await dialogue(gateway.port, front);
  await many.reply();
  for (const line of begin) await many.say(line);
  const answers: string[] = [];
  for (let i = 0; i < 1_001; i++) answers.push((await many.say(`RCPT TO:<u${i}@local.example>`)).slice(0, 3));
  many.close();
  assert.deepEqual([answers[999], answers[1_000]], ["250", "452"]);

  // Scenario 6: the user's rule before the basic settings is overridden by them.
  const script = join(gateway.folder, "policy.script");
  const moved = wizard
    .replace("\tcall (Frontend_Relay);\n", "")
    .replace("\tcall (WA_Acceptance_basic);\n", "\tcall (Frontend_Relay);\n\tcall (WA_Acceptance_basic);\n");
  writeFileSync(script, moved);
  assert.equal(gateway.postern("reload").code, 0);
  assert.deepEqual(await codes(front), ["530", "550"]);

  // Scenario 11: unknown variables are empty, a lone percent sign stays.
  writeFileSync(script, 'event onConnect { set (smtpGreeting, "[%unknown_name%] 100% ready"); }');
  assert.equal(gateway.postern("reload").code, 0);
  assert.equal((await replies(gateway.port, []))[0], "220 [] 100% ready");
  await gateway.kill("SIGTERM");
});

test("scenarios 7, 8 and 12: smart host without MX, reports, exports", { timeout: 60_000 }, async (t) => {
  if (!peer("smtp-sink")) return t.skip("needs smtp-sink");
  const [smart, exported] = [await lab.sink(), await lab.sink()];
  const script = wizard
    .replace("[172.30.150.10]", "[127.0.0.1]")
    .replace('set (remoteSmtpPort, "25")', `set (remoteSmtpPort, "${smart.port}")`)
    .replace('set (remoteDelivery, "auth")', 'set (remoteDelivery, "all")')
    .replace(
      "\tcall (WA_Routing_basic);\n",
      `\tcall (WA_Routing_basic);\n\tif (is (mailFromDomain, "known.example")) { set (remoteSmtpPort, "${exported.port}"); }\n`,
    );
  // No name server answers here: a look-up of MX would leave the message in the queue.
  const dns = { servers: ["127.0.0.1:1"], timeout: "1s" };
  const gateway = await lab.gateway({ ...config, dns }, script);
  await sendMessage(gateway.port, { from: "a@known.example", to: ["x@far.example"], text: "Subject: one\n\nhi\n" });
  await until("it came by the smart host", () => dumped(smart.dump).length === 1);
  assert.equal(dumped(exported.dump).length, 0, "without export onRelay does not know the sender");
  writeFileSync(
    join(gateway.folder, "policy.script"),
    script.replace("event onMailFrom {\n", "event onMailFrom {\n\texport (mailFromDomain);\n"),
  );
  assert.equal(gateway.postern("reload").code, 0);
  await sendMessage(gateway.port, { from: "a@known.example", to: ["x@far.example"], text: "Subject: two\n\nhi\n" });
  await until("the export led the other way", () => dumped(exported.dump).length === 1);

  // A permanent failure: one rendered line a recipient, header attached, CRLF only.
  await smart.stop();
  const refusing = await lab.sink(["-f", "rcpt"], smart.port);
  await sendMessage(gateway.port, {
    from: "me@local.example",
    to: ["u@far.example", "v@far.example"],
    text: "Subject: original\n\nhi\n",
  });
  const report = await until("a report came", () => {
    const shown = gateway.postern("store", "show", "me@local.example", "1");
    return shown.code === 0 ? shown.out : undefined;
  });
  assert.match(report, /^Subject: Mail not delivered\r$/m);
  assert.match(report, /^u@far\.example : 5\d\d /m);
  assert.match(report, /^v@far\.example : 5\d\d /m);
  assert.match(report, /^Subject: original\r$/m);
  assert.equal(/[^\r]\n/.test(report), false, "CRLF only");
  await refusing.stop();
  await gateway.kill("SIGTERM");
});

test("scenario 9 and 10: SPF and countries decide with real look-ups", { timeout: 60_000 }, async () => {
  const server = await startDnsServer({ "b.example": [{ TXT: "v=spf1 ip4:192.0.2.1 -all" }] });
  const script = wizard
    .replace("event onMailFrom {\n", "event onMailFrom {\n\tcall (checkSPF);\n\tcall (WA_AntiSpam_SPF_Fail);\n")
    .replace("event onConnect {\n", 'event onConnect {\n\tset (isGeoIPBanned_0, "NO");\n\tcall (WA_GeoIP);\n');
  const gateway = await lab.gateway({ ...config, dns: { servers: [server.address] } }, script);
  const mail = (await replies(gateway.port, begin)).at(-1)!;
  assert.match(mail, /^550 5\.7\.1 SPF says no for \[b\.example\] from \[127\.0\.56\.7\]:/);
  await gateway.kill("SIGTERM");
  await server.close();
});

test("a list is asked at once and reloaded when its file changes", { timeout: 60_000 }, async () => {
  const script = 'event onMailFrom { if (inList (mailFrom, "file:blocked.txt")) { set (smtpAction, "reject"); } }';
  const list = join(lab.folder, "lists");
  const gateway = await lab.gateway(config, script.replace("file:blocked.txt", `file:${list}`)).catch((error) => error);
  assert.ok(!(gateway instanceof Error), "a list that is not there does not stop the start");
  const mail = async (): Promise<string> => (await replies(gateway.port, begin)).at(-1)!.slice(0, 3);
  assert.equal(await mail(), "450", "nothing passes unchecked while the list is missing");
  writeFileSync(list, "someone@else.example\n");
  await until("the list is in use", async () => (await mail()) === "250");
  appendFileSync(list, "A@B.example\n");
  await until("the new entry is in use", async () => (await mail()) === "550");
  await gateway.kill("SIGTERM");
});
