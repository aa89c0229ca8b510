/**
 * Real mail servers as neighbours of the gateway: each takes any mail, passes mail for in.test to `gateway` and all other
 * to `sink`, offers STARTTLS and uses it towards the gateway. Everything is in scratch folders and ends with the test.
 * Exim and OpenSMTPD can't be installed beside Postfix: they run from unpacked packages in the folder POSTERN_PEERS.
 */
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { chmodSync, chownSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { selfSigned } from "../../src/smtp/incoming/selfsigned.ts";
import { canConnect, endOf, freePort, peer, until } from "./lab.ts";

export interface Neighbours {
  gateway: number;
  sink: number;
}

const unpacked = join(process.env.POSTERN_PEERS ?? "/tmp/postern-peers", "root");

/** Path of a program among the unpacked packages; without it the test is skipped, or fails where peers are required. */
function unpackedPeer(t: TestContext, path: string): string | undefined {
  const program = join(unpacked, path);
  if (existsSync(program)) return program;
  if (process.env.POSTERN_REQUIRE_PEERS === "1") assert.fail(`needs ${program}`);
  t.skip(`needs ${program}`);
  return undefined;
}

function scratch(name: string): string {
  const folder = mkdtempSync(join(tmpdir(), `postern-${name}-`));
  chmodSync(folder, 0o755); // the servers' own users have to get in
  return folder;
}

/** When the test is over: stops the server, then removes its folder. */
function endWith(t: TestContext, folder: string, stop: () => unknown): void {
  t.after(async () => {
    await stop();
    rmSync(folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
  });
}

function idOf(user: string): number {
  return Number(execFileSync("id", ["-u", user], { encoding: "utf8" }));
}

function writeKeys(folder: string, owner?: number): { cert: string; key: string } {
  const pair = selfSigned(["localhost"]);
  const files = { cert: join(folder, "cert.pem"), key: join(folder, "key.pem") };
  writeFileSync(files.cert, pair.cert);
  writeFileSync(files.key, pair.key, { mode: 0o600 });
  if (owner !== undefined) chownSync(files.key, owner, 0);
  return files;
}

/** Answers its SMTP port, or undefined after the test was skipped. */
export async function startPostfix(t: TestContext, { gateway, sink }: Neighbours): Promise<number | undefined> {
  const postfix = peer("postfix");
  if (!postfix || process.getuid?.() !== 0) {
    t.skip("needs postfix, and root to start it");
    return undefined;
  }
  const folder = scratch("postfix");
  const etc = join(folder, "etc");
  for (const name of ["etc", "spool", "data"]) mkdirSync(join(folder, name), { mode: 0o755 });
  chownSync(join(folder, "data"), idOf("postfix"), 0);
  const keys = writeKeys(etc);
  const port = await freePort();
  const settings = {
    compatibility_level: "3.6",
    queue_directory: join(folder, "spool"),
    data_directory: join(folder, "data"),
    command_directory: "/usr/sbin",
    daemon_directory: "/usr/lib/postfix/sbin",
    maillog_file: join(folder, "log"),
    maillog_file_prefixes: folder,
    myhostname: "mta.peer.test",
    mydestination: "",
    inet_interfaces: "127.0.0.1",
    inet_protocols: "ipv4",
    mynetworks: "127.0.0.0/8",
    transport_maps: `inline:{in.test=smtp:[127.0.0.1]:${gateway}}`,
    relayhost: `[127.0.0.1]:${sink}`,
    smtpd_tls_security_level: "may",
    smtpd_tls_cert_file: keys.cert,
    smtpd_tls_key_file: keys.key,
    smtp_tls_security_level: "may",
    smtp_host_lookup: "native",
    disable_dns_lookups: "yes",
    alias_maps: "",
    local_recipient_maps: "",
    smtpd_relay_restrictions: "permit_mynetworks,reject",
  };
  const services = [
    `127.0.0.1:${port} inet n - n - - smtpd`,
    "qmgr unix n - n 300 1 qmgr",
    "postlog unix-dgram n - n - 1 postlogd",
    "tlsmgr unix - - n 1000? 1 tlsmgr",
    "cleanup unix n - n - 0 cleanup",
    "proxymap unix n - n - 0 proxymap",
    ...["rewrite trivial-rewrite", "bounce bounce", "defer bounce", "trace bounce", "error error", "retry error"].map(
      (entry) => entry.replace(" ", " unix - - n - - "),
    ),
    ...["anvil", "scache", "smtp"].map((name) => `${name} unix - - n - - ${name}`),
    "relay unix - - n - - smtp",
  ];
  writeFileSync(
    join(etc, "main.cf"),
    Object.entries(settings)
      .map(([name, value]) => `${name} = ${value}\n`)
      .join(""),
  );
  writeFileSync(join(etc, "master.cf"), `${services.join("\n")}\n`);
  execFileSync(postfix, ["-c", etc, "start"], { stdio: "pipe" });
  endWith(t, folder, () => execFileSync(postfix, ["-c", etc, "stop"], { stdio: "pipe" }));
  await until("postfix listens", () => canConnect(port));
  return port;
}

/** Answers its SMTP port, or undefined after the test was skipped. */
export async function startExim(t: TestContext, { gateway, sink }: Neighbours): Promise<number | undefined> {
  const exim = unpackedPeer(t, "usr/sbin/exim4");
  if (!exim) return undefined;
  const folder = scratch("exim");
  const nobody = idOf("nobody");
  mkdirSync(join(folder, "spool"));
  chownSync(join(folder, "spool"), nobody, 65_534);
  const keys = writeKeys(folder, nobody);
  const port = await freePort();
  const config = join(folder, "exim.conf");
  writeFileSync(
    config,
    `exim_path = ${exim}
exim_user = nobody
exim_group = nogroup
deliver_drop_privilege = true
keep_environment = LD_LIBRARY_PATH
spool_directory = ${folder}/spool
log_file_path = ${folder}/spool/%slog
primary_hostname = mta.peer.test
local_interfaces = 127.0.0.1
daemon_smtp_ports = ${port}
tls_advertise_hosts = *
tls_certificate = ${keys.cert}
tls_privatekey = ${keys.key}
chunking_advertise_hosts = *
dsn_advertise_hosts = *
smtputf8_advertise_hosts = *
acl_smtp_rcpt = take
begin acl
take:
  accept
begin routers
inbound:
  driver = manualroute
  domains = in.test
  transport = towards_gateway
  route_data = 127.0.0.1
  self = send
onward:
  driver = manualroute
  transport = towards_sink
  route_data = 127.0.0.1
  self = send
begin transports
towards_gateway:
  driver = smtp
  allow_localhost
  port = ${gateway}
  tls_verify_hosts =
  tls_try_verify_hosts =
towards_sink:
  driver = smtp
  allow_localhost
  port = ${sink}
begin retry
* * F,1m,1s
`,
  );
  const child = spawn(exim, ["-C", config, "-bdf", "-q1s"], {
    env: { PATH: process.env.PATH ?? "", LD_LIBRARY_PATH: join(unpacked, "usr/lib/x86_64-linux-gnu") },
    stdio: "ignore",
  });
  endWith(t, folder, () => endOf(child, "SIGKILL"));
  await until("exim listens", () => canConnect(port));
  return port;
}
