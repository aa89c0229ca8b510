/**
 * Question: what does it cost to authenticate a message, against mailauth alone? One thread, DNS in memory for both,
 * a 4 KiB and a 100 KiB message signed rsa-sha256 (2,048 bits). Verdicts are compared before anything is timed. `bare`
 * is the RSA operation and the hash of the message alone: nobody who uses this OpenSSL can be faster.
 * Failure: rejects when the verdicts differ.
 */
import assert from "node:assert/strict";
import { createHash, createPublicKey, generateKeyPairSync, sign as signBare, verify as verifyBare } from "node:crypto";
import { authenticate } from "mailauth";
import { dkimSign } from "mailauth/lib/dkim/sign.js";
import { dkimVerify } from "mailauth/lib/dkim/verify.js";
import { spf } from "mailauth/lib/spf/index.js";
import { authenticate as ourAuthenticate } from "../src/checks/authenticate.ts";
import { signDkim, signingKey } from "../src/checks/dkim/sign.ts";
import { verifyDkim } from "../src/checks/dkim/verify.ts";
import { readMessage } from "../src/checks/message.ts";
import { checkSpf } from "../src/checks/spf/check.ts";
import type { CheckContext } from "../src/checks/types.ts";
import { budgetWith } from "../src/config/budget.ts";
import { type ZoneEntry, zoneResolver } from "../src/dns/zone.ts";
import { figure, ratio } from "./measure.ts";

export interface BenchOptions {
  /** Time for each figure, ms. Default 1,000. */
  millis?: number;
}

/** Operations for each second of processor time: medians of the rounds, and the median of their ratios. */
export interface BenchRow {
  what: string;
  ours: number;
  mailauth: number;
  bare?: number;
  ratio: number;
  /** What the ratio would be if all but the bare cryptography were free. */
  ceiling?: number;
}

type Operation = () => unknown;

const rounds = 5;

const domain = "example.com";
const selector = "s1";

function message(octets: number): Buffer {
  const header = [
    "Received: from client.example.com (client.example.com [192.0.2.1]) by mx.example.net with ESMTPS; Fri, 20 Nov 2026 10:00:00 +0000",
    `From: Alice <alice@${domain}>`,
    "To: Bob <bob@example.net>",
    "Subject: a message of the usual kind",
    "Date: Fri, 20 Nov 2026 10:00:00 +0000",
    `Message-ID: <1@${domain}>`,
    "MIME-Version: 1.0",
    "Content-Type: text/plain; charset=utf-8",
  ];
  const line = "The quick brown fox jumps over the lazy dog and goes on to the next line.\r\n";
  return Buffer.from(`${header.join("\r\n")}\r\n\r\n${line.repeat(Math.ceil(octets / line.length))}`);
}

/** Operations for each second of processor time, so that other load on the machine counts less. */
async function rate(millis: number, run: Operation): Promise<number> {
  for (const end = performance.now() + millis / 4; performance.now() < end; ) await run();
  let count = 0;
  const cpu = process.cpuUsage();
  for (const end = performance.now() + millis; performance.now() < end; count++) await run();
  const { user, system } = process.cpuUsage(cpu);
  return (count * 1e6) / (user + system);
}

/** Takes turns, so that what disturbs one of them mostly disturbs the others. */
async function compare(
  what: string,
  millis: number,
  ours: Operation,
  mailauth: Operation,
  bare?: Operation,
): Promise<BenchRow> {
  const rates = { ours: [] as number[], mailauth: [] as number[], bare: [] as number[] };
  for (let round = 0; round < rounds; round++) {
    rates.ours.push(await rate(millis / rounds, ours));
    rates.mailauth.push(await rate(millis / rounds, mailauth));
    if (bare) rates.bare.push(await rate(millis / rounds, bare));
  }
  const row = {
    what,
    ours: Math.round(figure(rates.ours).median),
    mailauth: Math.round(figure(rates.mailauth).median),
    ratio: ratio(rates.ours, rates.mailauth).median,
  };
  if (!bare) return row;
  return { ...row, bare: Math.round(figure(rates.bare).median), ceiling: ratio(rates.bare, rates.mailauth).median };
}

export async function run(options: BenchOptions = {}): Promise<BenchRow[]> {
  const millis = options.millis ?? 1_000;
  const { publicKey, privateKey } = generateKeyPairSync("rsa", {
    modulusLength: 2048,
    publicKeyEncoding: { type: "spki", format: "der" },
    privateKeyEncoding: { type: "pkcs8", format: "pem" },
  });
  const texts: Record<string, string> = {
    [`${selector}._domainkey.${domain}`]: `v=DKIM1; k=rsa; p=${publicKey.toString("base64")}`,
    [domain]: "v=spf1 ip4:192.0.2.0/24 -all",
    [`_dmarc.${domain}`]: "v=DMARC1; p=reject",
  };
  const zone = new Map<string, ZoneEntry[]>(Object.entries(texts).map(([name, TXT]) => [name, [{ TXT }]]));
  const ctx: CheckContext = {
    resolver: zoneResolver(zone),
    budget: budgetWith(),
    hostName: "mx.example.net",
    now: Date.now,
  };
  const resolver = async (name: string, type: string): Promise<string[][]> => {
    const text = type === "TXT" ? texts[name] : undefined;
    if (text === undefined) throw Object.assign(new Error("no data"), { code: "ENOTFOUND" });
    return [[text]];
  };
  const key = signingKey(domain, selector, privateKey);
  const sender = { ip: "192.0.2.1", helo: "client.example.com", mailFrom: `alice@${domain}` };
  const theirs = { ip: sender.ip, helo: sender.helo, sender: sender.mailFrom, mta: ctx.hostName, resolver };
  const rows: BenchRow[] = [];
  const signedData = Buffer.alloc(500, "a");
  const signature = signBare("sha256", signedData, key.key);
  const publicObject = createPublicKey(key.key);
  for (const [label, octets] of [
    ["4 KiB", 4_096],
    ["100 KiB", 102_400],
  ] as const) {
    const plain = message(octets);
    const sign = async () => signDkim(await readMessage(plain, ctx.budget), [key], { timestamp: 1_790_000_000 });
    const [value] = await sign();
    const signed = Buffer.concat([Buffer.from(`DKIM-Signature: ${value}\r\n`), plain]);
    const verify = async () => verifyDkim(await readMessage(signed, ctx.budget), ctx);
    const [verdict] = await verify();
    const other = await dkimVerify(signed, theirs);
    assert.equal(verdict?.result, "pass");
    assert.equal(other.results[0]?.status.result, "pass");
    const whole = await ourAuthenticate(signed, sender, ctx);
    const otherWhole = await authenticate(signed, theirs);
    assert.equal(whole.dmarc.result, "pass");
    assert.equal((otherWhole.dmarc as { status: { result: string } }).status.result, "pass");
    const one = { signingDomain: domain, selector, privateKey, algorithm: "rsa-sha256" };
    const signOptions = { canonicalization: "relaxed/relaxed", ...one, signatureData: [one] };
    assert.match((await dkimSign(plain, signOptions)).signatures, /^DKIM-Signature:/);
    const hashed = () => createHash("sha256").update(plain).digest();
    const bareSign = () => [hashed(), signBare("sha256", signedData, key.key)];
    const bareVerify = () => [hashed(), verifyBare("sha256", signedData, publicObject, signature)];
    rows.push(
      await compare(`DKIM sign rsa-2048, ${label}`, millis, sign, () => dkimSign(plain, signOptions), bareSign),
      await compare(`DKIM verify rsa-2048, ${label}`, millis, verify, () => dkimVerify(signed, theirs), bareVerify),
      await compare(
        `SPF+DKIM+ARC+DMARC, ${label}`,
        millis,
        () => ourAuthenticate(signed, sender, ctx),
        () => authenticate(signed, theirs),
        bareVerify,
      ),
    );
  }
  rows.push(
    await compare(
      "SPF, one look-up",
      millis,
      () => checkSpf(sender, ctx),
      () => spf(theirs),
    ),
  );
  return rows;
}

if (import.meta.main) {
  for (const { what, ours, mailauth, bare, ratio: times, ceiling } of await run()) {
    const floor = bare === undefined ? "" : `, bare ${bare}/s, at most ${ceiling?.toFixed(1)}`;
    console.log(`${what.padEnd(32)} ours ${ours}/s, mailauth ${mailauth}/s, ratio ${times.toFixed(1)}${floor}`);
  }
}
