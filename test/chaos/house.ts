/**
 * A gateway under chaos: the real one, its peers with moods, its data on a small file system of its own when we are
 * root, and the books. `close` removes everything, the mount too.
 */
import { execFileSync } from "node:child_process";
import { mkdirSync, rmSync, statfsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { freePort, type Gateway, Lab } from "../integration/lab.ts";
import { Ledger } from "./ledger.ts";
import { type NextHop, type Service, startDns, startNextHop, startScanner } from "./peers.ts";

const diskMiB = 256;
const mib = 2 ** 20;

export class House {
  readonly ledger: Ledger;
  readonly hop: NextHop;
  readonly dns: Service;
  readonly scanner: Service;
  readonly #lab: Lab;
  readonly #disk: string | undefined;
  readonly #adminAddress: string | undefined;
  #gateway: Gateway;

  private constructor(parts: {
    lab: Lab;
    ledger: Ledger;
    hop: NextHop;
    dns: Service;
    scanner: Service;
    disk: string | undefined;
    gateway: Gateway;
    adminAddress: string | undefined;
  }) {
    this.#adminAddress = parts.adminAddress;
    this.#lab = parts.lab;
    this.ledger = parts.ledger;
    this.hop = parts.hop;
    this.dns = parts.dns;
    this.scanner = parts.scanner;
    this.#disk = parts.disk;
    this.#gateway = parts.gateway;
  }

  /** `adminPort`: with an admin address, for `metrics`. */
  static async build(options: { adminPort?: boolean } = {}): Promise<House> {
    const lab = new Lab();
    const ledger = new Ledger();
    const [hop, dns, scanner] = [await startNextHop(ledger), await startDns(), await startScanner()];
    const disk = mountDisk(join(lab.folder, "disk"));
    const adminAddress = options.adminPort ? `127.0.0.1:${await freePort()}` : undefined;
    const common = {
      ...(adminAddress === undefined ? {} : { admin: { address: adminAddress } }),
      ...(disk === undefined ? {} : { data: disk }),
      domains: {
        local: [],
        routes: { "out.test": `[127.0.0.1]:${hop.port}`, "sender.test": `[127.0.0.1]:${hop.port}` },
      },
      queue: { firstRetry: "1s", maxRetry: "2s", attempts: 10_000 },
      dns: { servers: [`127.0.0.1:${dns.port}`], timeout: "2s" },
      scanners: [{ type: "clamav", name: "av", address: `127.0.0.1:${scanner.port}`, timeout: "3s", onError: "wait" }],
      overload: { diskFreeMiB: [32, 16, 4] },
    };
    const gateway = await lab.gateway(
      common,
      'event onMailFrom { call (checkSPF); }\nevent onEhlo { set (remoteDelivery, "all"); }\n',
    );
    return new House({ lab, ledger, hop, dns, scanner, disk, gateway, adminAddress });
  }

  get gateway(): Gateway {
    return this.#gateway;
  }

  /** Starts the gateway again where it was; waits for what is left of the old one to let go of the port. */
  async restart(): Promise<void> {
    const { configFile, port } = this.#gateway;
    for (let tries = 0; ; tries++) {
      try {
        this.#gateway = await this.#lab.startGateway(configFile, port);
        return;
      } catch (error) {
        if (tries === 10) throw error;
        await sleep(300);
      }
    }
  }

  /** Fills the disk to the last octet; the answer empties it again. Undefined when the data has no disk of its own. */
  fillDisk(): (() => void) | undefined {
    if (this.#disk === undefined) return undefined;
    const file = join(this.#disk, "ballast");
    const { bavail, bsize } = statfsSync(this.#disk);
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
    const text = await (await fetch(`http://${this.#adminAddress}/metrics`)).text();
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
    if (this.#disk !== undefined) execFileSync("umount", ["-l", this.#disk]);
    await this.#lab.close();
  }
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
