/** Our scanner clients and milter client against the real daemons, started here on loopback. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { budgetWith } from "../../src/config/budget.ts";
import { ClamavScanner } from "../../src/scanners/clamav.ts";
import { PolicyDelegation } from "../../src/scanners/policy-delegation.ts";
import { RspamdScanner } from "../../src/scanners/rspamd.ts";
import { SpamassassinScanner } from "../../src/scanners/spamassassin.ts";
import { type ScanInput, ScannerError } from "../../src/scanners/types.ts";
import { filtered } from "./milter-session.ts";
import {
  eicar,
  gtube,
  startClamavMilter,
  startClamd,
  startOpendkim,
  startPostgrey,
  startRspamd,
  startSpamassMilter,
  startSpamd,
} from "./scanner-daemons.ts";

const budget = budgetWith();
const at = (port: number) => ({ host: "127.0.0.1", port });

const fields =
  "From: a@x.example\r\nTo: b@l.example\r\nSubject: test\r\nDate: Mon, 1 Jan 2024 00:00:00 +0000\r\nMessage-ID: <1@x.example>\r\n";
const clean = `${fields}\r\nhello\r\n`;
const spam = `${fields}\r\n${gtube}\r\n`;
const infected = `${fields}MIME-Version: 1.0\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\n${Buffer.from(eicar).toString("base64")}\r\n`;

function input(text: string): ScanInput {
  const bytes = Buffer.from(text, "latin1");
  return {
    bytes: async function* () {
      for (let i = 0; i < bytes.length; i += 1_000_000) yield bytes.subarray(i, i + 1_000_000);
    },
    size: bytes.length,
    mailFrom: "a@x.example",
    rcptTo: ["b@l.example"],
    remoteIp: "192.0.2.1",
    remoteHost: "x.example",
    ehlo: "x.example",
    authUser: "",
    queueId: "Q1",
  };
}

test("clamd over TCP and Unix socket, and clamav-milter before it", { timeout: 60_000 }, async (t) => {
  const clamd = await startClamd(t);
  if (clamd === undefined) return;
  for (const address of [at(clamd.port), { path: clamd.socket }]) {
    const scanner = new ClamavScanner({ name: "clamav", address, timeoutMs: 10_000, budget });
    await scanner.ping();
    assert.equal((await scanner.scan(input(clean))).virus, "");
    assert.equal((await scanner.scan(input(infected))).virus, "Test.EICAR-Body.UNOFFICIAL");
    await assert.rejects(scanner.scan(input(clean + "x".repeat(2 << 20))), (error) => error instanceof ScannerError);
    assert.equal((await scanner.scan(input(clean))).virus, "", "works on after an error");
    await scanner.close();
  }
  const port = await startClamavMilter(t, clamd.port);
  if (port === undefined) return;
  const refused = await filtered(port, infected);
  assert.equal(refused.outcome?.code, 550);
  assert.match(refused.outcome?.text ?? "", /^Virus found: Test\.EICAR-Body/);
  assert.match((await filtered(port, clean)).headerText, /X-Virus-Status: Clean/);
});

test("spamd, and spamass-milter before it", { timeout: 90_000 }, async (t) => {
  const port = await startSpamd(t);
  if (port === undefined) return;
  const scanner = new SpamassassinScanner({ name: "spamd", address: at(port), timeoutMs: 30_000, budget });
  const verdict = await scanner.scan(input(spam));
  assert.ok(
    verdict.score! >= 1000 && verdict.threshold === 5 && verdict.symbols.includes("GTUBE"),
    JSON.stringify(verdict),
  );
  assert.equal((await scanner.check(input(clean))).spam, false);
  assert.match((await scanner.headers(input(spam))).toString(), /^X-Spam-Flag: YES/m);
  assert.match((await scanner.process(input(clean))).toString(), /hello/);
  const milterPort = await startSpamassMilter(t, port);
  if (milterPort === undefined) return;
  const refused = await filtered(milterPort, spam);
  assert.equal(refused.outcome?.code, 550);
  assert.match(refused.outcome?.text ?? "", /Blocked by SpamAssassin/);
  assert.match((await filtered(milterPort, clean)).headerText, /^X-Spam-Checker-Version: /m);
});

test("rspamd over HTTP and as a milter without replies", { timeout: 90_000 }, async (t) => {
  const rspamd = await startRspamd(t);
  if (rspamd === undefined) return;
  const { http, milter } = rspamd;
  const scanner = new RspamdScanner({ name: "rspamd", address: at(http), timeoutMs: 30_000, budget });
  await scanner.ping();
  const verdict = await scanner.scan(input(spam));
  assert.equal(verdict.action, "reject");
  assert.ok(verdict.symbols.includes("GTUBE"));
  assert.notEqual((await scanner.scan(input(clean))).action, "reject");
  await scanner.close();
  const refused = await filtered(milter, spam);
  assert.equal(refused.outcome?.code, 554);
  assert.match(refused.outcome?.text ?? "", /Gtube pattern/);
  assert.equal((await filtered(milter, clean)).outcome, undefined);
});

test("opendkim signs and verifies through our milter client", { timeout: 60_000 }, async (t) => {
  const opendkim = await startOpendkim(t);
  if (opendkim === undefined) return;
  const { port } = opendkim;
  const signed = await filtered(port, clean);
  const signature = /^DKIM-Signature: (?:.*\r\n)(?:[ \t].*\r\n)*/m.exec(signed.headerText)?.[0];
  assert.ok(signature?.includes("d=x.example; s=s;"), signed.headerText);
  assert.match(signed.headerText, /^DKIM-Signature:/, "inserted above our Received");
  // A client that is not internal is verified: the folds of the signature must arrive as they were written.
  const verify = async (text: string) => (await filtered(port, text, { ip: "192.0.2.1" })).headerText;
  assert.match(await verify(signature + clean), /^Authentication-Results: gw\.test;\s+dkim=pass/m);
  assert.match(
    await verify(signature + clean.replace("hello", "forged")),
    /^Authentication-Results: gw\.test;\s+dkim=fail/m,
  );
});

test("postgrey answers our policy delegation client", { timeout: 60_000 }, async (t) => {
  const port = await startPostgrey(t);
  if (port === undefined) return;
  const service = new PolicyDelegation("postgrey", at(port), 10_000, budget);
  t.after(() => service.close());
  const ask = (instance: string) =>
    service.ask({
      protocol_state: "RCPT",
      protocol_name: "ESMTP",
      client_address: "192.0.2.1",
      client_name: "unknown",
      sender: "a@x.example",
      recipient: "b@l.example",
      instance,
    });
  const first = await ask("1");
  assert.ok(first.kind === "reply" && first.outcome.temporary && first.outcome.text.startsWith("Greylisted, see"));
  await new Promise((resolve) => setTimeout(resolve, 2_100));
  const second = await ask("2");
  assert.ok(second.kind === "prepend" && second.name === "X-Greylist", JSON.stringify(second));
});
