/** One message through one real milter by our client, as a session would pass it. */
import assert from "node:assert/strict";
import { budgetWith } from "../../src/config/budget.ts";
import { MilterChain } from "../../src/scanners/milter/chain.ts";
import { MilterClient, milterSettings } from "../../src/scanners/milter/link.ts";

const budget = budgetWith();

/** Who sends; the default is a client that opendkim and its like sign for. */
export interface MilterSender {
  ip?: string;
  mailFrom?: string;
}

/** Answers the verdict and the header section as the milter leaves it, with our trace field on top of what it saw. */
export async function filtered(port: number, text: string, sender: MilterSender = {}) {
  const { ip = "127.0.0.1", mailFrom = "a@x.example" } = sender;
  const client = new MilterClient(milterSettings({ name: "real", address: { host: "127.0.0.1", port } }), budget);
  const macros: Record<string, string> = { i: "Q1", j: "gw.test", mail_addr: mailFrom, rcpt_addr: "b@l.example" };
  const chain = new MilterChain([client], (name) => macros[name], budget);
  try {
    const end = text.indexOf("\r\n\r\n") + 4;
    for (const step of [
      () => chain.connect({ host: "x.example", ip, port: 1234 }),
      () => chain.helo("x.example"),
      () => chain.mail(mailFrom),
      () => chain.rcpt("b@l.example"),
      () => chain.data(),
    ]) {
      const answer = await step();
      assert.equal(answer.outcome, undefined);
    }
    const received = "Received: from x.example by gw.test with ESMTP id Q1; Mon, 1 Jan 2024 00:00:00 +0000\r\n";
    const header = Buffer.from(received + text.slice(0, end), "latin1");
    const result = await chain.message(header, 1, () => [Buffer.from(text.slice(end), "latin1")]);
    return { ...result, headerText: (result.header ?? header).toString("latin1") };
  } finally {
    await chain.close();
    await client.close();
  }
}
