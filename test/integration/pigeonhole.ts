/**
 * Debian's Pigeonhole tools for comparisons: a scratch folder with a configuration, runs as a plain user (they refuse
 * to run as root), and seeded choices for random scripts. Failure: undefined when the program is absent (peer).
 */
import { type SpawnSyncReturns, spawnSync } from "node:child_process";
import { chmodSync, chownSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { peer, scratch } from "./daemons.ts";

const nobody = 65_534;

export interface Pigeonhole {
  /** Readable by the program; its mail is in "mail". */
  folder: string;
  run(...args: string[]): SpawnSyncReturns<string>;
}

/** @param program "sieve-test" or "sievec". */
export function pigeonhole(t: Parameters<typeof peer>[0], program: string): Pigeonhole | undefined {
  const binary = peer(t, program);
  if (binary === undefined) return undefined;
  const folder = scratch(t);
  const mail = join(folder, "mail");
  const root = process.getuid?.() === 0;
  chmodSync(folder, 0o755);
  mkdirSync(mail);
  for (const path of root ? [folder, mail] : []) chownSync(path, nobody, nobody);
  const config = join(folder, "dovecot.conf");
  writeFileSync(
    config,
    `log_path=${mail}/log\nssl=no\nmail_location=maildir:${mail}/box\nfirst_valid_uid=0\nplugin {\n  sieve_max_actions = 64\n}\n`,
  );
  return {
    folder,
    run: (...args) =>
      spawnSync(binary, ["-c", config, ...args], {
        encoding: "utf8",
        cwd: folder,
        env: { PATH: process.env.PATH, HOME: mail, USER: "nobody", TZ: process.env.TZ },
        ...(root ? { uid: nobody, gid: nobody } : {}),
      }),
  };
}

export type Pick = <T>(choices: readonly T[]) => T;

/** mulberry32: the same choices for the same seed. */
export function seeded(seed: number): Pick {
  let state = seed;
  return (choices) => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return choices[((t ^ (t >>> 14)) >>> 0) % choices.length]!;
  };
}
