/**
 * Question: what does a round trip to a scanner cost, and what does it save to keep the connection? Our clients against
 * the real clamd (one signature, so that scanning itself costs little) and clamav-milter before it, on loopback; a 4 KiB
 * and a 64 KiB message that are clean; one and four at a time. To a milter, MAIL to the end of the body is a message; a
 * new connection also negotiates, and is told of client and EHLO. Failure: rejects when a daemon is missing or a verdict is not "clean".
 */
import assert from "node:assert/strict";
import { budgetWith } from "../src/config/budget.ts";
import { ClamavScanner } from "../src/scanners/clamav.ts";
import { MilterChain } from "../src/scanners/milter/chain.ts";
import { MilterClient, milterSettings } from "../src/scanners/milter/link.ts";
import type { ScanInput } from "../src/scanners/types.ts";
import { CommandScope } from "../test/integration/daemons.ts";
import { startClamavMilter, startClamd } from "../test/integration/scanner-daemons.ts";
import { figure, shown } from "./measure.ts";
import { type BenchOptions, type Report, tableOf } from "./report.ts";

const budget = budgetWith();
const header = Buffer.from("Received: from a by b; now\r\nFrom: a@x.example\r\nSubject: clean\r\n\r\n");

interface Case {
  what: string;
  kept(): Promise<void>;
  fresh(): Promise<void>;
}

export async function run({ quick }: BenchOptions): Promise<Report> {
  const scope = new CommandScope();
  try {
    const clamd = (await startClamd(scope))!;
    const milter = (await startClamavMilter(scope, clamd.port))!;
    const cases: Case[] = [];
    for (const kib of [4, 64]) {
      const body = Buffer.from("a line of text that means nothing to anybody\r\n".repeat((kib * 1_024) / 46));
      cases.push(scans(`clamd, ${kib} KiB`, clamd.port, body, scope));
      cases.push(sessions(`clamav-milter, ${kib} KiB`, milter, body, scope));
    }
    const rows: object[] = [];
    for (const { what, kept, fresh } of cases) {
      for (const lanes of [1, 4]) {
        const [keptRuns, freshRuns]: [Round[], Round[]] = [[], []];
        for (let round = 0; round < (quick ? 3 : 5); round++) {
          keptRuns.push(await measured(kept, lanes, quick ? 300 : 1_500));
          freshRuns.push(await measured(fresh, lanes, quick ? 300 : 1_500));
        }
        const shownOf = (runs: Round[], key: keyof Round) => shown(figure(runs.map((run) => run[key])));
        rows.push({
          ...{ what, "at a time": lanes, "kept, /s": shownOf(keptRuns, "rate") },
          ...{ "new each time, /s": shownOf(freshRuns, "rate"), "kept, our CPU µs": shownOf(keptRuns, "cpu") },
          "new each time, our CPU µs": shownOf(freshRuns, "cpu"),
        });
      }
    }
    const notes = ["Messages a second, our client and the daemon on the same two cores; median of the rounds."];
    return { tables: [tableOf("Round trips to scanners", rows)], notes };
  } finally {
    await scope.end();
  }
}

interface Round {
  /** Messages a second. */
  rate: number;
  /** Processor time of this process for each, µs. */
  cpu: number;
}

/** Runs `work` on `lanes` at a time. */
async function measured(work: () => Promise<void>, lanes: number, millis: number): Promise<Round> {
  await work();
  let count = 0;
  const began = performance.now();
  const before = process.cpuUsage();
  const lane = async (): Promise<void> => {
    for (; performance.now() - began < millis; count++) await work();
  };
  await Promise.all(Array.from({ length: lanes }, lane));
  const { user, system } = process.cpuUsage(before);
  return { rate: (count * 1_000) / (performance.now() - began), cpu: (user + system) / count };
}

function scans(what: string, port: number, body: Buffer, scope: CommandScope): Case {
  const open = () => new ClamavScanner({ name: "c", address: { host: "127.0.0.1", port }, timeoutMs: 10_000, budget });
  const message = Buffer.concat([header, body]);
  const input: ScanInput = {
    bytes: async function* () {
      yield message;
    },
    ...{ size: message.length, mailFrom: "a@x.example", rcptTo: ["b@y.example"], remoteIp: "192.0.2.1" },
    ...{ remoteHost: "", ehlo: "x.example", authUser: "", queueId: "Q" },
  };
  const scan = async (scanner: ClamavScanner) => assert.equal((await scanner.scan(input)).virus, "");
  const keeping = open();
  scope.after(() => keeping.close());
  const fresh = async () => {
    const scanner = open();
    await scan(scanner);
    await scanner.close();
  };
  return { what, kept: () => scan(keeping), fresh };
}

function sessions(what: string, port: number, body: Buffer, scope: CommandScope): Case {
  const client = new MilterClient(milterSettings({ name: "m", address: { host: "127.0.0.1", port } }), budget);
  const open = async (): Promise<MilterChain> => {
    const chain = new MilterChain([client], (name) => (name === "i" ? "Q" : undefined), budget);
    await chain.connect({ host: "x.example", ip: "192.0.2.1", port: 1 });
    await chain.helo("x.example");
    return chain;
  };
  const send = async (chain: MilterChain): Promise<void> => {
    await chain.mail("a@x.example");
    await chain.rcpt("b@y.example");
    await chain.data();
    const { outcome, header: changed } = await chain.message(header, 1, () => [body]);
    assert.equal(outcome, undefined);
    assert.ok(changed?.includes("X-Virus-Status: Clean"));
  };
  // As many sessions as there are messages at a time; each serves one after the other.
  const idle: MilterChain[] = [];
  scope.after(() => Promise.all([...idle.map((chain) => chain.close()), client.close()]));
  const kept = async () => {
    const chain = idle.pop() ?? (await open());
    await send(chain);
    idle.push(chain);
  };
  const fresh = async () => {
    const chain = await open();
    await send(chain);
    await chain.close();
  };
  return { what, kept, fresh };
}
