/**
 * A gateway under chaos: the real one, its peers with moods, and the books. As root, its data are on a small file system
 * of their own, and it runs in a network namespace, whose link can be cut. `close` removes everything.
 */
import { execFileSync } from "node:child_process";
import { mkdirSync, rmSync, statfsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { selfSigned } from "../../src/smtp/incoming/selfsigned.ts";
import { freePort, type Gateway, Lab } from "../integration/lab.ts";
import { type Link, type Network, openNetwork } from "../integration/network.ts";
import { Ledger } from "./ledger.ts";
import { type NextHop, type Service, startDns, startNextHop, startScanner } from "./peers.ts";
import { Preload } from "./preload.ts";

const diskMiB = 256;
const mib = 2 ** 20;

interface Parts {
  lab: Lab;
  ledger: Ledger;
  network: Network;
  hop: NextHop;
  dns: Service;
  scanner: Service;
  disk: string | undefined;
  preload: Preload | undefined;
  adminAddress: string | undefined;
  /** That run the gateway where it is, with its faults loaded. */
  words: readonly string[];
}

export class House {
  readonly ledger: Ledger;
  readonly hop: NextHop;
  readonly dns: Service;
  readonly scanner: Service;
  /** Where the gateway listens. */
  readonly host: string;
  /** Faults inside of the gateway's processes; undefined where they can't be had. */
  readonly preload: Preload | undefined;
  /** The gateway's only way to its peers and its clients; undefined where there are no network namespaces. */
  readonly link: Link | undefined;
  readonly #parts: Parts;
  #gateway: Gateway;

  private constructor(parts: Parts, gateway: Gateway) {
    this.#parts = parts;
    this.ledger = parts.ledger;
    this.hop = parts.hop;
    this.dns = parts.dns;
    this.scanner = parts.scanner;
    this.preload = parts.preload;
    this.host = parts.network.separate ? parts.network.host(1) : parts.network.here;
    this.link = parts.network.separate ? parts.network.link(1) : undefined;
    this.#gateway = gateway;
  }

  /** `admin`: with an admin address, for `metrics`. */
  static async build(options: { admin?: boolean } = {}): Promise<House> {
    const lab = new Lab();
    const ledger = new Ledger();
    const network = openNetwork((reason) => process.stdout.write(`${reason}\n`), [1]);
    const { here } = network;
    const hop = await startNextHop(ledger, here);
    const [dns, scanner] = [await startDns(here), await startScanner(here)];
    const disk = mountDisk(join(lab.folder, "disk"));
    const data = disk ?? join(lab.folder, "data");
    const preload = Preload.build(lab.folder, data);
    const host = network.separate ? network.host(1) : here;
    const [port, adminPort] = [await freePort(), await freePort()];
    const adminAddress = options.admin ? `${host}:${adminPort}` : undefined;
    const words = [...network.on(1), ...(preload?.words ?? [])];
    const parts: Parts = { lab, ledger, network, hop, dns, scanner, disk, preload, adminAddress, words };
    const config = {
      ...(adminAddress === undefined ? {} : { admin: { address: adminAddress } }),
      data,
      listeners: [{ address: `${host}:${port}`, tls: certificate(lab.folder) }],
      relay: { trustedNetworks: [network.range] },
      domains: {
        local: [],
        routes: { "out.test": `[${here}]:${hop.port}`, "sender.test": `[${here}]:${hop.port}` },
      },
      queue: { firstRetry: "1s", maxRetry: "2s", attempts: 10_000 },
      dns: { servers: [`${here}:${dns.port}`], timeout: "2s" },
      scanners: [{ type: "clamav", name: "av", address: `${here}:${scanner.port}`, timeout: "3s", onError: "wait" }],
      overload: { diskFreeMiB: [32, 16, 4] },
    };
    const script = 'event onMailFrom { call (checkSPF); }\nevent onEhlo { set (remoteDelivery, "all"); }\n';
    return new House(parts, await lab.gateway(config, script, port, words));
  }

  get gateway(): Gateway {
    return this.#gateway;
  }

  /** Starts the gateway again where it was; waits for what is left of the old one to let go of the port. */
  async restart(): Promise<void> {
    const { configFile, port } = this.#gateway;
    for (let tries = 0; ; tries++) {
      try {
        this.#gateway = await this.#parts.lab.startGateway(configFile, port, this.#parts.words);
        return;
      } catch (error) {
        if (tries === 10) throw error;
        await sleep(300);
      }
    }
  }

  /** Fills the disk to the last octet; the answer empties it again. Undefined when the data has no disk of its own. */
  fillDisk(): (() => void) | undefined {
    const { disk } = this.#parts;
    if (disk === undefined) return undefined;
    const file = join(disk, "ballast");
    const { bavail, bsize } = statfsSync(disk);
    try {
      writeFileSync(file, Buffer.alloc(bavail * bsize));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOSPC") throw error;
    }
    return () => rmSync(file);
  }

  queued(): number {
    const { code, out, err } = this.#gateway.postern("queue", "count", "--json");
    if (code !== 0) throw new Error(`queue count: ${err}`);
    return (JSON.parse(out) as { count: { total: number } }).count.total;
  }

  /** Name and value of each metric. */
  async metrics(): Promise<Map<string, string>> {
    const text = await (await fetch(`http://${this.#parts.adminAddress}/metrics`)).text();
    return new Map(text.split("\n").map((line) => line.split(" ") as [string, string]));
  }

  /** All peers kind again: waits until the books are closed, or nothing has moved for so long. */
  async settle(idleMs: number): Promise<void> {
    for (const peer of [this.hop, this.dns, this.scanner]) peer.mood = "kind";
    let open = this.ledger.open;
    for (let end = Date.now() + idleMs; open > 0 && Date.now() < end; await sleep(200)) {
      if (this.ledger.open < open) end = Date.now() + idleMs;
      open = this.ledger.open;
    }
  }

  async close(): Promise<void> {
    await this.#gateway.kill("SIGKILL");
    for (const peer of [this.hop, this.dns, this.scanner]) peer.close();
    await sleep(300);
    const { preload, disk, network, lab } = this.#parts;
    preload?.close();
    if (disk !== undefined) execFileSync("umount", ["-l", disk]);
    network.close();
    await lab.close();
  }
}

function certificate(folder: string): { cert: string; key: string } {
  const files = { cert: join(folder, "gateway.crt"), key: join(folder, "gateway.key") };
  const { cert, key } = selfSigned(["gw.test"]);
  writeFileSync(files.cert, cert);
  writeFileSync(files.key, key);
  return files;
}

/** A small file system in memory; undefined when we may not mount. */
function mountDisk(folder: string): string | undefined {
  mkdirSync(folder);
  try {
    execFileSync("mount", ["-t", "tmpfs", "-o", `size=${diskMiB * mib}`, "tmpfs", folder], { stdio: "ignore" });
    return folder;
  } catch {
    return undefined; // not root, or no such right in this container: the disk-full fault says that it was left out
  }
}
