/**
 * Real DNS for the laboratory: nsd is the authoritative server of "test" and of zones delegated from it, unbound the
 * resolver that validates their signatures. "test" is signed with a key made for the occasion, unbound's trust anchor.
 * Needs root, nsd, ldns-keygen, ldns-signzone and unbound.
 */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { budgetWith } from "../../src/config/budget.ts";
import { createResolver } from "../../src/dns/resolver.ts";
import type { ZoneRecord } from "../unit/dns/server.ts";
import { endOf, peer, until } from "./lab.ts";
import type { Network } from "./network.ts";

export interface NameServerPlan {
  /** Scratch folder; made when missing. */
  folder: string;
  network: Network;
  /** Number of the authoritative server's host; the resolver serves the address of the host `resolver`. */
  server: number;
  resolver: number;
  /** Owner names below "test" and their records. */
  zone: Readonly<Record<string, ZoneRecord[]>>;
  /** Zones of their own, delegated without a signature, and with one that does not match the delegation. */
  unsigned?: readonly string[];
  forged?: readonly string[];
}

const programs = ["nsd", "ldns-keygen", "ldns-signzone", "unbound"];

/** The first program that is not there; undefined when all are. */
export function missingForNameServers(): string | undefined {
  return programs.find((name) => peer(name) === undefined);
}

/** Answers the resolver's "address:port". */
export async function startNameServers(t: TestContext, plan: NameServerPlan): Promise<string> {
  const { folder, network, unsigned = [], forged = [] } = plan;
  mkdirSync(folder, { recursive: true });
  chmodSync(folder, 0o755);
  const children = [...unsigned, ...forged];
  const zoneOf = (name: string) => children.find((zone) => name === zone || name.endsWith(`.${zone}`)) ?? "test";
  const lines = new Map<string, string[]>(["test", ...children].map((zone) => [zone, []]));
  for (const [name, records] of Object.entries(plan.zone)) {
    lines.get(zoneOf(name))!.push(...records.map((record) => `${name}. ${presentation(record)}`));
  }
  lines.get("test")!.push(`ns.test. A ${network.host(plan.server)}`);
  for (const zone of children) lines.get("test")!.push(`${zone}. NS ns.test.`);
  for (const zone of forged) lines.get("test")!.push(readFileSync(`${newKey(folder, zone)}.ds`, "utf8").trim());
  for (const [zone, records] of lines) {
    const head = [
      `$ORIGIN ${zone}.`,
      "$TTL 300",
      "@ SOA ns.test. hostmaster.test. 1 3600 600 86400 5",
      "@ NS ns.test.",
    ];
    writeFileSync(join(folder, zone), `${[...head, ...records].join("\n")}\n`);
  }
  const anchor = newKey(folder, "test");
  sign(folder, "test", anchor);
  for (const zone of forged) sign(folder, zone, newKey(folder, zone));
  writeFileSync(join(folder, "nsd.conf"), nsdConfig(folder, network.host(plan.server), [...lines.keys()]));
  writeFileSync(
    join(folder, "unbound.conf"),
    unboundConfig(folder, network.host(plan.resolver), `${anchor}.key`, network.host(plan.server)),
  );
  run(t, [...network.on(plan.server), peer("nsd")!, "-d", "-c", join(folder, "nsd.conf")]);
  run(t, [...network.on(plan.resolver), peer("unbound")!, "-d", "-c", join(folder, "unbound.conf")]);
  const address = `${network.host(plan.resolver)}:53`;
  const probe = createResolver({ servers: [address], budget: budgetWith(), timeoutMs: 500 });
  t.after(() => probe.close());
  await until("the name servers answer", async () => {
    try {
      return (await probe.resolve("ns.test", "A")).authenticated;
    } catch {
      return false; // not yet
    }
  });
  return address;
}

function presentation(record: ZoneRecord): string {
  const [type, value] = Object.entries(record)[0] as [string, unknown];
  if (type === "MX") {
    const [preference, exchange] = value as [number, string];
    return `MX ${preference} ${exchange === "." ? "." : `${exchange}.`}`;
  }
  if (type === "TXT")
    return `TXT ${[value as string | string[]]
      .flat()
      .map((text) => `"${text}"`)
      .join(" ")}`;
  if (type === "TLSA") {
    const [usage, selector, matching, ...data] = value as Buffer;
    return `TLSA ${usage} ${selector} ${matching} ${Buffer.from(data).toString("hex")}`;
  }
  if (type === "A" || type === "AAAA") return `${type} ${String(value)}`;
  throw new RangeError(`no ${type} records in the laboratory's zones`);
}

/** The base name of the files of a new key. */
function newKey(folder: string, zone: string): string {
  const made = execFileSync("ldns-keygen", ["-a", "ECDSAP256SHA256", "-k", zone], { cwd: folder, stdio: "pipe" });
  return join(folder, made.toString().trim());
}

function sign(folder: string, zone: string, key: string): void {
  execFileSync("ldns-signzone", ["-o", zone, "-f", `${zone}.signed`, zone, key], { cwd: folder, stdio: "pipe" });
  writeFileSync(join(folder, zone), readFileSync(join(folder, `${zone}.signed`)));
}

function nsdConfig(folder: string, address: string, zones: readonly string[]): string {
  const files = ["pidfile", "xfrdfile", "zonelistfile", "logfile"].map((name) => `  ${name}: "${folder}/nsd.${name}"`);
  return `server:
  ip-address: ${address}
  username: ""
  server-count: 1
  database: ""
  zonesdir: "${folder}"
${files.join("\n")}
remote-control:
  control-enable: no
${zones.map((zone) => `zone:\n  name: "${zone}"\n  zonefile: "${zone}"`).join("\n")}
`;
}

function unboundConfig(folder: string, address: string, anchor: string, server: string): string {
  return `server:
  interface: ${address}
  access-control: 0.0.0.0/0 allow
  do-ip6: no
  username: ""
  chroot: ""
  directory: "${folder}"
  pidfile: ""
  use-syslog: no
  logfile: "${folder}/unbound.log"
  num-threads: 1
  module-config: "validator iterator"
  val-log-level: 2
  trust-anchor-file: "${anchor}"
  do-not-query-localhost: no
  local-zone: "test." nodefault
remote-control:
  control-enable: no
stub-zone:
  name: "test."
  stub-addr: ${server}
`;
}

function run(t: TestContext, [program, ...words]: string[]): ChildProcess {
  const child = spawn(program!, words, { stdio: "ignore" });
  t.after(async () => {
    await endOf(child, "SIGTERM");
    if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
  });
  return child;
}
