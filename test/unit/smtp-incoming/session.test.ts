import assert from "node:assert/strict";
import { connect } from "node:net";
import { test } from "node:test";
import fc from "fast-check";
import { outcome } from "../../../src/message/outcome.ts";
import { Client, collectingSink, withSite } from "./site.ts";

const tick = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
const refuse = (code: number, enhanced: string, text: string) => outcome.of({ code, enhanced, text, origin: "test" });

test("a message goes through, with envelope, content and default replies", () =>
  withSite({}, async (site) => {
    const client = await site.client();
    assert.equal(await client.reply(), "220 mx.test ESMTP ready");
    const ehlo = await client.ask("EHLO client.test");
    for (const keyword of [
      "PIPELINING",
      "8BITMIME",
      "CHUNKING",
      "SIZE 1048576",
      "DSN",
      "SMTPUTF8",
      "LIMITS RCPTMAX=100",
    ]) {
      assert.match(ehlo, new RegExp(`^250[- ]${keyword}$`, "m"));
    }
    assert.doesNotMatch(ehlo, /STARTTLS|AUTH|REQUIRETLS|XCLIENT|DELIVERBY/);
    assert.equal(await client.ask("MAIL FROM:<a@x.test> SIZE=100 RET=HDRS"), "250 2.1.0 Sender accepted");
    assert.equal(await client.ask("RCPT TO:<b@y.test> NOTIFY=NEVER"), "250 2.1.5 Recipient accepted");
    assert.equal(await client.ask("DATA"), "354 Ready to receive data; remember <CRLF>.<CRLF>");
    client.write("Subject: hi\r\n\r\n..dot\r\n.\r\n");
    assert.equal(await client.reply(), "250 2.0.0 Mail queued for delivery");
    assert.equal(await client.ask("QUIT"), "221-2.0.0 mx.test ESMTP is closing connection\n221 2.0.0 Good bye");
    const [received] = site.received;
    assert.equal(received?.content, "Subject: hi\r\n\r\n.dot\r\n");
    assert.equal(received?.client.protocol, "ESMTP");
    assert.deepEqual(received?.envelope, {
      mailFrom: "a@x.test",
      rcptTo: [{ address: "b@y.test", notify: ["NEVER"] }],
      declaredSize: 100,
      body: "7BIT",
      smtpUtf8: false,
      requireTls: false,
      ret: "HDRS",
    });
    client.end();
  }));

test("commands out of order are refused, and the session goes on", () =>
  withSite({}, async (site) => {
    const client = await site.client();
    await client.reply();
    const table: Array<[string, string]> = [
      ["MAIL FROM:<a@x.test>", "503 5.5.1"],
      ["EHLO client.test", "250"],
      ["RCPT TO:<b@y.test>", "503 5.5.1"],
      ["DATA", "503 5.5.1"],
      ["MAIL FROM:<a@x.test>", "250 2.1.0"],
      ["MAIL FROM:<a@x.test>", "503 5.5.1"],
      ["DATA", "503 5.5.1"],
      ["RCPT TO:<>", "553 5.1.3"],
      ["RCPT TO:<postmaster>", "250 2.1.5"],
      ["RSET", "250 2.0.0 Reset done"],
      ["RCPT TO:<b@y.test>", "503 5.5.1"],
      ["STARTTLS", "502 5.5.1"],
      ["AUTH PLAIN", "502 5.5.1"],
      ["XCLIENT ADDR=192.0.2.1", "550 5.7.0"],
      ["EXPN list", "502 5.5.1"],
      ["LHLO x", "500 5.5.1"],
      ["VRFY b", "252"],
      ["HELP", "214"],
      ["MAIL FROM:<jürgen@x.test>", "553 5.6.7"],
      ["MAIL FROM:<a@x.test> SIZE=9999999", "552 5.3.4"],
      ["MAIL FROM:<a@x.test> BY=10;R", "555 5.5.4"],
      ["MAIL FROM:<a@x.test> REQUIRETLS", "555 5.5.4"],
      ["NOOP ünicode", "500 5.5.2"],
    ];
    for (const [command, reply] of table) {
      const answer = await client.ask(command);
      assert.ok(answer.startsWith(reply), `${command}: ${answer}`);
    }
    client.end();
  }));

test("what is announced follows the settings at each EHLO", () =>
  withSite({}, async (site) => {
    const client = await site.client();
    await client.hello();
    Object.assign(site.settings, {
      allowPipelining: false,
      allow8bitMime: false,
      allowBinary: false,
      allowDsn: false,
      allowSmtpUtf8: false,
      maxMessageBytes: 2048,
      authPlain: ["PLAIN"],
    });
    assert.equal(
      await client.ask("EHLO client.test"),
      "250-mx.test ESMTP hello\n250-AUTH PLAIN\n250-AUTH=PLAIN\n250-SIZE 2048\n250-ENHANCEDSTATUSCODES\n250-LIMITS RCPTMAX=100\n250 HELP",
    );
    for (const parameter of ["BODY=8BITMIME", "BODY=BINARYMIME", "SMTPUTF8", "RET=FULL"]) {
      assert.match(await client.ask(`MAIL FROM:<a@x.test> ${parameter}`), /^555/, parameter);
    }
    client.end();
  }));

test("a pipelined group is answered in order; a command that ends a group must be its last", () =>
  withSite({}, async (site) => {
    const client = await site.client();
    await client.hello();
    client.write("MAIL FROM:<a@x.test>\r\nRCPT TO:<b@y.test>\r\nRCPT TO:<>\r\nDATA\r\n");
    const replies = [await client.reply(), await client.reply(), await client.reply(), await client.reply()];
    assert.deepEqual(
      replies.map((reply) => reply.slice(0, 3)),
      ["250", "250", "553", "354"],
    );
    client.write("\r\nx\r\n.\r\nMAIL FROM:<c@x.test>\r\nRSET\r\nQUIT\r\n");
    assert.deepEqual(
      (await client.rest()).map((reply) => reply.slice(0, 3)),
      ["250", "250", "250", "221"],
    );
    for (const group of [
      "EHLO x\r\nMAIL FROM:<>\r\n",
      "MAIL FROM:<>\r\nRCPT TO:<b@y.test>\r\nDATA\r\nSubject: x\r\n",
    ]) {
      const eager = await site.client();
      await eager.hello();
      eager.write(group);
      assert.match((await eager.rest()).at(-1)!, /^503 5\.5\.1 Improper/, group);
    }
    const noEsmtp = await site.client();
    await noEsmtp.reply();
    await noEsmtp.ask("HELO x");
    noEsmtp.write("MAIL FROM:<>\r\nRCPT TO:<b@y.test>\r\n");
    assert.match((await noEsmtp.rest()).join(), /^503 5\.5\.1 Improper/);
  }));

test("verdicts of the handler: reply texts, per recipient, at DATA, at the final dot; sync and async", () =>
  withSite(
    {
      handler: (site) => ({
        onMailFrom: async ({ mailFrom }) => {
          await tick(5);
          return mailFrom === "bad@x.test" ? refuse(550, "5.7.1", "Not you\nsecond line") : undefined;
        },
        onRcptTo: (_, { address }) =>
          address === "gone@y.test"
            ? refuse(550, "5.1.1", "User not found")
            : outcome.accept({ code: 250, enhanced: "2.1.5", text: "fine by me", origin: "t" }),
        onData: (envelope) =>
          envelope.mailFrom === "grey@x.test"
            ? refuse(451, "4.7.1", "Temporary rejected by greylisting")
            : { ...collectingSink(site, envelope, {} as never), end: async () => refuse(554, "5.7.1", "spam") },
      }),
    },
    async (site) => {
      const client = await site.client();
      await client.hello();
      assert.equal(await client.ask("MAIL FROM:<bad@x.test>"), "550-5.7.1 Not you\n550 5.7.1 second line");
      assert.match(await client.ask("MAIL FROM:<grey@x.test>"), /^250/);
      assert.equal(await client.ask("RCPT TO:<gone@y.test>"), "550 5.1.1 User not found");
      assert.match(await client.ask("DATA"), /^503/);
      assert.equal(await client.ask("RCPT TO:<b@y.test>"), "250 2.1.5 fine by me");
      assert.equal(await client.ask("DATA"), "451 4.7.1 Temporary rejected by greylisting");
      await client.ask("RSET");
      await client.toData();
      assert.equal(await client.ask("\r\nx\r\n."), "554 5.7.1 spam");
      client.end();
    },
  ));

test("onConnect and onEhlo may refuse; a handler that throws costs one 451", () =>
  withSite(
    {
      handler: () => ({
        onEhlo: ({ ehlo }) => (ehlo === "evil" ? refuse(550, "5.7.1", "no") : undefined),
        onMailFrom: () => {
          throw new Error("boom");
        },
        onRcptTo: () => Promise.reject(new Error("boom")),
      }),
    },
    async (site) => {
      const client = await site.client();
      await client.reply();
      assert.equal(await client.ask("EHLO evil"), "550 5.7.1 no");
      assert.match(await client.ask("MAIL FROM:<>"), /^503/);
      await client.ask("EHLO good");
      assert.match(await client.ask("MAIL FROM:<>"), /^451 4\.3\.0/);
      assert.match(await client.ask("NOOP"), /^250/);
      client.end();
    },
  ));

test("onConnect refusals are 554 or 421, then the connection ends", async () => {
  for (const [code, expected] of [
    [550, "554 5.7.1 go away"],
    [450, "421 4.7.1 go away"],
  ] as const) {
    await withSite(
      { handler: () => ({ onConnect: () => refuse(code, `${code < 500 ? 4 : 5}.7.1`, "go away") }) },
      async (site) => {
        const client = await site.client();
        assert.deepEqual(await client.rest(), [expected]);
      },
    );
  }
});

test("a sink or handler that fails costs its message a 451, in step with what the client sends", async () => {
  const boom = (): never => {
    throw new Error("disk full");
  };
  const later = (): Promise<never> => Promise.reject(new Error("disk full"));
  for (const fail of [boom, later]) {
    for (const at of ["write", "end"] as const) {
      await withSite(
        {
          handler: (site) => ({
            onData: (envelope) => ({ ...collectingSink(site, envelope, {} as never), [at]: fail }),
          }),
        },
        async (site) => {
          const client = await site.client();
          await client.hello();
          await client.toData();
          client.write("\r\nx\r\n.\r\nNOOP\r\n");
          assert.match(await client.reply(), /^451 4\.3\.0/);
          assert.match(await client.reply(), /^250 2\.0\.0 OK/);
          assert.match(await client.ask("MAIL FROM:<a@x.test>"), /^250/);
          client.end();
        },
      );
    }
    await withSite({ handler: () => ({ onData: fail }) }, async (site) => {
      const client = await site.client();
      await client.hello();
      assert.match(await client.toData(), /^451/);
      client.write("BDAT 6 LAST\r\nQUIT\r\nNOOP\r\n");
      assert.match(await client.reply(), /^451/);
      assert.match(await client.reply(), /^250 2\.0\.0 OK/);
      client.end();
    });
  }
});

test("BDAT: chunks, refused chunks are read, the rest waits for RSET", () =>
  withSite({}, async (site) => {
    const client = await site.client();
    await client.hello();
    await client.ask("MAIL FROM:<a@x.test> BODY=BINARYMIME");
    client.write("BDAT 5\r\nabcde");
    assert.match(await client.reply(), /^503/);
    await client.ask("RCPT TO:<b@y.test>");
    assert.match(await client.ask("DATA"), /^503 5\.5\.1 BODY=BINARYMIME/);
    client.write("BDAT 6\r\nA: b\r\nBDAT 2\r\n\r\n");
    assert.match(await client.reply(), /^250 2\.0\.0 6 octets/);
    assert.match(await client.reply(), /^250 2\.0\.0 2 octets/);
    assert.match(await client.ask("MAIL FROM:<c@x.test>"), /^503/);
    client.write(Buffer.from("BDAT 4 LAST\r\n\0\n.\r", "latin1"));
    assert.match(await client.reply(), /^250 2\.0\.0 Mail queued/);
    assert.equal(site.received[0]?.content, "A: b\r\n\r\n\0\n.\r");
    // Too large: 552 after its octets, then 503 until RSET.
    await client.ask("MAIL FROM:<a@x.test>");
    await client.ask("RCPT TO:<b@y.test>");
    client.write(`BDAT ${2 * 1024 * 1024}\r\n`);
    client.write(Buffer.alloc(2 * 1024 * 1024, "x"));
    assert.match(await client.reply(), /^552 5\.3\.4/);
    assert.match(await client.ask("BDAT 0 LAST"), /^503/);
    client.end();
  }));

test("a chunk before any recipient, or after a refused one, spoils no later DATA", () =>
  withSite({}, async (site) => {
    const client = await site.client();
    await client.hello();
    await client.ask("MAIL FROM:<a@x.test>");
    client.write("BDAT 3\r\nabc");
    assert.match(await client.reply(), /^503/);
    await client.ask("RCPT TO:<b@y.test>");
    assert.match(await client.ask("DATA"), /^354/);
    assert.match(await client.ask("Subject: one\r\n\r\nx\r\n."), /^250/);
    await client.ask("MAIL FROM:<a@x.test>");
    await client.ask("RCPT TO:<b@y.test>");
    client.write(`BDAT ${2 * 1024 * 1024} LAST\r\n`);
    client.write(Buffer.alloc(2 * 1024 * 1024));
    assert.match(await client.reply(), /^552/);
    assert.match(await client.toData(), /^354/);
    assert.match(await client.ask("Subject: two\r\n\r\nx\r\n."), /^250/);
    assert.deepEqual(
      site.received.map(({ content }) => content.slice(0, 12)),
      ["Subject: one", "Subject: two"],
    );
    client.end();
  }));

test("LMTP: LHLO, and one reply a recipient", () =>
  withSite(
    {
      profile: "lmtp",
      handler: (site) => ({
        onData: (envelope) => ({
          ...collectingSink(site, envelope, {} as never),
          endEach: () => [refuse(250, "2.1.5", "one"), refuse(452, "4.2.2", "two is full")],
        }),
      }),
    },
    async (site) => {
      const client = await site.client();
      await client.reply();
      assert.match(await client.ask("EHLO x"), /^500/);
      assert.match(await client.ask("LHLO x"), /^250/);
      await client.ask("MAIL FROM:<a@x.test>");
      await client.ask("RCPT TO:<one@y.test>");
      await client.ask("RCPT TO:<two@y.test>");
      await client.ask("DATA");
      client.write("\r\nx\r\n.\r\nNOOP\r\n");
      assert.deepEqual(
        [await client.reply(), await client.reply(), await client.reply()],
        ["250 2.1.5 one", "452 4.2.2 two is full", "250 2.0.0 OK"],
      );
      client.end();
    },
  ));

test("the sink's back-pressure holds the client, and everything arrives", () => {
  let waiting = 0;
  let most = 0;
  let octets = 0;
  return withSite(
    {
      settings: { maxMessageBytes: 64 * 1024 * 1024 },
      handler: () => ({
        onData: () => ({
          write: async (piece) => {
            waiting += piece.length;
            most = Math.max(most, waiting);
            await tick(1);
            waiting -= piece.length;
            octets += piece.length;
          },
          end: () => refuse(250, "2.0.0", `got ${octets}`),
          abort: () => {},
        }),
      }),
    },
    async (site) => {
      const client = await site.client();
      await client.hello();
      await client.toData();
      const body = Buffer.from(`${"x".repeat(998)}\r\n`.repeat(4_000));
      client.write(body); // no header at all: the first line shows that it is none
      assert.equal(await client.ask("."), `250 2.0.0 got ${body.length}`);
      assert.ok(most <= 256 * 1024, `${most} octets were in flight at once`);
      client.end();
    },
  );
});

test("8-bit content makes the envelope 8BITMIME; SMTPUTF8 is told to the handler", () =>
  withSite({}, async (site) => {
    const client = await site.client();
    await client.hello();
    assert.match(await client.ask("MAIL FROM:<jürgen@x.test> SMTPUTF8"), /^250/);
    assert.match(await client.ask("RCPT TO:<jürgen@y.test>"), /^250/);
    await client.ask("DATA");
    await client.ask("\r\ngrün\r\n.");
    const [received] = site.received;
    assert.equal(received?.envelope.mailFrom, "jürgen@x.test");
    assert.equal(received?.envelope.body, "8BITMIME");
    assert.equal(received?.client.protocol, "UTF8SMTP");
    client.end();
  }));

test("close drains: idle sessions get 421, a running transaction may end", () =>
  withSite({}, async (site) => {
    const idle = await site.client();
    await idle.hello();
    const busy = await site.client();
    await busy.hello();
    await busy.toData();
    const closing = site.server.close(2_000);
    assert.deepEqual(await idle.rest(), ["421 4.3.2 mx.test is shutting down"]);
    busy.write("\r\nx\r\n.\r\n");
    assert.deepEqual(await busy.rest(), ["250 2.0.0 Mail queued for delivery", "421 4.3.2 mx.test is shutting down"]);
    await closing;
    assert.equal(site.received.length, 1);
    assert.equal(site.server.sessionCount, 0);
  }));

test("a client that half-closes after its last command still gets every reply", () =>
  withSite({ handler: () => ({ onMailFrom: () => tick(20).then(() => undefined) }) }, async (site) => {
    const client = await site.client();
    await client.hello();
    client.socket.end("MAIL FROM:<a@x.test>\r\nRSET\r\n");
    assert.deepEqual(await client.rest(), ["250 2.1.0 Sender accepted", "250 2.0.0 Reset done"]);
  }));

test("QUIT closes the connection at once, after every reply, whether or not the client closes its side", () =>
  withSite({}, async (site) => {
    const socket = connect({ port: site.port, host: "127.0.0.1", allowHalfOpen: true });
    const client = new Client(socket);
    await client.hello();
    client.write("MAIL FROM:<a@x.test>\r\nRCPT TO:<b@local.test>\r\nQUIT\r\nNOOP\r\n");
    const replies = await client.rest();
    assert.deepEqual(
      replies.map((reply) => reply.slice(0, 4)),
      ["250 ", "250 ", "221-"],
    );
    assert.match(replies[2]!, /Good bye$/);
    while (site.server.sessionCount > 0) await tick(1);
    assert.equal(socket.writable, true, "the client's side is still open");
    socket.destroy();
  }));

test("a long pipelined group is worked off in turns, and in order", () => {
  let seen = 0;
  let seenWhenOthersRan = 0;
  return withSite(
    {
      settings: { maxRecipients: 10_000 },
      handler: () => ({
        onRcptTo: () => {
          if (seen++ === 0) {
            setImmediate(() => {
              seenWhenOthersRan = seen;
            });
          }
          return undefined;
        },
      }),
    },
    async (site) => {
      const client = await site.client();
      await client.hello();
      await client.ask("MAIL FROM:<a@x.test>");
      client.write(`${Array.from({ length: 1_500 }, (_, i) => `RCPT TO:<u${i}@y.test>\r\n`).join("")}RSET\r\n`);
      for (let i = 0; i < 1_500; i++) assert.match(await client.reply(), /^250 2\.1\.5/);
      assert.equal(await client.reply(), "250 2.0.0 Reset done");
      assert.equal(seen, 1_500);
      assert.ok(seenWhenOthersRan <= 400, `others waited for ${seenWhenOthersRan} commands`);
      client.end();
    },
  );
});

test("any pipelined mix of commands gets one reply each, and the session is usable after it", () =>
  withSite({ budget: { protocolErrors: 1e6, junkCommands: 1e6 } }, async (site) => {
    const client = await site.client();
    await client.hello();
    const command = fc.constantFrom(
      "MAIL FROM:<a@x.test>",
      "MAIL FROM:<a@x.test> BODY=BINARYMIME",
      "MAIL FROM:<bad",
      "RCPT TO:<b@y.test>",
      "RCPT TO:<>",
      "RSET",
      "NOOP",
      "VRFY b",
      "BOGUS",
      "",
      "BDAT 4\r\n\r\nab",
      "BDAT 0 LAST",
    );
    await fc.assert(
      fc.asyncProperty(fc.array(command, { minLength: 1, maxLength: 25 }), async (commands) => {
        // Chunks carry their octets with them and no CRLF of their own.
        client.write(commands.map((line) => (/^BDAT 4/.test(line) ? line : `${line}\r\n`)).join(""));
        for (const line of commands) assert.match(await client.reply(), /^[245]\d\d/, line);
        assert.equal(await client.ask("RSET"), "250 2.0.0 Reset done");
      }),
      { numRuns: 80, seed: 7 },
    );
    client.end();
  }));
