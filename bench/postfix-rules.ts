/**
 * What rules add to a message in Postfix: a Postfix of its own on loopback (smtpd, cleanup, no queue manager), loaded by
 * smtp-source with and without header_checks or access maps that nothing matches. Needs root and Debian's postfix.
 */
import { spawn, spawnSync } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { type AddressInfo, connect, createServer } from "node:net";
import { join } from "node:path";

export interface PostfixRuleCost {
  table: string;
  rules: number;
  /** Wall time a message in one session, less that without rules; 0 when the difference drowns in noise. */
  micros: number;
}

const messages = 150;

export async function postfixRuleCost(): Promise<PostfixRuleCost[]> {
  const folder = mkdtempSync("/var/tmp/postern-rules-");
  chmodSync(folder, 0o755);
  try {
    const patterns = spawnSync("postconf", ["-m"]).stdout.toString().includes("pcre") ? "pcre" : "regexp";
    const tables = [
      {
        table: `header_checks ${patterns}`,
        line: (i: number) => `/^Subject: .*invoice no${i}: .*(due|unpaid)/ REJECT\n`,
      },
      { table: "access hash", line: (i: number) => `user${i}@sender${i}.example REJECT\n` },
      { table: "access cidr", line: (i: number) => `10.${i >> 8}.${i & 255}.0/24 REJECT\n` },
    ];
    await perMessage(folder, {});
    const bare = await perMessage(folder, {});
    const rows: PostfixRuleCost[] = [];
    for (const { table, line } of tables) {
      for (const rules of table.startsWith("header") ? [10, 10_000] : [10_000]) {
        const file = join(folder, "rules");
        writeFileSync(file, Array.from({ length: rules }, (_, i) => line(i)).join(""));
        if (table.endsWith("hash")) spawnSync("postmap", [`hash:${file}`]);
        const kind = `${table.split(" ")[1]}:${file}`;
        const setting = table.startsWith("header")
          ? { header_checks: kind }
          : table.endsWith("hash")
            ? { smtpd_sender_restrictions: `check_sender_access ${kind}` }
            : { smtpd_client_restrictions: `check_client_access ${kind}` };
        const micros = Math.max(0, (await perMessage(folder, setting)) - bare);
        rows.push({ table, rules, micros });
      }
    }
    return rows;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Wall time a message, in microseconds. */
async function perMessage(folder: string, settings: Record<string, string>): Promise<number> {
  const port = await freePort();
  const [config, queue, data] = [join(folder, "etc"), join(folder, "spool"), join(folder, "data")];
  for (const path of [config, queue, data]) mkdirSync(path, { recursive: true });
  spawnSync("chown", ["postfix", data]);
  const main = {
    compatibility_level: "3.6",
    queue_directory: queue,
    data_directory: data,
    command_directory: "/usr/sbin",
    daemon_directory: "/usr/lib/postfix/sbin",
    mail_owner: "postfix",
    setgid_group: "postdrop",
    myhostname: "bench.test",
    mydestination: "bench.test",
    inet_interfaces: "127.0.0.1",
    local_recipient_maps: "",
    alias_maps: "",
    // Without a queue manager nobody hands out the tokens that slow down reception.
    in_flow_delay: "0",
    maillog_file: "/dev/null",
    maillog_file_prefixes: "/dev/null",
    ...settings,
  };
  writeFileSync(
    join(config, "main.cf"),
    Object.entries(main)
      .map(([name, value]) => `${name} = ${value}\n`)
      .join(""),
  );
  const services = [
    `127.0.0.1:${port} inet n - n - - smtpd`,
    "cleanup unix n - n - 0 cleanup",
    "rewrite unix - - n - - trivial-rewrite",
    "anvil unix - - n - 1 anvil",
    "postlog unix-dgram n - n - 1 postlogd",
    "proxymap unix - - n - - proxymap",
  ];
  writeFileSync(join(config, "master.cf"), `${services.join("\n")}\n`);
  const control = (word: string) => spawnSync("/usr/sbin/postfix", ["-c", config, word], { stdio: "pipe" });
  if (control("start").status !== 0) throw new Error("postfix does not start");
  try {
    await greeting(port);
    await load(port, 10);
    const started = performance.now();
    await load(port, messages);
    return ((performance.now() - started) * 1_000) / messages;
  } finally {
    control("abort");
    rmSync(queue, { recursive: true, force: true });
  }
}

function load(port: number, count: number): Promise<void> {
  const subject = ["-S", "Minutes of the meeting about the quarterly numbers"];
  const args = ["-d", "-s", "1", "-m", String(count), ...subject, "-f", "x@good.example", "-t", "u@bench.test"];
  const source = spawn("/usr/sbin/smtp-source", [...args, `127.0.0.1:${port}`], { stdio: "ignore" });
  return new Promise((done, failed) => {
    source.once("error", failed);
    source.once("exit", (code) => (code === 0 ? done() : failed(new Error(`smtp-source ended with code ${code}`))));
  });
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  const { port } = server.address() as AddressInfo;
  await new Promise<void>((done) => server.close(() => done()));
  return port;
}

/** Waits until the server greets. */
async function greeting(port: number): Promise<void> {
  for (let tries = 0; tries < 100; tries++) {
    const up = await new Promise<boolean>((done) => {
      const socket = connect(port, "127.0.0.1");
      socket.once("data", () => {
        socket.destroy();
        done(true);
      });
      socket.once("error", () => done(false));
    });
    if (up) return;
    await new Promise((done) => setTimeout(done, 50));
  }
  throw new Error("postfix does not answer");
}
