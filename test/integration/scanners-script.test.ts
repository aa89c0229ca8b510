/**
 * Scanners that a script asks by name in the session, and those with protocols of their own: a socket scanner in
 * Python, an MTA Hook over HTTP. What the script reads, what the client is told, what is delivered, what is recorded.
 */
import assert from "node:assert/strict";
import { createServer, type IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";
import { after, type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";
import { freePort, start } from "./daemons.ts";
import { dumped, type Gateway, Lab, sendMessage, until } from "./lab.ts";
import { letters, startClamd, startRspamd, startSpamd } from "./scanner-daemons.ts";

const lab = new Lab();
after(() => lab.close());

const { clean, spam, infected } = letters;

async function behind(t: TestContext, config: Record<string, unknown>, script?: string) {
  const sink = await lab.sink();
  const routes = { "out.test": `[127.0.0.1]:${sink.port}` };
  const gateway = await lab.gateway({ domains: { routes }, ...config }, script);
  t.after(async () => {
    await sink.stop();
    await gateway.kill("SIGTERM");
  });
  const arrived = (count: number) =>
    until(`${count} arrive`, () => {
      const all = dumped(sink.dump).filter((text) => text.includes("\n\n"));
      return all.length >= count && all;
    });
  return { gateway, arrived };
}

async function sent(gateway: Gateway, text: string): Promise<string> {
  return (await sendMessage(gateway.port, { from: "a@x.example", to: ["b@out.test"], text })).at(-1)!;
}

/** Asks each in turn and writes what it found into the message. */
const asking = (...names: string[]) => `event onDataReceived {
  ${names.map((name) => `set (filterName, "${name}"); set (filterAddress, "scanner:${name}"); call (addMilterFilter);`).join("\n  ")}
  call (executeFilters);
  set (headerName, "X-Found"); set (headerValue, "<%filterVirus%> level %filterSpamLevel%: %filterSymbols%"); call (addHeader);
}`;

test("clamd, spamd and rspamd asked by a script in the session; explain says who said what", {
  timeout: 120_000,
}, async (t) => {
  const [clamd, spamd, rspamd] = await Promise.all([startClamd(t), startSpamd(t), startRspamd(t)]);
  if (clamd === undefined || spamd === undefined || rspamd === undefined) return;
  const common = { use: "script", timeout: "30s", onSpam: "reject" };
  const scanners = [
    { type: "clamav", name: "clamd", address: `127.0.0.1:${clamd.port}`, ...common },
    { type: "spamassassin", name: "spamd", address: `127.0.0.1:${spamd}`, ...common },
    { type: "rspamd", name: "rspamd", address: `127.0.0.1:${rspamd.http}`, ...common },
  ];
  const all = await behind(
    t,
    { scanners, record: { enabled: true, idsInReplies: true } },
    asking("clamd", "spamd", "rspamd"),
  );
  assert.match(await sent(all.gateway, infected), /^550 5\.7\.1 Test\.EICAR-Body\.UNOFFICIAL found \[/);
  const refused = await sent(all.gateway, spam);
  assert.match(refused, /^550 5\.7\.1 spam \[\w+\]$/);
  assert.match(await sent(all.gateway, clean), /^250 /);
  const [mail] = await all.arrived(1);
  assert.match(mail!, /^X-Found: <> level [1-9]: [\s\S]*MIME_GOOD/m, "rspamd's symbols");
  assert.match(mail!, /^X-AxigenVirus-Level: 1$/m);
  const { out } = all.gateway.postern("explain", "--id", /\[(\w+)\]$/.exec(refused)![1]!);
  for (const line of [
    /clamd at scanner:clamd says nothing against it, [\d.]+ ms/,
    /spamd at scanner:spamd says reject, /,
  ]) {
    assert.match(out, line);
  }

  const alone = await behind(t, { scanners }, asking("rspamd"));
  assert.equal(await sent(alone.gateway, spam), "550 5.7.1 Gtube pattern");
});

test("a socket scanner described in the configuration", { timeout: 60_000 }, async (t) => {
  const port = await freePort();
  const program = fileURLToPath(new URL("socket-scanner.py", import.meta.url));
  await start(t, "/usr/bin/python3", [program, String(port)], port);
  const scanner = {
    type: "socket",
    name: "pharma",
    address: `127.0.0.1:${port}`,
    onSpam: "reject",
    protocol: {
      request: [{ text: "SCAN %size%\n" }, { message: "raw" }],
      keepOpen: true,
      rules: [
        { pattern: "^BAD (\\S+)", virus: "$1" },
        { pattern: "^CLEAN (\\d+)", score: "$1", threshold: "3" },
      ],
      ping: { text: "HELLO\n", pattern: "^HERE" },
    },
  };
  const policy = { smtpFilters: null, processingWait: "30s" };
  const { gateway, arrived } = await behind(t, { scanners: [scanner], policy });
  const refused = "552 5.7.1 Mail rejected by the processing module:";
  assert.equal(await sent(gateway, `${clean}buy pills\r\n`), `${refused} Pharma.1 found`);
  assert.equal(await sent(gateway, `${clean}lucky lucky lucky\r\n`), `${refused} spam`);
  assert.match(await sent(gateway, `${clean}lucky\r\n`), /^250 /);
  assert.match((await arrived(1))[0]!, /^X-AxigenSpam-Level: 4$/m);
});

interface HookRequest {
  context: { stage: string; client: Record<string, unknown> };
  envelope: { from: { address: string }; to: Array<{ address: string }> };
  message: { headers: Array<[string, string]>; serverHeaders: Array<[string, string]>; contents: string };
}

/** An HTTP service that answers each request with what `answer` makes of it. */
async function startHook(t: TestContext, answer: (request: HookRequest, raw: IncomingMessage) => unknown) {
  const server = createServer(async (request, response) => {
    const chunks = (await Array.fromAsync(request)) as Buffer[];
    const reply = answer(JSON.parse(Buffer.concat(chunks).toString("utf8")), request);
    response.setHeader("Content-Type", "application/json");
    response.end(typeof reply === "string" ? reply : JSON.stringify(reply));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/hook?x=1`;
}

test("an MTA Hook sees the message and changes it; its refusal is the client's reply", {
  timeout: 60_000,
}, async (t) => {
  const seen: Array<HookRequest & { url: string; authorization: string | undefined }> = [];
  const url = await startHook(t, (request, { url: target = "", headers }) => {
    seen.push({ ...request, url: target, authorization: headers.authorization });
    const word = /hello|refuse|later|lose|lie/.exec(request.message.contents)?.[0];
    if (word === "refuse") {
      const response = { status: 554, enhancedStatus: "5.7.9", message: "not\r\n250 in this house" };
      return { action: "reject", response };
    }
    if (word === "later") return { action: "reject", response: { status: 451, message: "come back" } };
    if (word === "lose") return { action: "discard" };
    if (word === "lie")
      return { action: "accept", modifications: [{ type: "addHeader", name: "X-A", value: "a\r\n\r\nb" }] };
    return {
      action: "accept",
      modifications: [
        { type: "addHeader", name: "X-Added", value: "grüße" },
        { type: "insertHeader", index: 0, name: "X-Top", value: "top" },
        { type: "changeHeader", index: 1, name: "Subject", value: "changed" },
        { type: "deleteHeader", index: 1, name: "Date" },
        { type: "replaceContents", value: "one\ntwo" },
        { type: "addRecipient", value: "c@out.test" },
        { type: "deleteRecipient", value: "b@out.test" },
        { type: "changeFrom", value: "new@x.example" },
      ],
    };
  });
  const hook = { type: "hook", name: "hook", url, headers: { Authorization: "Bearer secret" }, use: "script" };
  const { gateway, arrived } = await behind(t, { scanners: [hook] }, asking("hook"));
  assert.match(await sent(gateway, clean), /^250 /);
  const [mail] = await arrived(1);
  assert.match(mail!, /\nX-Top: top\nReceived: from client\.test/);
  assert.match(mail!, /^X-Added: gr\xc3\xbc\xc3\x9fe$/m);
  assert.match(mail!, /^Subject: changed$/m);
  assert.doesNotMatch(mail!, /^Date: Mon, 1 Jan 2024/m);
  assert.match(mail!, /\n\none\ntwo\n/);
  assert.match(mail!, /^X-Mail-Args: <new@x\.example>/m);
  assert.match(mail!, /^X-Rcpt-Args: <c@out\.test>/m);
  const [{ context, envelope, message, url: target, authorization }] = seen as [(typeof seen)[0]];
  assert.deepEqual({ target, authorization }, { target: "/hook?x=1", authorization: "Bearer secret" });
  assert.equal(context.stage, "data");
  assert.deepEqual([context.client.ip, context.client.helo], ["127.0.0.1", "client.test"]);
  assert.deepEqual(envelope, { from: { address: "a@x.example" }, to: [{ address: "b@out.test" }] });
  assert.deepEqual(message.headers[0], ["From", "a@x.example"]);
  assert.equal(message.serverHeaders[0]![0], "Received");
  assert.match(message.contents, /^hello\r\n/);

  assert.equal(await sent(gateway, clean.replace("hello", "refuse")), "554 5.7.9 not 250 in this house");
  assert.equal(await sent(gateway, clean.replace("hello", "later")), "451 4.7.1 come back");
  assert.match(await sent(gateway, clean.replace("hello", "lose")), /^250 /);
  assert.match(await sent(gateway, clean.replace("hello", "lie")), /^45\d 4\.7\.1 /, "a field that is none");
  assert.equal((await arrived(1)).length, 1);
});
