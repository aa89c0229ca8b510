/**
 * The laboratory's network: each host in a network namespace with an interface and a loopback of its own, all joined by
 * a bridge, on which the test process has addresses, too. Where namespaces can't be made, hosts are addresses of the
 * loopback network, and links can't be cut.
 */
import { execFileSync, spawnSync } from "node:child_process";
import { randomInt } from "node:crypto";
import { readFileSync } from "node:fs";

export interface Network {
  /** Whether each host has a network stack of its own. */
  readonly separate: boolean;
  /** All hosts, in CIDR form. */
  readonly range: string;
  /** The test process's own address. */
  readonly here: string;
  host(number: number): string;
  /** Words that run the program named after them on a host. */
  on(number: number): readonly string[];
  /** Ends what still runs on the hosts, and removes them. */
  close(): void;
  /** Link of a host, separate networks only: pulled out, put back, slowed down. */
  link(number: number): Link;
}

export interface Link {
  cut(): void;
  mend(): void;
  /** Octets a second towards the host. */
  slow(octets: number): void;
  /** Octets that went to the host so far. */
  readonly sent: number;
}

const ip = (...words: string[]): void => void execFileSync("ip", words, { stdio: ["ignore", "ignore", "pipe"] });

/** The caller closes it. @param tell hears why there are no namespaces; @param hosts numbers of the hosts, 1 to 253; @param local those that the test process plays itself */
export function openNetwork(
  tell: (reason: string) => void,
  hosts: readonly number[],
  local: readonly number[] = [],
): Network {
  try {
    return namespaces(hosts, local);
  } catch (error) {
    tell(`loopback addresses stand for hosts; no network namespaces: ${(error as Error).message.trim()}`);
    return loopback();
  }
}

function loopback(): Network {
  // A part of 127/8 of our own, so that several laboratories can run at once
  const part = `127.${randomInt(2, 255)}.${randomInt(1, 255)}`;
  return {
    separate: false,
    range: "127.0.0.0/8",
    here: "127.0.0.1",
    host: (number) => `${part}.${number}`,
    on: () => [],
    link: () => {
      throw new Error("a loopback address has no link");
    },
    close: () => {},
  };
}

function namespaces(hosts: readonly number[], local: readonly number[]): Network {
  const id = randomInt(0, 0x10000).toString(16).padStart(4, "0");
  const part = `198.${randomInt(18, 20)}.${randomInt(0, 256)}`; // RFC 2544: set aside for laboratories
  const bridge = `pst${id}`;
  const space = (number: number): string => `pst${id}-${number}`;
  const near = (number: number): string => `pst${id}v${number}`;
  const build = (): void => {
    ip("link", "add", bridge, "type", "bridge");
    for (const number of [254, ...local]) ip("addr", "add", `${part}.${number}/24`, "dev", bridge);
    ip("link", "set", bridge, "up");
    for (const number of hosts) {
      ip("netns", "add", space(number));
      ip("link", "add", near(number), "type", "veth", "peer", "name", "eth0", "netns", space(number));
      ip("link", "set", near(number), "master", bridge, "up");
      ip("-n", space(number), "addr", "add", `${part}.${number}/24`, "dev", "eth0");
      for (const device of ["lo", "eth0"]) ip("-n", space(number), "link", "set", device, "up");
    }
  };
  const close = (): void => {
    for (const number of hosts) {
      const { stdout } = spawnSync("ip", ["netns", "pids", space(number)], { encoding: "utf8" });
      for (const pid of stdout.split("\n").filter(Boolean)) process.kill(Number(pid), "SIGKILL");
      spawnSync("ip", ["netns", "del", space(number)]);
    }
    spawnSync("ip", ["link", "del", bridge]);
  };
  try {
    build();
  } catch (error) {
    close();
    throw error;
  }
  return {
    separate: true,
    close,
    range: `${part}.0/24`,
    here: `${part}.254`,
    host: (number) => `${part}.${number}`,
    on: (number) => ["nsenter", `--net=/run/netns/${space(number)}`],
    link: (number) => ({
      cut: () => ip("link", "set", near(number), "down"),
      mend: () => ip("link", "set", near(number), "up"),
      slow: (octets) => {
        const rate = ["rate", `${octets * 8}bit`, "burst", "32kb", "latency", "200ms"];
        execFileSync("tc", ["qdisc", "add", "dev", near(number), "root", "tbf", ...rate], { stdio: "pipe" });
      },
      get sent() {
        return Number(readFileSync(`/sys/class/net/${near(number)}/statistics/tx_bytes`, "utf8"));
      },
    }),
  };
}
