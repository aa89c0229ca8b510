/**
 * The same filter and the same message through Postfix and through our milter client: what comes out must be equal,
 * octet for octet, but for each side's own Received field.
 */
import assert from "node:assert/strict";
import { connect } from "node:net";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { budgetWith } from "../../src/config/budget.ts";
import { MilterChain } from "../../src/scanners/milter/chain.ts";
import { MilterClient, milterSettings } from "../../src/scanners/milter/link.ts";
import { freePort, peer, start } from "./daemons.ts";
import { type Delivered, startPostfix, startSink, withoutTrace } from "./postfix.ts";

const budget = budgetWith();
const filterScript = fileURLToPath(new URL("milter-actions.py", import.meta.url));

type Call = [string, ...Array<string | number | null>];

interface Case {
  name: string;
  calls: Call[];
  /** Fields after X-Actions, and body. */
  message?: string;
}

const plain =
  "Subject: old\r\nX-A: one\r\nX-B:  two blanks\r\nX-A: three\r\n\tfolded\r\nTo: you\r\n\r\nbody\r\n..dot\r\nlast\r\n";

const cases: Case[] = [
  { name: "nothing", calls: [] },
  { name: "add a header", calls: [["addheader", "X-New", "value"]] },
  { name: "add a folded header", calls: [["addheader", "X-New", "one\n\ttwo\n three"]] },
  { name: "add a header with a line break that is no fold", calls: [["addheader", "X-New", "one\ntwo"]] },
  {
    name: "insert at 0, 1, 2",
    calls: [
      ["addheader", "X-0", "0", 0],
      ["addheader", "X-1", "1", 1],
      ["addheader", "X-2", "2", 2],
    ],
  },
  { name: "insert at 1", calls: [["addheader", "X-1", "1", 1]] },
  { name: "insert at 3", calls: [["addheader", "X-3", "3", 3]] },
  { name: "insert beyond the end", calls: [["addheader", "X-99", "99", 99]] },
  {
    name: "insert twice at 0",
    calls: [
      ["addheader", "X-First", "1", 0],
      ["addheader", "X-Second", "2", 0],
    ],
  },
  {
    name: "insert at 0, then at 3",
    calls: [
      ["addheader", "X-First", "1", 0],
      ["addheader", "X-Second", "2", 3],
    ],
  },
  { name: "change a header", calls: [["chgheader", "Subject", 1, "new"]] },
  { name: "change the second of its name", calls: [["chgheader", "X-A", 2, "new"]] },
  { name: "change index 0", calls: [["chgheader", "X-A", 0, "new"]] },
  { name: "change a missing header", calls: [["chgheader", "X-Missing", 1, "new"]] },
  { name: "change beyond the last of its name", calls: [["chgheader", "X-A", 5, "new"]] },
  { name: "delete a header", calls: [["chgheader", "X-B", 1, ""]] },
  {
    name: "delete the first, then the new first",
    calls: [
      ["chgheader", "X-A", 1, ""],
      ["chgheader", "X-A", 1, ""],
    ],
  },
  { name: "delete what isn't there", calls: [["chgheader", "X-Missing", 1, ""]] },
  { name: "try to delete the MTA's Received", calls: [["chgheader", "Received", 1, ""]] },
  {
    name: "add, then change what was added",
    calls: [
      ["addheader", "X-New", "1"],
      ["chgheader", "X-New", 1, "2"],
    ],
  },
  {
    name: "insert at 0, then change it",
    calls: [
      ["addheader", "X-New", "1", 0],
      ["chgheader", "X-New", 1, "2"],
    ],
  },
  { name: "name in another case", calls: [["chgheader", "sUBJECT", 1, "new"]] },
  { name: "replace the body", calls: [["replacebody", "new body\r\n"]] },
  {
    name: "replace the body in two chunks",
    calls: [
      ["replacebody", "new "],
      ["replacebody", "body\r\n"],
    ],
  },
  {
    name: "recipients and sender",
    calls: [
      ["addrcpt", "<more@x.example>"],
      ["delrcpt", "<you@x.example>"],
      ["chgfrom", "<else@x.example>"],
    ],
  },
  {
    name: "all at once",
    calls: [
      ["addheader", "X-New", "n"],
      ["chgheader", "Subject", 1, "s"],
      ["addheader", "X-Top", "t", 0],
      ["replacebody", "b\r\n"],
      ["addrcpt", "<more@x.example>"],
    ],
  },
];

/** One message over plain SMTP. */
async function send(port: number, message: string): Promise<void> {
  const socket = connect(port, "127.0.0.1").setEncoding("latin1");
  let pending = "";
  const replies = socket[Symbol.asyncIterator]() as AsyncIterator<string>;
  const expect = async (code: string) => {
    while (!/^\d{3} .*\r\n/m.test(pending)) {
      const { value, done } = await replies.next();
      assert.ok(!done, `closed after ${pending}`);
      pending += value;
    }
    const last = /^(\d{3}) .*\r\n/m.exec(pending)!;
    pending = pending.slice(last.index + last[0].length);
    assert.equal(last[1], code, last[0]);
  };
  await expect("220");
  for (const [line, code] of [
    ["EHLO client.example", "250"],
    ["MAIL FROM:<me@x.example>", "250"],
    ["RCPT TO:<you@x.example>", "250"],
    ["RCPT TO:<two@x.example>", "250"],
    ["DATA", "354"],
    [`${message.replace(/^\./gm, "..")}.`, "250"],
    ["QUIT", "221"],
  ] as const) {
    socket.write(`${line}\r\n`, "latin1");
    await expect(code);
  }
  socket.destroy();
}

async function ours(client: MilterClient, message: string): Promise<Delivered> {
  const chain = new MilterChain([client], () => undefined, budget);
  try {
    const end = message.indexOf("\r\n\r\n") + 4;
    const header = Buffer.from(`Received: own\r\n${message.slice(0, end)}`, "latin1");
    const body = Buffer.from(message.slice(end), "latin1");
    await chain.connect({ host: "client.example", ip: "127.0.0.1", port: 1 });
    await chain.helo("client.example");
    await chain.mail("me@x.example");
    for (const to of ["you@x.example", "two@x.example"]) await chain.rcpt(to);
    await chain.data();
    const result = await chain.message(header, 1, () => [body]);
    assert.equal(result.outcome, undefined);
    const to = ["you@x.example", "two@x.example"].filter((address) => !result.envelope.deleted.includes(address));
    return {
      from: result.envelope.mailFrom ?? "me@x.example",
      to: [...to, ...result.envelope.added.map((added) => added.address)].sort(),
      text: Buffer.concat([result.header ?? header, result.body ?? body]).toString("latin1"),
    };
  } finally {
    await chain.close();
  }
}

test("a filter's actions come out as Postfix delivers them", { timeout: 60_000 }, async (t) => {
  if (peer(t, "postfix") === undefined || peer(t, "python3") === undefined) return;
  const filterPort = await freePort();
  await start(t, "/usr/bin/python3", [filterScript, `inet:${filterPort}@127.0.0.1`], filterPort);
  const sink = await startSink(t);
  const port = await startPostfix(t, [filterPort], sink.port);
  if (port === undefined) return;
  const client = new MilterClient(
    milterSettings({ name: "actions", address: { host: "127.0.0.1", port: filterPort } }),
    budget,
  );
  t.after(() => client.close());
  for (const { name, calls, message = plain } of cases) {
    await t.test(name, async () => {
      const text = `X-Actions: ${JSON.stringify(calls)}\r\n${message}`;
      await send(port, text);
      const theirs = await sink.next();
      theirs.text = withoutTrace(theirs.text);
      assert.deepEqual(await ours(client, text), theirs);
    });
  }
});
