/** Bad input over real sockets: each limit of reception is crossed here once. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { test } from "node:test";
import { selfSigned } from "../../../src/smtp/incoming/selfsigned.ts";
import { type Client, startSite, withSite } from "./site.ts";

const tick = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

async function until(condition: () => boolean, what: string): Promise<void> {
  for (let i = 0; i < 200; i++) {
    if (condition()) return;
    await tick(10);
  }
  assert.fail(`never: ${what}`);
}

test("smuggling over the wire: whole and octet by octet, one message or none, never the second", async () => {
  const site = await startSite({ budget: { lingerMs: 50 } });
  try {
    for (const end of [
      "\n.\n",
      "\n.\r\n",
      "\r\n.\n",
      "\r.\r",
      "\r.\r\n",
      "\r\n.\r",
      "\r\n\0.\r\n",
      "\r\n.\0\r\n",
      "\r\n.\r\r\n",
    ]) {
      for (const bytewise of [false, true]) {
        const client = await site.client();
        await client.hello();
        await client.toData();
        const body = `Subject: x\r\n\r\nhello${end}MAIL FROM:<evil@x.test>\r\nRCPT TO:<v@y.test>\r\nDATA\r\n\r\nsmuggled\r\n.\r\n`;
        if (bytewise) for (const octet of body) client.write(octet);
        else client.write(body);
        const replies = await client.rest();
        assert.deepEqual(
          replies.map((reply) => reply.slice(0, 3)),
          ["521"],
          JSON.stringify(end),
        );
        assert.equal(site.received.length, 0);
      }
    }
  } finally {
    await site.close();
  }
});

test("bareNewline reject: the message alone is refused, and its end is the true one", () =>
  withSite({ bareNewline: "reject" }, async (site) => {
    const client = await site.client();
    await client.hello();
    await client.toData();
    client.write("\r\nx\n.\nRSET\r\n.\r\n");
    assert.match(await client.reply(), /^521 5\.5\.2/);
    assert.match(await client.ask("NOOP\nNOOP"), /^500 5\.5\.2/);
    assert.match(await client.ask("NOOP"), /^250|^500/);
    assert.equal(site.received.length, 0);
    client.end();
  }));

test("a bare LF, bare CR or NUL in a command ends the session", async () => {
  const site = await startSite({ budget: { lingerMs: 50 } });
  for (const line of ["NOOP\n", "NO\rOP\r\n", "NO\0OP\r\n", "\n"]) {
    const client = await site.client();
    await client.hello();
    client.write(line);
    assert.match((await client.rest()).join(), /^521 5\.5\.2/, JSON.stringify(line));
  }
  await site.close();
});

test("endless lines: refused past commandLine, closed past textLineRead", () =>
  withSite({ budget: { commandLine: 512, textLineRead: 4_096, lingerMs: 50 } }, async (site) => {
    const client = await site.client();
    await client.hello();
    assert.match(await client.ask(`NOOP ${"x".repeat(505)}`), /^250/);
    assert.match(await client.ask(`NOOP ${"x".repeat(506)}`), /^500 5\.5\.2 Line too long/);
    client.write("x".repeat(5_000));
    assert.deepEqual(await client.rest(), ["500 5.5.2 Line too long"]);
  }));

test("messages over SIZE, with long lines or mail loops are read to their end and refused", () =>
  withSite(
    { settings: { maxMessageBytes: 10_000, maxReceivedHeaders: 2 }, budget: { textLineRead: 2_000 } },
    async (site) => {
      const client = await site.client();
      await client.hello();
      for (const [content, reply] of [
        [`\r\n${"x".repeat(98)}\r\n`.repeat(200), /^552 5\.3\.4/],
        [`\r\n${"x".repeat(2_001)}\r\n`, /^554 5\.6\.0 Line longer/],
        [`${"Received: a\r\n".repeat(3)}\r\nx\r\n`, /^554 5\.4\.6/],
      ] as const) {
        await client.toData();
        assert.match(await client.ask(`${content}.`), reply);
      }
      assert.deepEqual(site.events.filter((event) => event === "abort").length, 3);
      assert.match(await client.toData(), /^354/);
      client.end();
    },
  ));

test("a refused message without end is cut off at discardedBytes", () =>
  withSite(
    { settings: { maxMessageBytes: 1_000 }, budget: { discardedBytes: 100_000, lingerMs: 50 } },
    async (site) => {
      const client = await site.client();
      await client.hello();
      await client.toData();
      client.write("\r\n");
      for (let i = 0; i < 40; i++) client.write(`${"x".repeat(998)}\r\n`.repeat(10));
      assert.match((await client.rest()).join(), /^552/);
    },
  ));

test("BDAT lies: absurd sizes close the session, a chunk that never comes times out", () =>
  withSite({ budget: { discardedBytes: 1_000, dataBlockMs: 100, lingerMs: 50 } }, async (site) => {
    const client = await site.client();
    await client.hello();
    await client.ask("MAIL FROM:<a@x.test>");
    await client.ask("RCPT TO:<b@y.test>");
    client.write("BDAT 4000000000 LAST\r\n");
    assert.match((await client.rest()).join(), /^552 5\.3\.4 Chunk too large/);
    const slow = await site.client();
    await slow.hello();
    await slow.ask("MAIL FROM:<a@x.test>");
    await slow.ask("RCPT TO:<b@y.test>");
    slow.write("BDAT 100 LAST\r\nabc");
    assert.match((await slow.rest()).join(), /^421 4\.4\.2/);
    await until(() => site.events.includes("abort"), "sink aborted");
  }));

test("recipients beyond the limit get 452 and don't cost the message; endless ones cost the session", () =>
  withSite({ settings: { maxRecipients: 3 }, budget: { refusedRecipients: 50, lingerMs: 50 } }, async (site) => {
    const client = await site.client();
    await client.hello();
    await client.ask("MAIL FROM:<a@x.test>");
    client.write("RCPT TO:<b@y.test>\r\n".repeat(40));
    const codes: string[] = [];
    for (let i = 0; i < 40; i++) codes.push((await client.reply()).slice(0, 3));
    assert.deepEqual(
      [codes.filter((code) => code === "250").length, codes.filter((code) => code === "452").length],
      [3, 37],
    );
    assert.match(await client.ask("DATA"), /^354/);
    assert.match(await client.ask("\r\n."), /^250/);
    await client.ask("MAIL FROM:<a@x.test>");
    client.write("RCPT TO:<b@y.test>\r\n".repeat(40));
    assert.match((await client.rest()).at(-1)!, /^421 4\.5\.3/);
  }));

test("addresses from hell: each refused in one reply, in step, and no reply line is theirs", () => {
  const asked: string[] = [];
  const handler = () => ({
    onRcptTo: (_envelope: unknown, { address }: { address: string }) => {
      asked.push(address);
      return undefined;
    },
  });
  return withSite({ handler, budget: { protocolErrors: 1_000 } }, async (site) => {
    const client = await site.client();
    await client.hello();
    await client.ask("MAIL FROM:<a@x.test> SMTPUTF8");
    const hell: Array<string | Buffer> = [
      `<${"a".repeat(3_900)}@x.test>`,
      `<${'"\\"'.repeat(600)}@x.test>`,
      `<"${"\\a".repeat(1_000)}`,
      `<a@${"x.".repeat(1_500)}test>`,
      `<a@${"x".repeat(64)}.test>`,
      `<@${Array.from({ length: 500 }, () => "h.test").join(",@")}:a@x.test>`,
      "<@@@@@@@@@@>",
      `<${"<".repeat(1_000)}a@x.test${">".repeat(1_000)}`,
      "<a@x.test>><b@x.test>",
      "<a@[IPv6:::::::::::]>",
      "<a@[IPv6:fe80::1%eth0]>",
      "<a@[999.1.1.1]>",
      "<a@[127.0.0.1>",
      `<a@[${"[".repeat(500)}]>`,
      "<a@x.test\t>",
      "<a(comment)@x.test>",
      "<a@x.test(comment)>",
      '<"a"b@x.test>',
      "<a\x1b[2J@x.test>",
      "<a\x7f@x.test>",
      "<%s%n|/bin/sh@>",
      "<a@xn--a-ecp.ru--->",
      "<a@\u202ex.test\u202e..>",
      Buffer.from("RCPT TO:<\xff\xfe@x.test>\r\n", "latin1"),
      Buffer.from("RCPT TO:<\xed\xa0\x80@x.test>\r\n", "latin1"),
      Buffer.from("RCPT TO:<\xc0\xbc@x.test>\r\n", "latin1"),
    ];
    for (const each of hell) {
      client.write(typeof each === "string" ? `RCPT TO:${each}\r\n` : each);
      const reply = await client.reply();
      assert.match(reply, /^5\d\d 5\.[\d.]+ [\x20-\x7e]{1,200}$/, String(each).slice(0, 60));
    }
    assert.deepEqual(asked, []);
    assert.match(await client.ask('RCPT TO:<"<>@ \\" "@x.test>'), /^250/);
    assert.deepEqual(asked, ['"<>@ \\" "@x.test']);
    client.end();
  });
});

test("protocol errors, floods of junk commands and other protocols end the session", () =>
  withSite({ budget: { protocolErrors: 5, junkCommands: 10, lingerMs: 50 } }, async (site) => {
    const client = await site.client();
    await client.hello();
    for (let i = 0; i < 5; i++) assert.match(await client.ask("BOGUS"), /^500/);
    assert.match(await client.ask("BOGUS"), /^421 4\.7\.0 Too many errors/);
    const noisy = await site.client();
    await noisy.hello();
    noisy.write("NOOP\r\n".repeat(30));
    const replies = await noisy.rest();
    assert.deepEqual(
      replies.map((reply) => reply.slice(0, 3)),
      [...Array(9).fill("250"), ...Array(5).fill("450"), "421"],
    );
    const browser = await site.client();
    await browser.reply();
    browser.write("POST / HTTP/1.1\r\n");
    assert.match((await browser.rest()).join(), /^502/);
  }));

test("a slow client is cut off although each octet comes in time", () =>
  withSite({ budget: { idleMs: 200, dataBlockMs: 150, dataBlockBytes: 100, lingerMs: 50 } }, async (site) => {
    const drip = async (client: Client): Promise<void> => {
      while (!client.closed) {
        client.write("x");
        await tick(20);
      }
    };
    const commands = await site.client();
    await commands.hello();
    const content = await site.client();
    await content.hello();
    await content.toData();
    const started = Date.now();
    await Promise.all([drip(commands), drip(content)]);
    assert.match((await commands.rest()).join(), /^421 4\.4\.2 mx\.test timeout expired/);
    assert.match((await content.rest()).join(), /^421 4\.4\.2/);
    assert.ok(Date.now() - started < 5_000);
  }));

test("a message has an end in time, however steadily it flows", () =>
  withSite({ budget: { messageMs: 300, dataBlockMs: 200, dataBlockBytes: 10, lingerMs: 50 } }, async (site) => {
    const client = await site.client();
    await client.hello();
    await client.toData();
    client.write("\r\n");
    while (!client.closed) {
      client.write(`${"x".repeat(50)}\r\n`);
      await tick(20);
    }
    assert.match((await client.rest()).join(), /^421 4\.4\.2/);
  }));

test("a flood whose replies are never read stops being read, then is cut off", () =>
  withSite({ budget: { replyBacklog: 4_096, idleMs: 300, junkCommands: 1e9, protocolErrors: 1e9 } }, async (site) => {
    const client = await site.client();
    await client.hello();
    client.socket.pause();
    let handed = 0;
    const flood = setInterval(() => {
      for (let i = 0; i < 20 && client.socket.writableLength < 1e6; i++) {
        client.write("HELP\r\n".repeat(2_000));
        handed += 12_000;
      }
    }, 5);
    const before = process.memoryUsage.rss();
    await until(() => site.events.some((event) => event.startsWith("close")), "the flood was cut off");
    clearInterval(flood);
    assert.ok(handed > 100_000);
    assert.ok(process.memoryUsage.rss() - before < 200 * 1024 * 1024);
    assert.match(site.events.join(), /does not read replies/);
    client.end();
  }));

test("a client that goes away mid-DATA leaves nothing; a reset mid-reply harms nobody", () =>
  withSite({}, async (site) => {
    const client = await site.client();
    await client.hello();
    await client.toData();
    client.write("Subject: x\r\n\r\nhalf");
    await tick(20);
    client.socket.resetAndDestroy();
    await until(() => site.events.includes("abort"), "sink aborted");
    await until(() => site.server.sessionCount === 0, "session forgotten");
    assert.equal(site.received.length, 0);
    assert.equal(site.events.filter((event) => event.startsWith("close")).length, 1);
  }));

test("a half close mid-DATA is the end too", () =>
  withSite({}, async (site) => {
    const client = await site.client();
    await client.hello();
    await client.toData();
    client.socket.end("\r\nhalf");
    await once(client.socket, "close");
    await until(() => site.events.includes("abort"), "sink aborted");
  }));

test("data before the greeting is refused when there is a wait", () =>
  withSite({ greetDelayMs: 80, budget: { lingerMs: 50 } }, async (site) => {
    const eager = await site.client();
    eager.write("EHLO x\r\n");
    assert.deepEqual(await eager.rest(), ["554 5.5.1 You talked before the greeting"]);
    const patient = await site.client();
    assert.match(await patient.reply(), /^220/);
    patient.end();
  }));

test("TLS garbage, a handshake that never comes, and STARTTLS injection", () =>
  withSite(
    {
      tls: { mode: "starttls", certificates: [selfSigned(["mx.test"])] },
      budget: { tlsHandshakeMs: 100, lingerMs: 50 },
    },
    async (site) => {
      for (const octets of ["garbage that is not TLS\r\n", ""]) {
        const client = await site.client();
        await client.hello();
        assert.equal(await client.ask("STARTTLS"), "220 2.0.0 Go ahead");
        client.write(octets);
        await once(client.socket, "close");
      }
      // RFC 3207 §6: what came with STARTTLS in one packet must not be taken for commands under TLS.
      const injector = await site.client();
      await injector.hello();
      injector.write("STARTTLS\r\nMAIL FROM:<evil@x.test>\r\n");
      assert.match((await injector.rest()).join(), /^503 5\.5\.1/);
      await until(() => site.server.sessionCount === 0, "all gone");
    },
  ));

test("three hundred idle sessions don't slow a message, and all end at their time", () =>
  withSite({ budget: { idleMs: 700, lingerMs: 50 } }, async (site) => {
    const idle = await Promise.all(Array.from({ length: 300 }, () => site.client()));
    await Promise.all(idle.map((client) => client.reply()));
    const client = await site.client();
    const started = performance.now();
    await client.hello();
    await client.toData();
    assert.match(await client.ask("\r\nx\r\n."), /^250/);
    assert.ok(performance.now() - started < 600);
    client.end();
    const ends = await Promise.all(idle.map((each) => each.rest()));
    assert.ok(ends.every(([reply]) => reply?.startsWith("421 4.4.2")));
    await until(() => site.server.sessionCount === 0, "all gone");
  }));
