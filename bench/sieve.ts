/**
 * What does a Sieve script cost per message, and how does that grow with its rules? Against Debian's Pigeonhole
 * (sievec, sieve-filter over a maildir) in the same run where it is installed. No rule matches: the worst case.
 * Method: reference notes §5.2: mixed rules, seeded messages, the cost of `keep;` taken off on both sides. Message
 * parsing is counted and shown apart. Usage: node bench/sieve.ts [--json] [--quick]
 */
import { spawnSync } from "node:child_process";
import { chmodSync, chownSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { budgetDefaults } from "../src/config/budget.ts";
import { parseMessage } from "../src/message/parse.ts";
import { compileSieve } from "../src/sieve/compile.ts";
import { runSieve } from "../src/sieve/run.ts";

export interface SieveBenchRow {
  rules: number;
  /** Milliseconds to compile. */
  compile: number;
  /** Microseconds per message: the first message pays for lazily made code; this is the steady state. */
  execute: number;
  pigeonholeCompile?: number;
  pigeonholeExecute?: number;
}

export interface SieveBenchResult {
  name: "sieve";
  /** Microseconds to parse one message. */
  parse: number;
  messages: number;
  rows: SieveBenchRow[];
}

const header = 'require ["fileinto","relational","comparator-i;ascii-numeric"];\n';

/** Rule `i` of the mix: 30 % :contains, 10 % each of the other forms. None is true for the messages below. */
function rule(i: number): string {
  const n = `q${i}z`;
  const tests = [
    `header :contains "subject" "${n}"`,
    `header :contains "subject" "${n}"`,
    `header :contains "subject" "${n}"`,
    `header ["x-one", "x-two", "list-id"] ["${n}", "${n}b"]`,
    `header :matches "subject" "*${n}*end"`,
    `address :is "from" "${n}@example.org"`,
    `address :domain ["from", "to", "cc"] "${n}.example"`,
    `allof (header :contains "subject" "${n}", address :is "to" "${n}@x.example")`,
    `anyof (header :is "list-id" "${n}", header :contains "x-mailer" "${n}")`,
    `header :value "gt" :comparator "i;ascii-numeric" "x-score" "${1_000 + i}"`,
  ];
  return `if ${tests[i % tests.length]} { fileinto "f${i}"; stop; }\n`;
}

function script(rules: number): string {
  return header + Array.from({ length: rules }, (_, i) => rule(i)).join("");
}

/** About 17 kB each, one in three multipart. */
function messages(count: number): string[] {
  const filler = "Lorem ipsum dolor sit amet, consectetur adipiscing elit, sed do eiusmod tempor.\r\n";
  return Array.from({ length: count }, (_, i) => {
    const head = [
      `Return-Path: <sender${i}@example.net>`,
      "Received: from a.example by b.example; Tue, 9 Jan 2024 10:11:12 +0100",
      "Received: from c.example by a.example; Tue, 9 Jan 2024 10:11:10 +0100",
      `From: Sender ${i} <sender${i}@mail${i % 50}.example.net>`,
      "To: recipient@example.com, other@example.com",
      `Cc: third${i}@example.com`,
      `Subject: Weekly report number ${i} about the state of things`,
      `Message-ID: <${i}@example.net>`,
      "Date: Tue, 9 Jan 2024 10:11:12 +0100",
      `X-Score: ${i % 900}`,
      "X-Mailer: Some Mailer 1.0",
      "List-Id: Some list <list.example.net>",
      "MIME-Version: 1.0",
    ];
    const multipart = i % 3 === 0;
    head.push(`Content-Type: ${multipart ? 'multipart/mixed; boundary="b"' : "text/plain"}`);
    const text = filler.repeat(multipart ? 400 : 120);
    const body = multipart ? `--b\r\nContent-Type: text/plain\r\n\r\n${text}\r\n--b--\r\n` : text;
    return `${head.join("\r\n")}\r\n\r\n${body}`;
  });
}

/** Microseconds per call: the least of several rounds. */
function measure(count: number, rounds: number, run: (i: number) => void): number {
  let best = Number.POSITIVE_INFINITY;
  for (let round = 0; round < rounds; round++) {
    const start = process.hrtime.bigint();
    for (let i = 0; i < count; i++) run(i);
    best = Math.min(best, Number(process.hrtime.bigint() - start) / 1_000 / count);
  }
  return best;
}

function ours(source: string, mails: readonly Buffer[]): { compile: number; execute: number } {
  let compile = Number.POSITIVE_INFINITY;
  let compiled = compileSieve(source, { file: "bench.sieve" });
  for (let round = 0; round < 6; round++) {
    const start = performance.now();
    compiled = compileSieve(source, { file: "bench.sieve" });
    compile = Math.min(compile, performance.now() - start);
  }
  if (!compiled.ok) throw new Error(compiled.diagnostics[0]?.message);
  const { script } = compiled;
  const envelope = { from: "a@example.net", to: "recipient@example.com" };
  // Parsed before the clock starts, each message anew: fields are decoded when a rule first asks for them.
  let parsed = mails.map((mail) => parseMessage(mail, budgetDefaults));
  const once = () => measure(mails.length, 1, (i) => runSieve(script, { message: parsed[i]!, envelope }));
  once();
  let execute = Number.POSITIVE_INFINITY;
  for (let round = 0; round < 5; round++) {
    parsed = mails.map((mail) => parseMessage(mail, budgetDefaults));
    execute = Math.min(execute, once());
  }
  return { compile, execute };
}

/** Milliseconds of `sievec` and of `sieve-filter` over a folder, undefined without Pigeonhole. */
function pigeonhole(mails: readonly string[]): ((source: string) => { compile: number; run: number }) | undefined {
  if (!existsSync("/usr/bin/sieve-filter") || !existsSync("/usr/bin/sievec")) return undefined;
  const folder = mkdtempSync(join(tmpdir(), "postern-bench-"));
  process.once("exit", () => rmSync(folder, { recursive: true, force: true }));
  chmodSync(folder, 0o755);
  const nobody = 65_534;
  const root = process.getuid?.() === 0;
  for (const path of ["", "box", "box/cur", "box/new", "box/tmp"]) {
    if (path !== "") mkdirSync(join(folder, path));
    if (root) chownSync(join(folder, path), nobody, nobody);
  }
  for (const [i, mail] of mails.entries())
    writeFileSync(join(folder, "box/cur", `${1_700_000_000 + i}.M${i}.bench:2,`), mail, { mode: 0o644 });
  const conf = join(folder, "dovecot.conf");
  writeFileSync(conf, `log_path=${folder}/log\nssl=no\nmail_location=maildir:${folder}/box\nfirst_valid_uid=0\n`);
  const timed = (command: string, args: string[]): number => {
    const start = performance.now();
    const run = spawnSync(command, args, {
      cwd: folder,
      env: { PATH: process.env.PATH, HOME: folder, USER: "nobody" },
      stdio: ["ignore", "ignore", "pipe"],
      ...(root ? { uid: nobody, gid: nobody } : {}),
    });
    if (run.status !== 0) throw new Error(`${command}: ${run.stderr}`);
    return performance.now() - start;
  };
  return (source) => {
    const file = join(folder, "bench.sieve");
    writeFileSync(file, source);
    const binary = join(folder, "bench.svbin");
    const least = (times: number[]) => Math.min(...times);
    const compile = least([1, 2, 3].map(() => timed("/usr/bin/sievec", ["-c", conf, file, binary])));
    timed("/usr/bin/sieve-filter", ["-c", conf, file, "INBOX"]);
    const run = least([1, 2, 3].map(() => timed("/usr/bin/sieve-filter", ["-c", conf, file, "INBOX"])));
    return { compile, run };
  };
}

export async function run(options: { quick?: boolean } = {}): Promise<SieveBenchResult> {
  const count = options.quick ? 200 : 1_000;
  const texts = messages(count);
  const mails = texts.map((text) => Buffer.from(text));
  const parse = measure(count, 3, (i) => void parseMessage(mails[i]!, budgetDefaults));
  const baseline = ours("keep;", mails);
  const peer = pigeonhole(texts);
  const peerBase = peer?.("keep;");
  const rows: SieveBenchRow[] = [];
  for (const rules of [50, 500, 2_000, 10_000]) {
    const { compile, execute } = ours(script(rules), mails);
    const row: SieveBenchRow = { rules, compile, execute: Math.max(0, execute - baseline.execute) };
    // 10,000 rules would keep Pigeonhole busy for half a minute and tell nothing new.
    if (peer && peerBase && rules <= 2_000) {
      const theirs = peer(script(rules));
      row.pigeonholeCompile = theirs.compile - peerBase.compile;
      row.pigeonholeExecute = ((theirs.run - peerBase.run) * 1_000) / count;
    }
    rows.push(row);
  }
  return { name: "sieve", parse, messages: count, rows };
}

function table(result: SieveBenchResult): string {
  const lines = [
    `Sieve, ${result.messages} messages, no rule matches; parsing a message: ${result.parse.toFixed(1)} µs (not included)`,
    "rules   compile ms   µs/message   Pigeonhole: compile ms   µs/message   faster",
  ];
  for (const row of result.rows) {
    const theirs = row.pigeonholeExecute;
    lines.push(
      [
        String(row.rules).padStart(5),
        row.compile.toFixed(1).padStart(12),
        row.execute.toFixed(1).padStart(12),
        (row.pigeonholeCompile?.toFixed(1) ?? "–").padStart(24),
        (theirs?.toFixed(1) ?? "–").padStart(12),
        (theirs === undefined ? "–" : `${(theirs / row.execute).toFixed(0)}×`).padStart(8),
      ].join(" "),
    );
  }
  return `${lines.join("\n")}\n`;
}

if (import.meta.main) {
  const result = await run({ quick: process.argv.includes("--quick") });
  process.stdout.write(process.argv.includes("--json") ? `${JSON.stringify(result, null, 2)}\n` : table(result));
}
