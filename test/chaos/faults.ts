/** What is done to the gateway, one entry a fault. Each lasts some seconds under load and undoes itself. */
import { setTimeout as sleep } from "node:timers/promises";
import type { House } from "./house.ts";
import type { HopMood, ServiceMood } from "./peers.ts";

export interface Fault {
  name: string;
  /** Answers how many kills it did, or "left out: why". */
  run(house: House): Promise<number | string>;
}

const hopMoods: readonly HopMood[] = ["tempfail", "reject", "drop", "silent", "garbage", "slow"];
const serviceMoods: readonly ServiceMood[] = ["silent", "garbage", "slow"];

export const faults: readonly Fault[] = [
  {
    name: "workers killed with -9, one at a time",
    async run({ gateway }) {
      let kills = 0;
      for (let i = 0; i < 6; i++) {
        await sleep(300 + Math.random() * 700);
        const pids = gateway.workers();
        const pid = pids[Math.floor(Math.random() * pids.length)];
        if (pid !== undefined && kill(pid, "SIGKILL")) kills++;
      }
      return kills;
    },
  },
  {
    name: "supervisor killed with -9",
    async run(house) {
      await house.gateway.kill("SIGKILL");
      await sleep(200);
      await house.restart();
      return 1;
    },
  },
  {
    name: "supervisor and workers killed with -9 at once",
    async run(house) {
      await sleep(Math.random() * 1_000);
      const workers = house.gateway.workers();
      const gone = house.gateway.kill("SIGKILL");
      const killed = workers.filter((pid) => kill(pid, "SIGKILL")).length;
      await gone;
      await house.restart();
      return killed + 1;
    },
  },
  {
    name: "a worker stopped for 3 s (SIGSTOP)",
    async run({ gateway }) {
      const [pid] = gateway.workers();
      if (pid === undefined || !kill(pid, "SIGSTOP")) return "left out: no worker";
      await sleep(3_000);
      kill(pid, "SIGCONT");
      return 0;
    },
  },
  {
    name: "disk full for 3 s",
    async run(house) {
      const empty = house.fillDisk();
      if (!empty) return "left out: may not mount a disk of its own (needs root)";
      await sleep(3_000);
      empty();
      return 0;
    },
  },
  {
    name: "disk answers EIO for 3 s",
    async run({ preload }) {
      if (!preload) return "left out: needs a C compiler (cc)";
      preload.breakDisk(true);
      await sleep(3_000);
      preload.breakDisk(false);
      return 0;
    },
  },
  {
    name: "wall clock an hour ahead, then an hour behind",
    async run({ preload }) {
      if (!preload) return "left out: needs a C compiler (cc)";
      for (const seconds of [3_600, -3_600, 0]) {
        preload.moveClock(seconds);
        await sleep(1_500);
      }
      return 0;
    },
  },
  {
    name: "network cut for 4 s",
    async run({ link }) {
      if (!link) return "left out: needs network namespaces (root, iproute2)";
      link.cut();
      await sleep(4_000);
      link.mend();
      return 0;
    },
  },
  {
    name: "policy reloaded again and again",
    async run({ gateway }) {
      for (let i = 0; i < 4; i++) {
        gateway.process.kill("SIGHUP");
        await sleep(500);
      }
      return 0;
    },
  },
  ...hopMoods.map(
    (mood): Fault => ({
      name: `next hop: ${mood}`,
      async run({ hop }) {
        const kills = await inMood(hop, mood, 3_000);
        if (mood === "silent") hop.hangUp();
        return kills;
      },
    }),
  ),
  ...serviceMoods.map(
    (mood): Fault => ({
      name: `DNS: ${mood}`,
      run: ({ dns }) => inMood(dns, mood, 3_000),
    }),
  ),
  ...serviceMoods.map(
    (mood): Fault => ({
      name: `scanner: ${mood}`,
      run: ({ scanner }) => inMood(scanner, mood, 3_000),
    }),
  ),
];

async function inMood<M extends string>(peer: { mood: M | "kind" }, mood: M, ms: number): Promise<number> {
  peer.mood = mood;
  await sleep(ms);
  peer.mood = "kind";
  return 0;
}

/** False when the process was gone already. */
function kill(pid: number, signal: NodeJS.Signals): boolean {
  try {
    return process.kill(pid, signal);
  } catch {
    return false;
  }
}
