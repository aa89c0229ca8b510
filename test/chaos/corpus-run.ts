/**
 * Real messages through SPF, DKIM, ARC, DMARC and a real clamd in the real gateway, on to a next hop: who answered
 * what, what arrived with which verdicts, and what it cost in memory.
 * Invariants: every message is answered, an infected one with 552, one with a bare CR with 521, all others with 250; a
 * signed one arrives with dkim=pass and a broken one without, each with the body that was sent; the workers at the end
 * are those of the beginning. `Result.faults` names what did not hold.
 */
import { createHash, generateKeyPairSync } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { type SigningKey, signingKey } from "../../src/checks/dkim/sign.ts";
import type { Scope } from "../integration/daemons.ts";
import { type Dialogue, dialogue, type Gateway, Lab, until } from "../integration/lab.ts";
import { infectedZip, startClamd } from "../integration/scanner-daemons.ts";
import { startDnsServer } from "../unit/dns/server.ts";
import { messageOf, type Variation } from "./corpus-messages.ts";
import { startNextHop } from "./peers.ts";
import { growth, type Sample, usage } from "./series.ts";

export interface RunOptions {
  messages: number;
  originals: readonly Buffer[];
  lanes: number;
  /** Called about each second. */
  progress?: (sent: number, sample: Sample) => void;
}

export interface Result {
  /** Messages by what was sent and what was answered, such as "plain: 250". */
  replies: Record<string, number>;
  delivered: number;
  seconds: number;
  samples: Sample[];
  /** Median of the workers' memory in the last quarter over that in the second. */
  growth: number;
  faults: string[];
}

const messagesPerSession = 20;
/** A run too short to warm up says nothing about memory. */
const leakSamples = 40;
const mostGrowth = 1.15;
const domain = "author.test";

/** Runs it; undefined when clamd is missing and `scope` skips that. */
export async function runCorpus(scope: Scope, options: RunOptions): Promise<Result | undefined> {
  const clamd = await startClamd(scope);
  if (clamd === undefined) return undefined;
  const { privateKey, publicKey } = generateKeyPairSync("rsa", {
    modulusLength: 2048,
    publicKeyEncoding: { type: "spki", format: "der" },
    privateKeyEncoding: { type: "pkcs8", format: "pem" },
  });
  const record = `v=DKIM1; k=rsa; p=${publicKey.toString("base64")}`;
  const dns = await startDnsServer({
    [`s._domainkey.${domain}`]: [{ TXT: record.match(/.{1,250}/g) ?? [] }],
    [domain]: [{ TXT: "v=spf1 ip4:127.0.0.0/8 -all" }, { MX: [10, `mx.${domain}`] }],
    [`_dmarc.${domain}`]: [{ TXT: "v=DMARC1; p=none" }],
  });
  scope.after(() => dns.close());
  const arrivals = new Arrivals();
  const hop = await startNextHop(arrivals);
  scope.after(() => hop.close());
  const lab = new Lab();
  scope.after(() => lab.close());
  const gateway = await lab.gateway({
    dns: { servers: [dns.address] },
    authentication: { results: true },
    scanners: [{ type: "clamav", name: "clamd", address: `127.0.0.1:${clamd.port}`, onVirus: "reject" }],
    policy: { smtpFilters: null, processingWait: "60s" },
    domains: { routes: { "out.test": `[127.0.0.1]:${hop.port}` } },
  });
  return new Run(gateway, arrivals, signingKey(domain, "s", privateKey), options).run();
}

/** What the next hop got, by what had been sent. */
class Arrivals {
  readonly count: Record<Variation, number> = { plain: 0, signed: 0, broken: 0, infected: 0 };
  readonly faults: string[] = [];
  readonly #bodies = new Map<string, string>();

  /** A message goes out under this name. */
  expect(name: string, message: string): void {
    this.#bodies.set(name, bodyHash(message));
  }

  arrived(message: string): void {
    const header = message.slice(0, message.indexOf("\r\n\r\n")).replace(/\r\n[ \t]+/g, " ");
    const [results = ""] = /^Authentication-Results: gw\.test;.*$/m.exec(header) ?? [];
    const [, name = "", variation] = new RegExp(`smtp\\.mailfrom=((\\w+)-\\d+)@${domain}`).exec(results) ?? [];
    if (variation === undefined) {
      this.faults.push(`arrived without results: ${header.slice(0, 200)}`);
      return;
    }
    this.count[variation as Variation]++;
    const body = this.#bodies.get(name);
    if (body !== anyBody && body !== bodyHash(message)) this.faults.push(`${name} arrived with another body`);
    const passed = new RegExp(`dkim=pass[^;]*header\\.d=${domain}`).test(results);
    if (passed !== (variation === "signed")) this.faults.push(`${variation} arrived with ${results}`);
  }

  reported(message: string): void {
    this.faults.push(`a report: ${message.slice(0, 300)}`);
  }

  get total(): number {
    return Object.values(this.count).reduce((sum, count) => sum + count, 0);
  }
}

/** RFC 5321 §4.5.3.1.6: a longer line is broken on its way out, so the body that arrives is another. */
const longLine = /[^\n]{1000}/;
const anyBody = "any";

function bodyHash(message: string): string {
  const body = message.slice(message.indexOf("\r\n\r\n") + 4);
  return longLine.test(body) ? anyBody : createHash("sha1").update(body, "latin1").digest("hex");
}

class Run {
  readonly #gateway: Gateway;
  readonly #arrivals: Arrivals;
  readonly #key: SigningKey;
  readonly #options: RunOptions;
  readonly #zip = infectedZip();
  readonly #replies: Record<string, number> = {};
  readonly #samples: Sample[] = [];
  readonly #faults: string[] = [];
  readonly #began = Date.now();
  #next = 0;
  #accepted = 0;

  constructor(gateway: Gateway, arrivals: Arrivals, key: SigningKey, options: RunOptions) {
    this.#gateway = gateway;
    this.#arrivals = arrivals;
    this.#key = key;
    this.#options = options;
  }

  async run(): Promise<Result> {
    const workers = this.#gateway.workers();
    let over = false;
    const watching = (async () => {
      for (; !over; await sleep(1_000)) this.#sample();
    })();
    await Promise.all(Array.from({ length: this.#options.lanes }, () => this.#lane()));
    over = true;
    await watching;
    const seconds = (Date.now() - this.#began) / 1_000;
    try {
      await until("all arrive", () => this.#arrivals.total >= this.#accepted, 60_000);
    } catch {
      this.#faults.push(`${this.#accepted} accepted, ${this.#arrivals.total} arrived`);
    }
    if (String(this.#gateway.workers()) !== String(workers)) this.#faults.push("a worker was restarted");
    for (const line of this.#gateway.output().split("\n")) {
      if (/"level":(50|60|"error"|"critical")/.test(line)) this.#faults.push(line.slice(0, 500));
    }
    const grown = this.#samples.length < leakSamples ? 1 : growth(this.#samples, "memory");
    if (grown > mostGrowth) this.#faults.push(`memory grew ×${grown.toFixed(2)} after warm-up`);
    return {
      replies: this.#replies,
      delivered: this.#arrivals.total,
      seconds,
      samples: this.#samples,
      growth: grown,
      faults: [...this.#faults, ...this.#arrivals.faults],
    };
  }

  #sample(): void {
    const sample = { at: (Date.now() - this.#began) / 1_000, ...usage(this.#gateway.workers()), lag: 0, errors: 0 };
    this.#samples.push(sample);
    this.#options.progress?.(Math.min(this.#next, this.#options.messages), sample);
  }

  async #lane(): Promise<void> {
    while (this.#next < this.#options.messages) {
      const client = await dialogue(this.#gateway.port);
      await client.reply();
      await client.say("EHLO corpus.test");
      for (let i = 0; i < messagesPerSession && this.#next < this.#options.messages; i++) {
        if (!(await this.#send(client, this.#next++))) break;
      }
      client.close();
    }
  }

  /** False when the session is over. */
  async #send(client: Dialogue, number: number): Promise<boolean> {
    const { variation, bytes } = await messageOf(number, this.#options.originals, this.#key, this.#zip);
    const name = `${variation}-${number}`;
    const text = bytes.toString("latin1");
    this.#arrivals.expect(name, text);
    for (const line of [`MAIL FROM:<${name}@${domain}>`, "RCPT TO:<b@out.test>", "DATA"]) await client.say(line);
    client.raw(Buffer.from(text.replace(/^\./gm, ".."), "latin1"));
    const reply = await client.say(".");
    const code = reply.slice(0, 3) || "closed";
    const key = `${variation}: ${code}${code === "250" ? "" : reply.slice(3, 60)}`;
    this.#replies[key] = (this.#replies[key] ?? 0) + 1;
    if (code === "250") this.#accepted++;
    // A broken line end is refused and the session closed; the reply may be lost with the rest of what we wrote.
    const expected = /\r[^\n]/.test(text) ? ["521", "closed"] : variation === "infected" ? ["552"] : ["250"];
    if (!expected.includes(code)) this.#faults.push(`number ${number}: ${key}`);
    return reply !== "" && code !== "521";
  }
}
