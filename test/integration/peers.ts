/**
 * Real mail servers for the laboratory: Postfix as installed, Exim and OpenSMTPD from the folder POSTERN_PEERS that
 * `.ci/peers` fills, each in a mount namespace with an /etc, /var and /run of its own. Each serves one address on port
 * 25, sends mail for its own domain to a sink and all other mail to the gateway.
 * Needs root.
 */
import { type ChildProcess, execFileSync, spawn, spawnSync } from "node:child_process";
import { appendFileSync, existsSync, mkdirSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { until } from "./lab.ts";

export interface PeerPlan {
  /** Scratch folder of this server; made when missing. */
  folder: string;
  /** Address to serve port 25 on. */
  address: string;
  /** Words that run a program on the host of this address. */
  on?: readonly string[];
  /** Whom it relays for, in CIDR form; default the loopback network. */
  range?: string;
  /** Domain that ends here; the server's name, too. */
  domain: string;
  /** Further domains that end here. */
  also?: readonly string[];
  /** Gets the mail of these domains. */
  sink: { host: string; port: number };
  /** Address of the gateway: next hop for all other mail. */
  gateway: string;
  /** Exim: PEM files to offer STARTTLS with. Exim and OpenSMTPD use it in any case where it is offered. */
  tls?: { cert: string; key: string };
}

export interface PeerServer {
  stop(): Promise<void>;
}

const extracted = join(process.env.POSTERN_PEERS ?? "/tmp/postern-peers", "root");

/** Why the laboratory can't be set up here; undefined when it can. */
export function missingForLaboratory(): string | undefined {
  if (process.getuid?.() !== 0) return "needs root";
  for (const program of ["/usr/sbin/postfix", join(extracted, "usr/sbin/exim4"), join(extracted, "usr/sbin/smtpd")]) {
    if (!existsSync(program)) return `needs ${program} (run .ci/peers)`;
  }
  try {
    execFileSync("unshare", ["-m", "true"], { stdio: "ignore" });
    return undefined;
  } catch {
    return "needs the right to make mount namespaces";
  }
}

export interface PostfixPlan {
  /** Scratch folder of this server; made when missing. */
  folder: string;
  address: string;
  port: number;
  on?: readonly string[];
  /** main.cf beyond what every Postfix here has. */
  settings: Readonly<Record<string, string>>;
}

/** A Postfix of its own that ends with the test; answers the folder of its configuration. */
export async function runPostfix(t: TestContext, plan: PostfixPlan): Promise<string> {
  const { folder, address, port } = plan;
  const etc = join(folder, "etc");
  for (const name of ["etc", "spool", "data"]) mkdirSync(join(folder, name), { recursive: true, mode: 0o755 });
  execFileSync("/bin/chmod", ["755", folder]);
  execFileSync("/bin/chown", ["postfix", join(folder, "data")]);
  const settings = {
    compatibility_level: "3.6",
    queue_directory: join(folder, "spool"),
    data_directory: join(folder, "data"),
    maillog_file: join(folder, "log"),
    maillog_file_prefixes: folder,
    mydestination: "",
    // Only for what it takes itself to be: loopback addresses beside .1 are not in the interface list. master.cf binds.
    inet_interfaces: "127.0.0.1",
    inet_protocols: "ipv4",
    mynetworks: "127.0.0.0/8",
    smtp_host_lookup: "native",
    disable_dns_lookups: "yes",
    alias_maps: "",
    smtpd_relay_restrictions: "permit_mynetworks,reject",
    ...plan.settings,
  };
  const services =
    "cleanup rewrite:trivial-rewrite bounce defer:bounce trace:bounce error retry:error smtp relay:smtp lmtp";
  const master = [
    `${address}:${port} inet n - n - - smtpd`,
    "qmgr unix n - n 300 1 qmgr",
    "anvil unix - - n - 1 anvil",
    "scache unix - - n - 1 scache",
    "proxymap unix - - n - - proxymap",
    "tlsmgr unix - - n 1000? 1 tlsmgr",
    "postlog unix-dgram n - n - 1 postlogd",
    ...services.split(" ").map((entry) => {
      const [name, command = name] = entry.split(":");
      return `${name} unix ${name === "cleanup" ? "n - n - 0" : `- - n - ${command === "bounce" ? 0 : "-"}`} ${command}`;
    }),
  ];
  const main = Object.entries(settings).map(([name, value]) => `${name} = ${value}`);
  writeFileSync(join(etc, "main.cf"), `${main.join("\n")}\n`);
  writeFileSync(join(etc, "master.cf"), `${master.join("\n")}\n`);
  const postfix = (word: string): void => {
    const [program, ...words] = [...(plan.on ?? []), "/usr/sbin/postfix", "-c", etc, word];
    const { status, stderr } = spawnSync(program!, words, { encoding: "utf8" });
    if (status !== 0) throw new Error(`postfix ${word}: ${stderr}`);
  };
  postfix("start");
  t.after(() => postfix("stop"));
  await until(`Postfix on ${address}`, () => answers(address, port));
  return etc;
}

/** @param tls PEM text of key and certificate chain: offers STARTTLS, notes it in Received, uses it where offered */
export async function startPostfix(t: TestContext, plan: PeerPlan, tls?: string): Promise<void> {
  const { folder, address, domain, sink } = plan;
  const chain = join(folder, "tls.pem");
  mkdirSync(folder, { recursive: true });
  if (tls !== undefined) writeFileSync(chain, tls, { mode: 0o600 });
  await runPostfix(t, {
    ...{ folder, address, port: 25, ...(plan.on ? { on: plan.on } : {}) },
    settings: {
      myhostname: domain,
      mynetworks: plan.range ?? "127.0.0.0/8",
      relayhost: `[${plan.gateway}]`,
      transport_maps: `inline:{${domainsOf(plan).map((name) => `${name}=smtp:[${sink.host}]:${sink.port}`)}}`,
      smtp_bind_address: address,
      ...(tls === undefined
        ? {}
        : {
            smtpd_tls_security_level: "may",
            smtpd_tls_chain_files: chain,
            smtpd_tls_received_header: "yes",
            smtp_tls_security_level: "may",
          }),
    },
  });
}

/** @param greylist path of a file: while it is missing, recipients are told to come back later */
export function startExim(t: TestContext, plan: PeerPlan, greylist?: string): Promise<PeerServer> {
  const program = join(extracted, "usr/sbin/exim4");
  const config = `
exim_path = ${program}
primary_hostname = ${plan.domain}
spool_directory = /var/spool/exim4
log_file_path = /var/spool/exim4/%slog
local_interfaces = ${plan.address}
daemon_smtp_ports = 25
acl_smtp_rcpt = check
acl_smtp_data = accept
host_lookup =
rfc1413_query_timeout = 0s
${plan.tls ? `tls_advertise_hosts = *\ntls_certificate = ${plan.tls.cert}\ntls_privatekey = ${plan.tls.key}` : "tls_advertise_hosts ="}
begin acl
check:
${greylist ? `  defer condition = \${if exists{${greylist}}{no}{yes}}\n        message = 4.2.0 greylisted\n` : ""}  accept
begin routers
own:
  driver = manualroute
  domains = ${domainsOf(plan).join(" : ")}
  transport = out
  route_data = ${plan.sink.host}::${plan.sink.port}
  self = send
others:
  driver = manualroute
  transport = out
  route_data = ${plan.gateway}::25
  self = send
begin transports
out:
  driver = smtp
  allow_localhost
  tls_verify_hosts =
  tls_try_verify_hosts =
begin retry
* * F,1h,2s
`;
  return startInNamespace(t, plan, {
    files: { "exim4/exim4.conf": config },
    users: ["Debian-exim"],
    prepare: "mkdir -p /var/spool/exim4; chown Debian-exim:Debian-exim /var/spool/exim4; chmod 750 /var/spool/exim4",
    command: `${program} -bdf -q2s`,
  });
}

export function startOpenSmtpd(t: TestContext, plan: PeerPlan): Promise<PeerServer> {
  const config = `
listen on ${plan.address} port 25 hostname ${plan.domain}
action "own" relay host "smtp://${plan.sink.host}:${plan.sink.port}"
action "others" relay host "smtp://${plan.gateway}:25"
match from any for domain { ${domainsOf(plan)
    .map((name) => `"${name}"`)
    .join(", ")} } action "own"
match from any for any action "others"
`;
  return startInNamespace(t, plan, {
    files: { "smtpd.conf": config },
    users: ["opensmtpd", "opensmtpq"],
    prepare: "mkdir -p /var/spool/smtpd /var/lib/opensmtpd/empty; chmod 711 /var/spool/smtpd",
    command: `${join(extracted, "usr/sbin/smtpd")} -d`,
  });
}

function domainsOf({ domain, also = [] }: PeerPlan): string[] {
  return [domain, ...also];
}

interface Inside {
  /** Files below /etc. */
  files: Record<string, string>;
  users: string[];
  prepare: string;
  command: string;
}

async function startInNamespace(t: TestContext, plan: PeerPlan, inside: Inside): Promise<PeerServer> {
  const etc = join(plan.folder, "etc");
  mkdirSync(plan.folder, { recursive: true });
  execFileSync("/bin/cp", ["-a", "/etc", etc]);
  for (const [index, user] of inside.users.entries()) {
    appendFileSync(
      join(etc, "passwd"),
      `${user}:x:${60_901 + index}:${60_901 + index}::/nonexistent:/usr/sbin/nologin\n`,
    );
    appendFileSync(join(etc, "group"), `${user}:x:${60_901 + index}:\n`);
  }
  appendFileSync(join(etc, "ld.so.conf"), `\n${join(extracted, "usr/lib/x86_64-linux-gnu")}\n`);
  for (const [name, text] of Object.entries(inside.files)) {
    mkdirSync(join(etc, name, ".."), { recursive: true });
    writeFileSync(join(etc, name), text);
  }
  const script = `set -e
mount --make-rprivate /
mount --bind ${etc} /etc
mount -t tmpfs tmpfs /var
mount -t tmpfs tmpfs /run
mkdir -p /var/cache/ldconfig
ln -s /run /var/run
/sbin/ldconfig
${inside.prepare}
exec ${inside.command}`;
  const [program, ...words] = [...(plan.on ?? []), "unshare", "-m", "sh", "-c", script];
  const child = spawn(program!, words, { stdio: ["ignore", "pipe", "pipe"], detached: true });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk) => (output += String(chunk)));
  t.after(() => endGroup(child));
  await until(`${plan.domain} on ${plan.address}`, () => {
    if (child.exitCode !== null) throw new Error(`${inside.command} ended: ${output}`);
    return answers(plan.address);
  });
  return { stop: () => endGroup(child) };
}

async function endGroup(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = new Promise<void>((done) => child.once("exit", () => done()));
  process.kill(-child.pid!, "SIGKILL");
  await ended;
}

function answers(address: string, port = 25): Promise<boolean> {
  return new Promise((done) => {
    const socket = connect(port, address);
    socket.once("data", () => done(true)).once("error", () => done(false));
    socket.once("data", () => socket.destroy());
  });
}
