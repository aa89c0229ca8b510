/**
 * The configured scanners: as filters of the processing chain, and by name for scripts.
 * Invariants: connections and circuit breakers of a scanner live as long as its configuration entry stays the same.
 * Failure: a bad address, URL or pattern throws RangeError, TypeError or RegexError when the configuration is taken, so
 * that a reload is refused.
 */
import type { Budget } from "../config/budget.ts";
import type { ScannerConfig } from "../config/schema.ts";
import type { Filter } from "../processing/filter.ts";
import { hookJudge } from "../processing/hook-filter.ts";
import { milterFilter } from "../processing/milter-filter.ts";
import { type Judge, scannerFilter, scannerJudge } from "../processing/scanner-filter.ts";
import { GuardedScanner } from "../scanners/breaker.ts";
import { ClamavScanner } from "../scanners/clamav.ts";
import { MtaHook } from "../scanners/hook.ts";
import { MilterClient, milterSettings } from "../scanners/milter/link.ts";
import { RspamdScanner } from "../scanners/rspamd.ts";
import { SocketScanner } from "../scanners/socket.ts";
import { SpamassassinScanner } from "../scanners/spamassassin.ts";
import { parseSocketAddress } from "../scanners/stream.ts";
import type { Scanner } from "../scanners/types.ts";
import type { Live } from "./live.ts";

export interface ConfiguredScanners {
  /** The filters in force. */
  filters(): readonly Filter[];
  /** The scanner of that name, for a script; undefined when there is none, or it is a milter. */
  find(name: string): Judge | undefined;
  /** Takes the scanners of a new configuration. */
  reload(live: Live): void;
  close(): Promise<void>;
}

interface ScannerEntry {
  key: string;
  name: string;
  /** Absent for one that scripts alone ask. */
  filter?: Filter;
  judge?: Judge;
  close(): Promise<void>;
}

export function openScanners(live: Live): ConfiguredScanners {
  let entries: ScannerEntry[] = live.config.scanners.map((scanner) => openScanner(scanner, live));
  return {
    filters: () => entries.map(({ filter }) => filter).filter((filter) => filter !== undefined),
    find: (name) => entries.find((entry) => entry.name === name)?.judge,
    reload(next) {
      const kept = new Map(entries.map((entry) => [entry.key, entry]));
      const before = entries;
      entries = next.config.scanners.map((scanner) => kept.get(keyOf(scanner)) ?? openScanner(scanner, next));
      for (const entry of before) if (!entries.includes(entry)) void entry.close();
    },
    async close() {
      await Promise.all(entries.map((entry) => entry.close()));
    },
  };
}

function keyOf(scanner: ScannerConfig): string {
  return JSON.stringify(scanner);
}

function openScanner(config: ScannerConfig, live: Live): ScannerEntry {
  const { budget } = live;
  const { name, priority, onError } = config;
  const key = keyOf(config);
  if (config.type === "milter") {
    const address = parseSocketAddress(config.address);
    const settings = milterSettings({ name, address, failure: onError, contentMs: config.timeout });
    const client = new MilterClient(settings, budget);
    const filter = milterFilter(client, priority, live.config.server.name, budget);
    return { key, name, filter, close: async () => client.close() };
  }
  const { judge, close } = openJudge(config, live);
  const entry = { key, name, judge, close };
  return config.use === "script" ? entry : { ...entry, filter: scannerFilter(judge, { name, priority, onError }) };
}

function openJudge(
  config: Exclude<ScannerConfig, { type: "milter" }>,
  { budget, config: { server } }: Live,
): { judge: Judge; close(): Promise<void> } {
  const { name, timeout: timeoutMs, maxBytes } = config;
  if (config.type === "hook") {
    const { url, headers } = config;
    const hook = new MtaHook({ name, url, headers, timeoutMs, hostName: server.name, budget });
    return { judge: hookJudge(hook, maxBytes, budget), close: () => hook.close() };
  }
  const scanner = new GuardedScanner(scannerOf(config, budget), { concurrency: config.concurrency });
  const { onVirus, onSpam } = config;
  return { judge: scannerJudge(scanner, { maxBytes, onVirus, onSpam }), close: () => scanner.close() };
}

function scannerOf(config: Exclude<ScannerConfig, { type: "milter" | "hook" }>, budget: Budget): Scanner {
  const common = { name: config.name, address: parseSocketAddress(config.address), timeoutMs: config.timeout, budget };
  switch (config.type) {
    case "clamav":
      return new ClamavScanner(common);
    case "spamassassin":
      return new SpamassassinScanner(common);
    case "rspamd":
      return new RspamdScanner({ ...common, ...(config.password === undefined ? {} : { password: config.password }) });
    case "socket":
      return new SocketScanner({ ...common, protocol: config.protocol });
  }
}
