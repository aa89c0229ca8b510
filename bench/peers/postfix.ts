/**
 * Debian's Postfix with a configuration and a queue of its own. "hold": accepted mail is written to its hold queue and
 * fsync'd, and the queue manager, which runs, has nothing to do with it; "discard": delivered to the discard transport;
 * "relay": sent to the sink by its SMTP client with default concurrency. Needs root.
 */
import { spawnSync } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { freePort, greeted } from "../measure.ts";
import type { Subject, SubjectOptions } from "./subject.ts";

const program = "/usr/sbin/postfix";

export function postfixMissing(): string | undefined {
  if (!existsSync(program)) return `Postfix: needs ${program} (Debian package postfix)`;
  return process.getuid?.() === 0 ? undefined : "Postfix: needs root to start";
}

export function postfixVersion(): string {
  return spawnSync("/usr/sbin/postconf", ["-h", "mail_version"]).stdout.toString().trim();
}

export async function startPostfix({ job, tls }: SubjectOptions): Promise<Subject> {
  const folder = mkdtempSync("/var/tmp/postern-bench-postfix-");
  chmodSync(folder, 0o755);
  const port = await freePort();
  const [config, queue, data] = ["etc", "spool", "data"].map((name) => join(folder, name)) as [string, string, string];
  for (const path of [config, queue, data]) mkdirSync(path);
  spawnSync("chown", ["postfix", data]);
  const settings: Record<string, string> = {
    compatibility_level: "3.6",
    queue_directory: queue,
    data_directory: data,
    command_directory: "/usr/sbin",
    daemon_directory: "/usr/lib/postfix/sbin",
    mail_owner: "postfix",
    setgid_group: "postdrop",
    myhostname: "bench.test",
    mydestination: "",
    mynetworks: "127.0.0.0/8",
    inet_interfaces: "127.0.0.1",
    alias_maps: "",
    smtpd_peername_lookup: "no",
    smtpd_relay_restrictions: "permit_mynetworks, reject",
    smtpd_client_connection_count_limit: "0",
    // Held mail never passes the queue manager, which would hand out the tokens that pace reception.
    in_flow_delay: "0",
    maillog_file: "/dev/null",
    maillog_file_prefixes: "/dev/null",
  };
  if (job.kind === "hold") settings.smtpd_sender_restrictions = "check_sender_access static:HOLD";
  else if (job.kind === "discard") settings.default_transport = "discard:";
  else {
    settings.relayhost = `[127.0.0.1]:${job.sinkPort}`;
    settings.smtp_dns_support_level = "disabled";
    settings.smtp_host_lookup = "native";
  }
  if (tls) {
    settings.smtpd_tls_security_level = "may";
    settings.smtpd_tls_chain_files = `${tls.key}, ${tls.cert}`;
    settings.smtpd_tls_loglevel = "0";
  }
  const lines = Object.entries(settings).map(([name, value]) => `${name} = ${value}\n`);
  writeFileSync(join(config, "main.cf"), lines.join(""));
  const services = [
    `127.0.0.1:${port} inet n - n - - smtpd`,
    "pickup unix n - n 60 1 pickup",
    "cleanup unix n - n - 0 cleanup",
    "qmgr unix n - n 300 1 qmgr",
    "rewrite unix - - n - - trivial-rewrite",
    "bounce unix - - n - 0 bounce",
    "defer unix - - n - 0 bounce",
    "trace unix - - n - 0 bounce",
    "smtp unix - - n - - smtp",
    "discard unix - - n - - discard",
    "error unix - - n - - error",
    "retry unix - - n - - error",
    "flush unix n - n 1000? 0 flush",
    "proxymap unix - - n - - proxymap",
    "tlsmgr unix - - n 1000? 1 tlsmgr",
    "anvil unix - - n - 1 anvil",
    "scache unix - - n - 1 scache",
    "postlog unix-dgram n - n - 1 postlogd",
  ];
  writeFileSync(join(config, "master.cf"), `${services.join("\n")}\n`);
  const control = (word: string) => spawnSync(program, ["-c", config, word], { encoding: "utf8" });
  const started = control("start");
  if (started.status !== 0) throw new Error(`postfix does not start: ${started.stderr}`);
  await greeted(port);
  return {
    name: "Postfix",
    port,
    roots: [Number(readFileSync(join(queue, "pid/master.pid"), "utf8"))],
    async stop() {
      control("abort");
      rmSync(folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
    },
  };
}
