/**
 * `npm run bench -- QUESTION... [--peers] [--quick] [--workers N] [--json FILE] [--record]`: answers questions about
 * speed by measurement. Each question is a file of this folder. Without a question: lists them. --record writes the
 * section of each question in bench/RESULTS.md anew, and the summary of targets at its end. Exit code: 1 when a question fails, 2 for wrong usage.
 */
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { cpus, release, totalmem } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { type BenchOptions, markdown, type Report, tableOf } from "./report.ts";
import { summary } from "./targets.ts";

interface Question {
  about: string;
  run(options: BenchOptions): Promise<Report>;
}

const questions: Record<string, Question> = {
  smtp: {
    about: "accept and discard, against a bare responder and Haraka",
    run: async (options) => (await import("./smtp.ts")).run(options),
  },
  durable: {
    about: "accept, 250 after fsync, against Postfix and Haraka",
    run: async (options) => (await import("./durable.ts")).run(options),
  },
  relay: {
    about: "source → gateway → sink, against Postfix and Haraka",
    run: async (options) => (await import("./relay.ts")).run(options),
  },
  scaling: {
    about: "two workers over one, by processor time",
    run: async (options) => (await import("./scaling.ts")).run(options),
  },
  policy: {
    about: "10 to 100,000 rules, against Postfix's tables",
    run: async ({ quick, peers }) => {
      const rows = await (await import("./policy.ts")).run({ seconds: quick ? 0.1 : 0.5, postfix: peers });
      return { tables: [tableOf("Cost of rules (µs a message, compile ms)", rows)], notes: [] };
    },
  },
  lists: {
    about: "named lists of a million entries",
    run: async () => {
      const rows = await (await import("./lists.ts")).run();
      return { tables: [tableOf("Named lists", rows)], notes: [] };
    },
  },
  sieve: {
    about: "50 to 10,000 Sieve rules, against Pigeonhole",
    run: async ({ quick }) => {
      const { rows, parse, messages } = await (await import("./sieve.ts")).run({ quick });
      const notes = [`${messages} messages; parsing one costs ${parse.toFixed(1)} µs, not included on either side.`];
      return { tables: [tableOf("Sieve (compile ms, execute µs a message)", rows)], notes };
    },
  },
  checks: {
    about: "SPF, DKIM, DMARC, ARC, against mailauth",
    run: async ({ quick }) => {
      const rows = await (await import("./checks.ts")).run({ millis: quick ? 200 : 1_000 });
      const notes = ["bare: the RSA operation and SHA-256 of the message alone; ceiling: its ratio to mailauth."];
      return { tables: [tableOf("Authentication, operations a CPU second", rows)], notes };
    },
  },
  scanners: {
    about: "round trips to ClamAV and a milter, connections kept against new ones",
    run: async (options) => (await import("./scanners.ts")).run(options),
  },
  tls: {
    about: "STARTTLS handshakes, full and resumed",
    run: async (options) => (await import("./tls.ts")).run(options),
  },
  memory: {
    about: "idle sessions, plain and TLS; a large backlog",
    run: async (options) => (await import("./memory.ts")).run(options),
  },
  start: {
    about: "cold start; reload of a 10,000-rule policy under traffic",
    run: async (options) => (await import("./start.ts")).run(options),
  },
  latency: {
    about: "p50 and p99 to the 250 at half load",
    run: async (options) => (await import("./latency.ts")).run(options),
  },
};

const summaryName = "targets";
const results = join(import.meta.dirname, "RESULTS.md");

function usage(): string {
  const list = Object.entries(questions).map(([name, { about }]) => `  ${name.padEnd(9)} ${about}\n`);
  return `usage: npm run bench -- QUESTION...|all [--peers] [--quick] [--workers N] [--json FILE] [--record]\n\n${list.join("")}`;
}

function machine(): string {
  const { length: count, 0: first } = cpus();
  const commit = execFileSync("git", ["rev-parse", "--short", "HEAD"], { cwd: import.meta.dirname, encoding: "utf8" });
  const memory = `${Math.round(totalmem() / 2 ** 30)} GiB`;
  const day = new Date().toISOString().slice(0, 10);
  return `${day}, commit ${commit.trim()}, Node ${process.versions.node}, ${count} × ${first?.model.trim()}, ${memory}, Linux ${release()}${peerVersions()}`;
}

function peerVersions(): string {
  const say = (command: string, args: string[], pattern: RegExp): string => {
    try {
      return (
        pattern.exec(execFileSync(command, args, { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] }))?.[0] ?? ""
      );
    } catch {
      return ""; // not installed here
    }
  };
  const postfix = say("/usr/sbin/postconf", ["-d", "-h", "mail_version"], /[\d.]+/);
  const dovecot = say("/usr/sbin/dovecot", ["--version"], /^[\d.]+/);
  return `${postfix && `, Postfix ${postfix}`}${dovecot && `, Dovecot ${dovecot}`}`;
}

/** Puts the section in the place of the question's old one, or at the end; the summary of all comes last. */
function record(question: string, section: string): void {
  const old = existsSync(results)
    ? readFileSync(results, "utf8")
    : "# Results\n\nWritten by `npm run bench -- QUESTION --record`.\n";
  const [head = "", ...parts] = old.split(/^(?=## )/m);
  const sections = new Map(parts.map((text) => [/^## (.*)/.exec(text)![1]!, text.trimEnd()]));
  sections.set(question, `## ${question}\n\n${section}`);
  sections.delete(summaryName);
  const all = [head.trimEnd(), ...sections.values(), `## ${summaryName}\n\n${summary(sections)}`];
  writeFileSync(results, `${all.join("\n\n")}\n`);
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    peers: { type: "boolean", default: false },
    quick: { type: "boolean", default: false },
    record: { type: "boolean", default: false },
    workers: { type: "string" },
    json: { type: "string" },
  },
});
const wanted = positionals.includes("all") ? Object.keys(questions) : positionals;
const unknown = wanted.find((name) => !(name in questions));
if (wanted.length === 0 || unknown !== undefined) {
  process.stderr.write(usage());
  process.exit(2);
}
const options: BenchOptions = {
  quick: values.quick,
  peers: values.peers,
  ...(values.workers === undefined ? {} : { workers: Number(values.workers) }),
};
const where = machine();
const reports: Record<string, Report> = {};
for (const name of wanted) {
  try {
    const report = await questions[name]!.run(options);
    reports[name] = report;
    const text = `${where}${options.quick ? "; quick" : ""}\n\n${markdown(report)}`;
    process.stdout.write(`## ${name}\n\n${text}\n\n`);
    if (values.record) record(name, text);
  } catch (error) {
    process.stderr.write(`${name}: ${error instanceof Error ? error.stack : String(error)}\n`);
    process.exitCode = 1;
  }
}
if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify({ machine: where, reports }, null, 2)}\n`);
// Connections of the load may linger; nothing is left to do.
process.exit();
