/**
 * Postfix beside us: the same filters and messages through both, to compare what comes out. Postfix lives in a folder of
 * its own and is stopped with the test.
 */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { SMTPServer } from "smtp-server";
import { freePort, peer, type Scope } from "./daemons.ts";

export interface Delivered {
  from: string;
  to: string[];
  text: string;
}

/** A message whose topmost own trace field, which names times and ids, reads the same for both. */
export function withoutTrace(text: string): string {
  return text.replace(/^Received: from .*\r\n(?:[ \t].*\r\n)*/m, "Received: own\r\n");
}

/** Postfix in a folder of its own, with the filters, relaying to `sinkPort`; answers its SMTP port. */
export async function startPostfix(
  t: Scope,
  filterPorts: readonly number[],
  sinkPort: number,
): Promise<number | undefined> {
  const postfix = peer(t, "postfix");
  if (postfix === undefined) return undefined;
  if (process.getuid?.() !== 0) {
    t.skip("Postfix starts as root only");
    return undefined;
  }

  const folder = mkdtempSync(join(tmpdir(), "postern-postfix-"));
  const etc = join(folder, "etc");
  for (const name of ["etc", "spool", "data"]) mkdirSync(join(folder, name), { mode: 0o755 });
  execFileSync("/bin/chown", ["postfix", join(folder, "data")]);
  execFileSync("/bin/chmod", ["755", folder]);
  const port = await freePort();
  const settings = {
    compatibility_level: "3.6",
    queue_directory: join(folder, "spool"),
    data_directory: join(folder, "data"),
    command_directory: "/usr/sbin",
    daemon_directory: "/usr/lib/postfix/sbin",
    maillog_file: join(folder, "log"),
    maillog_file_prefixes: folder,
    myhostname: "gw.test",
    mydestination: "",
    inet_interfaces: "127.0.0.1",
    inet_protocols: "ipv4",
    mynetworks: "127.0.0.0/8",
    relayhost: `[127.0.0.1]:${sinkPort}`,
    smtpd_milters: filterPorts.map((filter) => `inet:127.0.0.1:${filter}`).join(", "),
    milter_default_action: "tempfail",
    local_header_rewrite_clients: "",
    smtpd_tls_security_level: "none",
    smtp_tls_security_level: "none",
    smtp_host_lookup: "native",
    disable_dns_lookups: "yes",
    alias_maps: "",
    local_recipient_maps: "",
    smtpd_relay_restrictions: "permit_mynetworks,reject",
  };
  const main = Object.entries(settings).map(([name, value]) => `${name} = ${value}`);
  const service = (name: string, type: string, flags: string, command: string) => `${name} ${type} ${flags} ${command}`;
  const internal = [
    "cleanup",
    "rewrite:trivial-rewrite",
    "bounce",
    "defer:bounce",
    "trace:bounce",
    "error",
    "retry:error",
    "discard",
    "anvil",
    "scache",
    "smtp",
    "relay:smtp",
    "proxymap",
  ];
  const master = [
    service(`127.0.0.1:${port}`, "inet", "n - n - -", "smtpd"),
    service("qmgr", "unix", "n - n 300 1", "qmgr"),
    service("postlog", "unix-dgram", "n - n - 1", "postlogd"),
    ...internal.map((entry) => {
      const [name, command = name] = entry.split(":");
      return service(name!, "unix", name === "cleanup" || name === "proxymap" ? "n - n - 0" : "- - n - -", command!);
    }),
  ];
  writeFileSync(join(etc, "main.cf"), `${main.join("\n")}\n`);
  writeFileSync(join(etc, "master.cf"), `${master.join("\n")}\n`);
  execFileSync(postfix, ["-c", etc, "start"], { stdio: "pipe" });
  // Hooks run in order of registration: the folder must still be there.
  t.after(() => execFileSync(postfix, ["-c", etc, "stop"], { stdio: "pipe" }));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  for (let i = 0; i < 50 && !(await reachable(port)); i++) await new Promise((resolve) => setTimeout(resolve, 100));
  return port;
}

function reachable(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    socket.once("connect", () => resolve(true)).once("error", () => resolve(false));
    socket.once("connect", () => socket.destroy());
  });
}

/** A next hop that hands each message to whoever waits for it. */
export async function startSink(t: Scope): Promise<{ port: number; next: () => Promise<Delivered> }> {
  const arrived: Delivered[] = [];
  let wake: (() => void) | undefined;
  const server = new SMTPServer({
    authOptional: true,
    disabledCommands: ["STARTTLS", "AUTH"],
    disableReverseLookup: true,
    onData(stream, session, done) {
      const chunks: Buffer[] = [];
      stream.on("data", (chunk: Buffer) => chunks.push(chunk));
      stream.on("end", () => {
        const from = session.envelope.mailFrom;
        arrived.push({
          from: from === false ? "" : from.address,
          to: session.envelope.rcptTo.map((rcpt) => rcpt.address).sort(),
          text: Buffer.concat(chunks).toString("latin1"),
        });
        wake?.();
        done();
      });
    },
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => new Promise<void>((resolve) => server.close(resolve)));
  const next = async () => {
    const deadline = setTimeout(() => wake?.(), 20_000);
    if (arrived.length === 0) await new Promise<void>((resolve) => (wake = resolve));
    clearTimeout(deadline);
    return arrived.shift() ?? assert.fail("nothing arrived");
  };
  return { port: (server.server.address() as { port: number }).port, next };
}
