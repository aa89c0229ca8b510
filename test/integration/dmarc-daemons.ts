/**
 * opendmarc and dkimpy-milter for tests. Both ask the name server of /etc/resolv.conf, on port 53 only: each runs in a
 * mount namespace of its own where that file names the test's server. Needs root and unshare.
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { type DnsServer, startDnsServer, type ZoneRecord } from "../unit/dns/server.ts";
import { freePort, peer, type Scope, scratch, start } from "./daemons.ts";

/** A server of `zone` on port 53 of a loopback address of its own; undefined after the test was skipped. */
export async function startNames(t: Scope, zone: Record<string, ZoneRecord[]>): Promise<DnsServer | undefined> {
  if (peer(t, "unshare") === undefined) return undefined;
  if (process.getuid?.() !== 0) {
    t.skip("needs root");
    return undefined;
  }
  // Tests that run side by side have other process numbers.
  const host = `127.53.${(process.pid >> 8) & 255}.${Math.max(1, process.pid & 255)}`;
  const server = await startDnsServer(zone, {}, { host, port: 53 });
  t.after(() => server.close());
  return server;
}

async function startNamed(t: Scope, names: DnsServer, command: string, args: readonly string[], port: number) {
  const resolv = join(scratch(t), "resolv.conf");
  writeFileSync(resolv, `nameserver ${names.address.split(":")[0]}\n`);
  const script = 'mount --bind "$0" /etc/resolv.conf && exec "$@"';
  await start(t, "/usr/bin/unshare", ["-m", "sh", "-c", script, resolv, command, ...args], port);
}

/** Key files in PEM (RSA) and base64 (Ed25519, the seed alone). */
export interface DkimpyKeys {
  domain: string;
  rsa: { selector: string; pem: string };
  ed25519: { selector: string; seed: string };
}

/** dkimpy-milter that signs what comes from 127.0.0.1 and verifies for others. */
export async function startDkimpyMilter(t: Scope, names: DnsServer, keys: DkimpyKeys): Promise<number | undefined> {
  const milter = peer(t, "dkimpy-milter");
  if (milter === undefined) return undefined;
  const folder = scratch(t);
  const port = await freePort();
  writeFileSync(join(folder, "rsa.pem"), keys.rsa.pem, { mode: 0o600 });
  writeFileSync(join(folder, "ed.key"), keys.ed25519.seed, { mode: 0o600 });
  const settings = [
    "Syslog no",
    "UserID root",
    `PidFile ${join(folder, "pid")}`,
    `Socket inet:${port}@127.0.0.1`,
    "Mode sv",
    "AuthservID gw.test",
    "InternalHosts 127.0.0.1",
    `Domain ${keys.domain}`,
    `Selector ${keys.rsa.selector}`,
    `KeyFile ${join(folder, "rsa.pem")}`,
    `SelectorEd25519 ${keys.ed25519.selector}`,
    `KeyFileEd25519 ${join(folder, "ed.key")}`,
  ];
  const file = join(folder, "dkimpy-milter.conf");
  writeFileSync(file, `${settings.join("\n")}\n`);
  await startNamed(t, names, milter, [file], port);
  return port;
}

/** opendmarc that checks SPF itself, takes DKIM results of gw.test, and rejects what a policy asks to reject. */
export async function startOpendmarc(t: Scope, names: DnsServer): Promise<number | undefined> {
  const milter = peer(t, "opendmarc");
  if (milter === undefined) return undefined;
  const folder = scratch(t);
  const port = await freePort();
  const settings = [
    "Background false",
    `Socket inet:${port}@127.0.0.1`,
    "AuthservID gw.test",
    "TrustedAuthservIDs gw.test",
    "RejectFailures true",
    "SPFSelfValidate true",
    "SPFIgnoreResults true",
    `PublicSuffixList ${join(folder, "suffixes")}`,
    "Syslog false",
  ];
  // It finds organizations by this list; RFC 9989 has none any more.
  writeFileSync(join(folder, "suffixes"), "example\n");
  const file = join(folder, "opendmarc.conf");
  writeFileSync(file, `${settings.join("\n")}\n`);
  await startNamed(t, names, milter, ["-f", "-c", file], port);
  return port;
}
